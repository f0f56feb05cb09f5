// Alerts that fire, and those that did: why, since when, with what is known of their cause.

import { z } from "zod";
import { type AlertContext, contextOf } from "../operations/alert-context.ts";
import type { AppOperations } from "../operations/app-operations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { OF_RELEASE } from "../resources/app/alert-rules.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { type Route, route } from "./route.ts";

const HISTORY_STEP_MS = 15_000;
/** So many that are over are looked into, the newest first. */
const CONTEXT_MAX = 20;
const HISTORY_MAX_MS = 7 * 24 * 3_600_000;

export interface AlertView extends AlertContext {
  readonly alert: string;
  readonly state: "pending" | "firing" | "resolved";
  readonly severity: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly summary: string;
  readonly query: string;
  readonly runbook: string;
  /** ms since the epoch */
  readonly since: number;
  readonly until?: number;
  /** The silence because of which nobody is told. */
  readonly silencedBy?: string;
}

export function alertsRoute(deps: OperationDeps, operations: AppOperations): Route {
  return route({
    method: "GET",
    path: "/v1/alerts",
    summary: "List firing and resolved alerts with cause, start and live release.",
    query: z.object({
      environment: appName.default("production"),
      sinceMs: z.coerce
        .number()
        .min(0)
        .max(HISTORY_MAX_MS)
        .default(24 * 3_600_000),
    }),
    handle: ({ query }) => {
      operations.requireEnvironment(query.environment);
      return alertViews(deps, query.environment, query.sinceMs);
    },
  });
}

interface ActiveAlerts {
  readonly data: {
    readonly alerts: readonly {
      readonly labels: Readonly<Record<string, string>>;
      readonly annotations: Readonly<Record<string, string>>;
      readonly state: "pending" | "firing";
      readonly activeAt: string;
    }[];
  };
}
interface Matrix {
  readonly data: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly values: readonly (readonly [number, string])[];
    }[];
  };
}

/** What fires now, the most severe first; undefined where nobody can say. */
export async function firingAlerts(
  deps: OperationDeps,
  environment: string,
): Promise<readonly AlertView[] | undefined> {
  const { alerts } = (await alertViews(deps, environment, 0).catch(() => undefined)) ?? {};
  return alerts
    ?.filter(({ state }) => state === "firing")
    .sort((a, b) => a.severity.localeCompare(b.severity) || a.since - b.since);
}

async function alertViews(
  deps: OperationDeps,
  environment: string,
  sinceMs: number,
): Promise<{ alerts: readonly AlertView[] }> {
  const now = deps.clock.now();
  const stepMs = Math.max(HISTORY_STEP_MS, sinceMs / 10_000);
  const isHere = (labels: Readonly<Record<string, string>>): boolean =>
    labels["environment"] === undefined || labels["environment"] === environment;
  const [active, silences] = await Promise.all([
    deps.monitoring.ask("alerts", {}) as Promise<ActiveAlerts>,
    silencedAlerts(deps),
  ]);
  const ofNow = active.data.alerts
    .filter(({ labels }) => isHere(labels))
    .map(async ({ labels, annotations, state, activeAt }): Promise<AlertView> => {
      const since = Date.parse(activeAt);
      const silencedBy = silences.get(keyOf(labels));
      return {
        ...viewOf(labels, since),
        ...textsOf(annotations),
        state,
        ...(silencedBy !== undefined && { silencedBy }),
        ...(await contextOf(deps, labels, since)),
      };
    });
  const firing = await Promise.all(ofNow);
  const pastOf = async (query: string): Promise<Matrix["data"]["result"]> => {
    const answer = (await deps.monitoring.ask("query_range", {
      query,
      start: String((now - sinceMs) / 1000),
      end: String(now / 1000),
      step: String(stepMs / 1000),
    })) as Matrix;
    return answer.data.result;
  };
  if (sinceMs === 0) return { alerts: firing };
  const past = await pastOf('ALERTS{alertstate="firing"}');
  const [rules, begun] = await Promise.all([alertRules(deps), pastOf("ALERTS_FOR_STATE")]);
  const ofPast = past
    .filter(({ metric }) => isHere(metric))
    .flatMap(({ metric: { alertstate: _, __name__: __, ...labels }, values }) =>
      stretchesOf(values, stepMs)
        .filter(({ until }) => now - until >= 2 * stepMs)
        .map(({ since: seen, until }) => {
          const since = beganAt(begun, labels, until) ?? seen;
          return {
            ...viewOf(labels, since),
            ...textsOf(ruleOf(rules, labels)?.annotations, labels),
            state: "resolved" as const,
            until,
          };
        }),
    );
  const resolved = ofPast
    .sort((a, b) => b.since - a.since)
    .map(async (one, index) => ({
      ...one,
      ...(index < CONTEXT_MAX && (await contextOf(deps, one.labels, one.since, one.until))),
    }));
  return { alerts: [...firing, ...(await Promise.all(resolved))] };
}

const keyOf = (labels: Readonly<Record<string, string>>): string =>
  JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));

/** Labels of alerts nobody is told of → the silence; empty where Alertmanager does not answer. */
async function silencedAlerts(deps: OperationDeps): Promise<ReadonlyMap<string, string>> {
  const path = "alerts?active=false&inhibited=false&silenced=true";
  const alerts = (await deps.monitoring.alertmanager("GET", path).catch(() => [])) as readonly {
    readonly labels: Readonly<Record<string, string>>;
    readonly status: { readonly silencedBy: readonly string[] };
  }[];
  return new Map(
    alerts.flatMap(({ labels, status }) =>
      status.silencedBy.slice(0, 1).map((id) => [keyOf(labels), id] as const),
    ),
  );
}

/** When it fired, and fired again: a gap of more than two steps is an end. */
function stretchesOf(values: Matrix["data"]["result"][number]["values"], stepMs: number) {
  const stretches: { since: number; until: number }[] = [];
  for (const [seconds] of values) {
    const at = seconds * 1000;
    const last = stretches.at(-1);
    if (last && at - last.until <= 2 * stepMs) last.until = at;
    else stretches.push({ since: at, until: at });
  }
  return stretches;
}

interface Rules {
  readonly data: {
    readonly groups: readonly {
      readonly rules: readonly {
        readonly name: string;
        readonly labels?: Readonly<Record<string, string>>;
        readonly annotations?: Readonly<Record<string, string>>;
      }[];
    }[];
  };
}

type Rule = Rules["data"]["groups"][number]["rules"][number];

async function alertRules(deps: OperationDeps): Promise<readonly Rule[]> {
  const { data } = (await deps.monitoring.ask("rules", { type: "alert" })) as Rules;
  return data.groups.flatMap(({ rules }) => rules);
}

/** Labels that alerts of this name have from their rule; the most severe where there are several. */
export async function ruleLabels(
  deps: OperationDeps,
  alertname: string,
): Promise<Readonly<Record<string, string>> | undefined> {
  const own = (await alertRules(deps)).filter(({ name }) => name === alertname);
  return (own.find(({ labels }) => labels?.["severity"] === "page") ?? own[0])?.labels;
}

/** Several rules may have one name: it is the one whose labels the alert has. */
const ruleOf = (rules: readonly Rule[], labels: Readonly<Record<string, string>>) =>
  rules.find(
    (rule) =>
      rule.name === labels["alertname"] &&
      Object.entries(rule.labels ?? {}).every(([name, value]) => labels[name] === value),
  );

/** Prometheus keeps, as the value of a series, when an alert became active: the same whoever asks. */
function beganAt(
  begun: Matrix["data"]["result"],
  labels: Readonly<Record<string, string>>,
  until: number,
): number | undefined {
  const own = begun.find(({ metric: { __name__: _, ...metric } }) =>
    Object.entries({ ...metric, ...labels }).every(([name]) => metric[name] === labels[name]),
  );
  const at = own?.values.findLast(([seconds]) => seconds * 1000 <= until)?.[1];
  return at === undefined ? undefined : Number(at) * 1000;
}

// Of one that is over Prometheus knows the rule and the labels, no longer the value.
function textsOf(
  annotations: Readonly<Record<string, string>> = {},
  labels: Readonly<Record<string, string>> = {},
) {
  const { summary = "", query = "", runbook = "" } = annotations;
  const { release = "0" } = labels;
  const filled = summary
    .replaceAll(OF_RELEASE, release === "0" ? "" : ` (release ${release})`)
    .replaceAll(/\{\{ *\$labels\.(\w+) *\}\}/g, (_, name: string) => labels[name] ?? "")
    .replaceAll(/\{\{[^}]*\}\}/g, "…");
  return { summary: filled, query, runbook };
}

function viewOf(given: Readonly<Record<string, string>>, since: number) {
  const labels = Object.fromEntries(Object.entries(given).sort(([a], [b]) => (a < b ? -1 : 1)));
  const { alertname = "", severity = "" } = labels;
  return {
    alert: alertname,
    severity,
    labels,
    summary: "",
    query: "",
    runbook: "",
    since,
  };
}
