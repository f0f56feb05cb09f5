import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, describe, it } from "node:test";
import { create } from "tar";
import { DockerComputeDriver } from "../../src/drivers/docker/docker-compute-driver.ts";
import { DockerEngine } from "../../src/drivers/docker/docker-engine.ts";
import { systemClock } from "../../src/kernel/clock.ts";
import { runComputeSuite } from "./compute-driver.suite.ts";

const BUSYBOX = "/bin/busybox";
const engine = new DockerEngine();
const version = await engine.findVersion();

if (version === undefined || !existsSync(BUSYBOX)) {
  describe("compute driver: docker", () => {
    void it(
      "is tested where a container engine and busybox-static are",
      { skip: "no engine answers, or no busybox" },
      () => undefined,
    );
  });
} else {
  const root = mkdtempSync(join(tmpdir(), "holdfast-docker-"));
  const digest = await importImage(root);
  const open = (): DockerComputeDriver =>
    new DockerComputeDriver({
      clock: systemClock,
      engine,
      installation: root,
      logDir: join(root, "logs"),
      wasStoppedAt: () => false,
    });
  const driver = open();
  before(() => mkdirSync(join(root, "logs"), { recursive: true }));
  after(async () => {
    await driver.removeNetworks();
    await engine.call("DELETE", `/images/${digest}?force=true`, { accept: [404, 409] });
    rmSync(root, { recursive: true, force: true });
  });
  runComputeSuite({
    name: "docker",
    driver,
    reopen: open,
    artifact: { kind: "image", digest },
    commands: {
      serve: "httpd -f -p $PORT -h /www & trap 'kill $!; exit 0' TERM; wait",
      ignoreSigterm: "trap '' TERM; echo deaf; while :; do sleep 1; done",
      exit3: "exit 3",
      sayAndExit: "echo one; echo two >&2; echo three",
      showEnv: "env",
      sayInput: "cat",
      eatMemory: "dd if=/dev/zero of=/dev/null bs=512M count=1",
    },
  });
}

/** A minimal image of busybox alone, imported into the engine. Returns its id. */
async function importImage(root: string): Promise<string> {
  const rootfs = join(root, "rootfs");
  for (const folder of ["bin", "www", "tmp", "etc"])
    mkdirSync(join(rootfs, folder), { recursive: true });
  copyFileSync(BUSYBOX, join(rootfs, "bin", "busybox"));
  for (const applet of ["sh", "httpd", "sleep", "env", "dd", "kill", "wait", "cat"])
    symlinkSync("busybox", join(rootfs, "bin", applet));
  const tar = Readable.from(create({ cwd: rootfs, portable: true }, ["."]));
  const stream = await engine.stream(
    "POST",
    "/images/create?fromSrc=-&repo=holdfast-conformance&tag=busybox",
    { body: tar },
  );
  let text = "";
  for await (const chunk of stream) text += String(chunk);
  const id = /sha256:[0-9a-f]{64}/.exec(text)?.[0];
  if (id === undefined) throw new Error(`the image was not imported: ${text}`);
  return id;
}
