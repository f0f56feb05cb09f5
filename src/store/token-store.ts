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
      .prepare("INSERT OR REPLACE INTO token (name, hash, created_at) VALUES (?, ?, ?)")
      .run(name, hashOf(token), this.#clock.now());
    return new Redacted(token);
  }

  has(name: string): boolean {
    return this.#db.prepare("SELECT 1 FROM token WHERE name = ?").get(name) !== undefined;
  }

  /** The name of this token. That it was used is noted, to the minute. */
  find(token: string): string | undefined {
    const row = this.#db
      .prepare("SELECT name, used_at FROM token WHERE hash = ?")
      .get(hashOf(token));
    if (!row) return undefined;
    const name = String(row["name"]);
    const now = this.#clock.now();
    if (now - Number(row["used_at"] ?? 0) > USED_EVERY_MS)
      this.#db.prepare("UPDATE token SET used_at = ? WHERE name = ?").run(now, name);
    return name;
  }

  lastUsedAt(name: string): number | undefined {
    const at = this.#db.prepare("SELECT used_at FROM token WHERE name = ?").get(name)?.["used_at"];
    return typeof at === "number" ? at : undefined;
  }

  remove(name: string): void {
    this.#db.prepare("DELETE FROM token WHERE name = ?").run(name);
  }
}

const USED_EVERY_MS = 60_000;
const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");
