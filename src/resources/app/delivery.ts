// The four figures by which delivery is compared across the trade: how often, how fast, how often it
// goes wrong, and how long until that is undone. They come from what rollouts left behind.
//
// Source: N. Forsgren, J. Humble, G. Kim, "Accelerate" (2018), and the yearly DORA reports.

import type { AppStatusFields, DeliveryRecord, Rollout } from "./app.ts";

/** Rollouts remembered per app, newest first; beyond the history they are these few facts. */
export const DELIVERIES_MAX = 200;
const DAY_MS = 86_400_000;
/** A rollback this soon after a deploy is because of it. */
const BLAMED_MS = DAY_MS;

/** With one more, or with what became of one that is there. */
export function withDelivery(
  records: AppStatusFields["deliveries"],
  rollout: Rollout,
  committedAt: number | undefined,
): readonly DeliveryRecord[] {
  const { generation, placement, reason, startedAt, endedAt, outcome, exposedAt } = rollout;
  if (endedAt === undefined || outcome === undefined) return records ?? [];
  // More or fresh instances of a release are no delivery.
  if (reason === "scale" || reason === "restart") return records ?? [];
  const record: DeliveryRecord = {
    generation,
    release: placement.set.release,
    reason,
    startedAt,
    endedAt,
    outcome,
    leadFrom: Math.min(committedAt ?? startedAt, startedAt),
    ...(exposedAt !== undefined && { exposedAt }),
    exposed: outcome === "succeeded" || outcome === "rolled-back" || exposedAt !== undefined,
  };
  const isSame = (one: DeliveryRecord): boolean =>
    one.generation === generation && one.startedAt === startedAt;
  const others = (records ?? []).filter((one) => !isSame(one));
  return [record, ...others]
    .toSorted((one, other) => other.startedAt - one.startedAt)
    .slice(0, DELIVERIES_MAX);
}

export interface DeliveryFigures {
  readonly days: number;
  /** New code that reached users. */
  readonly deploys: number;
  readonly deploysPerDay: number;
  /** Median, ms, from the commit to all users. */
  readonly leadTimeMs?: number;
  /** Of the deploys that reached users, those that had to be undone. */
  readonly changeFailureRate?: number;
  readonly failures: number;
  /** Median, ms, from the first user who got it until all were back. */
  readonly timeToRestoreMs?: number;
}

const isNewCode = ({ reason }: DeliveryRecord): boolean =>
  reason === "deploy" || reason === "promote" || reason === "config";

/** @param groups  the records of each app: a rollback of one says nothing of another */
export function deliveryFigures(
  groups: readonly (readonly DeliveryRecord[])[],
  now: number,
  days: number,
): DeliveryFigures {
  const from = now - days * DAY_MS;
  const isCounted = (one: DeliveryRecord): boolean =>
    isNewCode(one) && one.exposed && one.endedAt >= from;
  const own = groups.flatMap((all) => all.filter(isCounted));
  const failures = groups.flatMap((all) =>
    all.filter(isCounted).flatMap((one) => {
      const restoredAt = restored(one, all);
      const since = one.exposedAt ?? (one.outcome === "succeeded" ? one.endedAt : one.startedAt);
      return restoredAt === undefined ? [] : [Math.max(0, restoredAt - since)];
    }),
  );
  const leads = own
    .filter(({ outcome }) => outcome === "succeeded" || outcome === "rolled-back")
    .map(({ leadFrom, endedAt }) => endedAt - leadFrom);
  const [leadTimeMs, timeToRestoreMs] = [median(leads), median(failures)];
  return {
    days,
    deploys: own.length,
    deploysPerDay: own.length / days,
    failures: failures.length,
    ...(leadTimeMs !== undefined && { leadTimeMs }),
    ...(own.length > 0 && { changeFailureRate: failures.length / own.length }),
    ...(timeToRestoreMs !== undefined && { timeToRestoreMs }),
  };
}

// When what it broke was mended; undefined: it broke nothing that anybody undid.
function restored(one: DeliveryRecord, all: readonly DeliveryRecord[]): number | undefined {
  if (one.outcome === "failed" || one.outcome === "aborted") return one.endedAt;
  const back = all
    .filter(({ reason, outcome }) => reason === "rollback" && outcome === "succeeded")
    .filter(({ startedAt, release }) => startedAt >= one.endedAt && release < one.release)
    .toSorted((a, b) => a.startedAt - b.startedAt)[0];
  const next = all
    .filter((other) => isNewCode(other) && other.outcome === "succeeded")
    .filter(({ startedAt }) => startedAt > one.startedAt)
    .toSorted((a, b) => a.startedAt - b.startedAt)[0];
  if (!back || back.startedAt - one.endedAt > BLAMED_MS) return undefined;
  // Undone is the one before, not one that was mended since.
  return next && next.startedAt < back.startedAt ? undefined : back.endedAt;
}

function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const [low, high] = [sorted[middle - 1] ?? 0, sorted[middle]];
  if (high === undefined) return undefined;
  return sorted.length % 2 === 1 ? high : (low + high) / 2;
}
