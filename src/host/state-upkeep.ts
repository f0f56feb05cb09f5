// What is kept of the state outside of it: the head of its audit chain, copies, the token of its owner; and
// what is noted when it was put back.

import { existsSync, rmSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { readJson, writeWhole } from "../drivers/files.ts";
import { systemClock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/error.ts";
import { SYSTEM } from "../kernel/resource-store.ts";
import type { AuditHead, AuditHeadFile } from "../store/audit-head-file.ts";
import type { SqliteStore } from "../store/sqlite-store.ts";
import { addCopy } from "../store/state-copies.ts";
import type { TokenStore } from "../store/token-store.ts";
import type { Home } from "./home.ts";
import type { RestoreNote } from "./restore-state.ts";

export type Log = (
  level: "info" | "warn" | "error",
  message: string,
  fields?: Record<string, unknown>,
) => void;

const ADMIN_TOKEN = "admin";
const COPY_INTERVAL_MS = 5_000;
const NOTE_HEAD_EVERY_MS = 10 * 60_000;

export function issueAdminToken(tokens: TokenStore, home: Home): void {
  if (tokens.has(ADMIN_TOKEN) && existsSync(home.adminToken)) return;
  writeWhole(home.adminToken, `${tokens.issue(ADMIN_TOKEN).reveal()}\n`, 0o600);
}

// Wherever logs are kept, the chain can be compared with what it was.
export function noteAuditHead(anchorOf: () => string, log: Log): () => void {
  let noted = "";
  const note = (): void => {
    const anchor = anchorOf();
    if (anchor !== noted) log("info", "head of the audit chain", { audit: anchor });
    noted = anchor;
  };
  note();
  const timer = setInterval(note, NOTE_HEAD_EVERY_MS);
  return () => {
    clearInterval(timer);
    note();
  };
}

// What is in the database counts, also where this could not be written.
export function keepHead(file: AuditHeadFile, head: AuditHead, log: Log): void {
  try {
    file.keep(head);
  } catch (error) {
    log("error", "the head of the audit chain could not be noted outside of the state", {
      seq: head.seq,
      error: messageOf(error),
    });
  }
}

// That the state was put back from a copy, and what is missing since, is in the audit for good.
export function noteRestore(store: SqliteStore, home: Home): void {
  const restored = readJson<RestoreNote>(home.restoreNote);
  if (!restored) return;
  const { at, ...what } = restored;
  store.audit.append({
    at,
    actor: SYSTEM.name,
    source: SYSTEM.from,
    action: "restore",
    kind: "state",
    name: "installation",
    generation: 0,
    change: Object.entries(what).map(([field, to]) => ({ field, to })),
  });
  rmSync(home.restoreNote);
}

// The copy that `up --restore-state` puts back is seconds old at most; at rest nothing is written.
export function keepCopy(db: DatabaseSync, store: SqliteStore, home: Home, log: Log): () => void {
  let copied: unknown;
  const copy = (): void => {
    const changes = db.prepare("SELECT total_changes() AS n").get()?.["n"];
    if (changes === copied) return;
    try {
      addCopy(db, home.database, store.audit.head().seq, systemClock.now());
      copied = changes;
    } catch (error) {
      log("warn", "the copy of the state could not be written", {
        error: messageOf(error),
      });
    }
  };
  copy();
  const timer = setInterval(copy, COPY_INTERVAL_MS);
  return () => {
    clearInterval(timer);
    copy();
  };
}
