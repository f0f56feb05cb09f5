// Releases and the apps that point at them, as they are written: the one place where a change of an
// app becomes a spec.

import { invalid } from "../kernel/error.ts";
import type { Actor } from "../kernel/resource-store.ts";
import { APP, type App, type AppSpec, appResourceName } from "../resources/app/app.ts";
import type { Inference } from "../resources/app/infer.ts";
import type { Manifest } from "../resources/app/manifest.ts";
import {
  type MigrationFacts,
  RELEASE,
  type Release,
  type ReleaseSpec,
  releaseName,
} from "../resources/release/release.ts";
import { SECRET } from "../resources/secret/secret.ts";
import { SETTINGS } from "../resources/settings/settings.ts";
import type { OperationDeps } from "./operation-deps.ts";

export interface Accepted {
  readonly app: string;
  readonly environment: string;
  readonly release: number;
  /** Ask for the rollout of this generation. */
  readonly generation: number;
  readonly urls: readonly string[];
  readonly inferred: readonly string[];
  /** False where nothing had to change. */
  readonly changed: boolean;
  /** Number of the train that it began. */
  readonly train?: number;
}

export interface SourceFacts extends MigrationFacts {
  readonly digest: string;
  readonly bytes: number;
  readonly folder: string;
  readonly commit?: string | undefined;
  /** ms since the epoch */
  readonly committedAt?: number | undefined;
  /** That commit, and changes that nobody committed. */
  readonly uncommitted?: boolean;
  /** Whose work it is, in small letters: accounts, names and addresses of its commit. */
  readonly authors?: readonly string[];
  /** Where the source comes from: tells two projects of one name apart. */
  readonly origin: string;
  readonly adopt: boolean;
  readonly ifChanged?: boolean;
  /** The push that it is deployed by. */
  readonly push?: string;
  /** The app that it must be. */
  readonly app?: string | undefined;
}

export class ReleaseWriter {
  readonly #deps: Pick<OperationDeps, "store" | "publicUrl">;

  constructor(deps: Pick<OperationDeps, "store" | "publicUrl">) {
    this.#deps = deps;
  }

  releasesOf(appName: string): readonly Release[] {
    return this.#deps.store.list(RELEASE, `${appName}/`);
  }

  secretsOf(
    appName: string,
  ): readonly { readonly name: string; readonly version: number; readonly updatedAt: number }[] {
    return this.#deps.store
      .list(SECRET, `${appName}/`)
      .filter(({ deleting }) => !deleting)
      .map(({ name, spec, updatedAt }) => ({
        name: name.split("/").at(-1) ?? name,
        version: spec.version,
        updatedAt,
      }));
  }

  get(appName: string, number: number): Release {
    const found = this.#deps.store.find(RELEASE, releaseName(appName, number));
    if (found) return found;
    throw invalid("release.not_found", `${appName} has no release ${number}`, {
      hint: `holdfast releases ${appName.split("/")[1]}`,
    });
  }

  release(
    before: App | undefined,
    environment: string,
    { manifest, inferred }: Inference,
    source: SourceFacts,
    reason: ReleaseSpec["reason"],
    actor: Actor,
    promotedFrom?: ReleaseSpec["promotedFrom"],
  ): Accepted {
    const { store } = this.#deps;
    const appName = appResourceName(environment, manifest.name);
    return store.transaction(() => {
      const last = this.releasesOf(appName).at(-1)?.spec.number ?? 0;
      const number = last + 1;
      const settings = store.find(SETTINGS, appName);
      const spec: ReleaseSpec = {
        environment,
        app: appName,
        number,
        reason,
        manifest,
        source: {
          digest: source.digest,
          bytes: source.bytes,
          commit: source.commit,
          ...(source.committedAt !== undefined && { committedAt: source.committedAt }),
          ...(source.uncommitted && { uncommitted: true }),
          ...(source.authors && { authors: source.authors }),
          ...(source.contracts && { contracts: source.contracts }),
          ...(source.rehearse && { rehearse: source.rehearse }),
          ...(source.push !== undefined && { push: source.push }),
          ...(source.folder !== "" && { folder: source.folder }),
          inferred,
        },
        config: {
          version: settings?.generation ?? 0,
          values: { ...manifest.config, ...settings?.spec.values },
          set: settings?.spec.values ?? {},
        },
        secrets: this.currentSecrets(appName),
        createdBy: actor.name,
        ...(promotedFrom && { promotedFrom }),
      };
      store.writeSpec(RELEASE, releaseName(appName, number), spec, {
        actor,
        action: reason,
        expectedGeneration: 0,
      });
      const appSpec: AppSpec = {
        environment,
        release: number,
        restarts: before?.spec.restarts ?? {},
        scale: before?.spec.scale ?? {},
        reason: reason === "secret" ? "config" : reason,
        origin: source.adopt && source.origin === "" ? before?.spec.origin : source.origin,
      };
      return { ...this.write(appName, appSpec, reason, actor), inferred };
    });
  }

  write(appName: string, spec: AppSpec, action: string, actor: Actor): Accepted {
    const before = this.#deps.store.find(APP, appName);
    const written = this.#deps.store.writeSpec(APP, appName, spec, {
      actor,
      action,
    }) as App;
    const { manifest } = this.get(appName, spec.release).spec;
    return {
      ...this.accepted(written, manifest),
      changed: written.generation !== before?.generation,
    };
  }

  accepted(app: App, manifest: Manifest): Omit<Accepted, "changed"> {
    const hosts = Object.values(manifest.services).flatMap(({ routes }) => routes);
    return {
      app: manifest.name,
      environment: app.spec.environment,
      release: app.spec.release,
      generation: app.generation,
      urls: hosts.map(({ host, path }) => this.#deps.publicUrl(host) + (path === "/" ? "/" : path)),
      inferred: [],
    };
  }

  currentSecrets(appName: string): Record<string, number> {
    return Object.fromEntries(this.secretsOf(appName).map(({ name, version }) => [name, version]));
  }
}
