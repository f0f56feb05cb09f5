// What one kind's change means for others, and what is forgotten in time. Part of the composition root.

import type { ControlPlaneOptions, World } from "./compose-world.ts";
import { writeJson } from "./drivers/files.ts";
import type { Controller } from "./kernel/controller.ts";
import { messageOf } from "./kernel/error.ts";
import type { AnyStep } from "./kernel/plan.ts";
import { SYSTEM } from "./kernel/resource-store.ts";
import { PUSHES_KEPT } from "./operations/push-operations.ts";
import { APP } from "./resources/app/app.ts";
import { CHANGE, ENDED } from "./resources/change/change.ts";
import { CHANNEL } from "./resources/channel/channel.ts";
import {
  CACHE,
  CACHE_EXPORTER,
  DATABASE,
  DATABASE_EXPORTER,
  EDGE,
  METRICS,
  MONITORING,
} from "./resources/engine/engine.ts";
import { POLICY } from "./resources/policy/policy.ts";
import { PUSH, PUSH_ENDED } from "./resources/push/push.ts";
import { RELEASE, type Release } from "./resources/release/release.ts";
import { buildRequestOf } from "./resources/release/release-reconciler.ts";
import { releasesToForget } from "./resources/release/release-retention.ts";
import { REPOSITORY } from "./resources/repository/repository.ts";
import { ROLLOUT } from "./resources/rollout/rollout.ts";
import { TASK } from "./resources/task/task.ts";
import { TELEMETRY } from "./resources/telemetry/telemetry.ts";
import { TRAIN } from "./resources/train/train.ts";
import { WINDOW } from "./resources/window/window.ts";
import type { SqliteStore } from "./store/sqlite-store.ts";

export type AnyController = Controller<unknown, object, unknown, AnyStep>;

const PUSHES_FOLLOWED = 5;
const CHANGE_FRESH_MS = 24 * 3_600_000;
const CHANGES_KEPT = 5_000;
const CHANGES_RETAINED_EVERY = 100;
const TASKS_KEPT = 20;
// What one kind's change means for another: hints only, so that nobody waits for the next look.
export function linkKinds(
  store: SqliteStore,
  controllers: Map<string, AnyController>,
  world: World,
  { log, home: { telemetryPolicies } }: ControlPlaneOptions,
): (() => void)[] {
  writePolicies(store, telemetryPolicies);
  const appsChanged = (): void => controllers.get(APP.name)?.lookAtAll();
  const changes = new OpenChanges(store, (name) => controllers.get(CHANGE.name)?.look(name));
  const unsubscribe = store.subscribe((ref, what) => {
    if (ref.kind === RELEASE.name && what === "status")
      controllers.get(APP.name)?.look(ref.name.split("/").slice(0, 2).join("/"));
    if (ref.kind === APP.name) lookAtBuilds(store, controllers, ref.name);
    if ([EDGE, DATABASE, CACHE].some(({ name }) => name === ref.kind) && what === "status") {
      appsChanged();
      void world.processCompute.keepApart();
    }
    if (ref.kind === POLICY.name) void world.processCompute.keepApart();
    if (
      (ref.kind === DATABASE_EXPORTER.name || ref.kind === CACHE_EXPORTER.name) &&
      what === "status"
    )
      controllers.get(METRICS.name)?.lookAtAll();
    if (ref.kind === CHANGE.name) changes.saw(ref.name);
    if (ref.kind === CHANGE.name && what === "spec") retainChanges(store, ref.name);
    if (ref.kind === APP.name && what === "status") changes.look(ref.name);
    if (ref.kind === TRAIN.name && what === "status") changes.look();
    if (ref.kind === WINDOW.name) {
      changes.look();
      controllers.get(TRAIN.name)?.lookAtAll();
    }
    if (ref.kind === ROLLOUT.name) controllers.get(APP.name)?.look(ref.name);
    if (ref.kind === TELEMETRY.name) writePolicies(store, telemetryPolicies);
    if (ref.kind === APP.name || ref.kind === CHANNEL.name)
      for (const { name: kind } of MONITORING) controllers.get(kind)?.lookAtAll();
    if (ref.kind === REPOSITORY.name && what === "forgotten") {
      forgetPushes(store, ref.name);
      world.repositories.remove(ref.name);
    }
    if (ref.kind === APP.name && what === "forgotten") {
      forgetReleases(store, ref.name);
      const [environment = "", app = ""] = ref.name.split("/");
      world.git.remove(environment, app);
    }
    if (ref.kind === APP.name && what !== "status") {
      void retainReleases(store, world, ref.name).catch((error: unknown) =>
        log("warn", "what old releases needed could not be removed", { error: messageOf(error) }),
      );
    }
    if (ref.kind === TASK.name && what === "spec") retainTasks(store, ref.name);
    if (ref.kind === PUSH.name && what === "spec") retainPushes(store, ref.name);
    if (ref.kind === APP.name && what === "status") lookAtPushes(store, controllers, ref.name);
    if (ref.kind === CHANGE.name && what === "status") controllers.get(PUSH.name)?.lookAtAll();
  });
  const unwatch = world.processCompute.watch((appName) => controllers.get(APP.name)?.look(appName));
  const unwatchDocker = world.dockerCompute.watch((appName) =>
    controllers.get(APP.name)?.look(appName),
  );
  return [unsubscribe, unwatch, unwatchDocker];
}

/**
 * Changes that something can still become of, remembered: there may be thousands that are over, and
 * apps tell of themselves many times a second.
 */
class OpenChanges {
  readonly #store: SqliteStore;
  readonly #lookAt: (name: string) => void;
  /** Name → the app that it is about, and when it ran. */
  readonly #open = new Map<string, { readonly app: string; readonly ranAt: number | undefined }>();

  constructor(store: SqliteStore, lookAt: (name: string) => void) {
    this.#store = store;
    this.#lookAt = lookAt;
    for (const { name } of store.list(CHANGE)) this.saw(name);
  }

  saw(name: string): void {
    const found = this.#store.find(CHANGE, name);
    const ranAt = found?.spec.executed?.at;
    const isOver = found?.status && ENDED.has(found.status.phase) && !isFresh(ranAt);
    if (!found || isOver) this.#open.delete(name);
    else this.#open.set(name, { app: `${found.spec.environment}/${found.spec.app}`, ranAt });
  }

  /** At those of an app that ran; without one, at all. */
  look(app?: string): void {
    for (const [name, one] of this.#open) {
      if (one.ranAt !== undefined && !isFresh(one.ranAt)) this.saw(name);
      if (app === undefined || (one.app === app && one.ranAt !== undefined)) this.#lookAt(name);
    }
  }
}

// What has ended well may still be taken back by its watch.
const isFresh = (ranAt: number | undefined): boolean =>
  ranAt !== undefined && Date.now() - ranAt < CHANGE_FRESH_MS;

// Every so often, the oldest that are over: the audit has them for ever.
function retainChanges(store: SqliteStore, name: string): void {
  if (Number(name) % CHANGES_RETAINED_EVERY !== 0) return;
  const over = store
    .list(CHANGE)
    .filter(({ status, deleting }) => status && ENDED.has(status.phase) && !deleting);
  for (const change of over.slice(0, Math.max(0, over.length - CHANGES_KEPT))) {
    store.markDeleting(change, { actor: SYSTEM, action: "retention" });
    store.forget(change, change.uid);
  }
}

// A build that nothing waits for any more is ended.
function lookAtBuilds(
  store: SqliteStore,
  controllers: Map<string, AnyController>,
  appName: string,
): void {
  for (const { name, status } of store.list(RELEASE, `${appName}/`))
    if (status?.phase === "building") controllers.get(RELEASE.name)?.look(name);
}

function lookAtPushes(
  store: SqliteStore,
  controllers: Map<string, AnyController>,
  appName: string,
): void {
  const own = store.list(PUSH).filter(({ spec, status }) => {
    const app = status?.accepted?.app;
    return (
      app !== undefined && `${spec.environment}/${app}` === appName && status?.phase !== "failed"
    );
  });
  for (const { name } of own.slice(-PUSHES_FOLLOWED)) controllers.get(PUSH.name)?.look(name);
}

// The telemetry process reads it; it has no other way to the platform's memory.
function writePolicies(store: SqliteStore, file: string): void {
  const policies = store.list(TELEMETRY).map(({ name, spec }) => [name, spec] as const);
  writeJson(file, Object.fromEntries(policies));
}

function forgetPushes(store: SqliteStore, repository: string): void {
  for (const push of store.list(PUSH, `${repository}/`)) {
    store.markDeleting(push, { actor: SYSTEM, action: "disconnect" });
    store.forget(push, push.uid);
  }
}

function forgetReleases(store: SqliteStore, appName: string): void {
  for (const release of store.list(RELEASE, `${appName}/`) as readonly Release[]) {
    store.markDeleting(release, { actor: SYSTEM, action: "destroy" });
    store.forget(release, release.uid);
  }
}

// With each change of an app, what only its oldest releases needed goes; all, once it is destroyed.
async function retainReleases(store: SqliteStore, world: World, appName: string): Promise<void> {
  const app = store.find(APP, appName);
  const releases = store.list(RELEASE, `${appName}/`);
  const forgotten = app ? releasesToForget(app, releases) : releases;
  if (app && forgotten.length === 0) return;
  for (const release of forgotten) {
    store.markDeleting(release, { actor: SYSTEM, action: "retention" });
    store.forget(release, release.uid);
  }
  const left = (prefix: string): readonly Release[] => store.list(RELEASE, prefix);
  await world.builder.prune(appName, () => left(`${appName}/`).map(buildRequestOf));
  await world.sources.prune(
    () => new Set([...sourcesOfChanges(store), ...left("").map(({ spec }) => spec.source.digest)]),
  );
}

// What waits for an approval, or was only just fetched, has no release yet.
function sourcesOfChanges(store: SqliteStore): string[] {
  const fetched = store.list(PUSH).flatMap(({ status }) => {
    const isOpen = status?.source && !status.accepted && !PUSH_ENDED.has(status.phase);
    return isOpen ? [status.source?.digest ?? ""] : [];
  });
  const changes = store.list(CHANGE).flatMap(({ spec, status }) => {
    const { source } = spec.request as { source?: { digest: string } };
    const isOver = spec.executed || (status && ENDED.has(status.phase));
    return source && !isOver ? [source.digest] : [];
  });
  return [...fetched, ...changes];
}

// How the last commands of an app ended is kept; that of older ones nobody asks for.
function retainTasks(store: SqliteStore, name: string): void {
  const prefix = `${name.split("/").slice(0, 2).join("/")}/`;
  const ended = store
    .list(TASK, prefix)
    .filter(({ status, deleting }) => status?.phase === "ended" && !deleting)
    .toSorted((one, other) => other.updatedAt - one.updatedAt);
  for (const task of ended.slice(TASKS_KEPT))
    store.markDeleting(task, { actor: SYSTEM, action: "retention" });
}

function retainPushes(store: SqliteStore, name: string): void {
  const ended = store
    .list(PUSH, `${name.split("/")[0]}/`)
    .filter(({ status, deleting }) => status && PUSH_ENDED.has(status.phase) && !deleting);
  for (const push of ended.slice(0, Math.max(0, ended.length - PUSHES_KEPT))) {
    store.markDeleting(push, { actor: SYSTEM, action: "retention" });
    store.forget(push, push.uid);
  }
}
