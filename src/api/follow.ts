// Long work, told as it happens: NDJSON, one event per line, the last one with the outcome.

import { Readable } from "node:stream";
import { messageOf } from "../kernel/error.ts";
import type { Ref } from "../kernel/resource.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import {
  APP,
  type App,
  type Rollout,
  type RolloutFailure,
  type TimelineEntry,
} from "../resources/app/app.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import { TASK } from "../resources/task/task.ts";
import type { Lines } from "./route.ts";

export type RolloutEvent =
  | {
      readonly event: "waiting";
      readonly behind: { readonly release: number; readonly phase: string } | undefined;
    }
  | ({ readonly event: "timeline" } & TimelineEntry)
  | {
      readonly event: "build";
      readonly release: number;
      /** Builds that come before it; 0: it is being built. */
      readonly ahead: number;
    }
  | {
      readonly event: "ended";
      readonly outcome: NonNullable<Rollout["outcome"]> | "superseded";
      readonly release: number;
      readonly startedAt?: number;
      readonly endedAt?: number;
      readonly failure?: RolloutFailure;
      /** What carries traffic now. */
      readonly serving: number | undefined;
    };

export function followRollout(
  deps: OperationDeps,
  appName: string,
  generation: number,
  signal: AbortSignal,
): Lines<RolloutEvent> {
  let told = 0;
  let waitingFor: number | undefined;
  let ahead: number | undefined;
  const build = (rollout: Rollout): RolloutEvent[] => {
    const { release } = rollout.placement.set;
    const name = releaseName(appName, release);
    const status = deps.store.find(RELEASE, name)?.status;
    if (rollout.phase !== "building" || status?.phase !== "building") return [];
    if (ahead === (status.ahead ?? 0)) return [];
    ahead = status.ahead ?? 0;
    return [{ event: "build", release, ahead }];
  };
  const isOfApp = ({ kind, name }: Ref): boolean =>
    (kind === APP.name && name === appName) ||
    (kind === RELEASE.name && name.startsWith(`${appName}/`));
  return follow(deps, isOfApp, signal, (): RolloutEvent[] => {
    const app = deps.store.find(APP, appName);
    if (!app)
      return [
        ended("failed", 0, undefined, {
          failure: { reason: "the app was destroyed", hint: "", log: [] },
        }),
      ];
    const rollout = rolloutOf(app, generation);
    if (!rollout) {
      if ((app.status?.settledGeneration ?? 0) >= generation) return [superseded(app)];
      const behind = app.status?.rollout;
      if (waitingFor === behind?.generation || !behind) return [];
      waitingFor = behind.generation;
      return [
        {
          event: "waiting",
          behind: { release: behind.placement.set.release, phase: behind.phase },
        },
      ];
    }
    const fresh = rollout.timeline
      .slice(told)
      .map((entry) => ({ event: "timeline", ...entry }) as const);
    told = rollout.timeline.length;
    if (rollout.outcome === undefined) return [...fresh, ...build(rollout)];
    const { outcome, placement, startedAt, endedAt, failure } = rollout;
    const details = {
      startedAt,
      ...(endedAt !== undefined && { endedAt }),
      ...(failure && { failure }),
    };
    return [
      ...fresh,
      ended(outcome, placement.set.release, app.status?.serving?.set.release, details),
    ];
  });
}

function rolloutOf({ status }: App, generation: number): Rollout | undefined {
  if (status?.rollout?.generation === generation) return status.rollout;
  return status?.history.find((rollout) => rollout.generation === generation);
}

const superseded = ({ status }: App): RolloutEvent =>
  ended(
    "superseded",
    status?.rollout?.placement.set.release ?? status?.history[0]?.placement.set.release ?? 0,
    status?.serving?.set.release,
    {},
  );

function ended(
  outcome: NonNullable<Rollout["outcome"]> | "superseded",
  release: number,
  serving: number | undefined,
  details: { startedAt?: number; endedAt?: number; failure?: RolloutFailure },
): RolloutEvent {
  return { event: "ended", outcome, release, serving, ...details };
}

export type TaskEvent =
  | { readonly event: "started" }
  | {
      readonly event: "ended";
      readonly code: number | undefined;
      readonly signal: string | undefined;
      readonly detail: string | undefined;
    };

export function followTask(
  deps: OperationDeps,
  name: string,
  signal: AbortSignal,
): Lines<TaskEvent> {
  let hasStarted = false;
  return follow(
    deps,
    (one) => one.kind === TASK.name && one.name === name,
    signal,
    (): TaskEvent[] => {
      const task = deps.store.find(TASK, name);
      if (!task) {
        const detail = "it was removed";
        return [{ event: "ended", code: undefined, signal: undefined, detail }];
      }
      const { status } = task;
      const events: TaskEvent[] = [];
      if (!hasStarted && status && status.phase !== "starting") {
        hasStarted = true;
        events.push({ event: "started" });
      }
      const exit = status?.exit;
      if (status?.phase === "ended" && exit)
        events.push({ event: "ended", code: exit.code, signal: exit.signal, detail: exit.detail });
      return events;
    },
  );
}

/** Looks whenever a resource that matters is written; ends with the event that is named `ended`. */
function follow<Event extends { readonly event: string }>(
  deps: OperationDeps,
  matters: (ref: Ref) => boolean,
  signal: AbortSignal,
  look: () => readonly Event[],
): Lines<Event> {
  const stream = new Readable({ read: () => undefined });
  let isOver = false;
  const finish = (): void => {
    if (isOver) return;
    isOver = true;
    unsubscribe();
    stream.push(null);
  };
  const check = (): void => {
    if (isOver) return;
    try {
      for (const event of look()) {
        stream.push(`${JSON.stringify(event)}\n`);
        if (event.event === "ended") finish();
      }
    } catch (error) {
      stream.destroy(new Error(messageOf(error)));
      finish();
    }
  };
  const unsubscribe = deps.store.subscribe((changed) => {
    if (matters(changed)) check();
  });
  signal.addEventListener("abort", finish, { once: true });
  queueMicrotask(check);
  return stream;
}
