// What decides who may change what, as files have it: environments, policies, windows, accounts.

import { z } from "zod";
import { invalid } from "../../kernel/error.ts";
import { canonicalJson } from "../../kernel/resource.ts";
import {
  ACCOUNT,
  type AccountSpec,
  EVERYWHERE,
  rolesByEnvironment,
} from "../../resources/account/account.ts";
import { durationText, parseDurationMs } from "../../resources/app/quantity.ts";
import {
  CLASSES,
  ENVIRONMENT,
  type EnvironmentSpec,
  guessClass,
  hostsPattern,
} from "../../resources/environment/environment.ts";
import { POLICY, type PolicySpec, policySpec } from "../../resources/policy/policy.ts";
import {
  WINDOW,
  type WindowSpec,
  windowMistake,
  windowSchema,
} from "../../resources/window/window.ts";
import { unknownEnvironment } from "../environment-view.ts";
import type { OperationDeps } from "../operation-deps.ts";
import { declared, NAMES } from "./declared-kind.ts";

const environmentInput = z.strictObject({
  compute: z.enum(["process", "docker"]).optional(),
  class: z.enum(CLASSES).optional(),
  hosts: hostsPattern.optional(),
});

/** What a file leaves out stays as it is. */
const environment = declared<z.output<typeof environmentInput>, EnvironmentSpec>({
  kind: ENVIRONMENT,
  names: NAMES.environment,
  input: environmentInput,
  action: "environment",
  show: (spec) => spec,
  specOf: ({ name, input, before }) => {
    const hosts = input.hosts ?? before?.hosts;
    return {
      compute: input.compute ?? before?.compute ?? "process",
      class: input.class ?? before?.class ?? guessClass(name),
      ...(hosts !== undefined && { hosts }),
    };
  },
  requestOf: (name, spec) => ({
    action: "environment",
    environment: name,
    change: { ...spec, isNew: false },
  }),
  kept: () => "an environment with its data is not removed by leaving out a file",
});

const policy = declared<PolicySpec, PolicySpec>({
  kind: POLICY,
  names: NAMES.environment,
  input: policySpec,
  action: "policy",
  show: (spec) => spec,
  specOf: ({ deps, input }) => {
    deps.authorizer.check(input.cedar);
    return input;
  },
  // JSON is YAML, too.
  requestOf: (name, spec) => ({
    action: "policy",
    environment: name,
    text: JSON.stringify(spec ?? {}),
  }),
});

const time = z.union([
  z.number().int(),
  z.iso
    .datetime({ offset: true, error: "must be a time such as 2026-12-24T18:00:00Z" })
    .transform((text) => Date.parse(text)),
]);
const windowInput = windowSchema.omit({ durationMs: true }).extend({
  from: time.optional(),
  until: time.optional(),
  duration: z
    .string()
    .transform((text) => parseDurationMs(text) ?? Number.NaN)
    .refine(Number.isFinite, "must be a duration such as 10h")
    .optional(),
});

const window = declared<z.output<typeof windowInput>, WindowSpec>({
  kind: WINDOW,
  names: NAMES.ofAny,
  input: windowInput,
  action: "freeze",
  show: ({ from, until, durationMs, ...rest }) => ({
    ...rest,
    ...(from !== undefined && { from: new Date(from).toISOString() }),
    ...(until !== undefined && { until: new Date(until).toISOString() }),
    ...(durationMs !== undefined && { duration: durationText(durationMs) }),
  }),
  specOf: ({ deps, name, input: { duration, ...rest }, before }) => {
    assertPlace(deps, name.split("/")[0] ?? "");
    const given = { ...rest, ...(duration !== undefined && { durationMs: duration }) };
    const { data, error } = windowSchema.safeParse(JSON.parse(JSON.stringify(given)));
    const isKept = before !== undefined && canonicalJson(before) === canonicalJson(data);
    // One that is over stays in its file until somebody tidies up.
    const mistake =
      error?.message ?? (isKept ? undefined : windowMistake(data as WindowSpec, deps.clock.now()));
    if (mistake === undefined) return data as WindowSpec;
    throw invalid("window.invalid", `the ${rest.kind} ${name.split("/")[1]} ${mistake}`, {
      hint: `holdfast ${rest.kind} set ${name.split("/")[1]} --cron '0 18 * * 5' --for 62h --tz Europe/Madrid --reason weekend`,
    });
  },
  requestOf: (name, spec) => ({ action: "freeze", window: name, spec }),
});

function assertPlace({ store }: OperationDeps, name: string): void {
  if (name !== EVERYWHERE && !store.find(ENVIRONMENT, name)) throw unknownEnvironment(store, name);
}

const accountInput = z.strictObject({
  kind: z.enum(["person", "service"]).optional(),
  roles: rolesByEnvironment.optional(),
  disabled: z.boolean().optional(),
});

const account = declared<z.output<typeof accountInput>, AccountSpec>({
  kind: ACCOUNT,
  names: NAMES.account,
  input: accountInput,
  action: "account",
  show: (spec) => spec,
  specOf: ({ deps, input, before }) => {
    const roles = input.roles ?? before?.roles ?? {};
    for (const place of Object.keys(roles)) assertPlace(deps, place);
    return {
      kind: input.kind ?? before?.kind ?? "person",
      roles,
      disabled: input.disabled ?? before?.disabled ?? false,
    };
  },
  requestOf: (name, spec) => ({ action: "account", account: name, spec }),
});

export const CONTROL_KINDS = [environment, policy, account, window] as const;
