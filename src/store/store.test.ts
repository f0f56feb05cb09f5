import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { inspect } from "node:util";
import { z } from "zod";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { systemClock } from "../kernel/clock.ts";
import type { HoldfastError } from "../kernel/error.ts";
import { systemRandom } from "../kernel/id.ts";
import { defineKind, refTo } from "../kernel/kind.ts";
import { takeLease } from "../kernel/lease.ts";
import { Redacted } from "../kernel/redacted.ts";
import { type AuditHead, AuditHeadFile } from "./audit-head-file.ts";
import { headFileOf, openDatabase, restoreDatabase } from "./database.ts";
import { ResourceVault } from "./resource-vault.ts";
import { loadSecretKey, SecretVault } from "./secret-vault.ts";
import { SqliteStore } from "./sqlite-store.ts";
import { addCopy, listCopies, superfluous } from "./state-copies.ts";
import { TokenStore } from "./token-store.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-store-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const actor = { name: "ana", from: "socket" };
const anything = z.record(z.string(), z.unknown());
const thing = (name: string) =>
  defineKind<Record<string, unknown>>({ name, summary: "", scope: "environment", spec: anything });
const THING = thing("thing");
const NAME = "production/x";
const ref = refTo(THING, NAME);

const digest = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

function storeAt(path = ":memory:", clock = systemClock) {
  const db = openDatabase(path);
  return { db, store: new SqliteStore(db, clock, systemRandom, Buffer.alloc(32, 7)) };
}

describe("store", () => {
  it("counts a generation for each change, and none where nothing changed", () => {
    const { store } = storeAt();
    assert.equal(
      store.writeSpec(THING, NAME, { a: 1, b: 2 }, { actor, action: "make" }).generation,
      1,
    );
    assert.equal(
      store.writeSpec(THING, NAME, { b: 2, a: 1 }, { actor, action: "again" }).generation,
      1,
    );
    assert.equal(
      store.writeSpec(THING, NAME, { a: 2, b: 2 }, { actor, action: "change" }).generation,
      2,
    );
    assert.equal(store.audit.search({ limit: 10 }).length, 2);
  });

  it("refuses a write that was based on an older state", () => {
    const { store } = storeAt();
    store.writeSpec(THING, NAME, { a: 1 }, { actor, action: "make", expectedGeneration: 0 });
    assert.throws(
      () =>
        store.writeSpec(THING, NAME, { a: 2 }, { actor, action: "change", expectedGeneration: 0 }),
      { code: "resource.conflict" },
    );
  });

  it("writes all of a transaction or nothing, and tells listeners only afterwards", () => {
    const { store } = storeAt();
    const heard: string[] = [];
    store.subscribe(({ name }) => heard.push(name));
    assert.throws(() =>
      store.transaction(() => {
        store.writeSpec(THING, NAME, { a: 1 }, { actor, action: "make" });
        throw new Error("no");
      }),
    );
    assert.equal(store.find(THING, NAME), undefined);
    assert.deepEqual(heard, []);
    assert.equal(store.audit.search({ limit: 10 }).length, 0);
  });

  it("tells what a killed control plane had begun as lost", () => {
    const path = join(folder, "journal.db");
    const first = storeAt(path);
    const resource = first.store.writeSpec(THING, NAME, { a: 1 }, { actor, action: "make" });
    first.store.intend(resource, { do: "start-instance", why: "wanted" });
    first.db.close();
    const { store } = storeAt(path);
    assert.equal(store.journalOf(ref, 10)[0]?.outcome, "lost");
  });
});

describe("a state that is not what it was", () => {
  let count = 0;
  /** A state with five changes, a copy after the third, as a kill would leave it. */
  const killed = () => {
    count += 1;
    const dir = join(folder, `killed-${count}`);
    const path = join(dir, "holdfast.db");
    mkdirSync(dir);
    const { db, store, headFile } = noted(path);
    // Nothing moves out of the log of writes by itself.
    db.exec("PRAGMA wal_autocheckpoint = 0");
    for (let change = 1; change <= 5; change += 1) {
      store.writeSpec(THING, NAME, { change }, { actor, action: "change" });
      if (change === 3) addCopy(db, path, store.audit.head().seq, 1_000);
    }
    const at = join(folder, `found-${count}`);
    cpSync(dir, at, { recursive: true });
    db.close();
    headFile.close();
    return join(at, "holdfast.db");
  };
  function noted(path: string) {
    const db = openDatabase(path);
    const headFile = headFileOf(path);
    const keep = (head: AuditHead): void => headFile.keep(head);
    const store = new SqliteStore(db, systemClock, systemRandom, Buffer.alloc(32, 7), keep);
    return { db, store, headFile };
  }
  const opens = (path: string, changes: number): void => {
    const { db, store } = noted(path);
    assert.deepEqual(store.find(THING, NAME)?.spec, { change: changes });
    assert.equal(store.audit.verify().intact, true);
    db.close();
  };
  const refuses = (path: string, code: string): void => {
    const before = contentOf(path);
    assert.throws(
      () => openDatabase(path),
      (error: HoldfastError) => {
        assert.equal(error.code, code);
        assert.equal(error.actsNext, "operator");
        assert.match(
          error.hint ?? "",
          /--restore-state puts back the copy of 1970-01-01T00:00:01.000Z/,
        );
        return true;
      },
    );
    assert.deepEqual(contentOf(path), before, "nothing of it was touched");
  };
  const contentOf = (path: string): (string | undefined)[] =>
    [path, `${path}-wal`, `${path}.head`].map((file) =>
      existsSync(file) && statSync(file).size > 0 ? digest(readFileSync(file)) : undefined,
    );

  it("is opened where only the control plane was killed", () => opens(killed(), 5));

  it("is refused where one bit of its log of writes is another: acknowledged writes would be lost", () => {
    const path = killed();
    const wal = readFileSync(`${path}-wal`);
    const at = wal.length - 3_000;
    wal[at] = (wal[at] ?? 0) ^ 1;
    writeFileSync(`${path}-wal`, wal);
    refuses(path, "state.behind");
  });

  it("is refused where its log of writes was cut or is gone", () => {
    const cut = killed();
    truncateSync(`${cut}-wal`, statSync(`${cut}-wal`).size >> 1);
    refuses(cut, "state.behind");
    const gone = killed();
    rmSync(`${gone}-wal`);
    rmSync(`${gone}-shm`, { force: true });
    refuses(gone, "state.behind");
  });

  it("is refused where the file is empty, gone, damaged, or that of another time", () => {
    const empty = killed();
    for (const suffix of ["-wal", "-shm"]) rmSync(`${empty}${suffix}`, { force: true });
    writeFileSync(empty, "");
    refuses(empty, "state.behind");
    const gone = killed();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${gone}${suffix}`, { force: true });
    refuses(gone, "state.missing");
    const damaged = killed();
    for (const suffix of ["-wal", "-shm"]) rmSync(`${damaged}${suffix}`, { force: true });
    writeFileSync(damaged, "this is no database, by far not, not at all".repeat(500));
    refuses(damaged, "state.corrupted");
    const other = killed();
    const [copy] = listCopies(other);
    for (const suffix of ["-wal", "-shm"]) rmSync(`${other}${suffix}`, { force: true });
    writeFileSync(other, readFileSync(copy?.file ?? ""));
    const elsewhere = join(folder, "elsewhere.db");
    const { db, store } = storeAt(elsewhere);
    for (let change = 1; change <= 9; change += 1)
      store.writeSpec(THING, NAME, { elsewhere: change }, { actor, action: "change" });
    db.close();
    writeFileSync(other, readFileSync(elsewhere));
    refuses(other, "state.replaced");
  });

  it("is put back from the copy that goes furthest, with all of the damaged one kept", () => {
    const path = killed();
    const wal = readFileSync(`${path}-wal`);
    truncateSync(`${path}-wal`, 100);
    refuses(path, "state.behind");
    const { copy, kept, lost } = restoreDatabase(path, 42);
    assert.equal(copy.seq, 3);
    assert.equal(lost, 2);
    assert.deepEqual(readFileSync(`${kept}-wal`), wal.subarray(0, 100));
    opens(path, 3);
    opens(path, 3);
  });

  it("is not put back from a copy that is damaged itself, where there is another", () => {
    const path = killed();
    const { db, store } = noted(path);
    addCopy(db, path, store.audit.head().seq, 2_000);
    db.close();
    const [newest] = listCopies(path);
    writeFileSync(newest?.file ?? "", "no database".repeat(1_000));
    writeFileSync(path, "nor this".repeat(1_000));
    assert.equal(restoreDatabase(path, 42).copy.seq, 3);
    opens(path, 3);
  });

  it("never takes the place of a copy that goes further", () => {
    const path = killed();
    const { db } = noted(path);
    assert.throws(() => addCopy(db, path, 2, 3_000), { code: "state.copy_behind" });
    assert.deepEqual(
      listCopies(path).map(({ seq }) => seq),
      [3],
    );
    db.close();
  });

  it("has copies of the last moments, hours and days, and not of all of them", () => {
    const minute = 60_000;
    const copies = Array.from({ length: 60 * 24 * 20 }, (_, index) => ({
      file: join(folder, "none"),
      at: (60 * 24 * 20 - index) * minute,
      seq: 1,
    }));
    const gone = new Set(superfluous(copies));
    const kept = copies.filter((copy) => !gone.has(copy));
    assert.ok(kept.length > 35 && kept.length <= 3 + 24 + 14, String(kept.length));
    assert.deepEqual(kept.slice(0, 3), copies.slice(0, 3));
    assert.ok((kept.at(-1)?.at ?? 0) <= (copies[0]?.at ?? 0) - 12 * 24 * 60 * minute);
  });

  it("has its head noted whole, also where the last note was torn", () => {
    const file = join(folder, "torn.head");
    const head = new AuditHeadFile(file);
    for (let seq = 1; seq <= 4; seq += 1) head.keep({ seq, hash: `hash-${seq}` });
    head.close();
    assert.deepEqual(new AuditHeadFile(file).read(), { seq: 4, hash: "hash-4" });
    const bytes = readFileSync(file);
    bytes.fill(0, 0, 10);
    writeFileSync(file, bytes);
    assert.deepEqual(new AuditHeadFile(file).read(), { seq: 3, hash: "hash-3" });
  });
});

describe("audit chain", () => {
  const tampering: Readonly<Record<string, string>> = {
    "an edited actor": "UPDATE audit SET actor = 'eve' WHERE seq = 2",
    "an edited change": `UPDATE audit SET change = '[]' WHERE seq = 2`,
    "unreadable content": `UPDATE audit SET change = '{' WHERE seq = 2`,
    "a removed event": "DELETE FROM audit WHERE seq = 2",
    "a removed beginning": "DELETE FROM audit WHERE seq = 1",
    "a removed end": "DELETE FROM audit WHERE seq = 4",
    "a removed end, and a head that fits":
      "DELETE FROM audit WHERE seq = 4; UPDATE audit_head SET seq = 3",
    "nothing left of it": "DELETE FROM audit",
    "a swapped pair":
      "UPDATE audit SET seq = CASE seq WHEN 2 THEN -3 WHEN 3 THEN -2 END WHERE seq IN (2, 3); UPDATE audit SET seq = -seq WHERE seq < 0",
  };

  function chainOfFour() {
    const { db, store } = storeAt();
    for (let a = 1; a <= 4; a += 1)
      store.writeSpec(THING, NAME, { a }, { actor, action: "change" });
    return { db, store };
  }

  it("is intact when nobody touched it", () => {
    const verdict = chainOfFour().store.audit.verify();
    assert.equal(verdict.intact && verdict.events, 4);
  });

  for (const [what, sql] of Object.entries(tampering)) {
    it(`shows ${what}`, () => {
      const { db, store } = chainOfFour();
      db.exec(sql);
      assert.equal(store.audit.verify().intact, false);
    });
  }
});

describe("audit chain, row by row", () => {
  /** One event of each kind that there is, as it is written. */
  const KINDS: readonly (readonly [kind: string, name: string, action: string])[] = [
    ["app", "production/shop", "deploy"],
    ["release", "production/shop/000001", "promote"],
    ["settings", "production/shop", "config"],
    ["secret", "production/shop/KEY", "secret"],
    ["task", "production/shop/1", "run"],
    ["rollout", "production/shop", "abort"],
    ["environment", "staging", "environment"],
    ["policy", "production", "policy"],
    ["telemetry", "staging", "telemetry"],
    ["account", "ana", "account"],
    ["token", "t1", "token"],
    ["change", "000001", "approve"],
    ["window", "production/sale", "freeze"],
    ["channel", "ops", "channel"],
    ["export", "production/lake", "export"],
    ["database", "production", "environment"],
  ];
  const EDITS: Readonly<Record<string, string>> = {
    at: "at + 1",
    actor: "actor || 'x'",
    source: "'10.0.0.1'",
    action: "'view'",
    kind: "'other'",
    name: "name || 'x'",
    generation: "generation + 1",
    change: '\'[{"field":"a","to":2}]\'',
    prev_hash: "hash",
    hash: "prev_hash",
  };

  function chainOfAll() {
    const { db, store } = storeAt();
    for (const [kind, name, action] of KINDS)
      store.writeSpec(thing(kind), name, { a: 1 }, { actor, action });
    const { at, source } = { at: 7, source: "127.0.0.1" };
    const change = [{ field: "why", to: "no rule permits it" }];
    const refused = { at, actor: "eve", source, action: "refused", kind: "access", generation: 0 };
    store.audit.append({ ...refused, name: "production/shop", change });
    store.markDeleting({ kind: "token", name: "t1" }, { actor, action: "token-revoke" });
    return { db, store };
  }

  it("shows an edit of any field of a row of any kind, its removal and its repetition", () => {
    const { store } = chainOfAll();
    const rows = store.audit.search({ limit: 100 });
    assert.equal(rows.length, KINDS.length + 2);
    assert.equal(store.audit.verify().intact, true);
    for (const { seq, kind } of rows) {
      for (const [field, value] of Object.entries(EDITS)) {
        const { db, store: tampered } = chainOfAll();
        db.exec(`UPDATE audit SET ${field} = ${value} WHERE seq = ${seq}`);
        assert.equal(tampered.audit.verify().intact, false, `${field} of a ${kind}`);
      }
      const { db, store: cut } = chainOfAll();
      db.exec(`DELETE FROM audit WHERE seq = ${seq}`);
      assert.equal(cut.audit.verify().intact, false, `a removed ${kind}`);
    }
  });

  it("holds a head that was noted, and not one of a chain that was written anew", () => {
    const { store } = chainOfAll();
    const noted = store.audit.head();
    store.writeSpec(THING, NAME, { a: 9 }, { actor, action: "change" });
    assert.equal(store.audit.holds(noted), true);
    assert.equal(store.audit.holds({ ...noted, hash: noted.hash.slice(0, 24) }), true);
    assert.equal(store.audit.holds({ ...noted, hash: "" }), false);
    // Whoever has the key writes a whole chain again, with one event left out.
    const { store: anew } = storeAt();
    for (const [kind, name, action] of KINDS.slice(1))
      anew.writeSpec(thing(kind), name, { a: 1 }, { actor, action });
    for (let a = 0; a < 5; a += 1) anew.writeSpec(THING, NAME, { a }, { actor, action: "change" });
    assert.equal(anew.audit.verify().intact, true);
    assert.equal(anew.audit.holds(noted), false);
  });

  it("is searched by who, what, where and when", () => {
    const { store } = chainOfAll();
    const found = (filter: object): number => store.audit.search({ limit: 100, ...filter }).length;
    assert.equal(found({ kind: "token" }), 2);
    assert.equal(found({ actor: "eve" }), 1);
    assert.equal(found({ action: "approve" }), 1);
    assert.equal(found({ name: "production/shop" }), 7);
    assert.equal(found({ name: "prod%" }), 0, "a percent sign is one");
    assert.equal(found({ text: "no rule" }), 1);
    assert.equal(found({ to: 7 }), 1);
    assert.equal(found({ before: 3 }), 2);
    assert.equal([...store.audit.all()][0]?.seq, 1);
  });
});

describe("secret vault", () => {
  const key = new Redacted(randomBytes(32).toString("base64"));

  it("keeps versions, and nothing of a value in clear", () => {
    const path = join(folder, "vault.db");
    const db = openDatabase(path);
    const vault = new SecretVault(db, key, systemClock);
    assert.equal(vault.add("shop/KEY", new Redacted("hunter2-hunter2")), 1);
    assert.equal(vault.add("shop/KEY", new Redacted("correct horse")), 2);
    assert.equal(vault.find("shop/KEY", 1)?.reveal(), "hunter2-hunter2");
    assert.equal(vault.latestVersion("shop/KEY"), 2);
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    db.close();
    assert.ok(!readFileSync(path).includes("hunter2"));
  });

  it("opens nothing with another key, nor a box that was moved to another name", () => {
    const db = openDatabase(":memory:");
    new SecretVault(db, key, systemClock).add("a", new Redacted("value"));
    const other = new SecretVault(
      db,
      new Redacted(randomBytes(32).toString("base64")),
      systemClock,
    );
    assert.throws(() => other.find("a", 1), { code: "secret.unreadable" });
    db.exec("UPDATE sealed SET name = 'b'");
    assert.throws(() => new SecretVault(db, key, systemClock).find("b", 1), {
      code: "secret.unreadable",
    });
  });

  it("makes a key file that only its owner reads, and refuses a bad key", () => {
    const path = join(folder, "secret.key");
    const db = openDatabase(":memory:");
    loadSecretKey(path, undefined, db);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.throws(() => loadSecretKey(path, "short", db), { code: "secret.bad_key" });
  });

  it("makes no new key where something was sealed under one that is gone", () => {
    const db = openDatabase(":memory:");
    new SecretVault(db, key, systemClock).add("a", new Redacted("value"));
    const path = join(folder, "gone.key");
    assert.throws(() => loadSecretKey(path, undefined, db), { code: "secret.key_missing" });
  });

  it("forgets all of an app's, and nothing of another with a longer name", () => {
    const db = openDatabase(":memory:");
    const vault = new SecretVault(db, key, systemClock);
    for (const name of ["secret/shop/KEY", "secret/shop/KEY_2", "secret/shop-2/KEY"])
      vault.add(name, new Redacted("value"));
    vault.removeAll("secret/shop/");
    assert.equal(vault.latestVersion("secret/shop/KEY"), undefined);
    assert.equal(vault.latestVersion("secret/shop/KEY_2"), undefined);
    assert.equal(vault.latestVersion("secret/shop-2/KEY"), 1);
  });

  it("prints [redacted] wherever a value usually leaks", () => {
    const value = new Redacted("hunter2");
    const seen = [
      String(value),
      `${value}`,
      JSON.stringify({ value }),
      inspect(value),
      inspect({ value }),
      `${[value]}`,
    ];
    for (const text of seen)
      assert.ok(!text.includes("hunter2") && text.includes("[redacted]"), text);
  });
});

describe("tokens", () => {
  it("are kept as hashes, and a new one ends the old", () => {
    const db = openDatabase(":memory:");
    const tokens = new TokenStore(db, systemClock);
    const first = tokens.issue("ci").reveal();
    assert.equal(tokens.find(first), "ci");
    const second = tokens.issue("ci").reveal();
    assert.equal(tokens.find(first), undefined);
    assert.equal(tokens.find(second), "ci");
    const rows = JSON.stringify(db.prepare("SELECT * FROM token").all());
    assert.ok(!rows.includes(second));
  });
});

describe("lease", () => {
  it("belongs to one at a time, says to whom, and runs out", async () => {
    const clock = new VirtualClock();
    const { store } = storeAt(":memory:", clock);
    store.acquire("release-command", "one", 1_000);
    const lease = { name: "release-command", owner: "two", ttlMs: 1_000 };
    assert.throws(() => takeLease(store, lease), {
      code: "lease.held",
      message: /held by one until/,
    });
    await clock.advance(1_001);
    takeLease(store, lease);
    takeLease(store, lease);
    assert.equal(store.acquire("release-command", "three", 1).owner, "two");
    store.release("release-command", "two");
    assert.equal(store.acquire("release-command", "three", 1).owner, "three");
  });
});

describe("sealed values of resources", () => {
  it("never give a version again, also after all of them were forgotten", () => {
    const { db } = storeAt();
    const vault = new ResourceVault(
      new SecretVault(db, new Redacted(randomBytes(32).toString("base64")), systemClock),
    );
    const of = { kind: "channel", name: "ops" };
    assert.deepEqual(
      [vault.add(of, "address", new Redacted("a")), vault.add(of, "address", new Redacted("b"))],
      [1, 2],
    );
    const key = vault.signingKey(of);
    assert.equal(vault.signingKey(of), key);
    vault.removeAll(of);
    for (const version of [1, 2])
      assert.throws(() => vault.read(of, "address", version), { code: "sealed.missing" });
    assert.equal(vault.add(of, "address", new Redacted("c")), 3);
    assert.equal(vault.read(of, "address", 3).reveal(), "c");
    assert.notEqual(vault.signingKey(of), key);
  });
});

describe("specs of other builds", () => {
  const kindOf = (version: number, spec: z.ZodType<{ readonly port: number }>) =>
    defineKind<{ readonly port: number }>({
      name: "thing",
      summary: "",
      scope: "environment",
      spec,
      version,
      upgrades: {
        1: ({ address, ...rest }) => ({ ...rest, port: Number(String(address).split(":")[1]) }),
      },
    });
  const current = kindOf(2, z.strictObject({ port: z.number().int() }));
  const first = defineKind<{ readonly address: string }>({
    name: "thing",
    summary: "",
    scope: "environment",
    spec: z.strictObject({ address: z.string() }),
  });

  it("are upgraded when they are read, and kept so with the next write", () => {
    const { db, store: writing } = storeAt();
    writing.writeSpec(first, NAME, { address: "a:81" }, { actor, action: "make" });
    const store = new SqliteStore(db, systemClock, systemRandom, Buffer.alloc(32, 7));
    store.assertReadable([current]);
    assert.deepEqual(store.find(current, NAME)?.spec, { port: 81 });
    assert.deepEqual(
      store.list(current).map(({ spec }) => spec.port),
      [81],
    );
    const written = store.writeSpec(current, NAME, { port: 82 }, { actor, action: "make" });
    assert.deepEqual([written.generation, written.spec], [2, { port: 82 }]);
    assert.deepEqual(store.find(current, NAME)?.spec, { port: 82 });
  });

  it("are refused by name where they can't be read", () => {
    const { db, store: writing } = storeAt();
    writing.writeSpec(current, NAME, { port: 81 }, { actor, action: "make" });
    const store = new SqliteStore(db, systemClock, systemRandom, Buffer.alloc(32, 7));
    const refused = (kind: Parameters<typeof store.find>[0], message: RegExp): void => {
      const expected = { code: "state.unreadable", message };
      assert.throws(() => store.assertReadable([kind]), expected);
      assert.throws(() => store.find(kind, NAME), expected);
      assert.throws(() => store.list(kind), expected);
    };
    refused(first, /thing .* a newer build wrote it \(version 2 of its kind, this one knows 1\)/);
    refused({ ...current, version: 4 }, /nothing leads on from version 2/);
    const without = z.strictObject({
      ports: z.array(z.number()),
    }) as unknown as typeof current.spec;
    refused(kindOf(2, without), /ports: .*; the spec: Unrecognized key: "port"/);
  });

  it("that do not fit their kind are not written", () => {
    const { store } = storeAt();
    const wrong = { port: 8.5 };
    assert.throws(
      () => store.writeSpec(current, NAME, wrong, { actor, action: "make" }),
      /thing .* does not fit its kind/,
    );
    assert.equal(store.find(current, NAME), undefined);
    assert.equal(store.audit.search({ limit: 10 }).length, 0);
  });

  it("are those that were kept, not those of a rehearsal", () => {
    const { store } = storeAt();
    const write = (port: number) =>
      store.writeSpec(current, NAME, { port }, { actor, action: "make" });
    write(1);
    assert.equal(store.rehearse(() => write(2)).spec.port, 2);
    assert.equal(store.find(current, NAME)?.spec.port, 1);
    assert.deepEqual([write(3).spec, write(3).generation], [{ port: 3 }, 2]);
    assert.equal(store.audit.search({ limit: 10 }).length, 2);
    assert.throws(() => store.rehearse(() => assert.fail("refused")), /refused/);
    assert.throws(
      () => store.transaction(() => store.rehearse(() => write(4))),
      /a rehearsal inside a transaction/,
    );
    assert.equal(store.find(current, NAME)?.spec.port, 3);
  });

  it("can't be changed by who reads them", () => {
    const { store } = storeAt();
    store.writeSpec(THING, NAME, { deep: { list: [1] } }, { actor, action: "make" });
    const { spec } = store.find(THING, NAME) as unknown as { spec: { deep: { list: number[] } } };
    assert.throws(() => spec.deep.list.push(2), TypeError);
    assert.deepEqual(store.find(THING, NAME)?.spec, { deep: { list: [1] } });
  });
});
