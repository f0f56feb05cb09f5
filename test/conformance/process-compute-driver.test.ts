import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { cgroupVersion } from "../../src/drivers/process/cgroup.ts";
import { ProcessComputeDriver } from "../../src/drivers/process/process-compute-driver.ts";
import { systemClock } from "../../src/kernel/clock.ts";
import { runComputeSuite } from "./compute-driver.suite.ts";

const root = mkdtempSync(join(tmpdir(), "holdfast-compute-"));
chmodSync(root, 0o711);
after(() => rmSync(root, { recursive: true, force: true, maxRetries: 5 }));
const artifact = join(root, "artifact");
mkdirSync(artifact, { mode: 0o755 });
writeFileSync(
  join(artifact, "serve.js"),
  "const s = require('node:http').createServer((q, r) => r.end('ok')).listen(process.env.PORT, process.env.HOST); process.on('SIGTERM', () => s.close(() => process.exit(0)));",
);
// Apps run under users of their own: the Node they get must be where these can reach it.
const bin = join(root, "bin");
mkdirSync(bin, { mode: 0o755 });
copyFileSync(process.execPath, join(bin, "node"));
chmodSync(join(bin, "node"), 0o755);

const open = (): ProcessComputeDriver =>
  new ProcessComputeDriver({
    clock: systemClock,
    root,
    dir: join(root, "instances"),
    artifactDir: () => artifact,
    logDir: join(root, "logs"),
    nodeBinDir: bin,
  });

runComputeSuite({
  name: "process",
  driver: open(),
  reopen: open,
  artifact: { kind: "directory", digest: "test" },
  commands: {
    serve: "node serve.js",
    ignoreSigterm: "trap '' TERM; echo deaf; while :; do sleep 1; done",
    exit3: "exit 3",
    sayAndExit: "echo one; echo two >&2; echo three",
    showEnv: "env",
    eatMemory: `node -e "const held = []; setInterval(() => held.push(Buffer.alloc(8e6, 1)), 10)"`,
  },
  deviations:
    cgroupVersion() === undefined
      ? {
          "ends one that takes more memory than its limit, and says so":
            "no control groups here: not root, or none mounted",
        }
      : {},
});
