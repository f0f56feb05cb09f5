// How long telemetry of an environment is kept, and what of it is about people. Named after its
// environment; without one the defaults hold.

import { z } from "zod";
import { defineKind } from "../../kernel/kind.ts";
import type { Resource } from "../../kernel/resource.ts";
import { DEFAULT_POLICY, SIGNALS, type Signal, type TelemetryPolicy } from "../../kernel/signal.ts";

const BYTES_MIN = 16 * 1024 ** 2;

const kept = z.strictObject({
  days: z.number().positive().max(3_650).describe("What is older goes."),
  bytes: z.number().int().min(BYTES_MIN).describe("Where there is more, the oldest goes."),
});
const privacy = z.strictObject({
  addresses: z.enum(["keep", "cut", "drop"]),
  userAgents: z.enum(["keep", "drop"]),
  queryStrings: z.enum(["keep", "names", "drop"]),
});

/** What a person may change; what is left out stays. */
export const policyChange = z.strictObject({
  retention: z.partialRecord(z.enum(SIGNALS), kept.partial()).default({}),
  privacy: privacy.partial().default({}),
});

export const TELEMETRY = defineKind<TelemetryPolicy>({
  name: "telemetry",
  summary: "Retention and privacy of an environment's telemetry.",
  scope: "environment",
  spec: z.strictObject({ retention: z.record(z.enum(SIGNALS), kept), privacy }),
});

export type PolicyChange = z.output<typeof policyChange>;
export type Telemetry = Resource<TelemetryPolicy, never>;

export function changedPolicy(
  before: TelemetryPolicy | undefined,
  change: PolicyChange,
): TelemetryPolicy {
  const { retention, privacy } = before ?? DEFAULT_POLICY;
  const changed = (signal: Signal) => ({
    ...(retention[signal] ?? DEFAULT_POLICY.retention[signal]),
    ...change.retention[signal],
  });
  return {
    retention: Object.fromEntries(
      SIGNALS.map((signal) => [signal, changed(signal)]),
    ) as TelemetryPolicy["retention"],
    privacy: {
      addresses: change.privacy.addresses ?? privacy.addresses,
      userAgents: change.privacy.userAgents ?? privacy.userAgents,
      queryStrings: change.privacy.queryStrings ?? privacy.queryStrings,
    },
  };
}
