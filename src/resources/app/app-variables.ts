// The variables an instance gets: those the field expects, those of the release, its secrets and
// its stores. What a person sets wins over what Holdfast offers, except for the port.

import type { Redacted } from "../../kernel/redacted.ts";
import { USAGE_SCRIPT } from "../../kernel/signal.ts";
import type { Release } from "../release/release.ts";
import { REHEARSAL_TASK } from "./app-observed.ts";
import type { InstanceOrder } from "./app-step.ts";

export type Variables = Readonly<Record<string, string | Redacted>>;

export interface VariableSources {
  readonly release: Release;
  readonly order: InstanceOrder;
  readonly stores: Variables;
  readonly secrets: Variables;
  /** Service → port where it is reached through the edge. */
  readonly internalPorts: Readonly<Record<string, number>>;
  /** Where the instance finds this machine's loopback. */
  readonly localhost: string;
  /** Where and as whom it sends OpenTelemetry. */
  readonly telemetry: Variables;
  /** Where users reach the app, if it has a route. */
  readonly publicUrl: string | undefined;
  /** What leads a smoke check's requests to the release that it checks. */
  readonly candidateKey: string | undefined;
}

export function variablesFor(sources: VariableSources): Variables {
  const { release, order, stores, secrets, telemetry, publicUrl, candidateKey } = sources;
  const { manifest, config, environment, app, number, source } = release.spec;
  const own =
    manifest.services[order.component]?.env ??
    manifest.workers[order.component]?.env ??
    manifest.jobs[order.component]?.env ??
    {};
  return {
    NODE_ENV: "production",
    HOLDFAST_ENVIRONMENT: environment,
    HOLDFAST_APP: app.split("/")[1] ?? app,
    HOLDFAST_SERVICE: order.component,
    HOLDFAST_RELEASE: String(number),
    HOLDFAST_INSTANCE: order.name,
    ...(publicUrl !== undefined && { HOLDFAST_URL: publicUrl }),
    ...(candidateKey !== undefined && { HOLDFAST_CANDIDATE_KEY: candidateKey }),
    ...(order.component === REHEARSAL_TASK && { HOLDFAST_REHEARSAL: "1" }),
    ...usageVariables(sources),
    ...(source.commit !== undefined && { SOURCE_COMMIT: source.commit }),
    ...internalUrls(sources),
    ...resourceVariables(release, order),
    ...telemetry,
    ...stores,
    ...config.values,
    ...own,
    ...secrets,
  };
}

// Below the service's own route: so what pages report is known to be of this service.
function usageVariables({ release, order }: VariableSources): Variables {
  const { usage, services } = release.spec.manifest;
  const path = services[order.component]?.routes[0]?.path;
  if (!usage || path === undefined) return {};
  return { HOLDFAST_USAGE_SCRIPT: path.replace(/\/$/, "") + USAGE_SCRIPT };
}

function internalUrls({ internalPorts, localhost }: VariableSources): Variables {
  return Object.fromEntries(
    Object.entries(internalPorts).map(([service, port]) => [
      `${service.toUpperCase().replaceAll("-", "_")}_URL`,
      `http://${localhost}:${port}`,
    ]),
  );
}

// The OpenTelemetry resource conventions: any SDK picks these up by itself.
function resourceVariables(release: Release, order: InstanceOrder): Variables {
  const { environment, app, number } = release.spec;
  const attributes = {
    "service.namespace": app.split("/")[1] ?? app,
    "service.version": String(number),
    "service.instance.id": order.name,
    "deployment.environment.name": environment,
  };
  return {
    OTEL_SERVICE_NAME: order.component,
    OTEL_RESOURCE_ATTRIBUTES: Object.entries(attributes)
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
  };
}
