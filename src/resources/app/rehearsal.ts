// The rehearsal: where the source changed, the release command first runs on a copy of the schema, and
// what it took away there is known before it runs on the data. What a program does to a schema can't
// be read; it can be seen.

import type { App, AppStatusFields, InstanceSet, Rollout } from "./app.ts";
import {
  type AppObserved,
  findInstance,
  manifestOf,
  REHEARSAL_TASK,
  rehearsalTaskName,
} from "./app-observed.ts";
import type { AppStep } from "./app-step.ts";
import { exitText } from "./instance-exit.ts";
import type { Progress } from "./rollout-progress.ts";
import { fail } from "./start-report.ts";

/** For the copy; its parts have limits of their own. */
const COPY_TIMEOUT_MS = 10 * 60_000;

export const copyLabel = ({ placement, generation }: Rollout): string =>
  `release ${placement.set.release} g${generation}`;

/** Undefined: it is over, or none is wanted. */
export function judgeRehearsal(
  app: App,
  rollout: Rollout,
  observed: AppObserved,
): Progress | undefined {
  const { set } = rollout.placement;
  const mode = modeOf(set, rollout, observed);
  if (mode === undefined || rollout.rehearsal) return undefined;
  if (rollout.phase !== "rehearsal")
    return { phase: "rehearsal", text: "the release command runs on a copy of the schema first" };
  const seen = lookAt(app, rollout, observed);
  if (!seen) return { phase: "rehearsal" };
  const { taken = [], problem, log = [] } = seen;
  const kept = `the data is unchanged; ${ACCEPT}`;
  if (problem !== undefined && mode === "refuse")
    return fail(`the rehearsal on a copy of the schema failed: ${problem}`, kept, log);
  if (taken.length > 0 && mode === "refuse")
    return fail(`the release command breaks release ${rollout.from}: ${taken.join("; ")}`, kept);
  const rehearsal = { taken, ...(problem !== undefined && { problem }) };
  const changes =
    taken.length > 0
      ? `rehearsal: breaking schema changes: ${taken.join("; ")}`
      : "rehearsal passed: no breaking schema change";
  const text = problem === undefined ? changes : `rehearsal failed: ${problem}`;
  return { phase: "release-command", text, rollout: { ...rollout, rehearsal } };
}

const ACCEPT =
  "deploy first a release that does without it, then the migration; or --accept-contract --reason <why>; or release.rehearse: false, if the command cannot run twice";

function modeOf(
  { release }: InstanceSet,
  { from }: Rollout,
  observed: AppObserved,
): "refuse" | "note" | undefined {
  const spec = observed.releases.get(release)?.spec;
  const command = spec?.manifest.release;
  const isWanted =
    command !== undefined &&
    command.rehearse !== false &&
    spec?.manifest.stores.postgres !== undefined &&
    from !== undefined &&
    from !== release;
  return isWanted ? spec?.source.rehearse : undefined;
}

interface Seen {
  readonly taken?: readonly string[];
  readonly problem?: string;
  readonly log?: readonly string[];
}

function lookAt(app: App, rollout: Rollout, observed: AppObserved): Seen | undefined {
  const { set } = rollout.placement;
  const { copy, now, taken } = observed;
  const isOwn = copy && copy.state !== "none" && copy.label === copyLabel(rollout);
  if (isOwn && copy.state === "failed") return { problem: copy.problem };
  const task = findInstance(observed, rehearsalTaskName(app, set, rollout.generation));
  const timeoutMs = manifestOf(observed, set.release)?.release?.timeout ?? 0;
  if (!task) {
    const isLate = now - rollout.phaseSince > COPY_TIMEOUT_MS;
    return isLate ? { problem: `it did not begin in ${COPY_TIMEOUT_MS / 60_000} min` } : undefined;
  }
  const log = observed.tails.get(task.name) ?? [];
  if (task.state === "running")
    return now - task.startedAt > timeoutMs
      ? { problem: `it took longer than ${timeoutMs / 1000} s`, log }
      : undefined;
  if (task.exit?.code !== 0)
    return { problem: `the release command ended with ${exitText(task.exit)}`, log };
  return taken && { taken };
}

/** What the rehearsal needs next; and what it leaves behind goes. */
export function planRehearsal(
  app: App,
  {
    rollout,
    copied,
  }: Partial<Pick<AppStatusFields, "copied">> & {
    readonly rollout?: Rollout | undefined;
  },
  { copy, instances, releases }: AppObserved,
): AppStep[] {
  if (!copy) return [];
  if (rollout?.phase !== "rehearsal")
    return copied && copy.state !== "none" && copy.state !== "making"
      ? [{ do: "drop-copy", why: "the rehearsal is over" }]
      : [];
  if (copy.state === "making") return [];
  const label = copyLabel(rollout);
  if (copy.state === "none" || copy.label !== label)
    return [{ do: "make-copy", label, why: "the release command is rehearsed on it" }];
  const { placement, generation } = rollout;
  const name = rehearsalTaskName(app, placement.set, generation);
  const command = releases.get(placement.set.release)?.spec.manifest.release?.command;
  const isThere = instances.some((one) => one.name === name);
  if (copy.state !== "ready" || command === undefined || isThere) return [];
  const order = { name, component: REHEARSAL_TASK, role: "task", placement, command } as const;
  const why = `the release command of release ${placement.set.release} is rehearsed`;
  return [{ do: "start-instance", instance: { ...order, index: `g${generation}` }, why }];
}

/** What it took away is remembered, for whoever wants to go back across it. */
export function withTaken(status: AppStatusFields, rollout: Rollout): AppStatusFields {
  const { release } = rollout.placement.set;
  const taken = rollout.rehearsal?.taken ?? [];
  if (taken.length === 0 || status.taken?.[release]) return status;
  const known = Object.entries(status.taken ?? {}).filter(([number]) =>
    status.released.includes(Number(number)),
  );
  return { ...status, taken: { ...Object.fromEntries(known), [release]: taken } };
}

/** Whether one has to be looked for. */
export function withCopy(status: AppStatusFields, { copy }: AppObserved): AppStatusFields {
  if (status.rollout?.phase === "rehearsal") return { ...status, copied: true };
  if (!status.copied || copy?.state !== "none") return status;
  const { copied: _, ...rest } = status;
  return rest;
}
