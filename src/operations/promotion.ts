// A release that ran well in one environment, brought to another: the same artifact, digest for
// digest, with what the other one makes of it. And what else differs between the two.

import { invalid } from "../kernel/error.ts";
import { canonicalJson } from "../kernel/resource.ts";
import type { Actor } from "../kernel/resource-store.ts";
import { APP, type App, appResourceName } from "../resources/app/app.ts";
import { countsFor } from "../resources/app/app-observed.ts";
import { manifestFor } from "../resources/app/environment-overlay.ts";
import { INFERENCE_FILES, inferManifest, usesDockerfile } from "../resources/app/infer.ts";
import type { Artifact, MigrationFacts, Release } from "../resources/release/release.ts";
import { SETTINGS } from "../resources/settings/settings.ts";
import { Admission } from "./admission.ts";
import { assertCodeFrom, assertRules } from "./environment-admission.ts";
import { type EnvironmentView, findEnvironment } from "./environment-view.ts";
import { isHeldIn } from "./holds.ts";
import type { OperationDeps } from "./operation-deps.ts";
import { type Accepted, ReleaseWriter, type SourceFacts } from "./release-writer.ts";

export interface PromotionRequest {
  readonly app: string;
  readonly from: string;
  readonly to: string;
  /** Default: the one that serves there. */
  readonly release?: number | undefined;
  readonly migrations?: MigrationFacts;
}

export class Promotion {
  readonly #deps: OperationDeps;
  readonly #admission: Admission;
  readonly #releases: ReleaseWriter;

  constructor(deps: OperationDeps) {
    this.#deps = deps;
    this.#admission = new Admission(deps);
    this.#releases = new ReleaseWriter(deps);
  }

  promote({ app, from, to, release, migrations }: PromotionRequest, actor: Actor): Accepted {
    if (from === to)
      throw invalid("promote.same", `${app} is in ${from} already`, {
        hint: `holdfast promote ${app} --from staging --to production`,
      });
    const place = findEnvironment(this.#deps.store, to);
    const origin = this.proven(app, from, release);
    const artifact = requireArtifact(origin);
    const { source } = origin.spec;
    const files = this.#deps.sources.readFiles(source.digest, INFERENCE_FILES);
    const folder = source.folder ?? app;
    const inferred = inferManifest({ folder, files });
    const manifest = manifestFor(inferred.manifest, to, place.hosts);
    const appName = appResourceName(to, manifest.name);
    const before = this.#find(appName);
    const facts: SourceFacts = {
      ...source,
      contracts: migrations?.contracts,
      rehearse: migrations?.rehearse,
      folder,
      origin: this.#originOf(app, from),
      adopt: true,
    };
    this.#admission.assertName(before, facts);
    assertCodeFrom(place, from);
    assertRules(place, manifest, before?.spec.scale);
    this.#admission.assertRoutesFree(appName, manifest);
    this.#admission.assertSecrets(to, manifest, this.#releases.currentSecrets(appName));
    this.#admission.assertCompute(to, manifest, usesDockerfile(manifest, { folder, files }));
    const serving = this.#servingOf(before);
    if (before && serving && this.#isSame(serving, artifact, manifest))
      return { ...this.#releases.accepted(before, manifest), changed: false };
    const promotedFrom = { environment: from, release: origin.spec.number, artifact };
    return this.#releases.release(
      before,
      to,
      { ...inferred, manifest },
      facts,
      "promote",
      actor,
      promotedFrom,
    );
  }

  /** A release that got all traffic in that environment, and was not taken back. */
  proven(app: string, environment: string, number: number | undefined): Release {
    findEnvironment(this.#deps.store, environment);
    const name = appResourceName(environment, app);
    const found = this.#find(name);
    const serving = found?.status?.serving?.set.release;
    if (!found || serving === undefined)
      throw invalid("promote.never_ran", `${app} never ran in ${environment}`, {
        hint: `holdfast deploy --env ${environment}`,
      });
    const wanted = number ?? serving;
    const ran = found.status?.history.find(
      ({ placement, outcome }) => placement.set.release === wanted && outcome !== "aborted",
    );
    if (ran?.outcome !== "succeeded" && wanted !== serving)
      throw invalid(
        "promote.never_ran",
        ran
          ? `release ${wanted} of ${app} ${ran.outcome === "rolled-back" ? "was taken back" : "failed"} in ${environment}: ${ran.failure?.reason ?? "its rollout did not end well"}`
          : `release ${wanted} of ${app} never served in ${environment}`,
        {
          hint: `release ${serving} serves there: holdfast promote ${app} --from ${environment} --to <environment>`,
        },
      );
    if (found.status?.rollout?.placement.set.release === wanted)
      throw invalid("promote.still_rolling", `release ${wanted} is still being rolled out there`, {
        hint: `holdfast rollout ${app} --env ${environment} --watch`,
      });
    const release = this.#releases.get(name, wanted);
    if (isHeldIn(this.#deps, name, release.spec.source))
      throw invalid(
        "promote.never_ran",
        `release ${wanted} of ${app} was taken back in ${environment}`,
        {
          hint: `holdfast hold list --env ${environment}; a person can release it`,
        },
      );
    return release;
  }

  #find(name: string): App | undefined {
    return this.#deps.store.find(APP, name);
  }

  #originOf(app: string, environment: string): string {
    return this.#find(appResourceName(environment, app))?.spec.origin ?? "";
  }

  #servingOf(app: App | undefined): Release | undefined {
    const number = app?.status?.serving?.set.release;
    if (!app || number === undefined || number !== app.spec.release) return undefined;
    return this.#releases.releasesOf(app.name).find(({ spec }) => spec.number === number);
  }

  #isSame(serving: Release, artifact: Artifact, manifest: object): boolean {
    const settings = this.#deps.store.find(SETTINGS, serving.spec.app);
    return (
      serving.status?.artifact?.digest === artifact.digest &&
      canonicalJson(serving.spec.manifest) === canonicalJson(manifest) &&
      canonicalJson(serving.spec.config.set) === canonicalJson(settings?.spec.values ?? {}) &&
      canonicalJson(serving.spec.secrets) ===
        canonicalJson(this.#releases.currentSecrets(serving.spec.app))
    );
  }

  // --- what differs

  diff(one: string, other: string): EnvironmentDiff {
    const places = [one, other].map((name) => findEnvironment(this.#deps.store, name));
    const apps = new Set(
      [one, other].flatMap((environment) =>
        this.#deps.store.list(APP, `${environment}/`).map(({ name }) => name.split("/")[1] ?? name),
      ),
    );
    const sides = (facts: (environment: string) => Facts | undefined): Difference[] =>
      differences(facts(one), facts(other));
    return {
      environments: [one, other],
      environment: differences(
        ...(places.map((place) => place && environmentFacts(place)) as [Facts, Facts]),
      ),
      apps: Object.fromEntries(
        [...apps].sort().map((app) => [app, sides((environment) => this.#facts(environment, app))]),
      ),
    };
  }

  #facts(environment: string, app: string): Facts | undefined {
    const found = this.#find(appResourceName(environment, app));
    const number = found?.status?.serving?.set.release;
    if (!found || number === undefined) return undefined;
    const { spec, status } = this.#releases.get(found.name, number);
    const { manifest } = spec;
    return {
      artifact: status?.artifact?.digest.slice(0, 12),
      commit: spec.source.commit,
      ...prefixed("setting", spec.config.values),
      // Values are nobody's to compare; that one is missing is.
      ...prefixed("secret", mapTo(Object.keys(spec.secrets), "set")),
      ...prefixed("instances", found.status?.serving?.counts ?? countsFor(found, manifest)),
      ...prefixed(
        "resources",
        Object.fromEntries(
          [...Object.entries(manifest.services), ...Object.entries(manifest.workers)].map(
            ([name, { resources }]) => [name, resources && canonicalJson(resources)],
          ),
        ),
      ),
      routes: Object.values(manifest.services)
        .flatMap(({ routes }) => routes.map(({ host, path }) => host + path))
        .sort()
        .join(" "),
      strategy: manifest.rollout?.strategy,
      stores: Object.keys(manifest.stores).sort().join(" "),
    };
  }
}

function requireArtifact({ spec, status }: Release): Artifact {
  if (status?.artifact) return status.artifact;
  throw invalid("promote.not_built", `release ${spec.number} has no artifact`, {
    hint: "holdfast releases",
  });
}

type Facts = Readonly<Record<string, string | number | undefined>>;

export interface Difference {
  readonly what: string;
  readonly one: string | number | undefined;
  readonly other: string | number | undefined;
}

export interface EnvironmentDiff {
  readonly environments: readonly [string, string];
  readonly environment: readonly Difference[];
  /** App → what differs; nothing where both are the same. */
  readonly apps: Readonly<Record<string, readonly Difference[]>>;
}

function environmentFacts(place: EnvironmentView): Facts {
  const rules = Object.entries(place.rules).map(([rule, value]) => [
    rule,
    Array.isArray(value) ? value.join(" ") : String(value),
  ]);
  return {
    class: place.class,
    compute: place.compute,
    hosts: place.hosts,
    "policy version": place.policyVersion,
    ...prefixed("rule", Object.fromEntries(rules)),
  };
}

function differences(one: Facts | undefined, other: Facts | undefined): Difference[] {
  if (!one && !other) return [];
  if (!one || !other)
    return [{ what: "serves", one: one ? "yes" : "no", other: other ? "yes" : "no" }];
  return [...new Set([...Object.keys(one), ...Object.keys(other)])]
    .filter((what) => one[what] !== other[what])
    .map((what) => ({ what, one: one[what], other: other[what] }));
}

const prefixed = (
  prefix: string,
  values: Readonly<Record<string, string | number | undefined>>,
): Facts =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [`${prefix} ${name}`, value]));

const mapTo = (names: readonly string[], value: string): Record<string, string> =>
  Object.fromEntries(names.map((name) => [name, value]));
