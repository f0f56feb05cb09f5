// What people ask of apps, as writes of specs: deploy, rollback, restart, scale, settings, secrets,
// destroy. Everything is checked before anything is written.

import { invalid } from "../kernel/error.ts";
import type { AnyKind } from "../kernel/kind.ts";
import type { Redacted } from "../kernel/redacted.ts";
import { canonicalJson } from "../kernel/resource.ts";
import type { Actor } from "../kernel/resource-store.ts";
import { APP, type App, type AppSpec, appResourceName } from "../resources/app/app.ts";
import { manifestFor } from "../resources/app/environment-overlay.ts";
import {
  INFERENCE_FILES,
  type Inference,
  inferManifest,
  usesDockerfile,
} from "../resources/app/infer.ts";
import type { Manifest } from "../resources/app/manifest.ts";
import { releaseInForce } from "../resources/app/release-in-force.ts";
import { rollbackTarget, servedOf, wasTakenBack } from "../resources/app/rollback-target.ts";
import { CATALOG } from "../resources/catalog.ts";
import type { Release } from "../resources/release/release.ts";
import { SECRET, secretResourceName } from "../resources/secret/secret.ts";
import { SETTINGS } from "../resources/settings/settings.ts";
import { TASK } from "../resources/task/task.ts";
import {
  Admission,
  assertConfirmed,
  assertCounts,
  assertSecretValue,
  assertVariable,
} from "./admission.ts";
import { assertCodeFrom, assertInstances, assertRules } from "./environment-admission.ts";
import { findEnvironment } from "./environment-view.ts";
import { isHeldIn } from "./holds.ts";
import type { OperationDeps } from "./operation-deps.ts";
import { type Accepted, ReleaseWriter, type SourceFacts } from "./release-writer.ts";

/** Names that contain the one that is looked for come with it. */
const EVENTS_MAX = 1_000;

export class AppOperations {
  readonly #deps: OperationDeps;
  readonly #admission: Admission;
  readonly #releases: ReleaseWriter;

  constructor(deps: OperationDeps) {
    this.#deps = deps;
    this.#admission = new Admission(deps);
    this.#releases = new ReleaseWriter(deps);
  }

  requireEnvironment(environment: string): void {
    this.#admission.requireEnvironment(environment);
  }

  findApp(environment: string, app: string): App | undefined {
    return this.#deps.store.find(APP, appResourceName(environment, app));
  }

  getApp(environment: string, app: string): App {
    this.requireEnvironment(environment);
    const found = this.findApp(environment, app);
    if (found) return found;
    const names = this.#deps.store
      .list(APP, `${environment}/`)
      .map(({ name }) => name.split("/")[1]);
    throw invalid("app.not_found", `${environment} has no app ${app}`, {
      hint: names.length > 0 ? `its apps are: ${names.join(", ")}` : "holdfast deploy <folder>",
    });
  }

  /** One that is there, or was: what it said last is asked for after it was destroyed. */
  requireKnown(environment: string, app: string): void {
    this.requireEnvironment(environment);
    if (this.findApp(environment, app)) return;
    const name = appResourceName(environment, app);
    const events = this.#deps.audit.search({ kind: APP.name, name, limit: EVENTS_MAX });
    if (!events.some((event) => event.name === name)) this.getApp(environment, app);
  }

  releasesOf(appName: string): readonly Release[] {
    return this.#releases.releasesOf(appName);
  }

  deploy(environment: string, source: SourceFacts, actor: Actor): Accepted {
    this.#admission.requireEnvironment(environment);
    const files = this.#deps.sources.readFiles(source.digest, INFERENCE_FILES);
    const inferred = inferManifest({ folder: source.folder, files });
    const place = findEnvironment(this.#deps.store, environment);
    const manifest = manifestFor(inferred.manifest, environment, place.hosts);
    const inference = { ...inferred, manifest };
    if (source.app !== undefined && source.app !== manifest.name)
      throw invalid(
        "app.other_name",
        `expected app ${source.app}, but holdfast.yaml names ${manifest.name}`,
        {
          hint: `say name: ${source.app} in holdfast.yaml, or push it to where ${manifest.name} is`,
        },
      );
    const appName = appResourceName(environment, manifest.name);
    const before = this.findApp(environment, manifest.name);
    this.#admission.assertName(before, source);
    assertCodeFrom(place, undefined);
    assertRules(place, manifest, before?.spec.scale);
    this.#admission.assertRoutesFree(appName, manifest);
    this.#admission.assertSecrets(environment, manifest, this.#releases.currentSecrets(appName));
    this.#admission.assertCompute(
      environment,
      manifest,
      usesDockerfile(manifest, { folder: source.folder, files }),
    );
    if (source.ifChanged && before && this.#serves(before, source.digest)) {
      return { ...this.#releases.accepted(before, manifest), changed: false };
    }
    return this.#releases.release(before, environment, inference, source, "deploy", actor);
  }

  /** @param holds  what it goes back from is not deployed again by itself */
  rollback(
    environment: string,
    app: string,
    to: number | undefined,
    actor: Actor,
    { holds = true }: { readonly holds?: boolean } = {},
  ): Accepted {
    const before = this.#getDeployed(environment, app);
    const target = this.#rollbackTarget(before, to);
    this.#admission.assertRoutesFree(before.name, target.spec.manifest);
    const { holdsNothing: _, ...known } = before.spec;
    const spec: AppSpec = {
      ...known,
      release: target.spec.number,
      reason: "rollback",
      ...(!holds && { holdsNothing: true }),
    };
    const { number, source } = target.spec;
    const isKnownBad = wasTakenBack(before, number) || isHeldIn(this.#deps, before.name, source);
    return this.#deps.store.transaction(() => {
      this.#restoreConfiguration(target, actor);
      const accepted = this.#releases.write(before.name, spec, "rollback", actor);
      const note = `release ${number} was taken back before`;
      return isKnownBad ? { ...accepted, inferred: [...accepted.inferred, note] } : accepted;
    });
  }

  restart(environment: string, app: string, actor: Actor): Accepted {
    const before = this.#getDeployed(environment, app);
    const release = releaseInForce(before);
    const key = String(release);
    const restarts = { ...before.spec.restarts, [key]: (before.spec.restarts[key] ?? 0) + 1 };
    const spec: AppSpec = { ...before.spec, release, restarts, reason: "restart" };
    return this.#releases.write(before.name, spec, "restart", actor);
  }

  scale(
    environment: string,
    app: string,
    counts: Readonly<Record<string, number>>,
    actor: Actor,
  ): Accepted {
    const before = this.#getDeployed(environment, app);
    const release = releaseInForce(before);
    const { manifest } = this.#releases.get(before.name, release).spec;
    assertCounts(app, manifest, counts);
    const scale = { ...before.spec.scale, ...counts };
    assertInstances(findEnvironment(this.#deps.store, environment), manifest, scale);
    const spec: AppSpec = { ...before.spec, release, scale, reason: "scale" };
    return this.#releases.write(before.name, spec, "scale", actor);
  }

  // The next change must start from what the release had, not from what was just left behind. A
  // secret that it did not have yet stays: removing it would lose it.
  #restoreConfiguration({ spec }: Release, actor: Actor): void {
    const options = { actor, action: "rollback" };
    const { store } = this.#deps;
    if (store.find(SETTINGS, spec.app)) {
      store.writeSpec(SETTINGS, spec.app, { values: spec.config.set }, options);
    }
    for (const [name, version] of Object.entries(spec.secrets)) {
      store.writeSpec(SECRET, secretResourceName(spec.app, name), { version }, options);
    }
  }

  settingsOf(appName: string): Readonly<Record<string, string>> {
    return this.#deps.store.find(SETTINGS, appName)?.spec.values ?? {};
  }

  /** `null` unsets. Where the app is deployed, a release with the new settings is rolled out. */
  changeSettings(
    environment: string,
    app: string,
    changes: Readonly<Record<string, string | null>>,
    actor: Actor,
  ): Accepted {
    this.#admission.requireEnvironment(environment);
    const appName = appResourceName(environment, app);
    const manifest = this.#manifestOf(environment, app);
    const secrets = this.secretsOf(appName);
    for (const [key, value] of Object.entries(changes)) {
      assertVariable(key, "setting");
      if (value !== null) this.#admission.assertSettable(app, key, manifest, secrets);
    }
    const values = { ...this.settingsOf(appName) };
    for (const [key, value] of Object.entries(changes)) {
      if (value === null) delete values[key];
      else values[key] = value;
    }
    return this.#deps.store.transaction(() => {
      this.#deps.store.writeSpec(SETTINGS, appName, { values }, { actor, action: "config" });
      return this.#rerelease(environment, app, "config", actor);
    });
  }

  secretsOf(appName: string): ReturnType<ReleaseWriter["secretsOf"]> {
    return this.#releases.secretsOf(appName);
  }

  /** Seals a value; it is used once `useSecret` says so. Returns its version. */
  sealSecret(environment: string, app: string, name: string, value: Redacted): number {
    this.#admission.requireEnvironment(environment);
    assertVariable(name, "secret");
    if (this.settingsOf(appResourceName(environment, app))[name] !== undefined)
      throw invalid("secret.is_setting", `${name} is a setting of ${app} already`, {
        hint: `holdfast config unset ${app} ${name}, then set the secret`,
      });
    this.#admission.assertNoStore(app, name, this.#manifestOf(environment, app), "secret");
    assertSecretValue(app, name, value);
    return this.#deps.secrets.add(appResourceName(environment, app), name, value);
  }

  useSecret(
    environment: string,
    app: string,
    name: string,
    version: number,
    actor: Actor,
  ): Accepted {
    const appName = appResourceName(environment, app);
    return this.#deps.store.transaction(() => {
      const options = { actor, action: "secret" };
      this.#deps.store.writeSpec(SECRET, secretResourceName(appName, name), { version }, options);
      return this.#rerelease(environment, app, "secret", actor);
    });
  }

  removeSecret(environment: string, app: string, name: string, actor: Actor): Accepted {
    const appName = appResourceName(environment, app);
    const found = this.#deps.store.find(SECRET, secretResourceName(appName, name));
    if (!found) {
      throw invalid("secret.not_found", `${app} has no secret ${name}`, {
        hint: `holdfast secret list ${app}`,
      });
    }
    if (this.#manifestOf(environment, app)?.secrets.includes(name))
      throw invalid("secret.needed", `${app} says in its holdfast.yaml that it needs ${name}`, {
        hint: `take ${name} out of secrets there and deploy, then remove it`,
      });
    return this.#deps.store.transaction(() => {
      this.#deps.store.markDeleting(found, { actor, action: "secret-remove" });
      this.#deps.store.forget(found, found.uid);
      // Older releases may be rolled back to: their versions stay sealed until the app is destroyed.
      return this.#rerelease(environment, app, "secret", actor);
    });
  }

  destroy(
    environment: string,
    app: string,
    confirm: string,
    deleteData: boolean,
    actor: Actor,
  ): Accepted & { readonly uid: string } {
    const before = this.getApp(environment, app);
    assertConfirmed(app, confirm);
    return this.#deps.store.transaction(() => {
      if (deleteData) {
        this.#deps.store.writeSpec(
          APP,
          before.name,
          { ...before.spec, deleteData },
          { actor, action: "delete-data" },
        );
      }
      this.#deps.store.markDeleting(before, { actor, action: "destroy" });
      // Releases stay until the app's instances are gone: draining needs to know their grace.
      for (const kind of CATALOG.filter(({ goesWithApp }) => goesWithApp))
        this.#removeBelongings(kind, before.name, actor);
      this.#deps.secrets.removeAll(before.name);
      for (const task of this.#deps.store.list(TASK, `${before.name}/`))
        this.#deps.store.markDeleting(task, { actor, action: "destroy" });
      const nothing = { release: 0, generation: 0, urls: [], inferred: [], changed: true };
      return { app, environment, ...nothing, uid: before.uid };
    });
  }

  #removeBelongings(kind: AnyKind, appName: string, actor: Actor): void {
    for (const one of this.#deps.store.list(kind, appName)) {
      if (one.name !== appName && !one.name.startsWith(`${appName}/`)) continue;
      this.#deps.store.markDeleting(one, { actor, action: "destroy" });
      this.#deps.store.forget(one, one.uid);
    }
  }

  #serves(app: App, sourceDigest: string): boolean {
    const serving = app.status?.serving?.set.release;
    if (serving === undefined || serving !== app.spec.release) return false;
    return this.#releases.get(app.name, serving).spec.source.digest === sourceDigest;
  }

  #getDeployed(environment: string, app: string): App {
    const found = this.getApp(environment, app);
    this.#admission.assertStays(found);
    if (found.spec.release > 0) return found;
    throw invalid("app.not_deployed", `${app} was never deployed`, {
      hint: "holdfast deploy <folder>",
    });
  }

  #manifestOf(environment: string, app: string): Manifest | undefined {
    const found = this.findApp(environment, app);
    if (!found || found.spec.release === 0) return undefined;
    return this.#releases.get(found.name, releaseInForce(found, true)).spec.manifest;
  }

  #rollbackTarget(app: App, to: number | undefined): Release {
    if (to !== undefined) {
      const release = this.#releases.get(app.name, to);
      if (release.status?.phase === "ready") return release;
      throw invalid("release.not_built", `release ${to} of ${app.name} was never built`, {
        hint: `holdfast releases ${app.name.split("/")[1]}`,
      });
    }
    const isHeld = (release: number): boolean =>
      isHeldIn(this.#deps, app.name, this.#releases.get(app.name, release).spec.source);
    const target = rollbackTarget(app, isHeld);
    if (target !== undefined) return this.#releases.get(app.name, target);
    const name = app.name.split("/")[1];
    const [back] = servedOf(app).filter(
      (one) => one !== app.status?.serving?.set.release && (wasTakenBack(app, one) || isHeld(one)),
    );
    throw invalid(
      "release.no_previous",
      `${name} has no earlier release that served${back === undefined ? "" : " and was not taken back"}`,
      {
        hint:
          back === undefined
            ? `holdfast releases ${name}`
            : `holdfast rollback ${name} --to ${back} goes back to one that was; holdfast releases ${name}`,
      },
    );
  }

  // A change of settings or secrets is a new release of what is deployed; nothing, before a deploy.
  #rerelease(
    environment: string,
    app: string,
    reason: "config" | "secret",
    actor: Actor,
  ): Accepted {
    const before = this.findApp(environment, app);
    if (before) this.#admission.assertStays(before);
    const appName = appResourceName(environment, app);
    if (!before || before.spec.release === 0) {
      return {
        app,
        environment,
        release: 0,
        generation: 0,
        urls: [],
        inferred: [],
        changed: false,
      };
    }
    const base = this.#releases.get(appName, releaseInForce(before, true));
    const { manifest, source } = base.spec;
    const secrets = this.#releases.currentSecrets(appName);
    const values = { ...manifest.config, ...this.settingsOf(appName) };
    if (
      canonicalJson([values, secrets]) ===
      canonicalJson([base.spec.config.values, base.spec.secrets])
    ) {
      return { ...this.#releases.accepted(before, manifest), changed: false };
    }
    const inference: Inference = { manifest, input: { name: app }, inferred: source.inferred };
    const facts = {
      ...source,
      contracts: undefined,
      rehearse: undefined,
      // What is new in it is no commit's.
      committedAt: undefined,
      folder: source.folder ?? "",
      origin: before.spec.origin ?? "",
      adopt: true,
    };
    return this.#releases.release(
      before,
      environment,
      inference,
      facts,
      reason,
      actor,
      base.spec.promotedFrom,
    );
  }
}
