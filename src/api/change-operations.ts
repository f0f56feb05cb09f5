// Every change of an app passes here. In an environment that is not protected it runs at once. In a
// protected one it becomes a record: who asked for what and why, what it would do, how risky that is,
// who approved, and how it ended.

import { type HoldfastError, invalid } from "../kernel/error.ts";
import { APP, type App, type AppSpec, type AppStatus } from "../resources/app/app.ts";
import {
  CHANGE,
  type Change,
  type ChangeSpec,
  type ChangeStatus,
  changeName,
  ENDED,
  isApproved,
  validApprovals,
} from "../resources/change/change.ts";
import type { ReleaseSpec } from "../resources/release/release.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import { gateAt, type Subject, WINDOW, type WindowSpec } from "../resources/window/window.ts";
import type { Access, Principal } from "./access.ts";
import type { ApiDeps, MigrationFinding, SourceDifference } from "./api-deps.ts";
import { assertBudget, assertExpands, findingText, withContracts } from "./change-checks.ts";
import { type ChangeFacts, type ChangeOptions, recordOf } from "./change-record.ts";
import { differencesOf, riskOf } from "./change-risk.ts";
import type { ChangeRequest, ChangeRunner, Rehearsal } from "./change-runner.ts";
import { announce } from "./channel-routes.ts";
import { type EnvironmentView, findEnvironment } from "./environment-view.ts";
import { assertNotHeld } from "./hold-routes.ts";
import { assertMetrics } from "./metric-check.ts";
import { budgetsLeft } from "./monitoring-routes.ts";
import type { Accepted } from "./release-writer.ts";

/** What became of what was asked for: run, or a change that waits. */
export type Outcome = Accepted & {
  readonly change?: number;
  /** It waits: for approvals, or for its time. */
  readonly pending?: string;
  readonly uid?: string;
};

export class ChangeOperations {
  readonly #deps: ApiDeps;
  readonly #runner: ChangeRunner;
  readonly #access: Access;

  constructor(deps: ApiDeps, runner: ChangeRunner, access: Access) {
    this.#deps = deps;
    this.#runner = runner;
    this.#access = access;
  }

  /** What it would be refused with, without asking for it. */
  async check(
    environment: string,
    request: ChangeRequest,
    actor: Principal,
    options: ChangeOptions,
  ): Promise<void> {
    const place = findEnvironment(this.#deps.store, environment);
    const rehearsal = this.#runner.rehearse(environment, request, actor);
    const before = this.#releaseBefore(environment, rehearsal);
    const source = await this.#sourceDifference(before, rehearsal);
    assertExpands(place, rehearsal, await this.#migrations(source, rehearsal), options);
  }

  async submit(
    environment: string,
    request: ChangeRequest,
    actor: Principal,
    options: ChangeOptions = {},
  ): Promise<Outcome> {
    const place = findEnvironment(this.#deps.store, environment);
    const app = "app" in request ? request.app : undefined;
    const may = this.#access.decide(actor, request.action, environment, app);
    const mayAsk =
      place.rules.protected && this.#access.decide(actor, "ask", environment, app).allowed;
    // What a policy forbids is not asked for either; what a role lacks may be.
    const isForbidden = !may.allowed && (may.rules.length > 0 || may.problem !== undefined);
    if (isForbidden || (!may.allowed && !mayAsk)) {
      const refusal = this.#access.refusal(actor, request.action, environment, may);
      this.#access.remember(actor, request.action, environment, app, refusal.message);
      throw refusal;
    }
    const rehearsal = this.#runner.rehearse(environment, request, actor);
    // Nothing that runs changes: what is set is for the first deploy, which is a change of its own.
    if (!rehearsal.accepted.changed) return this.#runner.run(environment, request, actor);
    const before = this.#releaseBefore(environment, rehearsal);
    const source = await this.#sourceDifference(before, rehearsal);
    const migrations = await this.#migrations(source, rehearsal);
    assertExpands(place, rehearsal, migrations, options);
    await this.#assertMetrics(environment, rehearsal);
    this.#assertReturns(place, request, rehearsal, options);
    if (actor.kind === "service") this.#assertNotHeld(environment, request, rehearsal);
    const contracts = migrations.filter(({ kind }) => kind === "contract").map(({ text }) => text);
    const known = withContracts(request, contracts);
    if (!place.rules.protected) {
      const accepted = this.#runner.run(environment, known, actor);
      return { ...accepted, inferred: [...accepted.inferred, ...migrations.map(findingText)] };
    }
    const facts = { before, source, migrations };
    return this.#ask(place, known, actor, options, may.allowed, facts);
  }

  // What was taken back does not come again by itself: a person who asks for it means it.
  #assertNotHeld(
    environment: string,
    request: ChangeRequest,
    { accepted, release }: Rehearsal,
  ): void {
    const { store } = this.#deps;
    if (release && (request.action === "deploy" || request.action === "promote"))
      assertNotHeld(this.#deps, `${environment}/${accepted.app}`, release.source);
    if (!("train" in request)) return;
    const { from, cars } = request.train;
    for (const { app, release: number } of cars) {
      const ref = { kind: RELEASE, name: releaseName(`${from}/${app}`, number) };
      const spec = store.find<ReleaseSpec, never>(ref)?.spec;
      if (spec) assertNotHeld(this.#deps, `${environment}/${app}`, spec.source);
    }
  }

  // What a rollback can't bring back is said before, not after.
  #assertReturns(
    { name }: EnvironmentView,
    request: ChangeRequest,
    { accepted }: Rehearsal,
    options: ChangeOptions,
  ): void {
    if (request.action !== "rollback" || options.acceptContract) return;
    const app = this.#appOf(name, accepted.app);
    const ran = app?.status?.released ?? [];
    const gone = ran
      .filter((number) => number > accepted.release)
      .flatMap((number) => {
        const ref = { kind: RELEASE, name: releaseName(`${name}/${accepted.app}`, number) };
        const spec = this.#deps.store.find<ReleaseSpec, never>(ref)?.spec;
        return (spec?.source.contracts ?? []).map((text) => `release ${number} ${text}`);
      });
    if (gone.length === 0) return;
    throw invalid(
      "rollback.contracted",
      `release ${accepted.release} would run on a schema that it does not know: ${gone.join("; ")}`,
      { hint: "its data does not come back by itself; --accept-contract goes back all the same" },
    );
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
    return this.#deps.sources.compare(before.source.digest, release.source.digest);
  }

  async #migrations(
    source: SourceDifference | undefined,
    { release }: Rehearsal,
  ): Promise<readonly MigrationFinding[]> {
    const names = (source?.migrations ?? []).filter((name) => name.endsWith(".sql"));
    if (!release?.manifest.release || names.length === 0) return [];
    const files = this.#deps.sources.readFiles(release.source.digest, names);
    return this.#deps.checkMigrations(
      Object.entries(files).map(([name, text]) => ({ name, text })),
    );
  }

  async #ask(
    place: EnvironmentView,
    request: ChangeRequest,
    actor: Principal,
    options: ChangeOptions,
    may: boolean,
    known: Pick<ChangeFacts, "before" | "source" | "migrations">,
  ): Promise<Outcome> {
    const rehearsal = this.#runner.rehearse(place.name, request, actor);
    const facts = await this.#factsOf(place, rehearsal, known);
    this.#assertContext(place, request, actor, options, facts, may);
    if (options.emergency) this.#requireEmergency(place, actor, options);
    else assertBudget(place, facts, options);
    const nobodyElse =
      this.#approvers({ environment: place.name, askedBy: actor.name, authors: options.authors })
        .length === 0;
    const now = this.#deps.clock.now();
    const asked = { place, request, rehearsal, actor, options, may, nobodyElse, now };
    const spec = recordOf(asked, facts);
    const { store } = this.#deps;
    const number = store.transaction(() => {
      const next = this.#nextNumber();
      this.#supersede(spec, actor);
      const ref = { kind: CHANGE, name: changeName(next) };
      const action = options.emergency ? "emergency" : "ask";
      store.writeSpec<ChangeSpec>(ref, { ...spec, number: next }, { actor, action });
      return next;
    });
    if (options.emergency) void this.#shout(number, actor, options.reason ?? "");
    const gate = this.gate({ environment: place.name, app: spec.app, action: request.action });
    const isFree = gate.open || spec.emergency !== undefined;
    if (isApproved(spec) && isFree) return { ...this.execute(number), change: number };
    const pending = isApproved(spec)
      ? `waits until ${gate.open ? "now" : gate.opensAt === undefined ? "somebody opens it" : new Date(gate.opensAt).toISOString()}`
      : `needs ${spec.needs} approval${spec.needs > 1 ? "s" : ""} by ${this.#approvers(spec).join(", ") || "somebody with the role approver"}`;
    if (!gate.open && gate.opensAt === undefined && isApproved(spec))
      throw this.#neverOpens(number, gate.by, gate.reason, actor);
    return { ...rehearsal.accepted, change: number, pending };
  }

  #neverOpens(number: number, by: string, reason: string, actor: Principal): HoldfastError {
    this.#write(
      number,
      { withdrawn: { by: actor.name, at: this.#deps.clock.now() } },
      actor,
      "withdraw",
    );
    return invalid(
      "change.never_opens",
      `${by} lets nothing through in the next 90 days (${reason})`,
      {
        hint: "holdfast window list, holdfast freeze list; or --emergency --reason <why>",
      },
    );
  }

  gate(subject: Subject) {
    const { store, clock } = this.#deps;
    return gateAt(store.list<WindowSpec, never>(WINDOW), subject, clock.now());
  }

  // --- what people say of a change

  find(number: number): Change {
    const ref = { kind: CHANGE, name: changeName(number) };
    const found = this.#deps.store.find<ChangeSpec, ChangeStatus>(ref);
    if (found) return found;
    throw invalid("change.not_found", `there is no change ${number}`, { hint: "holdfast changes" });
  }

  approve(number: number, actor: Principal): Change {
    const { spec } = this.#open(number, actor);
    if (isSamePerson(actor, spec.askedBy) || spec.authors?.includes(actor.name.toLowerCase()))
      throw invalid(
        "change.own",
        `${actor.name} asked for change ${number}, and can't approve it`,
        {
          hint: `${this.#approvers(spec).join(", ") || "somebody else with the role approver"} can`,
        },
      );
    if (validApprovals(spec).some(({ by }) => by === actor.name))
      throw invalid("change.approved", `${actor.name} approved change ${number} already`, {
        hint: `holdfast change show ${number}`,
      });
    const fresh = this.#refresh(this.find(number), actor);
    if (fresh.spec.digest !== spec.digest)
      throw invalid(
        "change.content_changed",
        `what change ${number} would do has changed since it was asked for; earlier approvals are void`,
        { hint: `look at it again (holdfast change show ${number}), then approve it` },
      );
    const approval = { by: actor.name, at: this.#deps.clock.now(), digest: spec.digest };
    return this.#write(number, { approvals: [...spec.approvals, approval] }, actor, "approve");
  }

  reject(number: number, reason: string, actor: Principal): Change {
    this.#open(number, actor);
    const at = this.#deps.clock.now();
    return this.#write(number, { rejected: { by: actor.name, at, reason } }, actor, "reject");
  }

  withdraw(number: number, actor: Principal): Change {
    const { spec } = this.#undecided(number);
    if (!isSamePerson(actor, spec.askedBy))
      this.#access.require(actor, "approve", spec.environment, spec.app);
    const at = this.#deps.clock.now();
    return this.#write(number, { withdrawn: { by: actor.name, at } }, actor, "withdraw");
  }

  review(number: number, text: string, actor: Principal): Change {
    const { spec } = this.find(number);
    this.#access.require(actor, "approve", spec.environment, spec.app);
    if (!spec.emergency)
      throw invalid("change.no_emergency", `change ${number} was no emergency`, {
        hint: "holdfast changes --review lists what is to be reviewed",
      });
    const others = this.#approvers(spec).filter((one) => one !== actor.name);
    if (isSamePerson(actor, spec.askedBy) && others.length > 0)
      throw invalid("change.own", `${actor.name} broke the glass, and can't review it`, {
        hint: `${others.join(", ")} can`,
      });
    const at = this.#deps.clock.now();
    return this.#write(number, { review: { by: actor.name, at, text } }, actor, "review");
  }

  // --- running it

  /** Once, with the mark that it ran in the same transaction; see ChangeDriver. */
  execute(number: number): Accepted {
    const { store, clock } = this.#deps;
    const change = this.find(number);
    const { spec } = change;
    const actor = { name: spec.askedBy, from: spec.askedFrom };
    if (spec.executed) return NOTHING;
    const fresh = this.#refresh(change, actor);
    if (fresh.spec.digest !== spec.digest && !spec.emergency && spec.needs > 0) return NOTHING;
    return store.transaction(() => {
      const accepted = this.#runner.run(spec.environment, requestOf(spec), actor);
      const { release, generation, train } = accepted;
      const executed = {
        at: clock.now(),
        release,
        generation,
        ...(train !== undefined && { train }),
      };
      this.#write(number, { executed }, actor, "run");
      return accepted;
    });
  }

  // --- inside

  #open(number: number, actor: Principal): Change {
    const change = this.#undecided(number);
    this.#access.require(actor, "approve", change.spec.environment, change.spec.app);
    return change;
  }

  #undecided(number: number): Change {
    const change = this.find(number);
    const { spec, status } = change;
    const isOver = status && ENDED.has(status.phase);
    if (!spec.executed && !spec.rejected && !spec.withdrawn && !isOver) return change;
    const phase = spec.executed && !isOver ? "running" : (status?.phase ?? "decided");
    throw invalid("change.decided", `change ${number} is ${phase} already`, {
      hint: `holdfast change show ${number}`,
    });
  }

  // What it would do now; where that is something else, approvals of before are void.
  #refresh(change: Change, actor: { name: string; from: string }): Change {
    const { spec } = change;
    const rehearsal = this.#runner.rehearse(spec.environment, requestOf(spec), actor);
    if (rehearsal.digest === spec.digest) return change;
    const had = spec.approvals.length;
    return this.#write(
      spec.number,
      {
        digest: rehearsal.digest,
        diff: differencesOf(
          { rehearsal },
          this.#releaseBefore(spec.environment, rehearsal),
          undefined,
        ),
        approvals: [],
        ...(had > 0 && { voided: "earlier approvals are void: what it would do has changed" }),
      },
      actor,
      "content-changed",
    );
  }

  #write(
    number: number,
    change: Partial<ChangeSpec>,
    actor: { readonly name: string; readonly from: string },
    action: string,
  ): Change {
    const { spec } = this.find(number);
    const ref = { kind: CHANGE, name: changeName(number) };
    this.#deps.store.writeSpec<ChangeSpec>(ref, { ...spec, ...change }, { actor, action });
    return this.find(number);
  }

  #nextNumber(): number {
    const last = this.#deps.store.list<ChangeSpec, never>(CHANGE).at(-1);
    return (last?.spec.number ?? 0) + 1;
  }

  // The same thing asked for again takes the place of what nobody decided yet.
  #supersede({ environment, app, action }: ChangeSpec, actor: Principal): void {
    for (const { spec, status } of this.#deps.store.list<ChangeSpec, ChangeStatus>(CHANGE)) {
      const isOpen = !spec.executed && !spec.rejected && !spec.withdrawn;
      const isOver = status && ENDED.has(status.phase);
      const isSame = spec.environment === environment && spec.app === app && spec.action === action;
      if (!isOpen || isOver || !isSame || spec.askedBy !== actor.name) continue;
      const at = this.#deps.clock.now();
      this.#write(spec.number, { withdrawn: { by: actor.name, at } }, actor, "withdraw");
    }
  }

  #appOf(environment: string, app: string): App | undefined {
    return this.#deps.store.find<AppSpec, AppStatus>({ kind: APP, name: `${environment}/${app}` });
  }

  #releaseBefore(environment: string, { accepted }: Rehearsal): ReleaseSpec | undefined {
    const serving = this.#appOf(environment, accepted.app)?.status?.serving?.set.release;
    if (serving === undefined) return undefined;
    const name = releaseName(`${environment}/${accepted.app}`, serving);
    return this.#deps.store.find<ReleaseSpec, never>({ kind: RELEASE, name })?.spec;
  }

  async #factsOf(
    place: EnvironmentView,
    rehearsal: Rehearsal,
    known: Pick<ChangeFacts, "before" | "source" | "migrations">,
  ): Promise<ChangeFacts> {
    const app = this.#appOf(place.name, rehearsal.accepted.app);
    const budgets = await budgetsLeft(this.#deps, place.name, rehearsal.accepted.app);
    const now = this.#deps.clock.now();
    const { source, migrations } = known;
    const risk = riskOf({ rehearsal, app, source, migrations, budgets, now });
    return { ...known, budgets, risk };
  }

  #requireEmergency(place: EnvironmentView, actor: Principal, options: ChangeOptions): void {
    if (options.reason === undefined)
      throw invalid("change.no_reason", "an emergency needs a reason", {
        hint: "--emergency --reason <what is broken>",
      });
    this.#access.require(actor, "emergency", place.name);
  }

  // Policies of one's own may look at what the change is.
  #assertContext(
    place: EnvironmentView,
    request: ChangeRequest,
    actor: Principal,
    options: ChangeOptions,
    { risk, budgets, source }: ChangeFacts,
    may: boolean,
  ): void {
    const app = "app" in request ? request.app : undefined;
    this.#access.require(actor, may ? request.action : "ask", place.name, app, {
      action: request.action,
      reason: options.reason ?? "",
      emergency: options.emergency === true,
      risk: risk.score,
      migration: (source?.migrations.length ?? 0) > 0,
      budgetSpent: budgets.some(({ left }) => left <= 0),
    });
  }

  #approvers({
    environment,
    askedBy,
    authors,
  }: Pick<ChangeSpec, "environment" | "askedBy"> & Pick<ChangeOptions, "authors">): string[] {
    const may = this.#access.whoMay("approve", environment);
    return may.filter((one) => one !== askedBy && !authors?.includes(one));
  }

  async #shout(number: number, actor: Principal, reason: string): Promise<void> {
    await announce(this.#deps, {
      title: `emergency change ${number}`,
      text: `${actor.name} broke the glass: ${reason}. It is to be reviewed: holdfast change show ${number}`,
    });
  }
}

const NOTHING: Accepted = {
  app: "",
  environment: "",
  release: 0,
  generation: 0,
  urls: [],
  inferred: [],
  changed: false,
};

const requestOf = (spec: ChangeSpec): ChangeRequest => spec.request as unknown as ChangeRequest;

// The owner's two doors are one person.
const isSamePerson = ({ name, kind }: Principal, other: string): boolean =>
  name === other || (kind === "owner" && (other === "owner" || other === "admin"));
