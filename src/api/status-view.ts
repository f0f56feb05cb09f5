// The one screen: what runs, how it is, what users get, and what a person has to do.

import { sleep } from "../kernel/clock.ts";
import type { PassReport } from "../kernel/controller.ts";
import { PLATFORM, type TrafficSummary } from "../kernel/signal.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { APP, type App } from "../resources/app/app.ts";
import { CACHE, DATABASE, EDGE, MONITORING } from "../resources/engine/engine.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import { firingAlerts } from "./alert-views.ts";

/** `status` must not wait for one that hangs. */
const ALERTS_TIMEOUT_MS = 2_000;

export const TRAFFIC_WINDOW_MS = 5 * 60_000;

export interface Blocked {
  readonly what: string;
  /** `failed`: it is tried again by itself, and may be a matter of seconds. */
  readonly verdict: "blocked" | "failed";
  readonly reason: string;
  readonly hint: string;
}

export async function statusView(deps: OperationDeps, environment: string) {
  const [traffic, alerts] = await Promise.all([
    deps.telemetry.traffic(TRAFFIC_WINDOW_MS),
    Promise.race([
      firingAlerts(deps, environment),
      sleep(deps.clock, ALERTS_TIMEOUT_MS).then(() => undefined),
    ]),
  ]);
  const apps = deps.store.list(APP, `${environment}/`);
  const engines = [
    ...deps.store.list(EDGE),
    ...[DATABASE, CACHE].flatMap((kind) =>
      deps.store.list(kind).filter(({ name }) => name === environment),
    ),
    ...MONITORING.flatMap((kind) =>
      deps.store.list(kind).filter(({ name }) => name === environment || name === PLATFORM),
    ),
  ];
  const blocked = [
    ...engines.flatMap(({ kind, name, status }) => blockedOf(`${kind} ${name}`, status?.pass)),
    ...apps.flatMap(({ name, status }) => blockedOf(name, status?.pass)),
  ];
  return {
    environment,
    installation: deps.installation(),
    trafficWindowMs: TRAFFIC_WINDOW_MS,
    telemetry: traffic === undefined ? "away" : "ready",
    /** What fires; undefined where Prometheus can't say. */
    alerts: alerts?.map(({ alert, severity, summary, runbook, since, silencedBy }) => ({
      alert,
      severity,
      summary,
      runbook,
      since,
      ...(silencedBy !== undefined && { silencedBy }),
    })),
    apps: apps.map((app) => appView(deps, app, traffic ?? [])),
    engines: engines.map(({ kind, name, spec, status }) => {
      const {
        initialized: _,
        pass: __,
        ...rest
      } = status ?? { initialized: false, state: "starting" as const };
      return { kind, name, engine: spec.engine, ...rest };
    }),
    blocked,
  };
}

function blockedOf(what: string, pass: PassReport | undefined): Blocked[] {
  if (pass?.verdict !== "blocked" && pass?.verdict !== "failed") return [];
  const { verdict, reason = "", hint = "it is tried again and again" } = pass;
  return [{ what, verdict, reason, hint }];
}

function appView(deps: OperationDeps, app: App, traffic: readonly TrafficSummary[]) {
  const { status } = app;
  const serving = status?.serving;
  const release = deps.store.find(
    RELEASE,
    releaseName(app.name, serving?.set.release ?? app.spec.release),
  );
  const services = Object.entries(release?.spec.manifest.services ?? {});
  const own = traffic.filter((one) => one.app === app.name);
  return {
    name: app.name.split("/")[1] ?? app.name,
    release: serving?.set.release,
    since: serving?.since,
    deleting: app.deleting,
    rollout: status?.rollout && {
      release: status.rollout.placement.set.release,
      reason: status.rollout.reason,
      phase: status.rollout.phase,
      startedAt: status.rollout.startedAt,
    },
    waiting:
      status?.rollout && app.generation > status.rollout.generation
        ? { release: app.spec.release, reason: app.spec.reason }
        : undefined,
    // Warm is what would answer at once: a set that ended by itself is not.
    warm:
      status?.warm && status.instances.some(({ state }) => state === "warm")
        ? { release: status.warm.set.release, until: status.warm.until }
        : undefined,
    urls: services.flatMap(([, { routes }]) =>
      routes.map(({ host, path }) => deps.publicUrl(host) + path),
    ),
    instances: status?.instances ?? [],
    jobs: status?.jobs ?? {},
    traffic: own.map((one) => ({ ...one, share: shareOf(one, own) })),
    lastFailure: status?.history[0]?.outcome === "failed" ? status.history[0].failure : undefined,
  };
}

// Of the requests that the service got in the window.
function shareOf(one: TrafficSummary, all: readonly TrafficSummary[]): number {
  const total = all
    .filter(({ service }) => service === one.service)
    .reduce((sum, { requests }) => sum + requests, 0);
  return total === 0 ? 0 : one.requests / total;
}
