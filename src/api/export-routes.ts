// Exports: who else gets an environment's telemetry.

import { z } from "zod";
import { invalid } from "../kernel/error.ts";
import type { ExportState, ExportTarget } from "../kernel/signal.ts";
import type { AppOperations } from "../operations/app-operations.ts";
import type { Declarations } from "../operations/declared/declarations.ts";
import { targetOf } from "../operations/export-target.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { name as exportName } from "../resources/app/manifest.ts";
import { EXPORT, exportInput } from "../resources/export/export.ts";
import { waitingOf } from "./environment-routes.ts";
import { type Route, route } from "./route.ts";

const ofEnvironment = z.object({ environment: exportName });
const ofExport = ofEnvironment.extend({ export: exportName });

export interface ExportView extends Pick<ExportTarget, "endpoint" | "signals"> {
  readonly name: string;
  /** Undefined where telemetry does not answer, or does not know it yet. */
  readonly state?: ExportState;
}

const path = "/v1/environments/{environment}/exports";

type SendOutcomes = Readonly<Record<string, { readonly is: string; readonly why?: string }>>;

export function exportRoutes(
  deps: OperationDeps,
  operations: AppOperations,
  declarations: Declarations,
): Route[] {
  return [
    route({
      method: "GET",
      path,
      summary: "List exports and their delivery state, without headers.",
      params: ofEnvironment,
      handle: async ({ params: { environment } }) => {
        operations.requireEnvironment(environment);
        const states = await deps.telemetry
          .ask<Readonly<Record<string, ExportState>>>("/exports", {})
          .catch((): Readonly<Record<string, ExportState>> => ({}));
        const exports = deps.store
          .list(EXPORT, `${environment}/`)
          .map(({ name, spec: { endpoint, signals } }): ExportView => {
            const state = states[name];
            return { name: shortName(name), endpoint, signals, ...(state && { state }) };
          });
        return { exports };
      },
    }),
    route({
      method: "PUT",
      path: `${path}/{export}`,
      summary: "Create or update an export; only new data is exported.",
      params: ofExport,
      body: exportInput,
      handle: async ({ params, body, actor }) => {
        operations.requireEnvironment(params.environment);
        const name = `${params.environment}/${params.export}`;
        const wanted = { kind: EXPORT.name, name, spec: body };
        const { outcome } = await declarations.write(wanted, actor);
        const { endpoint, signals } = body;
        return { name: params.export, endpoint, signals, ...waitingOf(outcome) };
      },
    }),
    route({
      method: "DELETE",
      path: `${path}/{export}`,
      summary: "Remove an export and drop its queue.",
      params: ofExport,
      handle: async ({ params, actor }) => {
        const found = getExport(deps, params.environment, params.export);
        const waiting = waitingOf(await declarations.remove(found, actor));
        return { name: params.export, removed: waiting.pending === undefined, ...waiting };
      },
    }),
    testRoute(deps),
  ];
}

function testRoute(deps: OperationDeps): Route {
  return route({
    method: "POST",
    path: `${path}/{export}/test`,
    summary: "Send an empty message of each signal and report the answers.",
    params: ofExport,
    handle: async ({ params }) => {
      const target = targetOf(deps, getExport(deps, params.environment, params.export));
      const outcomes = await deps.telemetry.ask<SendOutcomes>("/exports/test", target);
      const bad = Object.values(outcomes).flatMap(({ is, why }) => (is === "taken" ? [] : [why]));
      if (bad.length > 0)
        throw invalid("export.refused", `${params.export} did not take it: ${bad.join("; ")}`, {
          hint: "check endpoint and headers: holdfast export add",
        });
      return { name: params.export, taken: Object.keys(outcomes) };
    },
  });
}

function getExport(deps: OperationDeps, environment: string, name: string) {
  const found = deps.store.find(EXPORT, `${environment}/${name}`);
  if (found) return found;
  throw invalid("export.not_found", `there is no export ${name} in ${environment}`, {
    hint: "holdfast export list",
  });
}

const shortName = (name: string): string => name.split("/")[1] ?? name;
