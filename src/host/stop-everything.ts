// `down --all`: ends the apps, then the edge, then the stores, while no control plane is there to
// start them again. Then it is looked for what is left, by its marks, and that is ended too. Only what
// this installation started is touched; data stays.

import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DockerComputeDriver } from "../drivers/docker/docker-compute-driver.ts";
import { DockerEngine } from "../drivers/docker/docker-engine.ts";
import { Cgroup } from "../drivers/process/cgroup.ts";
import { Daemon } from "../drivers/process/daemon.ts";
import { removeFirewall } from "../drivers/process/firewall.ts";
import { sleep, systemClock } from "../kernel/clock.ts";
import { stuck } from "../kernel/error.ts";
import type { Home } from "./home.ts";
import { noteStop, noteStopped, wasStoppedAt } from "./last-stop.ts";
import { findOwned, type OwnedProcess } from "./own-marks.ts";

const POLL_MS = 50;
const GRACE_MS = { instance: 10_000, edge: 10_000, store: 60_000 } as const;

export async function stopEverything(home: Home): Promise<void> {
  noteStop(home, systemClock.now());
  await stopAll(instanceDirs(home), "SIGTERM", GRACE_MS.instance, "group");
  await removeFirewall(home.root);
  Cgroup.removeEmpty(home.root);
  await stopContainers(home);
  noteStopped(home, systemClock.now());
  await stopAll([join(home.edgeDir, "run")], "SIGTERM", GRACE_MS.edge, "child");
  await stopAll(
    foldersIn(home.monitoringDir).map((dir) => join(dir, "run")),
    "SIGTERM",
    GRACE_MS.store,
    "child",
  );
  const environments = foldersIn(home.environmentDir(""));
  await stopAll(
    environments.map((dir) => join(dir, "redis", "run")),
    "SIGTERM",
    GRACE_MS.store,
    "child",
  );
  // SIGINT is PostgreSQL's fast shutdown.
  await stopAll(
    environments.map((dir) => join(dir, "postgres", "run")),
    "SIGINT",
    GRACE_MS.store,
    "child",
  );
}

/**
 * Ends processes of the installation by what marks them, also those whose launcher is gone.
 *
 * @throws down.left where one does not end
 */
export async function endMarked(
  home: Home,
  isMeant: (one: OwnedProcess) => boolean = () => true,
): Promise<void> {
  const left = (): readonly OwnedProcess[] => findOwned(home).filter(isMeant);
  for (const signal of ["SIGTERM", "SIGINT", "SIGKILL"] as const) {
    const deadline = systemClock.now() + GRACE_MS.instance;
    const told = new Set<number>();
    for (;;) {
      const now = left();
      if (now.length === 0) return;
      if (systemClock.now() > deadline) break;
      // Also what was started meanwhile by one that has not ended yet.
      for (const { pid } of now.filter((one) => !told.has(one.pid))) {
        told.add(pid);
        trySignal(pid, signal);
      }
      await sleep(systemClock, POLL_MS);
    }
  }
  const names = left().map(({ pid, command }) => `${pid} (${command})`);
  const pids = left().map(({ pid }) => pid);
  throw stuck("down.left", `${names.length} processes do not end: ${names.join(", ")}`, {
    hint: `look at them (ps -fp ${pids.join(",")}), then: holdfast down --all`,
  });
}

function trySignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}

// Without an engine there are no containers that could run.
async function stopContainers(home: Home): Promise<void> {
  const engine = new DockerEngine();
  if ((await engine.findVersion()) === undefined) return;
  const driver = new DockerComputeDriver({
    clock: systemClock,
    engine,
    installation: home.root,
    logDir: home.logSourcesDir,
    wasStoppedAt: (at) => wasStoppedAt(home, at),
  });
  await driver.stopAll(GRACE_MS.instance / 1000);
}

const instanceDirs = (home: Home): string[] =>
  foldersIn(home.instancesDir).flatMap((owner) =>
    foldersIn(owner).map((instance) => join(instance, "run")),
  );

function foldersIn(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir).map((name) => join(dir, name)) : [];
}

async function stopAll(
  dirs: readonly string[],
  signal: NodeJS.Signals,
  graceMs: number,
  to: "group" | "child",
): Promise<void> {
  const daemons = dirs.map((dir) => new Daemon(dir));
  const running = (): Daemon[] =>
    daemons.filter((daemon) => daemon.observe(systemClock.now()).state === "running");
  for (const daemon of running()) {
    if (to === "group") daemon.signal(signal);
    else daemon.signalChild(signal);
  }
  const deadline = systemClock.now() + graceMs;
  while (running().length > 0) {
    if (systemClock.now() > deadline) for (const daemon of running()) daemon.kill();
    await sleep(systemClock, POLL_MS);
  }
}
