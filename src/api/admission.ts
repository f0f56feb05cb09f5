// What must be true before a change of an app is written at all: its name is its own, its routes are
// free, its secrets are there. Nothing here writes.

import { type HoldfastError, invalid } from "../kernel/error.ts";
import type { ResourceStore } from "../kernel/resource-store.ts";
import { APP, type App, type AppSpec, type AppStatus } from "../resources/app/app.ts";
import type { Manifest } from "../resources/app/manifest.ts";
import { ENVIRONMENT } from "../resources/environment/environment.ts";
import {
  RELEASE,
  type ReleaseSpec,
  type ReleaseStatus,
  releaseName,
} from "../resources/release/release.ts";
import type { SourceFacts } from "./app-operations.ts";

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
const RESERVED = /^(PORT|HOLDFAST_.*)$/;

export class Admission {
  readonly #store: ResourceStore;

  constructor(store: ResourceStore) {
    this.#store = store;
  }

  requireEnvironment(environment: string): void {
    if (this.#store.find({ kind: ENVIRONMENT, name: environment })) return;
    const names = this.#store.list(ENVIRONMENT).map(({ name }) => name);
    throw invalid("environment.not_found", `there is no environment ${environment}`, {
      hint: names.length > 0 ? `there is: ${names.join(", ")}` : "holdfast up",
    });
  }

  assertName(before: App | undefined, { origin, adopt }: SourceFacts): void {
    if (before?.deleting) {
      throw invalid("app.conflict", `${before.name} is being destroyed`, {
        hint: "wait until holdfast status no longer shows it",
      });
    }
    const known = before?.spec.origin;
    if (adopt || known === undefined || known === origin) return;
    throw invalid(
      "app.name_taken",
      `${before?.name} is deployed from ${known}, this is ${origin}`,
      {
        hint: "give this app another name in holdfast.yaml, or if it is the same app: holdfast deploy --adopt",
      },
    );
  }

  assertRoutesFree(appName: string, manifest: Manifest): void {
    const taken = this.#routesOfOthers(appName);
    for (const { host, path } of Object.values(manifest.services).flatMap(({ routes }) => routes)) {
      const holder = taken.get(host + path);
      if (holder === undefined) continue;
      throw invalid("route.taken", `${host}${path} leads to ${holder} already`, {
        hint: `choose another host or path, or take that route out of ${holder} and deploy it`,
      });
    }
  }

  #routesOfOthers(appName: string): ReadonlyMap<string, string> {
    const others = this.#store.list<AppSpec, AppStatus>(APP).filter(({ name }) => name !== appName);
    return new Map(
      others.flatMap(({ name, spec, status }) => {
        const releases = new Set([spec.release, status?.serving?.set.release ?? 0]);
        return [...releases].filter(Boolean).flatMap((number) => {
          const ref = { kind: RELEASE, name: releaseName(name, number) };
          const release = this.#store.find<ReleaseSpec, ReleaseStatus>(ref);
          const services = Object.values(release?.spec.manifest.services ?? {});
          const routes = services.flatMap((service) => service.routes);
          return routes.map(({ host, path }): [string, string] => [host + path, name]);
        });
      }),
    );
  }

  assertSecrets(
    environment: string,
    manifest: Manifest,
    there: Readonly<Record<string, number>>,
  ): void {
    const missing = manifest.secrets.filter((name) => there[name] === undefined);
    if (missing.length > 0) throw missingSecrets(environment, manifest.name, missing);
  }
}

function missingSecrets(
  environment: string,
  app: string,
  missing: readonly string[],
): HoldfastError {
  const env = environment === "production" ? "" : ` --env ${environment}`;
  return invalid(
    "secret.missing",
    `${app} needs ${missing.join(", ")}, which ${missing.length > 1 ? "are" : "is"} not set`,
    {
      hint: `holdfast secret set ${app} ${missing[0]}${env}`,
    },
  );
}

export function assertVariable(key: string, what: string): void {
  if (!VARIABLE.test(key)) {
    throw invalid(`${what}.bad_name`, `"${key}" is not a name for a ${what}`, {
      hint: "use letters, digits and underscores",
    });
  }
  if (RESERVED.test(key)) throw invalid(`${what}.reserved`, `${key} is set by Holdfast itself`);
}
