// Environments, their rules, and what is brought from one to another.

import { parseDocument } from "yaml";
import { z } from "zod";
import { invalid } from "../kernel/error.ts";
import type { Actor } from "../kernel/resource-store.ts";
import { DEFAULT_POLICY, PLATFORM, SIGNALS, type TelemetryPolicy } from "../kernel/signal.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { ENVIRONMENT_ENGINES, type EngineSpec } from "../resources/engine/engine.ts";
import {
  CLASSES,
  ENVIRONMENT,
  type EnvironmentClass,
  type EnvironmentSpec,
  guessClass,
  hostsPattern,
} from "../resources/environment/environment.ts";
import {
  CLASS_RULES,
  EMPTY_POLICY,
  POLICY,
  type PolicySpec,
  rulesSchema,
} from "../resources/environment/environment-rules.ts";
import { TELEMETRY } from "../resources/telemetry/telemetry.ts";
import { Access } from "./access.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { ChangeOperations } from "./change-operations.ts";
import { type EnvironmentView, findEnvironment } from "./environment-view.ts";
import { Promotion } from "./promotion.ts";
import { type Route, route } from "./route.ts";

const environment = appName.describe("Name of the environment, such as production.");
const inEnvironment = z.object({ environment });
const POLICY_MAX_CHARS = 256 * 1024;
const policyFile = z.strictObject({
  rules: rulesSchema.partial().default({}),
  cedar: z.string().max(POLICY_MAX_CHARS).default(""),
});

export function environmentRoutes(deps: ApiDeps, changes: ChangeOperations): Route[] {
  const promotion = new Promotion(deps);
  const access = new Access(deps);
  const viewOf = (name: string) => findEnvironment(deps.store, name);
  return [
    route({
      method: "GET",
      path: "/v1/environments",
      summary: "All environments, with their classes and rules.",
      handle: ({ actor }) => ({
        environments: deps.store
          .list(ENVIRONMENT)
          .filter(({ name }) => access.decide(actor, "view", name).allowed)
          .map(({ name }) => viewOf(name)),
      }),
    }),
    route({
      method: "GET",
      path: "/v1/environments/{environment}",
      summary: "One environment: class, hosts, rules in force.",
      params: inEnvironment,
      handle: ({ params }) => viewOf(params.environment),
    }),
    route({
      method: "PUT",
      path: "/v1/environments/{environment}",
      summary: "Makes sure of an environment with its stores.",
      params: inEnvironment,
      body: z
        .object({
          compute: z.enum(["process", "docker"]).optional(),
          class: z.enum(CLASSES).optional(),
          hosts: hostsPattern.optional(),
          isNew: z.boolean().default(false).describe("Refuse where it is there already."),
        })
        .default({ isNew: false }),
      handle: ({ params, body, actor }) => ensureEnvironment(deps, params.environment, body, actor),
    }),
    ...policyRoutes(deps),
    route({
      method: "POST",
      path: "/v1/environments/{environment}/promotions",
      summary: "Brings a release that ran in another environment here: the same artifact.",
      params: inEnvironment,
      body: z.object({
        app: appName,
        from: environment,
        release: z.number().int().min(1).optional(),
        reason: z.string().trim().min(1).max(1_000).optional(),
        emergency: z.boolean().default(false),
        overrideBudget: z.boolean().default(false),
        acceptContract: z.boolean().default(false),
      }),
      handle: ({ params, body, actor }) => {
        const { reason, emergency, overrideBudget, acceptContract, ...what } = body;
        const options = { reason, emergency, overrideBudget, acceptContract };
        return changes.submit(params.environment, { action: "promote", ...what }, actor, options);
      },
    }),
    route({
      method: "GET",
      path: "/v1/diff",
      summary: "What differs between two environments: releases, settings, sizes, rules.",
      query: z.object({ one: environment, other: environment }),
      handle: ({ query }) => promotion.diff(query.one, query.other),
    }),
  ];
}

interface EnvironmentChange {
  readonly compute?: EnvironmentSpec["compute"] | undefined;
  readonly class?: EnvironmentClass | undefined;
  readonly hosts?: string | undefined;
  readonly isNew: boolean;
}

function ensureEnvironment(
  { store }: ApiDeps,
  name: string,
  change: EnvironmentChange,
  actor: Actor,
): EnvironmentView {
  // What belongs to no environment is kept under this name: lines, engines, metrics.
  if (name === PLATFORM)
    throw invalid("environment.reserved", `no environment can be called ${PLATFORM}`, {
      hint: "the installation itself has that name; choose another",
    });
  return store.transaction(() => {
    const options = { actor, action: "environment" };
    const before = store.find<EnvironmentSpec, never>({ kind: ENVIRONMENT, name });
    if (before && change.isNew)
      throw invalid("environment.exists", `there is an environment ${name} already`, {
        hint: `holdfast env show ${name}`,
      });
    const of = change.class ?? before?.spec.class ?? guessClass(name);
    const hosts = change.hosts ?? before?.spec.hosts;
    const spec: EnvironmentSpec = {
      compute: change.compute ?? before?.spec.compute ?? "process",
      class: of,
      ...(hosts !== undefined && { hosts }),
    };
    store.writeSpec<EnvironmentSpec>({ kind: ENVIRONMENT, name }, spec, options);
    if (!before && of !== "production")
      store.writeSpec<TelemetryPolicy>(
        { kind: TELEMETRY, name },
        keptFor(CLASS_RULES[of].telemetryDays),
        options,
      );
    for (const [kind, engine] of ENVIRONMENT_ENGINES)
      store.writeSpec<EngineSpec>({ kind, name }, { engine }, options);
    return findEnvironment(store, name);
  });
}

function policyRoutes(deps: ApiDeps): Route[] {
  const find = (name: string) => deps.store.find<PolicySpec, never>({ kind: POLICY, name });
  return [
    route({
      method: "GET",
      path: "/v1/environments/{environment}/policy",
      summary: "Its policy file, the rules of its class, and those in force.",
      params: inEnvironment,
      handle: ({ params }) => {
        const place = findEnvironment(deps.store, params.environment);
        const { rules, cedar } = find(params.environment)?.spec ?? EMPTY_POLICY;
        return {
          environment: place.name,
          class: place.class,
          version: place.policyVersion,
          rules,
          cedar,
          classRules: CLASS_RULES[place.class],
          inForce: place.rules,
        };
      },
    }),
    route({
      method: "PUT",
      path: "/v1/environments/{environment}/policy",
      summary: "Sets its policy file (YAML): rules that differ from its class, and Cedar policies.",
      params: inEnvironment,
      body: z.object({
        text: z.string().max(POLICY_MAX_CHARS),
        version: z.number().int().min(0).optional().describe("The one that it was made from."),
        dryRun: z.boolean().default(false),
      }),
      handle: ({ params, body, actor }) => {
        const { environment: name } = params;
        const before = findEnvironment(deps.store, name);
        const spec = parsePolicy(body.text);
        deps.authorizer.check(spec.cedar);
        const inForce = { ...CLASS_RULES[before.class], ...spec.rules };
        if (!body.dryRun)
          deps.store.writeSpec<PolicySpec>({ kind: POLICY, name }, spec, {
            actor,
            action: "policy",
            ...(body.version !== undefined && { expectedGeneration: body.version }),
          });
        if (!body.dryRun) clampTelemetry(deps, name, inForce.telemetryDays, actor);
        const { policyVersion } = findEnvironment(deps.store, name);
        return {
          environment: name,
          version: policyVersion,
          before: before.rules,
          inForce,
          ...spec,
        };
      },
    }),
  ];
}

function parsePolicy(text: string): PolicySpec {
  const document = parseDocument(text, { prettyErrors: true });
  const [problem] = document.errors;
  const hint = "holdfast policy show prints one to begin with; docs/reference/policy.md";
  if (problem) throw invalid("policy.invalid", problem.message.trim(), { hint });
  const parsed = policyFile.safeParse(document.toJS() ?? {});
  if (parsed.success) return parsed.data as PolicySpec;
  const mistakes = parsed.error.issues.map(
    ({ path, message }) => `${path.join(".") || "the file"}: ${message}`,
  );
  throw invalid("policy.invalid", mistakes.join("; "), { hint });
}

function clampTelemetry({ store }: ApiDeps, name: string, days: number, actor: Actor): void {
  const before = store.find<TelemetryPolicy, never>({ kind: TELEMETRY, name })?.spec;
  const retention = Object.entries((before ?? DEFAULT_POLICY).retention);
  if (retention.every(([, kept]) => kept.days <= days)) return;
  const clamped = retention.map(([signal, kept]) => [
    signal,
    { ...kept, days: Math.min(days, kept.days) },
  ]);
  store.writeSpec<TelemetryPolicy>(
    { kind: TELEMETRY, name },
    {
      ...(before ?? DEFAULT_POLICY),
      retention: Object.fromEntries(clamped) as TelemetryPolicy["retention"],
    },
    { actor, action: "policy" },
  );
}

function keptFor(days: number): TelemetryPolicy {
  const retention = SIGNALS.map((signal) => [
    signal,
    {
      ...DEFAULT_POLICY.retention[signal],
      days: Math.min(days, DEFAULT_POLICY.retention[signal].days),
    },
  ]);
  return {
    ...DEFAULT_POLICY,
    retention: Object.fromEntries(retention) as TelemetryPolicy["retention"],
  };
}
