// Loosening what decides who may change what is a change that somebody else approves.

import { invalid } from "../kernel/error.ts";
import { EVERYWHERE } from "../resources/account/account.ts";
import type { Access, Principal } from "./access.ts";
import { announce } from "./announcing.ts";
import { type ChangeApprovers, STRICT } from "./change-approvers.ts";
import { assertReason, type ChangeOperations, type Outcome } from "./change-operations.ts";
import type { ChangeOptions } from "./change-record.ts";
import type { ChangeRunner } from "./change-runner.ts";
import { controlRecordOf } from "./control-record.ts";
import type { ControlRequest, ControlWrites, Loosening } from "./control-writes.ts";
import { findEnvironment } from "./environment-view.ts";
import type { OperationDeps } from "./operation-deps.ts";

export interface ControlParts {
  readonly changes: ChangeOperations;
  readonly runner: ChangeRunner;
  readonly access: Access;
  readonly approvers: ChangeApprovers;
  readonly control: ControlWrites;
}

export class ControlOperations {
  readonly #deps: OperationDeps;
  readonly #changes: ChangeOperations;
  readonly #runner: ChangeRunner;
  readonly #access: Access;
  readonly #approvers: ChangeApprovers;
  readonly #control: ControlWrites;

  constructor(deps: OperationDeps, parts: ControlParts) {
    this.#deps = deps;
    this.#changes = parts.changes;
    this.#runner = parts.runner;
    this.#access = parts.access;
    this.#approvers = parts.approvers;
    this.#control = parts.control;
  }

  /** What the policy text would be, without writing it. @throws policy.invalid */
  parsePolicy(text: string) {
    return this.#control.parsePolicy(text);
  }

  /** What of it loosens control. */
  loosening(request: ControlRequest): Loosening {
    return this.#control.loosening(request);
  }

  /**
   * Writes what decides who may change what: at once where that loosens nothing, or in an emergency;
   * otherwise it waits for somebody else.
   */
  submit(asked: ControlRequest, actor: Principal, options: ChangeOptions = {}): Outcome {
    const loosening = this.#control.loosening(asked);
    const place =
      loosening.environments.length === 1 ? (loosening.environments[0] ?? "") : EVERYWHERE;
    // Who owns the machine makes the accounts; an approval by one of them does not count for its maker.
    const isOwners = asked.action === "account" && actor.kind === "owner";
    if (loosening.reasons.length === 0 || isOwners) {
      const accepted = this.#runner.run(place, asked, actor);
      if (isOwners && loosening.reasons.length > 0)
        void announce(this.#deps, {
          title: "roles were given",
          text: `${actor.name}: ${loosening.reasons.join("; ")}`,
        });
      return accepted;
    }
    const waived = this.#waivedFor(asked, loosening, actor);
    const waits = waived === undefined && !options.emergency;
    // What waits has nobody who could give it input by then.
    const request = waits && asked.action === "run" ? { ...asked, takesInput: false } : asked;
    if (waived === undefined || options.emergency)
      this.#assertControl(request, place, loosening, actor, options);
    const { rules } = place === EVERYWHERE ? STRICT : findEnvironment(this.#deps.store, place);
    const rehearsal = this.#runner.rehearse(place, request, actor);
    const { digest } = rehearsal;
    const now = this.#deps.clock.now();
    const before = this.#control.before(request);
    const facts = { request, before, loosening, place, rules, digest, actor, options, now, waived };
    const spec = controlRecordOf(facts);
    const { number, superseded } = this.#changes.record(spec, actor);
    if (waived !== undefined && !spec.emergency)
      return { ...this.#changes.execute(number), change: number };
    if (spec.emergency) {
      void this.#changes.shout(number, actor, `${spec.summary}: ${loosening.reasons.join("; ")}`);
      return { ...this.#changes.execute(number), change: number, emergency: true };
    }
    return {
      ...rehearsal.accepted,
      change: number,
      pending: this.#changes.pending(spec, superseded),
    };
  }

  // A team of one runs its commands and sets what it likes; what it loosens is an emergency all the same.
  // Of several environments each has to let it through.
  #waivedFor(
    request: ControlRequest,
    { environments }: Loosening,
    actor: Principal,
  ): string | undefined {
    if (request.action !== "run" && request.action !== "apply") return undefined;
    const reasons = environments.map((environment) => {
      const { rules } = findEnvironment(this.#deps.store, environment);
      const isAlone = !this.#approvers.areOthers(environment, actor.name);
      if (isAlone && rules.approvalsWhenAlone === "waive") return "nobody else could approve it";
      return rules.approvals === 0 ? "the environment asks for no approval" : undefined;
    });
    return reasons.every((reason) => reason !== undefined) ? reasons[0] : undefined;
  }

  #assertControl(
    request: ControlRequest,
    place: string,
    { reasons }: Loosening,
    actor: Principal,
    { emergency = false, reason }: ChangeOptions,
  ): void {
    if (emergency) {
      this.#access.require(actor, "emergency", place === EVERYWHERE ? undefined : place);
      assertReason(reason);
      return;
    }
    // These wait for somebody; nobody is hurt by that.
    if (request.action === "run" || request.action === "apply") return;
    if (this.#approvers.of({ environment: place, askedBy: actor.name }).length > 0) return;
    throw invalid(
      "change.nobody_else",
      `this loosens control (${reasons.join("; ")}), and nobody else could approve it`,
      {
        hint: "--emergency --reason <why>: it is written at once, announced, and to be reviewed",
      },
    );
  }
}
