// Every change of an app passes here. In an environment that is not protected it runs at once. In a
// protected one it becomes a record: who asked for what and why, what it would do, how risky that is,
// who approved, and how it ended.

import { type Action, isControlAction } from "../kernel/action.ts";
import { asHoldfastError, type HoldfastError, invalid } from "../kernel/error.ts";
import { SYSTEM } from "../kernel/resource-store.ts";
import { APP } from "../resources/app/app.ts";
import { servedOf } from "../resources/app/rollback-target.ts";
import {
  CHANGE,
  type Change,
  type ChangeSpec,
  changeName,
  ENDED,
  isApproved,
  validApprovals,
} from "../resources/change/change.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import { type Gate, gateAt, WINDOW } from "../resources/window/window.ts";
import type { Access, Principal } from "./access.ts";
import { announce } from "./announcing.ts";
import { type ChangeApprovers, tokenMakerOf } from "./change-approvers.ts";
import type { Assessment, ChangeAssessor } from "./change-assessment.ts";
import { assertBudget, findingText } from "./change-checks.ts";
import { type ChangeOptions, recordOf } from "./change-record.ts";
import { differencesOf } from "./change-risk.ts";
import { type ChangeRequest, type ChangeRunner, NO_APP, type Rehearsal } from "./change-runner.ts";
import { type ControlRequest, isControl } from "./control-writes.ts";
import { type EnvironmentView, findEnvironment } from "./environment-view.ts";
import { assertNotHeld } from "./holds.ts";
import type { OperationDeps } from "./operation-deps.ts";
import type { Accepted } from "./release-writer.ts";

/** What became of what was asked for: run, or a change that waits. */
export type Outcome = Accepted & {
  readonly change?: number;
  /** It waits: for approvals, or for its time. */
  readonly pending?: string;
  /** It loosened control, past approvals: to be reviewed. */
  readonly emergency?: true;
  readonly uid?: string;
};

interface ChangeParts {
  readonly runner: ChangeRunner;
  readonly access: Access;
  readonly assessor: ChangeAssessor;
  readonly approvers: ChangeApprovers;
}

export class ChangeOperations {
  readonly #deps: OperationDeps;
  readonly #runner: ChangeRunner;
  readonly #access: Access;
  readonly #assessor: ChangeAssessor;
  readonly #approvers: ChangeApprovers;

  constructor(deps: OperationDeps, parts: ChangeParts) {
    this.#deps = deps;
    this.#runner = parts.runner;
    this.#access = parts.access;
    this.#assessor = parts.assessor;
    this.#approvers = parts.approvers;
  }

  async submit(
    environment: string,
    asked: ChangeRequest,
    actor: Principal,
    options: ChangeOptions = {},
  ): Promise<Outcome> {
    const place = findEnvironment(this.#deps.store, environment);
    this.#assertRole(place, asked, actor);
    const assessment = await this.#assessor.assess(place, asked, actor, options);
    const { may } = this.#assessor.assertAllowed(place, assessment, actor, options);
    const { request, rehearsal, facts } = assessment;
    // Nothing that runs changes: what is set is for the first deploy, which is a change of its own.
    // Who may only ask asks for that, too.
    const isSet = request.action === "config" || request.action === "secret";
    if (!rehearsal.accepted.changed && (may || !isSet))
      return this.#runner.run(environment, request, actor);
    await this.#assessor.assertFit(place, assessment, actor, options);
    const outcome = place.rules.protected
      ? await this.#ask(place, assessment, actor, options, may)
      : this.#runner.run(environment, request, actor);
    return { ...outcome, inferred: [...outcome.inferred, ...facts.migrations.map(findingText)] };
  }

  // Before anything is looked at: somebody with no role for it learns nothing by it.
  #assertRole({ name, rules }: EnvironmentView, request: ChangeRequest, actor: Principal): void {
    if (request.action === "promote") {
      const { from } = "train" in request ? request.train : request;
      const apps = "train" in request ? request.train.cars.map(({ app }) => app) : [request.app];
      for (const app of apps) this.#access.require(actor, "view", from, app);
    }
    const holds = (action: Action): boolean => this.#access.holds(actor, action, name);
    if (holds(request.action) || (rules.protected && holds("ask"))) return;
    const app = "app" in request ? request.app : undefined;
    this.#access.require(actor, request.action, name, app, { action: request.action });
  }

  async #ask(
    place: EnvironmentView,
    { request, rehearsal, facts }: Assessment,
    actor: Principal,
    given: ChangeOptions,
    may: boolean,
  ): Promise<Outcome> {
    const authors = authorsOf(rehearsal, given, actor);
    const options = { ...given, ...(authors.length > 0 && { authors }) };
    if (options.emergency) assertReason(options.reason);
    else assertBudget(place, facts, options);
    const nobodyElse = !this.#approvers.areOthers(place.name, actor.name);
    const now = this.#deps.clock.now();
    const asked = { place, request, rehearsal, actor, options, may, nobodyElse, now };
    const spec = recordOf(asked, facts);
    const { number, superseded } = this.record(spec, actor);
    if (options.emergency) void this.shout(number, actor, options.reason ?? "");
    const gate = this.gate(spec);
    const isFree = gate.open || spec.emergency !== undefined;
    if (isApproved(spec) && isFree) return { ...this.execute(number), change: number };
    if (!gate.open && gate.opensAt === undefined && isApproved(spec))
      throw this.#neverOpens(number, gate.by, gate.reason, actor);
    return { ...rehearsal.accepted, change: number, pending: this.pending(spec, superseded) };
  }

  /** Writes it down, under the next number. */
  record(
    spec: ChangeSpec,
    actor: Principal,
  ): { readonly number: number; readonly superseded: readonly number[] } {
    const { store } = this.#deps;
    return store.transaction(() => {
      const number = this.#nextNumber();
      const superseded = this.#supersede(spec, actor);
      const action = spec.emergency ? "emergency" : "ask";
      const askedThrough = tokenMakerOf(actor);
      const asked = { ...spec, number, ...(askedThrough !== undefined && { askedThrough }) };
      store.writeSpec(CHANGE, changeName(number), asked, { actor, action });
      return { number, superseded };
    });
  }

  /** What it waits for, in words. */
  pending(spec: ChangeSpec, superseded: readonly number[]): string {
    const gate = this.gate(spec);
    const approvers = this.#approvers.of(spec).join(", ") || "somebody with the role approver";
    const pending = isApproved(spec)
      ? `waits until ${gate.open ? "now" : gate.opensAt === undefined ? "somebody opens it" : new Date(gate.opensAt).toISOString()}`
      : `needs ${spec.needs} approval${spec.needs > 1 ? "s" : ""} by ${approvers}`;
    const instead =
      superseded.length > 0 ? `; it takes the place of change ${superseded.join(", ")}` : "";
    return pending + instead;
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

  /** Whether it may run now; a train where each of its cars may. */
  gate({ environment, app, action, request }: GateSubject): Gate {
    const { store, clock } = this.#deps;
    // What decides over windows waits for none.
    if (isControlAction(action)) return { open: true };
    const windows = store.list(WINDOW);
    const { train } = request as { train?: { cars: readonly { app: string }[] } };
    const apps = train ? train.cars.map((car) => car.app) : [app];
    // What served before comes back at once, unless a window speaks of rollbacks.
    const held =
      action === "rollback" && this.#hasServed(`${environment}/${app}`, request)
        ? windows.filter(({ spec }) => spec.actions.includes("rollback"))
        : windows;
    const gates = apps.map((one) => gateAt(held, { environment, app: one, action }, clock.now()));
    return gates.find(({ open }) => !open) ?? { open: true };
  }

  #hasServed(name: string, request: ChangeSpec["request"]): boolean {
    const { to } = request as { to?: number };
    const app = this.#deps.store.find(APP, name);
    return app !== undefined && to !== undefined && servedOf(app).includes(to);
  }

  // --- what people say of a change

  find(number: number): Change {
    const found = this.#deps.store.find(CHANGE, changeName(number));
    if (found) return found;
    throw invalid("change.not_found", `there is no change ${number}`, { hint: "holdfast changes" });
  }

  /** @param seen  digest of what the person saw; where it is another by now, nothing is approved */
  approve(number: number, actor: Principal, seen?: string): Change {
    const { spec } = this.#open(number, actor);
    this.#approvers.assertDecides(actor);
    if (seen !== undefined && !spec.digest.startsWith(seen))
      throw invalid(
        "change.content_changed",
        `change ${number} is not what was seen: its content is ${spec.digest.slice(0, 12)} now`,
        { hint: `look at it again: holdfast change show ${number}` },
      );
    if (isSamePerson(actor, spec.askedBy) || spec.authors?.includes(actor.name.toLowerCase()))
      throw invalid(
        "change.own",
        `${actor.name} asked for change ${number}, and can't approve it`,
        {
          hint: `${this.#approvers.of(spec).join(", ") || "somebody else with the role approver"} can`,
        },
      );
    if (this.#approvers.tiedTo(spec).has(actor.name))
      throw invalid(
        "change.tied",
        `${actor.name} and ${spec.askedBy}, who asked for change ${number}, are tied: one made the other's account or token, or gave it roles, not long ago`,
        {
          hint: `${this.#approvers.of(spec).join(", ") || "somebody else with the role approver"} can; rule approverTieHours says how long`,
        },
      );
    if (validApprovals(spec).some(({ by }) => isSamePerson(actor, by)))
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
    this.#approvers.assertDecides(actor);
    const at = this.#deps.clock.now();
    return this.#write(number, { rejected: { by: actor.name, at, reason } }, actor, "reject");
  }

  withdraw(number: number, actor: Principal): Change {
    const { spec } = this.#undecided(number);
    if (!isSamePerson(actor, spec.askedBy)) this.#approvers.require(spec, actor);
    const at = this.#deps.clock.now();
    return this.#write(number, { withdrawn: { by: actor.name, at } }, actor, "withdraw");
  }

  review(number: number, text: string, actor: Principal): Change {
    const { spec } = this.find(number);
    this.#approvers.require(spec, actor);
    this.#approvers.assertDecides(actor);
    if (!spec.emergency)
      throw invalid("change.no_emergency", `change ${number} was no emergency`, {
        hint: "holdfast changes --review lists what is to be reviewed",
      });
    // Those who owe it to who asked may, where there is nobody else; who asked, only where alone.
    const independent = this.#approvers.of(spec);
    const could = independent.length > 0 ? independent : this.#approvers.allBut(spec);
    if (
      could.length > 0 &&
      !could.includes(actor.name) &&
      !this.#approvers.isOwnerBeside(spec, actor)
    )
      throw invalid(
        "change.own",
        `${spec.askedBy} used an emergency change, and ${actor.name} cannot review it`,
        {
          hint: `${could.join(", ")} can`,
        },
      );
    const at = this.#deps.clock.now();
    return this.#write(number, { review: { by: actor.name, at, text } }, actor, "review");
  }

  // --- running it

  /**
   * Once, with the mark that it ran in the same transaction; see ChangeDriver. What it was asked for and
   * is no more never comes back: it ends as rejected, with why.
   */
  execute(number: number): Accepted {
    try {
      return this.#execute(number);
    } catch (error) {
      const { code, message } = asHoldfastError(error);
      if (code !== "train.content_changed") throw error;
      const rejected = { by: SYSTEM.name, at: this.#deps.clock.now(), reason: message };
      this.#write(number, { rejected }, SYSTEM, "reject");
      return NOTHING;
    }
  }

  #execute(number: number): Accepted {
    const { store, clock } = this.#deps;
    const change = this.find(number);
    const { spec } = change;
    const actor = { name: spec.askedBy, from: spec.askedFrom };
    if (spec.executed) return NOTHING;
    const fresh = this.#refresh(change, actor);
    if (fresh.spec.digest !== spec.digest && !spec.emergency && spec.needs > 0) return NOTHING;
    this.#assertNotHeldSince(fresh.spec);
    const { approvals, needs, problem } = this.#approvers.standing(fresh.spec);
    if (!spec.emergency && (problem !== undefined || approvals < needs)) return NOTHING;
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

  // What was taken back since it was asked for does not come by itself, whoever asked.
  #assertNotHeldSince({ environment, app, action, request, askedAt }: ChangeSpec): void {
    const { source, release } = request as { source?: { digest: string }; release?: number };
    const { store } = this.#deps;
    const name = `${environment}/${app}`;
    const { from } = request as { from?: string };
    const origin = from !== undefined && release !== undefined ? `${from}/${app}` : undefined;
    const meant =
      source ??
      (origin === undefined
        ? undefined
        : store.find(RELEASE, releaseName(origin, release ?? 0))?.spec.source);
    if (meant && (action === "deploy" || action === "promote"))
      assertNotHeld(this.#deps, name, meant, askedAt);
  }

  #open(number: number, actor: Principal): Change {
    const change = this.#undecided(number);
    this.#approvers.require(change.spec, actor);
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
    const request = requestOf(spec);
    const rehearsal = this.#runner.rehearse(spec.environment, request, actor);
    if (rehearsal.digest === spec.digest) return change;
    const had = spec.approvals.length;
    return this.#write(
      spec.number,
      {
        digest: rehearsal.digest,
        diff: isControl(request)
          ? this.#runner.controlDifferences(request)
          : differencesOf(
              { rehearsal },
              this.#assessor.releaseBefore(spec.environment, rehearsal),
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
    const changed = { ...spec, ...change };
    this.#deps.store.writeSpec(CHANGE, changeName(number), changed, { actor, action });
    return this.find(number);
  }

  #nextNumber(): number {
    const last = this.#deps.store.list(CHANGE).at(-1);
    return (last?.spec.number ?? 0) + 1;
  }

  // The same thing asked for again takes the place of what did not run yet. Returns the numbers.
  #supersede({ environment, app, action, request }: ChangeSpec, actor: Principal): number[] {
    const target = targetOf(request);
    const same = this.#deps.store.list(CHANGE).filter(({ spec, status }) => {
      const isOpen = !spec.executed && !spec.rejected && !spec.withdrawn;
      const isOver = status && ENDED.has(status.phase);
      const isSame = spec.environment === environment && spec.app === app && spec.action === action;
      const isMine = spec.askedBy === actor.name && targetOf(spec.request) === target;
      return isOpen && !isOver && isSame && isMine;
    });
    const at = this.#deps.clock.now();
    for (const { spec } of same)
      this.#write(spec.number, { withdrawn: { by: actor.name, at } }, actor, "withdraw");
    return same.map(({ spec }) => spec.number);
  }

  shout(number: number, actor: Principal, reason: string): Promise<void> {
    return this.#announce(
      `emergency change ${number}`,
      `${actor.name} used an emergency change: ${reason}. Review it: holdfast change show ${number}`,
    );
  }

  #announce(title: string, text: string): Promise<void> {
    return announce(this.#deps, { title, text });
  }
}

export function assertReason(reason: string | undefined): void {
  if (reason === undefined)
    throw invalid("change.no_reason", "an emergency needs a reason", {
      hint: "--emergency --reason <what is broken>",
    });
}

const NOTHING: Accepted = { ...NO_APP, changed: false };

type GateSubject = Pick<ChangeSpec, "environment" | "app" | "action" | "request">;

// Whoever wrote it can't approve it, whichever way it came.
function authorsOf(
  { action, release }: Rehearsal,
  { authors = [] }: ChangeOptions,
  actor: Principal,
): readonly string[] {
  const isNew = action === "deploy" || action === "promote";
  const all = [...authors, ...((isNew && release?.source.authors) || [])];
  return [...new Set(all)].filter((one) => one !== actor.name);
}

// Two settings are two things; two deploys of an app are one.
function targetOf(request: ChangeSpec["request"]): string {
  const { account, window, changes, secret, counts, train, kind, name } = request as {
    kind?: string;
    name?: string;
    account?: string;
    window?: string;
    changes?: object;
    secret?: string;
    counts?: object;
    train?: { cars: readonly { app: string }[] };
  };
  const names = train?.cars.map(({ app }) => app) ?? Object.keys(changes ?? counts ?? {});
  if (kind !== undefined) return `${kind}/${name}`;
  return account ?? window ?? secret ?? names.toSorted().join(" ");
}

const requestOf = (spec: ChangeSpec): ChangeRequest | ControlRequest =>
  spec.request as unknown as ChangeRequest | ControlRequest;

// The owner's two doors are one person.
const isSamePerson = ({ name, kind }: Principal, other: string): boolean =>
  name === other || (kind === "owner" && (other === "owner" || other === "admin"));
