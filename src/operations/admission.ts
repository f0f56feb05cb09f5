// What must be true before a change of an app is written at all: its name is its own, its routes are
// free, its secrets are there. Nothing here writes.

import { type HoldfastError, invalid } from "../kernel/error.ts";
import type { Redacted } from "../kernel/redacted.ts";
import type { ResourceStore } from "../kernel/resource-store.ts";
import { APP, type App } from "../resources/app/app.ts";
import { componentsOf, MAX_INSTANCES, type Manifest } from "../resources/app/manifest.ts";
import { ENVIRONMENT } from "../resources/environment/environment.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import { unknownEnvironment } from "./environment-view.ts";
import type { OperationDeps } from "./operation-deps.ts";
import type { SourceFacts } from "./release-writer.ts";

const SECRET_MAX_BYTES = 64 * 1024;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
const STORE_VARIABLES = [
  ["postgres", /^(DATABASE_URL|PG(HOST|PORT|USER|PASSWORD|DATABASE))$/],
  ["redis", /^(REDIS_URL|REDIS_KEY_PREFIX)$/],
] as const;
const RESERVED = /^(PORT|HOLDFAST_.*)$/;

export class Admission {
  readonly #store: ResourceStore;
  readonly #apiHost: string | undefined;

  constructor({ store, apiHost }: Pick<OperationDeps, "store" | "apiHost">) {
    this.#store = store;
    this.#apiHost = apiHost;
  }

  requireEnvironment(environment: string): void {
    if (this.#store.find(ENVIRONMENT, environment)) return;
    throw unknownEnvironment(this.#store, environment);
  }

  assertStays({ name, deleting }: App): void {
    if (!deleting) return;
    throw invalid("app.conflict", `${name} is being destroyed`, {
      hint: "wait until holdfast status no longer shows it",
    });
  }

  /** A setting must not be set where a secret of that name would win. */
  assertSettable(
    app: string,
    key: string,
    manifest: Manifest | undefined,
    secrets: readonly { readonly name: string }[],
  ): void {
    if (secrets.some(({ name }) => name === key) || manifest?.secrets.includes(key)) {
      throw invalid("setting.is_secret", `${key} is a secret of ${app}`, {
        hint: `holdfast secret set ${app} ${key}`,
      });
    }
    this.assertNoStore(app, key, manifest, "setting");
  }

  /** Neither settings nor secrets may lead an app away from a store that it asked for. */
  assertNoStore(
    app: string,
    key: string,
    manifest: Manifest | undefined,
    what: "setting" | "secret",
  ): void {
    const store =
      manifest &&
      STORE_VARIABLES.find(
        ([name, pattern]) => manifest.stores[name] !== undefined && pattern.test(key),
      )?.[0];
    if (store === undefined) return;
    throw invalid(`${what}.is_store`, `${key} leads ${app} to the ${store} of its environment`, {
      hint: `take stores.${store} out of holdfast.yaml to use another one`,
    });
  }

  /** What isn't an image can't run in a container. */
  assertCompute(environment: string, manifest: Manifest, hasDockerfile: boolean): void {
    const wanted = manifest.compute ?? this.#store.find(ENVIRONMENT, environment)?.spec.compute;
    if (wanted !== "docker" || hasDockerfile) return;
    throw invalid(
      "compute.no_dockerfile",
      `${manifest.name} is to run in containers, and has no Dockerfile`,
      {
        hint: "add a Dockerfile, or say compute: process in holdfast.yaml",
      },
    );
  }

  assertName(before: App | undefined, { origin, adopt }: SourceFacts): void {
    if (before) this.assertStays(before);
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
    this.#assertHostsFree(appName, manifest, [...taken]);
    for (const { host, path } of Object.values(manifest.services).flatMap(({ routes }) => routes)) {
      const holder =
        host === this.#apiHost ? "the API (HOLDFAST_API_HOST)" : taken.get(host + path);
      if (holder === undefined) continue;
      throw invalid("route.taken", `${host}${path} leads to ${holder} already`, {
        hint: `choose another host or path, or take that route out of ${holder} and deploy it`,
      });
    }
  }

  // A host, with what a wildcard covers, is one environment's: a path of it elsewhere would be a way in.
  #assertHostsFree(
    appName: string,
    manifest: Manifest,
    taken: readonly (readonly [route: string, holder: string])[],
  ): void {
    const environment = appName.split("/")[0];
    const hosts = Object.values(manifest.services).flatMap(({ routes }) =>
      routes.map(({ host }) => host),
    );
    for (const [route, holder] of taken) {
      if (holder.split("/")[0] === environment) continue;
      const other = route.slice(0, route.indexOf("/"));
      // What the environment makes of a host begins with its own name, and may lie under a wildcard.
      const isCovered = (one: string): boolean =>
        (covers(one, other) || covers(other, one)) && !one.startsWith(`${environment}.`);
      const host = hosts.find((one) => one === other || isCovered(one));
      if (host === undefined) continue;
      throw invalid(
        "route.taken",
        `${host} belongs to another environment: ${other} leads to ${holder}`,
        {
          hint: "choose another host, or take that route out there and deploy it",
        },
      );
    }
  }

  #routesOfOthers(appName: string): ReadonlyMap<string, string> {
    const others = this.#store.list(APP).filter(({ name }) => name !== appName);
    return new Map(
      others.flatMap(({ name, spec, status }) => {
        const releases = new Set([spec.release, status?.serving?.set.release ?? 0]);
        return [...releases].filter(Boolean).flatMap((number) => {
          const release = this.#store.find(RELEASE, releaseName(name, number));
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

const covers = (wildcard: string, host: string): boolean =>
  wildcard.startsWith("*.") && host.endsWith(wildcard.slice(1));

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
  if (RESERVED.test(key))
    throw invalid(`${what}.reserved`, `${key} is set by Holdfast itself`, {
      hint: "use another name",
    });
}

export function assertSecretValue(app: string, name: string, value: Redacted): void {
  const bytes = Buffer.byteLength(value.reveal());
  if (bytes > 0 && bytes <= SECRET_MAX_BYTES) return;
  const what =
    bytes === 0 ? "the value is empty" : `the value is larger than ${SECRET_MAX_BYTES / 1024} KB`;
  throw invalid("secret.bad_value", what, {
    hint: `give it on standard input: holdfast secret set ${app} ${name} < file`,
  });
}

export function assertConfirmed(app: string, confirm: string): void {
  if (confirm === app) return;
  throw invalid("app.not_confirmed", `to destroy ${app} its name must be given again`, {
    hint: `holdfast destroy ${app} --confirm ${app}`,
  });
}

export function assertCounts(
  app: string,
  manifest: Manifest,
  counts: Readonly<Record<string, number>>,
): void {
  const known = componentsOf(manifest).map(({ name }) => name);
  for (const [component, count] of Object.entries(counts)) {
    if (!known.includes(component)) {
      throw invalid("app.unknown_component", `${app} has no service or worker ${component}`, {
        hint: `it has: ${known.join(", ")}`,
      });
    }
    if (!Number.isInteger(count) || count < 0 || count > MAX_INSTANCES) {
      throw invalid(
        "app.bad_count",
        `${component}=${count}: must be a whole number from 0 to ${MAX_INSTANCES}`,
        { hint: `holdfast scale ${app} ${component}=2` },
      );
    }
  }
}
