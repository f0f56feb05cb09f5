// A real browser: Debian's chromium, driven.

import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const EXECUTABLE = "/usr/bin/chromium";

/** Why tests with a browser can't run here; undefined where they can. */
export const noBrowser = existsSync(EXECUTABLE) ? undefined : "chromium is not installed";

export const startBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: EXECUTABLE, args: ["--no-sandbox", "--disable-gpu"] });
