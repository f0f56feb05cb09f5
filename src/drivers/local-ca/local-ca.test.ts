import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { LocalCa } from "./local-ca.ts";

const DAY_MS = 86_400_000;
const HOST = "shop.example.com";

describe("given certificates", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-ca-"));
  after(() => rmSync(dir, { recursive: true }));
  const givenDir = join(dir, "given");
  mkdirSync(givenDir);
  let now = Date.now();
  const ca = new LocalCa({
    dir: join(dir, "ca"),
    givenDir,
    listFile: join(dir, "list.txt"),
    now: () => now,
  });
  const give = (file: string, name: string, days: number): string => {
    const [key, certificate] = [join(dir, "key"), join(dir, "crt")];
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
        ...["-keyout", key, "-out", certificate, "-days", String(days)],
        ...["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`],
      ],
      { stdio: "ignore" },
    );
    const path = join(givenDir, file);
    writeFileSync(path, readFileSync(certificate, "utf8") + readFileSync(key, "utf8"));
    return path;
  };
  const served = async (): Promise<string> => {
    await ca.ensureHosts([HOST]);
    return readFileSync(join(dir, "list.txt"), "utf8").split(" ")[0] ?? "";
  };

  it("are served while they hold; one that has ended takes no valid one's place", async () => {
    const wildcard = give("_wildcard.example.com.pem", "*.example.com", 90);
    assert.equal(await served(), wildcard);
    assert.equal(ca.problemWith(HOST), undefined);
    const own = give(`${HOST}.pem`, HOST, 10);
    assert.equal(await served(), own);
    const before = ca.fingerprint();
    now += 11 * DAY_MS;
    assert.notEqual(ca.fingerprint(), before, "that it ended is seen without anybody's doing");
    assert.equal(await served(), wildcard);
    assert.match(
      ca.problemWith(HOST) ?? "",
      /it ended at .*_wildcard\.example\.com\.pem is served/,
    );
    assert.deepEqual(
      ca.certificates().map(({ host, isRefused }) => [host, isRefused]),
      [[HOST, true]],
    );
    now += 90 * DAY_MS;
    assert.match(await served(), /hosts\/shop\.example\.com\.pem$/);
    assert.match(
      ca.problemWith(HOST) ?? "",
      /one of the local CA, which no browser knows, is served/,
    );
    now -= 200 * DAY_MS;
    assert.match(ca.problemWith(HOST) ?? "", /it begins at/);
  });
});
