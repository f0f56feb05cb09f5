// What is forgotten in time: ended changes, tasks and pushes beyond a number, what only old releases needed,
// and what belonged to a resource that is gone.

import { messageOf } from "../kernel/error.ts";
import { type ResourceStore, SYSTEM } from "../kernel/resource-store.ts";
import { APP } from "../resources/app/app.ts";
import { CHANGE, ENDED } from "../resources/change/change.ts";
import { PUSH, PUSH_ENDED } from "../resources/push/push.ts";
import { RELEASE, type Release } from "../resources/release/release.ts";
import type { ArtifactBuilder } from "../resources/release/release-driver.ts";
import { buildRequestOf } from "../resources/release/release-reconciler.ts";
import { releasesToForget } from "../resources/release/release-retention.ts";
import { REPOSITORY } from "../resources/repository/repository.ts";
import { TASK } from "../resources/task/task.ts";
import { PUSHES_KEPT } from "./push-operations.ts";

export interface RetentionDeps {
  readonly store: ResourceStore;
  readonly builder: Pick<ArtifactBuilder, "prune">;
  readonly sources: { prune(kept: () => ReadonlySet<string>): Promise<void> };
  readonly onProblem: (problem: string) => void;
}

const CHANGES_KEPT = 5_000;
const CHANGES_RETAINED_EVERY = 100;
const TASKS_KEPT = 20;

/** Returns what ends it. */
export function retain(deps: RetentionDeps): () => void {
  const { store, onProblem } = deps;
  return store.subscribe(({ kind, name }, what) => {
    if (kind === CHANGE.name && what === "spec") retainChanges(store, name);
    if (kind === TASK.name && what === "spec") retainTasks(store, name);
    if (kind === PUSH.name && what === "spec") retainPushes(store, name);
    if (kind === REPOSITORY.name && what === "forgotten") forgetPushes(store, name);
    if (kind === APP.name && what === "forgotten") forgetReleases(store, name);
    if (kind === APP.name && what !== "status")
      void retainReleases(deps, name).catch((error: unknown) => onProblem(messageOf(error)));
  });
}

// Every so often, the oldest that are over: the audit has them for ever.
function retainChanges(store: ResourceStore, name: string): void {
  if (Number(name) % CHANGES_RETAINED_EVERY !== 0) return;
  const over = store
    .list(CHANGE)
    .filter(({ status, deleting }) => status && ENDED.has(status.phase) && !deleting);
  for (const change of over.slice(0, Math.max(0, over.length - CHANGES_KEPT))) {
    store.markDeleting(change, { actor: SYSTEM, action: "retention" });
    store.forget(change, change.uid);
  }
}

function forgetPushes(store: ResourceStore, repository: string): void {
  for (const push of store.list(PUSH, `${repository}/`)) {
    store.markDeleting(push, { actor: SYSTEM, action: "disconnect" });
    store.forget(push, push.uid);
  }
}

function forgetReleases(store: ResourceStore, appName: string): void {
  for (const release of store.list(RELEASE, `${appName}/`) as readonly Release[]) {
    store.markDeleting(release, { actor: SYSTEM, action: "destroy" });
    store.forget(release, release.uid);
  }
}

// With each change of an app, what only its oldest releases needed goes; all, once it is destroyed.
async function retainReleases(
  { store, builder, sources }: RetentionDeps,
  appName: string,
): Promise<void> {
  const app = store.find(APP, appName);
  const releases = store.list(RELEASE, `${appName}/`);
  const forgotten = app ? releasesToForget(app, releases) : releases;
  if (app && forgotten.length === 0) return;
  for (const release of forgotten) {
    store.markDeleting(release, { actor: SYSTEM, action: "retention" });
    store.forget(release, release.uid);
  }
  const left = (prefix: string): readonly Release[] => store.list(RELEASE, prefix);
  await builder.prune(appName, () => left(`${appName}/`).map(buildRequestOf));
  await sources.prune(
    () => new Set([...sourcesOfChanges(store), ...left("").map(({ spec }) => spec.source.digest)]),
  );
}

// What waits for an approval, or was only just fetched, has no release yet.
function sourcesOfChanges(store: ResourceStore): string[] {
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
function retainTasks(store: ResourceStore, name: string): void {
  const prefix = `${name.split("/").slice(0, 2).join("/")}/`;
  const ended = store
    .list(TASK, prefix)
    .filter(({ status, deleting }) => status?.phase === "ended" && !deleting)
    .toSorted((one, other) => other.updatedAt - one.updatedAt);
  for (const task of ended.slice(TASKS_KEPT))
    store.markDeleting(task, { actor: SYSTEM, action: "retention" });
}

function retainPushes(store: ResourceStore, name: string): void {
  const ended = store
    .list(PUSH, `${name.split("/")[0]}/`)
    .filter(({ status, deleting }) => status && PUSH_ENDED.has(status.phase) && !deleting);
  for (const push of ended.slice(0, Math.max(0, ended.length - PUSHES_KEPT))) {
    store.markDeleting(push, { actor: SYSTEM, action: "retention" });
    store.forget(push, push.uid);
  }
}
