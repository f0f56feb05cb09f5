// The script in HAProxy that holds request bodies to their limit, with the page that a client sees.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { renderErrorPage } from "./error-pages.ts";

const SCRIPT = readFileSync(join(import.meta.dirname, "body-limit.lua"), "utf8");

export const renderBodyLimitScript = (): string =>
  SCRIPT.replace("{{page}}", () => renderErrorPage(413));
