// Pushes, as they come in and as they are driven: fetched, handed to change control as a deploy of the
// repository's own, followed, and told back.

import { asHoldfastError, type HoldfastError, invalid, messageOf } from "../kernel/error.ts";
import { refTo } from "../kernel/kind.ts";
import { EVERYWHERE } from "../resources/account/account.ts";
import { APP } from "../resources/app/app.ts";
import { CHANGE } from "../resources/change/change.ts";
import {
  type CommitState,
  moved,
  NEW_PUSH,
  PUSH,
  type Push,
  type PushSpec,
  type PushStatus,
  type PushStatusFields,
  pushName,
} from "../resources/push/push.ts";
import type { PushEvent } from "../resources/push/push-driver.ts";
import type { PushObserved } from "../resources/push/push-plan.ts";
import { RELEASE } from "../resources/release/release.ts";
import {
  projectOf,
  REPOSITORY,
  type Repository,
  type RepositorySpec,
} from "../resources/repository/repository.ts";
import type { Principal } from "./access.ts";
import type { ChangeOperations, Outcome } from "./change-operations.ts";
import { findEnvironment } from "./environment-view.ts";
import type { OperationDeps } from "./operation-deps.ts";
import { rolloutStateOf } from "./rollout-state.ts";

export const PUSHES_KEPT = 100;
/** Together some hours. */
const FETCH_ATTEMPTS_MAX = 40;
const RETRY_FIRST_MS = 2_000;
const RETRY_MAX_MS = 5 * 60_000;

const retryIn = (attempts: number): number =>
  Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** Math.max(0, attempts - 1));

export class PushOperations {
  readonly #deps: OperationDeps;
  readonly #changes: ChangeOperations;

  constructor(deps: OperationDeps, changes: ChangeOperations) {
    this.#deps = deps;
    this.#changes = changes;
  }

  /** Newest first. */
  of(repository: string): readonly Push[] {
    return this.#deps.store.list(PUSH, `${repository}/`).toReversed();
  }

  find(name: string): Repository {
    const found = this.#deps.store.find(REPOSITORY, name);
    if (found) return found;
    throw invalid("repository.not_found", `there is no repository ${name}`, {
      hint: "holdfast repository list",
    });
  }

  /** What a verified delivery asks for. @throws webhook.conflict where it came before */
  receive(
    { name, spec }: Repository,
    event: PushEvent,
    from: string,
  ): { readonly push: number } | { readonly ignored: string } {
    const { store, clock } = this.#deps;
    const { project, ref, commit, message, pusher, authors, delivery, bodyDigest } = event;
    if (project.toLowerCase() !== projectOf(spec.url).toLowerCase())
      return { ignored: `it is about ${project || "no repository"}, not ${projectOf(spec.url)}` };
    if (ref !== `refs/heads/${spec.branch}`)
      return { ignored: `${ref} is not deployed, ${spec.branch} is` };
    const pushes = this.of(name);
    const same = pushes.find(
      (one) => one.spec.delivery === delivery || one.spec.bodyDigest === bodyDigest,
    );
    // One that never got here may come once more.
    const isLost = same?.status?.phase === "refused" && same.status.source === undefined;
    if (same && !isLost)
      throw invalid(
        "webhook.conflict",
        `this delivery came before: it is push ${same.spec.number}`,
        {
          hint: `holdfast repository show ${name}`,
        },
      );
    const number = (pushes[0]?.spec.number ?? 0) + 1;
    const { environment } = spec;
    const own: PushSpec = {
      repository: name,
      number,
      environment,
      commit,
      ref,
      message,
      pusher,
      authors,
      delivery,
      bodyDigest,
      receivedAt: clock.now(),
      from,
    };
    const actor = { name: actorOf(name), from };
    store.writeSpec(PUSH, pushName(name, number), own, {
      actor,
      action: "push",
      expectedGeneration: 0,
    });
    return { push: number };
  }

  // --- driven by the reconciler; see PushDriver

  observe({ spec, status }: Push): Omit<PushObserved, "now"> {
    const repository = this.#repositoryOf(spec);
    return {
      outcome: this.#outcomeOf(spec, status),
      canTell: repository?.spec.token !== undefined,
    };
  }

  async fetch(push: Push, signal: AbortSignal): Promise<void> {
    const { spec } = push;
    const repository = this.#repositoryOf(spec);
    if (!repository)
      return this.#move(push, "superseded", "its repository is not connected any more");
    const { folder } = repository.spec;
    try {
      const remote = this.#remoteOf(repository);
      const { archive, commit, committedAt } = await this.#deps.repositories.fetch(
        repository.name,
        remote,
        folder,
        signal,
      );
      if (commit !== spec.commit) {
        const text = `${repository.spec.branch} is at ${commit.slice(0, 12)} by now`;
        return this.#move(push, "superseded", text);
      }
      const { digest, bytes } = await this.#deps.sources.add(archive(), push.name, signal);
      this.#keep(push, (status) => ({ ...status, source: { digest, bytes, committedAt } }));
    } catch (error) {
      this.#failFetch(push, asHoldfastError(error));
    }
  }

  async submit(push: Push): Promise<void> {
    const { spec, status } = push;
    const repository = this.#repositoryOf(spec);
    const source = status?.source;
    if (!repository || !source)
      return this.#move(push, "superseded", "its repository is not connected any more");
    const { name } = repository;
    const known = this.#handedOver(push);
    if (known) return this.#accept(push, known);
    try {
      const facts = {
        digest: source.digest,
        bytes: source.bytes,
        folder: name,
        commit: spec.commit,
        committedAt: source.committedAt,
        authors: spec.authors,
        origin: originOf(repository.spec),
        adopt: false,
        ifChanged: true,
        push: pushName(name, spec.number),
      };
      const reason = `${spec.pusher} pushed ${spec.commit.slice(0, 12)}${spec.message ? `: ${spec.message}` : ""}`;
      const outcome = await this.#changes.submit(
        spec.environment,
        { action: "deploy", source: facts },
        principalOf(repository, spec.from),
        // Who connected it knows its secret, and could have said so themselves.
        { reason, authors: [...spec.authors, repository.spec.connectedBy] },
      );
      this.#accept(push, outcome);
    } catch (error) {
      const known = asHoldfastError(error);
      if (known.actsNext !== "caller") throw known;
      const phase = known.code === "deploy.held" ? "held" : "refused";
      this.#move(push, phase, known.hint ? `${known.message}; ${known.hint}` : known.message);
    }
  }

  async tell(push: Push, state: CommitState, signal: AbortSignal): Promise<void> {
    const { spec, status } = push;
    const repository = this.#repositoryOf(spec);
    if (!repository || !status) return;
    try {
      signal.throwIfAborted();
      const deployment = await this.#deps.tellForge(
        {
          ...repository.spec,
          project: projectOf(repository.spec.url),
          token: this.#tokenOf(repository)?.reveal() ?? "",
          isProduction: findEnvironment(this.#deps.store, spec.environment).class === "production",
        },
        {
          commit: spec.commit,
          branch: repository.spec.branch,
          state,
          context: `holdfast/${spec.environment}`,
          description: status.text,
          url: status.accepted?.url,
          deployment: status.report.deployment,
        },
      );
      const told = { told: state, attempts: 0, nextAt: 0 };
      this.#keep(push, (now) => ({
        ...now,
        report: { ...told, ...(deployment !== undefined && { deployment }) },
      }));
    } catch (error) {
      const now = this.#deps.clock.now();
      this.#keep(push, (one) => {
        const attempts = one.report.attempts + 1;
        const nextAt = now + retryIn(attempts);
        return { ...one, report: { ...one.report, attempts, nextAt, problem: messageOf(error) } };
      });
    }
  }

  // --- inside

  #failFetch(push: Push, problem: HoldfastError): void {
    const attempts = (push.status?.attempts ?? 0) + 1;
    const isLasting = problem.actsNext === "caller" || attempts >= FETCH_ATTEMPTS_MAX;
    if (isLasting) {
      this.#move(push, "refused", `could not be fetched: ${messageOf(problem)}`);
      return;
    }
    const nextAt = this.#deps.clock.now() + retryIn(attempts);
    this.#keep(push, (status) => ({
      ...status,
      attempts,
      nextAt,
      text: `could not be fetched yet: ${messageOf(problem)}`,
    }));
  }

  #accept(push: Push, outcome: Outcome): void {
    const { app, release, generation, change, changed, urls, pending } = outcome;
    const [url] = urls;
    this.#keep(push, (status) => ({
      ...moved(
        status,
        pending === undefined ? (changed ? "deploying" : "succeeded") : "waiting",
        pending === undefined
          ? changed
            ? `is release ${release} of ${app}`
            : `release ${release} of ${app} has this source already`
          : `change ${change} ${pending}`,
        this.#deps.clock.now(),
      ),
      accepted: {
        app,
        release,
        generation,
        changed,
        ...(change !== undefined && { change }),
        ...(url !== undefined && { url }),
      },
    }));
  }

  // A kill between the two leaves a release, or a change, that names the push.
  #handedOver({ name, spec }: Push): Outcome | undefined {
    const { store, publicUrl } = this.#deps;
    const prefix = `${spec.environment}/`;
    const release = store
      .list(RELEASE, prefix)
      .find(
        (one) =>
          one.spec.source.push === name &&
          one.spec.source.commit === spec.commit &&
          one.createdAt >= spec.receivedAt,
      );
    const change = store.list(CHANGE).find((one) => {
      const { source } = one.spec.request as { source?: { push?: string } };
      return source?.push === name && one.spec.askedAt >= spec.receivedAt;
    });
    const app = release ? store.find(APP, release.spec.app) : undefined;
    if (!release && !change) return undefined;
    const executed = change?.spec.executed;
    const hosts = Object.values(release?.spec.manifest.services ?? {}).flatMap(
      ({ routes }) => routes,
    );
    return {
      app: release?.spec.manifest.name ?? change?.spec.app ?? "",
      environment: spec.environment,
      release: release?.spec.number ?? 0,
      generation: executed?.generation ?? app?.generation ?? 0,
      urls: hosts.map(({ host, path }) => publicUrl(host) + path),
      inferred: [],
      changed: true,
      ...(change && { change: change.spec.number }),
      ...(change && !executed && { pending: change.status?.text ?? "is asked for" }),
    };
  }

  #outcomeOf({ environment }: PushSpec, status: PushStatus | undefined): PushObserved["outcome"] {
    const accepted = status?.accepted;
    if (!accepted) return undefined;
    const { store } = this.#deps;
    let { generation } = accepted;
    if (accepted.change !== undefined) {
      const change = this.#changes.find(accepted.change);
      const { executed } = change.spec;
      const { phase, text } = change.status ?? { phase: "asked", text: "is asked for" };
      if (!executed) {
        const isOver = ["rejected", "withdrawn", "expired"].includes(phase);
        return {
          phase: isOver ? "failed" : "waiting",
          text: `change ${accepted.change} ${phase}: ${text}`,
        };
      }
      generation = executed.generation;
    }
    const release = accepted.release || "its release";
    if (!accepted.changed)
      return { phase: "succeeded", text: `release ${release} has this source already` };
    const now = rolloutStateOf(store, `${environment}/${accepted.app}`, generation);
    if (now.state === "succeeded")
      return {
        phase: "succeeded",
        text: `release ${release} of ${accepted.app} carries all traffic`,
      };
    if (now.state === "failed") return { phase: "failed", text: now.reason };
    return { phase: "deploying", text: `release ${release} of ${accepted.app} is rolled out` };
  }

  #repositoryOf({ repository }: PushSpec): Repository | undefined {
    return this.#deps.store.find(REPOSITORY, repository);
  }

  #remoteOf(repository: Repository) {
    const { url, branch, provider } = repository.spec;
    return { url, branch, provider, token: this.#tokenOf(repository) };
  }

  #tokenOf({ name, spec }: Repository) {
    return (
      spec.token && this.#deps.sealed.read(refTo(REPOSITORY, name), "token", spec.token.version)
    );
  }

  #move(push: Push, phase: PushStatusFields["phase"], text: string): void {
    this.#keep(push, (status) => moved(status, phase, text, this.#deps.clock.now()));
  }

  #keep(push: Push, change: (status: PushStatusFields) => PushStatusFields): void {
    const { store, clock } = this.#deps;
    const fresh = store.find(PUSH, push.name)?.status;
    const status = fresh ?? { ...NEW_PUSH, since: clock.now() };
    store.writeStatus(push, push.uid, { ...status, ...change(status) });
  }
}

/** It is nobody's account, and can't be: accounts have no colon in their names. */
export const actorOf = (repository: string): string => `repository:${repository}`;

// Like a developer there, and nowhere else: what production asks of one, it asks of a push.
const principalOf = ({ name, spec }: Repository, from: string): Principal => ({
  name: actorOf(name),
  from,
  kind: "service",
  grants: [`${spec.environment}/developer`].filter((grant) => !grant.startsWith(EVERYWHERE)),
});

const originOf = ({ url, folder }: RepositorySpec): string =>
  folder === undefined ? url : `${url}#${folder}`;
