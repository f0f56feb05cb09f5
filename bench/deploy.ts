// A code-only change of the shop: from the command to all traffic on the new release, over the time
// that the shop's own processes need, started by hand side by side on the same machine: release
// command, then all instances at once, until each answers its health check.

import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Installation, STOREFRONT } from "../test/support/installation.ts";
import { processUse } from "./process-use.ts";

const ROUNDS = Number(process.env["HOLDFAST_BENCH_ROUNDS"] ?? 5);
const SERVERS = ["web", "web", "api", "api"] as const;
const FIRST_PORT = 19_200;

export async function measureDeploy(log: (text: string) => void) {
  const installation = new Installation();
  const copy = join(mkdtempSync(join(tmpdir(), "holdfast-bench-")), "storefront");
  try {
    cpSync(STOREFRONT, copy, { recursive: true, filter: (path) => !path.includes("node_modules") });
    await installation.ok("up", "--install");
    await installation.ok("deploy", copy);
    const env = await appVariables(installation);
    const artifact = newestArtifact(installation);
    const ratios: number[] = [];
    const deploys: number[] = [];
    const owns: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const ownMs = await startByHand(artifact, env);
      writeFileSync(join(copy, "src", "change.ts"), `export const change = ${round};\n`);
      const began = performance.now();
      await installation.ok("deploy", copy);
      const deployMs = performance.now() - began;
      log(`round ${round + 1}: deploy ${Math.round(deployMs)} ms, by hand ${Math.round(ownMs)} ms`);
      ratios.push(deployMs / ownMs);
      deploys.push(deployMs);
      owns.push(ownMs);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
    }
    return {
      deployMs: median(deploys),
      ownMs: median(owns),
      ratio: median(ratios),
      footprint: await footprint(installation),
    };
  } finally {
    await installation.close();
    rmSync(join(copy, ".."), { recursive: true, force: true });
  }
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

async function appVariables(installation: Installation): Promise<NodeJS.ProcessEnv> {
  const text = await installation.ok("run", "storefront", "--", "env");
  return Object.fromEntries(
    text
      .split("\n")
      .filter((line) => line.includes("="))
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
}

function newestArtifact(installation: Installation): string {
  const folder = join(installation.home, "build", "artifacts");
  const [name] = readdirSync(folder);
  if (!name) throw new Error("there is no artifact");
  return join(folder, name);
}

async function startByHand(artifact: string, env: NodeJS.ProcessEnv): Promise<number> {
  const children: ChildProcess[] = [];
  const start = (script: string, more: NodeJS.ProcessEnv = {}): ChildProcess => {
    const child = spawn("node", [join(artifact, "src", script)], {
      env: { ...env, HOME: "/tmp", TMPDIR: "/tmp", ...more },
      stdio: "ignore",
    });
    children.push(child);
    return child;
  };
  const began = performance.now();
  try {
    await new Promise((resolve) => start("release.ts").on("close", resolve));
    SERVERS.forEach(
      (name, i) => void start(`${name}.ts`, { PORT: String(FIRST_PORT + i), HOST: "127.0.0.1" }),
    );
    start("worker.ts");
    await Promise.all(SERVERS.map((_, i) => untilHealthy(FIRST_PORT + i)));
    return performance.now() - began;
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
}

async function untilHealthy(port: number): Promise<void> {
  while (true) {
    const ok = await fetch(`http://127.0.0.1:${port}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (ok) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const SETTLE_MS = 10_000;
const REST_SECONDS = 30;

/** The control plane at rest, with the shop running. */
async function footprint(installation: Installation) {
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  return processUse(installation.controlPlanePid, REST_SECONDS);
}

if (process.argv[1] === import.meta.filename) {
  console.log(JSON.stringify(await measureDeploy((text) => console.error(text)), null, 2));
}
