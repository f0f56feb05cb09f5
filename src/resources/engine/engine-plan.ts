// Every decision in an engine's life, pure.

import { type AnyStep, blocked, changeOr, converged, type Plan, wait } from "../../kernel/plan.ts";
import { EDGE, type Engine, type EngineStatusFields } from "./engine.ts";
import type { EngineView } from "./engine-driver.ts";

export interface EngineObserved {
  readonly now: number;
  readonly view: EngineView;
}

export interface EngineStep extends AnyStep {
  readonly do: "create-engine" | "start-engine" | "configure-engine" | "stop-engine";
}

export const ENGINE_RECHECK_MS = 5_000;
const STARTING_RECHECK_MS = 150;
const AWAITING_RECHECK_MS = 500;
const SILENT_RECHECK_MS = 1_000;
const BLOCKED_RECHECK_MS = 15_000;
const RESTART_FIRST_MS = 250;
const RESTART_MAX_MS = 30_000;

export function reportEngine(engine: Engine, { view }: EngineObserved): EngineStatusFields {
  const state = stateOf(engine, view);
  return {
    initialized: engine.status?.initialized === true || view.hasData || state === "creating",
    state,
    address: view.address,
    ...(view.version !== undefined && { version: view.version }),
    ...(view.detail !== undefined && { detail: view.detail }),
    ...(view.note !== undefined && { note: view.note }),
    ...(view.startedAt !== undefined && { startedAt: view.startedAt }),
  };
}

function stateOf(engine: Engine, view: EngineView): EngineStatusFields["state"] {
  if (view.version === undefined) return "not-installed";
  if (view.process !== "absent") return view.process;
  if (!view.hasData && engine.status?.initialized && engine.status.state !== "creating") {
    return "data-missing";
  }
  return view.hasData ? "stopped" : "creating";
}

export function planEngine(engine: Engine, { now, view }: EngineObserved): Plan<EngineStep> {
  const { kind, name } = engine;
  if (engine.deleting) {
    if (view.process === "absent") return converged(ENGINE_RECHECK_MS);
    return step("stop-engine", `${kind} ${name} was deleted; its data stays`);
  }
  switch (engine.status?.state ?? stateOf(engine, view)) {
    case "not-installed":
      return blocked(
        `${engine.spec.engine} is not installed`,
        `apt-get install ${view.packages} (npm start does it as root), then: holdfast up`,
        BLOCKED_RECHECK_MS,
      );
    case "data-missing":
      return blocked(
        `the data of ${kind} ${name} was here and is gone: ${view.detail ?? view.address}`,
        "put the data folder back; Holdfast never lays an empty one over lost data",
        BLOCKED_RECHECK_MS,
      );
    case "creating":
      return step(
        "create-engine",
        kind === EDGE.name
          ? "the edge has no configuration yet"
          : `${kind} ${name} has no data yet`,
      );
    case "starting":
      return wait(view.detail ?? `${kind} ${name} is starting`, STARTING_RECHECK_MS);
    case "silent":
      return wait(view.detail ?? `${kind} ${name} does not answer`, SILENT_RECHECK_MS);
    case "ready":
      if (view.outdated === undefined) return converged(ENGINE_RECHECK_MS);
      return step("configure-engine", `${view.outdated} should say something else by now`);
    case "stopped":
      return planStart(engine, now, view);
  }
}

function planStart(engine: Engine, now: number, view: EngineView): Plan<EngineStep> {
  if (view.awaits !== undefined)
    return wait(`${view.awaits} is not ready yet`, AWAITING_RECHECK_MS);
  const delay = Math.min(RESTART_MAX_MS, RESTART_FIRST_MS * 2 ** Math.max(0, view.recentEnds - 1));
  const waitMs = (view.endedAt ?? 0) + delay - now;
  const reason = `${engine.spec.engine} ended${view.detail ? `: ${view.detail}` : ""}`;
  if (view.recentEnds >= 5 && waitMs > 0) {
    return blocked(
      reason,
      `holdfast logs --engine ${engine.kind}`,
      Math.min(waitMs, BLOCKED_RECHECK_MS),
    );
  }
  if (waitMs > 0) return wait(reason, waitMs);
  return step("start-engine", `${engine.kind} ${engine.name} does not run`);
}

const step = (verb: EngineStep["do"], why: string): Plan<EngineStep> =>
  changeOr([{ do: verb, why }], converged(ENGINE_RECHECK_MS));
