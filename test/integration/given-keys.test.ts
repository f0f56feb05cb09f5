// What people bring along themselves: the key that seals secrets, and certificates.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { connect } from "node:tls";
import { run } from "../../src/drivers/exec.ts";
import { AppFolder, ECHO_SERVER } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const HOST = "given.localhost";
/** A pass at rest, and a moment for the reload. */
const SEEN_WITHIN_MS = 40_000;

describe("given keys", { timeout: 180_000 }, () => {
  const key = randomBytes(32).toString("base64");
  const holdfast = new Installation({ HOLDFAST_SECRET_KEY: key });
  const withoutKey = new Installation({ HOLDFAST_SECRET_KEY: undefined }, holdfast.home);
  const app = new AppFolder({
    "server.js": ECHO_SERVER,
    "holdfast.yaml": `name: given\nservices: { web: { command: node server.js, routes: [{ host: ${HOST} }] } }\nsecrets: [API_KEY]\n`,
  });
  const issuerOf = (servername: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(
        { port: holdfast.ports.https, host: "127.0.0.1", servername, rejectUnauthorized: false },
        () => {
          resolve(String(socket.getPeerCertificate().issuer.CN));
          socket.destroy();
        },
      );
      socket.on("error", reject);
    });
  const makeCertificate = async (name: string): Promise<string> => {
    const files = ["key", "crt"].map((what) => join(app.dir, `${name}.${what}`));
    const { code, stderr } = await run([
      "openssl",
      ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30".split(" "),
      ...["-keyout", files[0] ?? "", "-out", files[1] ?? "", "-subj", `/CN=${name}`],
      ...["-addext", `subjectAltName=DNS:${HOST}`],
    ]);
    assert.equal(code, 0, stderr);
    return files.map((file) => readFileSync(file, "utf8")).join("");
  };

  before(async () => {
    await holdfast.ok("up", "--install");
    assert.equal(
      (await holdfast.run(["secret", "set", "given", "API_KEY"], "a-secret-value")).code,
      0,
    );
    await holdfast.ok("deploy", app.dir);
  });
  after(async () => {
    await holdfast.close();
    app.remove();
  });

  it("seals secrets under a key from outside, which reaches nothing but the control plane", async () => {
    assert.ok(!existsSync(join(holdfast.home, "state", "secret.key")));
    const { secret } = JSON.parse((await ask(holdfast, { host: HOST })).text) as { secret: number };
    assert.equal(secret, "a-secret-value".length);
    const own = new Set([holdfast.controlPlanePid]);
    for (const pid of readdirSync("/proc").filter((one) => /^\d+$/.test(one))) {
      let [environment, command] = ["", ""];
      try {
        environment = readFileSync(`/proc/${pid}/environ`, "utf8");
        command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      } catch {
        continue;
      }
      const isOurs = own.has(Number(pid)) || /keep-running|src\/bin|launch\.sh/.test(command);
      assert.ok(isOurs || !environment.includes(key), `${pid} ${command}`);
    }
  });

  it("does not begin a new key where secrets are sealed under one that is not given", async () => {
    await holdfast.ok("down");
    const { code, stderr } = await withoutKey.run(["up"]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /secret key .* is gone/);
    assert.equal((await ask(holdfast, { host: HOST })).status, 200, "what runs serves on");
    await holdfast.ok("up");
  });

  it("serves a given certificate, a renewed one, and the local one while a given one is bad", async () => {
    const file = join(holdfast.home, "certificates", `${HOST}.pem`);
    mkdirSync(join(holdfast.home, "certificates"), { recursive: true });
    assert.match(await issuerOf(HOST), /Holdfast/);
    for (const name of ["given", "renewed"]) {
      writeFileSync(file, await makeCertificate(name));
      await until(`${name} is served`, async () => (await issuerOf(HOST)) === name, SEEN_WITHIN_MS);
    }
    writeFileSync(file, "half a certif");
    const { code, stderr } = await holdfast.run(["restart", "given"]);
    assert.equal(code, 0, stderr);
    await until(
      "status says it",
      async () => (await holdfast.run(["status"])).stdout.includes("can't be used"),
      SEEN_WITHIN_MS,
    );
    await holdfast.ok("down", "--all");
    await holdfast.ok("up");
    await until("the edge is back", async () =>
      issuerOf(HOST).then(
        (issuer) => /Holdfast/.test(issuer),
        () => false,
      ),
    );
  });
});
