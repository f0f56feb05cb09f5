// Bearer tokens. Only their hash is kept; a token is shown once, when it is made.

import { createHash, randomBytes } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../kernel/clock.ts";
import { Redacted } from "../kernel/redacted.ts";

export class TokenStore {
  readonly #db: DatabaseSync;
  readonly #clock: Clock;

  constructor(db: DatabaseSync, clock: Clock) {
    this.#db = db;
    this.#clock = clock;
  }

  /** Makes a token of that name; one that was there before no longer works. */
  issue(name: string): Redacted {
    const token = `hf_${randomBytes(24).toString("base64url")}`;
    this.#db
      .prepare("INSERT OR REPLACE INTO token VALUES (?, ?, ?)")
      .run(name, hashOf(token), this.#clock.now());
    return new Redacted(token);
  }

  has(name: string): boolean {
    return this.#db.prepare("SELECT 1 FROM token WHERE name = ?").get(name) !== undefined;
  }

  /** The name of the one who holds this token. */
  findHolder(token: string): string | undefined {
    const row = this.#db.prepare("SELECT name FROM token WHERE hash = ?").get(hashOf(token));
    return row && String(row["name"]);
  }
}

const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");
