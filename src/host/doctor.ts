// What stands in the way on this machine, before or after something went wrong.

import { existsSync, statfsSync, statSync } from "node:fs";
import type { Finding } from "../cli/command.ts";
import { Client } from "../client/client.ts";
import type { Config } from "../config.ts";
import { DockerEngine } from "../drivers/docker/docker-engine.ts";
import { readJson } from "../drivers/files.ts";
import { haproxyVersion } from "../drivers/haproxy/haproxy-version.ts";
import { canKeepApart } from "../drivers/process/firewall.ts";
import { describeIsolation } from "../drivers/process/process-compute-driver.ts";
import { TelemetryClient } from "../drivers/telemetry-client.ts";
import type { Home } from "./home.ts";
import { isRunning } from "./own-processes.ts";
import { missingPackages } from "./packages.ts";
import type { InstallationPorts } from "./ports.ts";

const ANSWER_TIMEOUT_MS = 3_000;
const DISK_LOW_BYTES = 1024 ** 3;

export async function examine(config: Config, home: Home): Promise<readonly Finding[]> {
  const findings = [
    packages(),
    await edge(),
    ...disks(home),
    await isolation(home),
    await reachability(config, home),
    await docker(),
    ...(await processes(home)),
    ports(home),
    user(config),
    ...(await whatIsBlocked(home)),
  ];
  return findings.map(({ hint, ...finding }) =>
    finding.ok || hint === undefined ? finding : { ...finding, hint },
  );
}

/** What the control plane itself can't go on with. */
async function whatIsBlocked(home: Home): Promise<Finding[]> {
  const client = new Client({ socket: home.apiSocket });
  try {
    const { blocked } = await client.get("/v1/status");
    return blocked.map(({ what, reason, hint }) => ({ what, ok: false, detail: reason, hint }));
  } catch {
    // Without a control plane, or before the first environment, there is nothing to ask.
    return [];
  } finally {
    await client.close();
  }
}

function packages(): Finding {
  const missing = missingPackages();
  return {
    what: "engines",
    ok: missing.length === 0,
    detail:
      missing.length === 0
        ? "HAProxy, PostgreSQL, Redis and OpenSSL are there"
        : `not installed: ${missing.join(", ")}`,
    hint: `apt-get install ${missing.join(" ")}, or: holdfast up --install`,
  };
}

/** The first that tells clients over HTTP/2 of an answer that broke off, and lets one be quiet. */
const KNOWS_ANSWERS = 3;

async function edge(): Promise<Finding> {
  const version = await haproxyVersion();
  const isOld = version !== undefined && Number.parseInt(version, 10) < KNOWS_ANSWERS;
  return {
    what: "edge",
    ok: true,
    detail:
      version === undefined
        ? "no HAProxy yet"
        : isOld
          ? `HAProxy ${version}: an answer of no said length that an app breaks off is recorded as failed, but looks whole to clients over HTTP/2, and one that is quiet for longer than limits.timeout is cut where its request did not ask for text/event-stream; HAProxy 3.0 (Debian 13) does better`
          : `HAProxy ${version}`,
  };
}

// Each disk once, by what is on it.
function disks(home: Home): Finding[] {
  const folders = [home.root, home.telemetryDir, home.environmentDir("production")];
  const byDevice = new Map<number, string>();
  for (const folder of folders) {
    const at = existsSync(folder) ? folder : existsSync(home.root) ? home.root : "/";
    const { dev } = statSync(at);
    if (!byDevice.has(dev)) byDevice.set(dev, at === "/" ? home.root : at);
  }
  return [...byDevice.values()].map((folder): Finding => {
    const { bavail, bsize } = statfsSync(existsSync(folder) ? folder : "/");
    const free = bavail * bsize;
    return {
      what: "disk",
      ok: free > DISK_LOW_BYTES,
      detail: `${(free / 1024 ** 3).toFixed(1)} GB free for ${folder}`,
      hint: `free some space: du -x -d 2 ${folder} | sort -n`,
    };
  });
}

async function isolation(home: Home): Promise<Finding> {
  const { ok, detail } = await describeIsolation(home.instancesDir);
  return { what: "compute process", ok, detail, hint: detail };
}

async function reachability(config: Config, home: Home): Promise<Finding> {
  const openHint =
    "an app that listens on all addresses instead of $HOST can be reached past the edge: close its port in this machine's firewall, or use compute: docker";
  if (!config.isRoot) return { what: "firewall", ok: true, detail: `not root: ${openHint}` };
  const ok = await canKeepApart(home.root);
  const detail = ok
    ? "only the edge reaches the instances of an app"
    : "nft can't set rules here (no nftables, or not allowed)";
  return { what: "firewall", ok, detail, hint: `apt-get install nftables; until then ${openHint}` };
}

async function docker(): Promise<Finding> {
  const version = await new DockerEngine().findVersion();
  // Not having it is fine: it is only needed for Dockerfiles.
  return {
    what: "compute docker",
    ok: true,
    detail:
      version === undefined ? "no engine answers; Dockerfiles can't be built" : `engine ${version}`,
  };
}

/** One that hangs runs too: each is asked something. */
async function processes(home: Home): Promise<Finding[]> {
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  const client = new Client({ socket: home.apiSocket });
  const asked = {
    "control-plane": client.get("/healthz"),
    telemetry: new TelemetryClient(home.telemetrySocket).ask("/", {}, signal),
  } as const;
  const late = new Promise<false>((resolve) => {
    setTimeout(() => resolve(false), ANSWER_TIMEOUT_MS).unref();
  });
  return Promise.all(
    (["control-plane", "telemetry"] as const).map(async (name): Promise<Finding> => {
      const answer = asked[name].then(
        () => true,
        () => false,
      );
      if (!isRunning(home, name))
        return { what: name, ok: false, detail: "does not run", hint: "holdfast up" };
      const answers = await Promise.race([answer, late]);
      return {
        what: name,
        ok: answers,
        detail: answers ? "runs" : "runs, and does not answer",
        hint: `holdfast logs --engine ${name}; holdfast down, then holdfast up, starts it anew`,
      };
    }),
  ).finally(() => client.close());
}

function ports(home: Home): Finding {
  const known = readJson<InstallationPorts>(home.portsFile);
  const detail = known
    ? `HTTP ${known.http}, HTTPS ${known.https}, API ${known.api}`
    : "not chosen yet";
  return { what: "ports", ok: true, detail };
}

function user(config: Config): Finding {
  return {
    what: "user",
    ok: true,
    detail: config.isRoot
      ? "root"
      : "an ordinary user: apps run as the same user, ports above 1023",
  };
}
