// What is known of a change before it is asked for or run: what it would write, of which apps, what it
// changes in them, what its migrations break, how risky that is; and what stands in its way. A train is
// assessed car by car: what holds for an app holds for it on a train, too.

import { invalid } from "../kernel/error.ts";
import type { App } from "../resources/app/app.ts";
import { APP } from "../resources/app/app.ts";
import {
  type MigrationFacts,
  RELEASE,
  type ReleaseSpec,
  releaseName,
} from "../resources/release/release.ts";
import type { MigrationFinding } from "../resources/release/release-driver.ts";
import type { Car } from "../resources/train/train.ts";
import type { Access, Principal } from "./access.ts";
import { assertAccepted, assertExpands, migrationFacts, withMigrations } from "./change-checks.ts";
import type { ChangeFacts, ChangeOptions } from "./change-record.ts";
import { pinned } from "./change-record.ts";
import { repairedRelease } from "./change-repair.ts";
import { type BudgetLeft, riskOf } from "./change-risk.ts";
import type { ChangeRequest, ChangeRunner, Rehearsal } from "./change-runner.ts";
import { assertCommitted } from "./environment-admission.ts";
import type { EnvironmentView } from "./environment-view.ts";
import { budgetsLeft } from "./error-budget.ts";
import { assertNotHeld } from "./holds.ts";
import { assertMetrics } from "./metric-check.ts";
import { findingsOf, sourceDifference } from "./migration-assessment.ts";
import type { OperationDeps, SourceDifference } from "./operation-deps.ts";

/** One app that the change is about. */
interface Part {
  readonly app: string;
  readonly rehearsal: Rehearsal;
  readonly before: ReleaseSpec | undefined;
  readonly source: SourceDifference | undefined;
  readonly migrations: readonly MigrationFinding[];
  readonly budgets: readonly BudgetLeft[];
  readonly risk: ReturnType<typeof riskOf>;
}

export interface Assessment {
  /** What is meant: with the release that is the default now, and what its migrations take away. */
  readonly request: ChangeRequest;
  readonly rehearsal: Rehearsal;
  readonly parts: readonly Part[];
  readonly facts: ChangeFacts;
}

export class ChangeAssessor {
  readonly #deps: OperationDeps;
  readonly #runner: ChangeRunner;
  readonly #access: Access;

  constructor(deps: OperationDeps, runner: ChangeRunner, access: Access) {
    this.#deps = deps;
    this.#runner = runner;
    this.#access = access;
  }

  /** @throws what running it would be refused with */
  async assess(
    place: EnvironmentView,
    asked: ChangeRequest,
    actor: Principal,
    options: ChangeOptions,
  ): Promise<Assessment> {
    const { name } = place;
    const meant = pinned(asked, this.#runner.rehearse(name, asked, actor));
    const parts: Part[] = [];
    for (const one of partsOf(meant)) parts.push(await this.#assessPart(name, one, actor));
    const known = parts.map(({ app, migrations, source }): [string, MigrationFacts] => {
      // Whatever changed may change what the release command does.
      const hasChanged = (source?.files ?? 0) > 0;
      return [app, migrationFacts(place, migrations, hasChanged, options)];
    });
    const request = withMigrations(meant, new Map(known));
    const rehearsal = this.#runner.rehearse(name, request, actor);
    return { request, rehearsal, parts, facts: factsOf(parts) };
  }

  /** @throws what stands in its way, whoever asks */
  async assertFit(
    place: EnvironmentView,
    { request, parts }: Assessment,
    actor: Principal,
    options: ChangeOptions,
  ): Promise<void> {
    if (request.action === "deploy") assertCommitted(place, request.source);
    for (const part of parts) {
      const { rehearsal, migrations, app } = part;
      assertExpands(place, rehearsal, migrations, options);
      await this.#assertMetrics(place.name, rehearsal);
      this.#assertReturns(place.name, request, rehearsal, options);
      // A person who asks for what was taken back means it.
      const isNew = ["deploy", "promote", "rollback"].includes(request.action);
      if (actor.kind === "service" && isNew && rehearsal.release)
        assertNotHeld(this.#deps, `${place.name}/${app}`, rehearsal.release.source);
    }
  }

  /**
   * Whether they may run it themselves; policies of one's own look at all that is known of it, and at
   * each of its apps. What a policy forbids is not asked for either; what a role lacks may be.
   *
   * @throws access.forbidden
   */
  assertAllowed(
    { name, rules }: EnvironmentView,
    { request, parts }: Assessment,
    actor: Principal,
    options: ChangeOptions,
  ): { readonly may: boolean } {
    let may = true;
    for (const { app, source, budgets, risk, rehearsal } of parts) {
      const context = {
        action: request.action,
        reason: options.reason ?? "",
        emergency: options.emergency === true,
        risk: risk.score,
        strategy: rehearsal.release?.manifest.rollout.strategy ?? "",
        commit: rehearsal.release?.source.commit ?? "",
        migration: (source?.migrations.length ?? 0) > 0,
        budgetSpent: budgets.some(({ left }) => left <= 0),
      };
      const answer = this.#access.decide(actor, request.action, name, app, context);
      const isForbidden = answer.rules.length > 0 || answer.problem !== undefined;
      if (options.emergency && rules.protected)
        this.#access.require(actor, "emergency", name, app, context);
      if (answer.allowed) continue;
      may = false;
      const mayAsk =
        rules.protected && this.#access.decide(actor, "ask", name, app, context).allowed;
      if (!isForbidden && mayAsk) continue;
      const refusal = this.#access.refusal(actor, request.action, name, answer);
      this.#access.remember(actor, request.action, name, app, refusal.message);
      throw refusal;
    }
    return { may };
  }

  releaseBefore(environment: string, { accepted }: Rehearsal): ReleaseSpec | undefined {
    const serving = this.#appOf(environment, accepted.app)?.status?.serving?.set.release;
    return serving === undefined ? undefined : this.#release(environment, accepted.app, serving);
  }

  async #assessPart(environment: string, request: ChangeRequest, actor: Principal): Promise<Part> {
    const rehearsal = this.#runner.rehearse(environment, request, actor);
    const { app } = rehearsal.accepted;
    const before = this.releaseBefore(environment, rehearsal);
    const source = await this.#sourceDifference(before, rehearsal);
    const migrations =
      source && rehearsal.release
        ? await findingsOf(this.#deps, `${environment}/${app}`, rehearsal.release, source)
        : [];
    const status = this.#appOf(environment, app)?.status;
    const budgets = (await budgetsLeft(this.#deps, environment, app)).map((budget) => {
      const repairs = repairedRelease(budget, status);
      return { ...budget, ...(repairs !== undefined && { repairs }) };
    });
    const known = { rehearsal, source, migrations, budgets };
    const now = this.#deps.clock.now();
    const risk = riskOf({ ...known, app: this.#appOf(environment, app), now });
    return { app, before, ...known, risk };
  }

  // What a rollback can't bring back is said before, not after.
  #assertReturns(
    environment: string,
    request: ChangeRequest,
    { accepted }: Rehearsal,
    options: ChangeOptions,
  ): void {
    if (request.action !== "rollback") return;
    const gone = this.contractedSince(environment, accepted.app, accepted.release);
    if (gone.length === 0) return;
    if (options.acceptContract) {
      assertAccepted(options.reason);
      return;
    }
    throw invalid(
      "rollback.contracted",
      `release ${accepted.release} would run on a schema that it does not know: ${gone.join("; ")}`,
      {
        hint: "its data does not come back by itself; --accept-contract --reason <why> goes back all the same",
      },
    );
  }

  /** What newer releases took from the schema that this one needs. */
  contractedSince(environment: string, app: string, release: number): readonly string[] {
    const { released = [], taken = {} } = this.#appOf(environment, app)?.status ?? {};
    return released
      .filter((number) => number > release)
      .flatMap((number) => {
        const read = this.#release(environment, app, number)?.source.contracts ?? [];
        const seen = taken[number] ?? [];
        return [...new Set([...read, ...seen])].map((text) => `release ${number} ${text}`);
      });
  }

  async #assertMetrics(environment: string, { accepted, release }: Rehearsal): Promise<void> {
    const metrics = release?.manifest.rollout?.analysis.metrics ?? [];
    const serving = this.#appOf(environment, accepted.app)?.status?.serving?.set.release;
    // Before a first release there is nothing that could have any.
    if (metrics.length === 0 || serving === undefined) return;
    await assertMetrics(this.#deps, environment, accepted.app, metrics, serving);
  }

  async #sourceDifference(
    before: ReleaseSpec | undefined,
    { release }: Rehearsal,
  ): Promise<SourceDifference | undefined> {
    if (!release || !before || before.source.digest === release.source.digest) return undefined;
    return sourceDifference(this.#deps, before, release);
  }

  #appOf(environment: string, app: string): App | undefined {
    return this.#deps.store.find(APP, `${environment}/${app}`);
  }

  #release(environment: string, app: string, number: number): ReleaseSpec | undefined {
    return this.#deps.store.find(RELEASE, releaseName(`${environment}/${app}`, number))?.spec;
  }
}

const isTrain = (
  request: ChangeRequest,
): request is Extract<ChangeRequest, { train: { cars: readonly Car[] } }> => "train" in request;

const partsOf = (request: ChangeRequest): readonly ChangeRequest[] =>
  isTrain(request)
    ? request.train.cars.map(({ app, release }) => ({
        action: "promote",
        app,
        release,
        from: request.train.from,
      }))
    : [request];

// As risky as its riskiest part; of several, that it is several.
function factsOf(parts: readonly Part[]): ChangeFacts {
  const [only, second] = parts;
  const migrations = parts.flatMap((part) => part.migrations);
  const budgets = parts.flatMap((part) => part.budgets);
  if (only && !second) return { ...only, migrations, budgets };
  const riskiest = parts.toSorted((one, other) => other.risk.score - one.risk.score)[0];
  const more = { points: 5, why: `a train of ${parts.length} apps` };
  const score = Math.min(100, (riskiest?.risk.score ?? 0) + more.points);
  const ofRiskiest = (riskiest?.risk.parts ?? []).map(({ points, why }) => ({
    points,
    why: `${riskiest?.app}: ${why}`,
  }));
  return {
    cars: parts,
    migrations,
    budgets,
    before: undefined,
    source: undefined,
    risk: { score, parts: [more, ...ofRiskiest] },
  };
}
