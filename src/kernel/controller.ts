// The engine: one pass over one resource is the only place in the system where plans become deeds.
// A pass that throws means "look again, later and later"; nothing of it is resumed.

import type { Clock } from "./clock.ts";
import { asHoldfastError, assert, messageOf } from "./error.ts";
import type { Random } from "./id.ts";
import type { AnyKind, Kind } from "./kind.ts";
import type { AnyStep, Plan } from "./plan.ts";
import type { Reconciler } from "./reconciler.ts";
import type { Resource } from "./resource.ts";
import type { Journal, ResourceStore } from "./resource-store.ts";
import { WorkQueue } from "./work-queue.ts";

/** What the last pass concluded, stored beside the kind's own status under `pass`. */
export interface PassReport {
  readonly verdict: Plan<AnyStep>["verdict"] | "failed";
  readonly reason?: string;
  readonly hint?: string;
  readonly observedGeneration: number;
}

export type WithPass<Status> = Status & { readonly pass?: PassReport };

export interface PassDeps {
  readonly store: ResourceStore;
  readonly journal: Journal;
}

/** Drivers are told to give up after this long. */
export const PASS_TIMEOUT_MS = 15 * 60_000;

export async function reconcileOnce<Spec, Status extends object, Observed, Step extends AnyStep>(
  resource: Resource<Spec, Status>,
  reconciler: Reconciler<Spec, Status, Observed, Step>,
  deps: PassDeps,
  signal: AbortSignal,
): Promise<{ readonly recheckAfterMs: number } | undefined> {
  const observed = await reconciler.observe(resource, signal);
  if (resource.deleting && reconciler.isGone(resource, observed)) {
    deps.store.forget(resource, resource.uid);
    return undefined;
  }
  const status = reconciler.report(resource, observed);
  const known: Resource<Spec, Status> = { ...resource, status };
  const plan = reconciler.plan(known, observed);
  const pass = passReport(resource, plan);
  deps.store.writeStatus(resource, resource.uid, { ...status, pass });
  if (plan.verdict !== "change") return plan;
  // Each step stands on what was seen, none on the step before it: what fails holds up nothing else.
  const failures: unknown[] = [];
  for (const step of plan.steps) {
    signal.throwIfAborted();
    await applyStep(known, step, reconciler, deps.journal, signal).catch((error: unknown) =>
      failures.push(error),
    );
  }
  if (failures.length > 0) throw failures[0];
  return { recheckAfterMs: plan.recheckAfterMs ?? 0 };
}

/** What stands in the way is for whoever asks to see, not only for our own log. */
function reportFailure(
  kind: AnyKind,
  resource: Resource<unknown, object>,
  error: unknown,
  store: ResourceStore,
): void {
  const current = store.find(kind, resource.name);
  if (current?.uid !== resource.uid) return;
  const { message, hint } = asHoldfastError(error);
  const pass: PassReport = {
    verdict: "failed",
    reason: message,
    ...(hint !== undefined && { hint }),
    observedGeneration: resource.generation,
  };
  store.writeStatus(current, current.uid, { ...(current.status as object | undefined), pass });
}

function passReport(resource: Resource<unknown, unknown>, plan: Plan<AnyStep>): PassReport {
  const base = { verdict: plan.verdict, observedGeneration: resource.generation };
  if (plan.verdict === "blocked") return { ...base, reason: plan.reason, hint: plan.hint };
  if (plan.verdict === "wait") return { ...base, reason: plan.reason };
  return base;
}

async function applyStep<Spec, Status extends object, Observed, Step extends AnyStep>(
  resource: Resource<Spec, Status>,
  step: Step,
  reconciler: Reconciler<Spec, Status, Observed, Step>,
  journal: Journal,
  signal: AbortSignal,
): Promise<void> {
  const id = journal.intend(resource, step);
  try {
    await reconciler.apply(resource, step, signal);
  } catch (cause) {
    journal.settle(id, "failed", messageOf(cause));
    throw cause;
  }
  journal.settle(id, "done");
}

export interface ControllerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly maxWorkers: number;
  readonly deps: PassDeps;
  readonly onError: (key: string, error: unknown, retryInMs: number) => void;
}

/** Keeps every resource of one kind true. */
export class Controller<Spec, Status extends object, Observed, Step extends AnyStep> {
  readonly #reconciler: Reconciler<Spec, Status, Observed, Step>;
  readonly #options: ControllerOptions;
  readonly #queue: WorkQueue;
  readonly #abort = new AbortController();
  #unsubscribe: (() => void) | undefined;

  constructor(reconciler: Reconciler<Spec, Status, Observed, Step>, options: ControllerOptions) {
    this.#reconciler = reconciler;
    this.#options = options;
    this.#queue = new WorkQueue({
      clock: options.clock,
      random: options.random,
      maxWorkers: options.maxWorkers,
      // What we break off ourselves is no failure.
      onError: (key, error, retryInMs) => {
        if (!this.#abort.signal.aborted) options.onError(key, error, retryInMs);
      },
      work: (name) => this.#pass(name),
    });
  }

  get kind(): Kind<Spec, Status> {
    return this.#reconciler.kind;
  }

  start(): void {
    assert(!this.#unsubscribe, `the ${this.kind.name} controller was started twice`);
    this.#unsubscribe = this.#options.deps.store.subscribe((ref, what) => {
      if (ref.kind === this.kind.name && what === "spec") this.look(ref.name);
    });
    for (const { name } of this.#options.deps.store.list(this.kind)) this.look(name);
  }

  /** A hint: look at this resource soon. */
  look(name: string): void {
    this.#queue.add(name);
  }

  lookAtAll(): void {
    for (const { name } of this.#options.deps.store.list(this.kind)) this.look(name);
  }

  async stop(): Promise<void> {
    this.#unsubscribe?.();
    this.#abort.abort(new Error("the control plane is stopping"));
    await this.#queue.stop();
  }

  async #pass(name: string): Promise<{ readonly recheckAfterMs: number } | undefined> {
    const { store } = this.#options.deps;
    const resource = store.find(this.kind, name);
    if (!resource) return undefined;
    const pass = new AbortController();
    const cancel = this.#options.clock.after(PASS_TIMEOUT_MS, () =>
      pass.abort(new Error(`the pass took longer than ${PASS_TIMEOUT_MS / 1000} s`)),
    );
    const signal = AbortSignal.any([this.#abort.signal, pass.signal]);
    try {
      return await reconcileOnce(resource, this.#reconciler, this.#options.deps, signal);
    } catch (error) {
      if (!this.#abort.signal.aborted) reportFailure(this.kind, resource, error, store);
      throw error;
    } finally {
      cancel();
    }
  }
}
