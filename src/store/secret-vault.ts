// Secret values, sealed with AES-256-GCM under a key that is not in the database. The name and the
// version are authenticated too, so a box that was moved to another secret does not open.

import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../kernel/clock.ts";
import { stuck } from "../kernel/error.ts";
import { Redacted } from "../kernel/redacted.ts";

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
const RETIRED = Buffer.alloc(0);

export class SecretVault {
  readonly #db: DatabaseSync;
  readonly #key: Redacted;
  readonly #clock: Clock;

  constructor(db: DatabaseSync, key: Redacted, clock: Clock) {
    this.#db = db;
    this.#key = key;
    this.#clock = clock;
  }

  /** Stores a value as the next version of the name; returns that version. */
  add(name: string, value: Redacted): number {
    const row = this.#db.prepare("SELECT max(version) AS v FROM sealed WHERE name = ?").get(name);
    const version = Number(row?.["v"] ?? 0) + 1;
    this.#db
      .prepare("INSERT INTO sealed VALUES (?, ?, ?, ?)")
      .run(name, version, this.#seal(boxName(name, version), value), this.#clock.now());
    return version;
  }

  /** The value, or `secret.unreadable` where the key does not fit. */
  find(name: string, version: number): Redacted | undefined {
    const row = this.#db
      .prepare("SELECT box FROM sealed WHERE name = ? AND version = ?")
      .get(name, version);
    if (!row || Buffer.from(row["box"] as Uint8Array).length === 0) return undefined;
    return this.#open(boxName(name, version), Buffer.from(row["box"] as Uint8Array));
  }

  latestVersion(name: string): number | undefined {
    const row = this.#db.prepare("SELECT max(version) AS v FROM sealed WHERE name = ?").get(name);
    return row?.["v"] === null ? undefined : Number(row?.["v"]);
  }

  /** The latest value of a name that the platform itself needs; made where there is none. */
  ensure(name: string, make: () => string): Redacted {
    const version = this.latestVersion(name);
    if (version !== undefined) {
      const value = this.find(name, version);
      if (value) return value;
    }
    const value = new Redacted(make());
    this.add(name, value);
    return value;
  }

  /** The same, and no version of theirs is ever given again: what names one never gets another value. */
  retireAll(prefix: string): void {
    const names = this.#db
      .prepare(
        "SELECT name, max(version) AS v FROM sealed WHERE substr(name, 1, ?) = ? GROUP BY name",
      )
      .all(prefix.length, prefix);
    this.removeAll(prefix);
    const mark = this.#db.prepare("INSERT INTO sealed VALUES (?, ?, ?, ?)");
    for (const { name, v } of names) mark.run(String(name), Number(v), RETIRED, this.#clock.now());
  }

  /** Every version of every name that begins so: end the prefix where a name ends, or with a slash. */
  removeAll(prefix: string): void {
    this.#db.prepare("DELETE FROM sealed WHERE substr(name, 1, ?) = ?").run(prefix.length, prefix);
  }

  #seal(name: string, value: Redacted): Buffer {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#keyBytes(), nonce);
    cipher.setAAD(Buffer.from(name));
    const body = Buffer.concat([cipher.update(value.reveal(), "utf8"), cipher.final()]);
    return Buffer.concat([nonce, cipher.getAuthTag(), body]);
  }

  #open(name: string, box: Buffer): Redacted {
    try {
      const decipher = createDecipheriv(
        "aes-256-gcm",
        this.#keyBytes(),
        box.subarray(0, NONCE_BYTES),
      );
      decipher.setAAD(Buffer.from(name));
      decipher.setAuthTag(box.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
      const body = box.subarray(NONCE_BYTES + TAG_BYTES);
      return new Redacted(
        Buffer.concat([decipher.update(body), decipher.final()]).toString("utf8"),
      );
    } catch (cause) {
      throw stuck("secret.unreadable", `the secret ${name} does not open with the current key`, {
        hint: "put back the secret key this installation began with (HOLDFAST_SECRET_KEY or secret.key)",
        cause,
      });
    }
  }

  #keyBytes(): Buffer {
    return Buffer.from(this.#key.reveal(), "base64");
  }
}

const boxName = (name: string, version: number): string => `${name}@${version}`;

/** The sealing key: given from outside (base64, 32 bytes), or a 0600 file that is made once. */
/** Makes a key file where there is none; not where something was sealed already. */
export function loadSecretKey(path: string, given: string | undefined, db: DatabaseSync): Redacted {
  if (given !== undefined) return checkKey(given, "HOLDFAST_SECRET_KEY");
  if (!existsSync(path)) {
    if (db.prepare("SELECT 1 FROM sealed LIMIT 1").get()) {
      throw stuck(
        "secret.key_missing",
        `the secret key ${path} is gone, and secrets are sealed under it`,
        {
          hint: "put the file back, or give the key in HOLDFAST_SECRET_KEY; nothing was changed",
        },
      );
    }
    writeFileSync(path, randomBytes(KEY_BYTES).toString("base64"), { mode: 0o600, flag: "wx" });
  }
  chmodSync(path, 0o600);
  return checkKey(readFileSync(path, "utf8").trim(), path);
}

/** A key for another purpose, from which the secret key can't be found. */
export const deriveKey = (key: Redacted, purpose: string): Buffer =>
  Buffer.from(hkdfSync("sha256", Buffer.from(key.reveal(), "base64"), "", purpose, KEY_BYTES));

function checkKey(key: string, where: string): Redacted {
  if (Buffer.from(key, "base64").length === KEY_BYTES) return new Redacted(key);
  throw stuck("secret.bad_key", `${where} is not a key of ${KEY_BYTES} bytes in base64`, {
    hint: "make one with: openssl rand -base64 32",
  });
}
