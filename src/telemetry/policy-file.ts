// How long what is kept, and what of it is about people: written by the control plane, read here
// when it has changed.

import { readFileSync, statSync } from "node:fs";
import type { TelemetryPolicies } from "../kernel/signal.ts";

export class PolicyFile {
  readonly #path: string;
  #stamp = "";
  #policies: TelemetryPolicies = {};

  constructor(path: string) {
    this.#path = path;
  }

  /** Without a file, and while it can't be read, what was known last; the defaults at first. */
  read(): TelemetryPolicies {
    const stat = statSync(this.#path, { throwIfNoEntry: false });
    const stamp = stat ? `${stat.mtimeMs} ${stat.size}` : "";
    if (stat && stamp !== this.#stamp) {
      this.#policies = JSON.parse(readFileSync(this.#path, "utf8")) as TelemetryPolicies;
      this.#stamp = stamp;
    }
    return this.#policies;
  }
}
