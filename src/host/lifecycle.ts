// Starting and stopping an installation: what the command line does when there is nobody to ask yet.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Lifecycle, UpResult } from "../cli/command.ts";
import { Client } from "../client/client.ts";
import type { Config } from "../config.ts";
import { TelemetryClient } from "../drivers/telemetry-client.ts";
import { sleep, systemClock } from "../kernel/clock.ts";
import { stuck, transient } from "../kernel/error.ts";
import { examine } from "./doctor.ts";
import { ensureHome, type Home, homeAt } from "./home.ts";
import { askOverHttps } from "./https-check.ts";
import type { OwnedProcess } from "./own-marks.ts";
import {
  compileOnce,
  isOutdated,
  isRunning,
  type OwnProcess,
  runsForMs,
  startOwn,
  stopOwn,
  untilReady,
} from "./own-processes.ts";
import { installPackages, missingPackages } from "./packages.ts";
import { ensurePorts, moveTakenDoors } from "./ports.ts";
import { restoreState } from "./restore-state.ts";
import { endMarked, stopEverything } from "./stop-everything.ts";

const ENVIRONMENT = "production";
/** What can't go on says so at once; the rest is a slow machine, or much to recover. */
const ENGINES_TIMEOUT_MS = 15 * 60_000;
/** How often it is said what is waited for. */
const WAITING_SAID_MS = 15_000;
const HUNG_AFTER_MS = 5 * 60_000;
const HUNG_ANSWER_MS = 10_000;
const SERVING = ["edge", "database", "cache"];
const POLL_MS = 100;
const CHECKOUT = join(import.meta.dirname, "..", "..");

export function createLifecycle(config: Config, version: string): Lifecycle {
  const home = homeAt(config.home);
  return {
    examplesDir: join(CHECKOUT, "examples"),
    up: (options) => up(config, home, version, options),
    down: ({ all, onProgress }) => down(home, all, onProgress),
    doctor: () => examine(config, home),
    askOverHttps: async (host) => {
      const { https } = await ensurePorts(config, home);
      return askOverHttps(host, https, join(home.caDir, "ca.crt"));
    },
  };
}

async function up(
  config: Config,
  home: Home,
  version: string,
  { install, restoreState: restoreFirst, onProgress }: Parameters<Lifecycle["up"]>[0],
): Promise<UpResult> {
  const timed = timer(onProgress);
  if (install) await installMissing(config, timed);
  ensureHome(home);
  const isFirstStart = !existsSync(home.database);
  await ensurePorts(config, home);
  await moveDoors(config, home, isFirstStart, onProgress);
  if (restoreFirst) await stopOwn(home, "control-plane");
  if (restoreFirst) onProgress(restoreState(home, systemClock.now()));
  const wasRunning = isRunning(home, "control-plane") && !isOutdated(home, version, config);
  const begin = async (): Promise<void> => {
    await timed(wasRunning ? "control plane runs" : "control plane", () =>
      startOwnProcesses(config, home, version),
    );
    const client = new Client({ socket: home.apiSocket });
    try {
      await client.put(`/v1/environments/${ENVIRONMENT as string}`);
      await timed("edge and stores", () => untilEnginesReady(client, home, onProgress));
    } finally {
      await client.close();
    }
  };
  try {
    await begin();
  } catch (error) {
    // Another program, or another installation, was there between our look and our start.
    if (!(await moveDoors(config, home, isFirstStart, onProgress))) throw error;
    await begin();
  }
  const ports = await ensurePorts(config, home);
  return { home: home.root, httpsPort: ports.https, ca: join(home.caDir, "ca.crt"), wasRunning };
}

// Those that know the old ones start again; what they run is not disturbed.
async function moveDoors(
  config: Config,
  home: Home,
  isFirstStart: boolean,
  onProgress: (text: string) => void,
): Promise<boolean> {
  const moved = await moveTakenDoors(config, home, isFirstStart);
  if (moved.length === 0) return false;
  for (const { door, from, to } of moved)
    onProgress(`… port ${from} (${door}) is another program's by now: ${to} instead`);
  await stopOwn(home, "control-plane");
  await stopOwn(home, "telemetry");
  return true;
}

const isOf =
  (home: Home, name: OwnProcess) =>
  ({ daemon }: OwnedProcess): boolean =>
    daemon === join(home.runDir, name);

async function installMissing(config: Config, timed: ReturnType<typeof timer>): Promise<void> {
  const missing = missingPackages();
  if (missing.length === 0) return;
  await timed(`installing ${missing.join(", ")} (apt)`, () =>
    installPackages(missing, config.isRoot),
  );
}

async function startOwnProcesses(config: Config, home: Home, version: string): Promise<void> {
  // One of another checkout or version, or with other settings, makes way; nothing that it runs is disturbed.
  if (isOutdated(home, version, config)) {
    await stopOwn(home, "control-plane");
    await stopOwn(home, "telemetry");
  }
  // What lost those that keep it running would not be started again, and keep others from it.
  for (const name of ["telemetry", "control-plane"] as const)
    if (!isRunning(home, name)) await endMarked(home, isOf(home, name));
  if (await hangs(home, "telemetry")) await stopOwn(home, "telemetry");
  await compileOnce(home);
  startOwn(home, "telemetry");
  startOwn(home, "control-plane");
  const client = new Client({ socket: home.apiSocket });
  try {
    await untilReady(home, "control-plane", () => client.isUp());
  } catch (error) {
    // It would only fail again, and again, until a person has acted.
    await stopOwn(home, "control-plane");
    throw error;
  } finally {
    await client.close();
  }
}

/** Runs for longer than a start takes, and does not answer. */
async function hangs(home: Home, name: "telemetry"): Promise<boolean> {
  if (!isRunning(home, name) || runsForMs(home, name) < HUNG_AFTER_MS) return false;
  const signal = AbortSignal.timeout(HUNG_ANSWER_MS);
  return new TelemetryClient(home.telemetrySocket).ask("/", {}, signal).then(
    () => false,
    () => true,
  );
}

async function untilEnginesReady(
  client: Client,
  home: Home,
  onProgress: (text: string) => void,
): Promise<void> {
  const deadline = systemClock.now() + ENGINES_TIMEOUT_MS;
  let saidAt = systemClock.now();
  while (true) {
    const { engines, blocked } = await client.get("/v1/status", { environment: ENVIRONMENT });
    // Users are served also while nothing watches; `status` says that nothing does.
    const waiting = engines.filter(
      ({ kind, state }) => SERVING.includes(kind) && state !== "ready",
    );
    if (waiting.length === 0) return;
    const stuckEngine = blocked.find(
      ({ what, verdict }) =>
        verdict === "blocked" && waiting.some(({ kind, name }) => what === `${kind} ${name}`),
    );
    if (stuckEngine)
      throw stuck("engine.blocked", `${stuckEngine.what}: ${stuckEngine.reason}`, {
        hint: stuckEngine.hint,
      });
    if (systemClock.now() > deadline) {
      const [first] = waiting;
      throw transient(
        "engine.not_ready",
        `${first?.kind} is ${first?.state}${first?.detail ? `: ${first.detail}` : ""}`,
        {
          hint: `look into ${home.logSourcesDir}, then: holdfast up`,
        },
      );
    }
    if (systemClock.now() - saidAt > WAITING_SAID_MS) {
      saidAt = systemClock.now();
      for (const { kind, name, state, detail } of waiting)
        onProgress(`… ${kind} ${name} is ${state}${detail ? `: ${detail}` : ""}`);
    }
    await sleep(systemClock, POLL_MS);
  }
}

async function down(home: Home, all: boolean, onProgress: (text: string) => void): Promise<void> {
  if (!existsSync(home.root)) return;
  const timed = timer(onProgress);
  await timed("control plane", async () => {
    await stopOwn(home, "control-plane");
    await endMarked(home, isOf(home, "control-plane"));
  });
  if (!all) return;
  await timed("apps, edge and stores", () => stopEverything(home));
  await timed("telemetry", () => stopOwn(home, "telemetry"));
  await endMarked(home);
}

/** Says what begins, and when it has ended how long it took. */
function timer(onProgress: (text: string) => void) {
  return async <Result>(what: string, work: () => Promise<Result>): Promise<Result> => {
    const began = systemClock.now();
    if (what.startsWith("installing")) onProgress(`… ${what}`);
    const result = await work();
    onProgress(`✓ ${what} (${((systemClock.now() - began) / 1000).toFixed(1)} s)`);
    return result;
  };
}
