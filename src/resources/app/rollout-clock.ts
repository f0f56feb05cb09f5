// What a rollout remembers of time, after a clock that went back and after a time in which nobody looked.

import type { Rollout } from "./app.ts";

// After a clock that went back, what it said before is not in the future: nothing waits for it there.
export function notAhead(rollout: Rollout, now: number): Rollout {
  const { startedAt, phaseSince, lookedAt = 0, exposedAt, vitals } = rollout;
  const latest = Math.max(startedAt, phaseSince, lookedAt, exposedAt ?? 0, vitals?.at ?? 0);
  if (latest <= now) return rollout;
  const { unwellSince } = vitals ?? {};
  return {
    ...rollout,
    startedAt: Math.min(startedAt, now),
    phaseSince: Math.min(phaseSince, now),
    lookedAt: now,
    ...(exposedAt !== undefined && { exposedAt: Math.min(exposedAt, now) }),
    ...(vitals && {
      vitals: {
        ...vitals,
        at: Math.min(vitals.at, now),
        cpuSeconds: {},
        ...(unwellSince !== undefined && { unwellSince: Math.min(unwellSince, now) }),
      },
    }),
  };
}

const LOOKED_EVERY_MS = 5_000;
const ABSENT_AFTER_MS = 15_000;

// While nobody looked (the control plane or the machine was away) nothing could be done for it either:
// that time counts for no phase.
export function afterAbsence(rollout: Rollout, now: number): Rollout {
  const { lookedAt = now, phaseSince } = rollout;
  const unseenMs = now - lookedAt;
  if (rollout.lookedAt !== undefined && unseenMs < LOOKED_EVERY_MS) return rollout;
  const absentMs = Math.max(0, unseenMs - ABSENT_AFTER_MS);
  return { ...rollout, lookedAt: now, phaseSince: Math.min(now, phaseSince + absentMs) };
}
