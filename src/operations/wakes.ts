// What one resource's change means for others: who has to look again. Hints only, so that nobody waits for
// the next look; a lost one costs time.

import type { Clock } from "../kernel/clock.ts";
import type { AnyKind } from "../kernel/kind.ts";
import type { Ref } from "../kernel/resource.ts";
import type { ResourceStore } from "../kernel/resource-store.ts";
import { APP } from "../resources/app/app.ts";
import { CATALOG } from "../resources/catalog.ts";
import { CHANGE, ENDED } from "../resources/change/change.ts";
import { PUSH } from "../resources/push/push.ts";
import { RELEASE } from "../resources/release/release.ts";

/** Has the reconciler of a kind look at one, or (without a name) at all. */
export type Look = (kind: AnyKind, name?: string) => void;

interface WakeDeps {
  readonly store: ResourceStore;
  readonly clock: Clock;
  readonly look: Look;
}

const PUSHES_FOLLOWED = 5;
const CHANGE_FRESH_MS = 24 * 3_600_000;
const KINDS = new Map(CATALOG.map((kind) => [kind.name, kind]));

/** Returns what ends it. */
export function wakeOthers(deps: WakeDeps): () => void {
  const { store, look } = deps;
  const changes = new OpenChanges(deps);
  return store.subscribe((ref, what) => {
    for (const { kind, on, name } of KINDS.get(ref.kind)?.wakes ?? []) {
      const other = KINDS.get(kind);
      if (other && (on === undefined || on === what)) look(other, name?.(ref.name));
    }
    changes.follow(ref, what);
    if (ref.kind === APP.name) lookAtBuilds(deps, ref.name);
    if (ref.kind === APP.name && what === "status") lookAtPushes(deps, ref.name);
  });
}

/**
 * Changes that something can still become of, remembered: there may be thousands that are over, and
 * apps tell of themselves many times a second.
 */
class OpenChanges {
  readonly #deps: WakeDeps;
  /** Name → the app that it is about, and when it ran. */
  readonly #open = new Map<string, { readonly app: string; readonly ranAt: number | undefined }>();

  constructor(deps: WakeDeps) {
    this.#deps = deps;
    for (const { name } of deps.store.list(CHANGE)) this.#saw(name);
  }

  follow({ kind, name }: Ref, what: "spec" | "status" | "forgotten"): void {
    if (kind === CHANGE.name) this.#saw(name);
    if (kind === APP.name && what === "status") this.#look(name);
    // A train's end, and when change is allowed, may be about any of them.
    if ((kind === "train" && what === "status") || kind === "window") this.#look();
  }

  #saw(name: string): void {
    const found = this.#deps.store.find(CHANGE, name);
    const ranAt = found?.spec.executed?.at;
    const isOver = found?.status && ENDED.has(found.status.phase) && !this.#isFresh(ranAt);
    if (!found || isOver) this.#open.delete(name);
    else this.#open.set(name, { app: `${found.spec.environment}/${found.spec.app}`, ranAt });
  }

  /** At those of an app that ran; without one, at all. */
  #look(app?: string): void {
    for (const [name, one] of this.#open) {
      if (one.ranAt !== undefined && !this.#isFresh(one.ranAt)) this.#saw(name);
      if (app === undefined || (one.app === app && one.ranAt !== undefined))
        this.#deps.look(CHANGE, name);
    }
  }

  // What has ended well may still be taken back by its watch.
  #isFresh(ranAt: number | undefined): boolean {
    return ranAt !== undefined && this.#deps.clock.now() - ranAt < CHANGE_FRESH_MS;
  }
}

// A build that nothing waits for any more is ended.
function lookAtBuilds({ store, look }: WakeDeps, appName: string): void {
  for (const { name, status } of store.list(RELEASE, `${appName}/`))
    if (status?.phase === "building") look(RELEASE, name);
}

function lookAtPushes({ store, look }: WakeDeps, appName: string): void {
  const own = store.list(PUSH).filter(({ spec, status }) => {
    const app = status?.accepted?.app;
    return (
      app !== undefined && `${spec.environment}/${app}` === appName && status?.phase !== "failed"
    );
  });
  for (const { name } of own.slice(-PUSHES_FOLLOWED)) look(PUSH, name);
}
