// The whole control plane for one app on virtual time, in a world with faults. A judge watches every
// deed and every moment; at the end, when faults have stopped, everything must have come to rest
// where the spec says.

import { systemClock } from "../../src/kernel/clock.ts";
import { Controller } from "../../src/kernel/controller.ts";
import type { Reconciler } from "../../src/kernel/reconciler.ts";
import { Redacted } from "../../src/kernel/redacted.ts";
import { retain } from "../../src/operations/retention.ts";
import { wakeOthers } from "../../src/operations/wakes.ts";
import { APP, type AppSpec, type AppStatus, type Placement } from "../../src/resources/app/app.ts";
import type { AppStores, EdgeTraffic, InstanceSpec } from "../../src/resources/app/app-driver.ts";
import type { AppObserved } from "../../src/resources/app/app-observed.ts";
import { createAppReconciler } from "../../src/resources/app/app-reconciler.ts";
import type { AppStep } from "../../src/resources/app/app-step.ts";
import { defaultResources, manifestSchema } from "../../src/resources/app/manifest.ts";
import { RELEASE, type ReleaseSpec, releaseName } from "../../src/resources/release/release.ts";
import { RELEASES_KEPT } from "../../src/resources/release/release-retention.ts";
import { ROLLOUT, type RolloutWish } from "../../src/resources/rollout/rollout.ts";
import { openDatabase } from "../../src/store/database.ts";
import { SqliteStore } from "../../src/store/sqlite-store.ts";
import { type Behaviour, type Faults, MemoryWorld, NO_FAULTS } from "../support/memory-world.ts";
import { SeededRandom, VirtualClock } from "../support/virtual-clock.ts";

export type AppReconciler = Reconciler<AppSpec, AppStatus, AppObserved, AppStep>;

export interface SimulationOptions {
  readonly seed: number;
  /** Planted bugs go here. */
  readonly sabotage?: (reconciler: AppReconciler, random: SeededRandom) => AppReconciler;
}

const NAME = "production/shop";
const ACTOR = { name: "simulation", from: "test" };
const manifest = (rollout: object) =>
  manifestSchema.parse({
    name: "shop",
    rollout: { watch: "20s", timeout: "2m", ...rollout },
    services: {
      web: {
        command: "web",
        instances: 6,
        health: { path: "/", grace: "10s" },
        routes: [{ host: "shop.localhost" }],
        drain: "3s",
        stopGrace: "2s",
      },
      api: {
        command: "api",
        instances: 2,
        health: { path: "/", grace: "10s" },
        routes: [{ host: "shop.localhost", path: "/api" }],
        drain: "3s",
        stopGrace: "2s",
      },
    },
    workers: { mail: { command: "mail", settle: "1s", stopGrace: "2s" } },
    release: { command: "migrate", timeout: "20s" },
    keepWarm: "30s",
  });
const ROLLOUTS: readonly object[] = [
  {},
  { strategy: "canary", steps: ["0%", "10%", "50%"].map((share) => ({ share, for: "4s" })) },
  {
    strategy: "canary",
    sticky: true,
    steps: ["50%"],
    analysis: { inconclusive: "ask" },
  },
  { preview: "3s", smoke: [{ path: "/" }, { command: "check" }] },
  { strategy: "rolling" },
  { strategy: "rolling", surge: 0, minAvailable: 1, batch: 3 },
  { strategy: "recreate" },
];
/** In which what serves is never fewer than it was. */
const UNINTERRUPTED = ROLLOUTS.slice(0, 5);
/** A wish to abort is done by then, whatever is going on. */
const ABORT_MS = 20_000;

/** What serves, what comes, what is warm, and those that drain and end from a burst of changes. */
const MAX_SETS = 6;
const OLD_RELEASES = RELEASES_KEPT;
const STORY_MS = 60_000;
const DAY_MS = 86_400_000;
const REST_MS = 240_000;

const STORES: AppStores = {
  readiness: async () => ({ ready: true, startedAt: 0 }),
  ensureAccess: async () => ({ DATABASE_URL: new Redacted("postgres://secret") }),
  ports: async () => [],
  makeCopy: async () => undefined,
  copyState: async () => ({ state: "none" }),
  takenInCopy: async () => [],
  dropCopy: async () => undefined,
  hasData: async () => false,
  dropData: async () => undefined,
};

/** Plays one story; throws with the seed where a property does not hold. */
export async function simulate({ seed, sabotage }: SimulationOptions): Promise<void> {
  const random = new SeededRandom(seed);
  const clock = new VirtualClock();
  const store = new SqliteStore(openDatabase(":memory:"), clock, random, Buffer.alloc(32, 7));
  const judge = new Judge(seed, clock);
  let faults: Faults = NO_FAULTS;
  // In calm stories the control plane is killed too; capacity must hold at every moment.
  const isCalm = random.chance(0.3);
  const storyFaults: Faults = isCalm
    ? NO_FAULTS
    : {
        lostRequest: 0.03,
        lostReply: 0.03,
        lateEffect: 0.03,
        crash: random.chance(0.5) ? 0.1 : 0,
      };
  const rollouts = isCalm ? UNINTERRUPTED : ROLLOUTS;
  const behaviours = new Map<number, Behaviour>();
  const world = new MemoryWorld({
    clock,
    random,
    faults: () => faults,
    behaviour: (spec) => behaviourOf(spec, behaviours),
    onDeed: (deed, detail) => judge.onDeed(world, deed, detail),
  });
  const foreign = await plantForeign(world, clock);
  const reconciler = createAppReconciler({
    clock,
    store,
    leases: store,
    compute: (technology) => (technology === "process" ? world : EMPTY_COMPUTE),
    probe: world,
    edge: world,
    stores: STORES,
    secrets: { read: () => new Redacted("") },
    telemetry: { ports: [], variables: () => ({}) },
    traffic: world,
    smoke: world,
    publicUrl: (host) => `https://${host}`,
  });
  const judged = sabotage ? sabotage(reconciler, random) : reconciler;
  const startController = () => {
    const controller = new Controller(judged, {
      clock,
      random,
      maxWorkers: 4,
      deps: { store, journal: store },
      onError: (_key, error) => judge.onError(error),
    });
    controller.start();
    return controller;
  };
  let controller = startController();
  // As the control plane does: hints, and what is forgotten in time.
  wakeOthers({
    store,
    clock,
    look: (kind, name) => {
      if (kind.name !== APP.name) return;
      if (name === undefined) controller.lookAtAll();
      else controller.look(name);
    },
  });
  retain({
    store,
    builder: { prune: async (_app, kept) => judge.onKept(store, kept()) },
    sources: { prune: async (kept) => void kept() },
    onProblem: (problem) => judge.onError(new Error(problem)),
  });
  const check = (): void => judge.check(world, store, isCalm);

  faults = storyFaults;
  // So many are there already that with each deploy the oldest is forgotten.
  for (let old = 1; old <= OLD_RELEASES; old += 1) writeRelease(store, old, {});
  let last: number = OLD_RELEASES;
  const act = (): void => {
    const draw = random.fraction();
    if (last === OLD_RELEASES || draw < 0.5) {
      last += 1;
      behaviours.set(last, drawBehaviour(random, last));
      writeRelease(store, last, rollouts[random.between(0, rollouts.length - 1)] ?? {});
      writeApp(store, (spec) => ({ ...spec, release: last, reason: "deploy" }));
    } else if (draw < 0.65) {
      const to = random.between(OLD_RELEASES + 1, last);
      writeApp(store, (spec) => ({ ...spec, release: to, reason: "rollback" }));
    } else if (draw < 0.8) {
      writeApp(store, (spec) => ({
        ...spec,
        scale: { ...spec.scale, web: random.between(1, 4) },
        reason: "scale",
      }));
    } else {
      writeApp(store, (spec) => {
        const key = String(spec.release);
        return {
          ...spec,
          restarts: { ...spec.restarts, [key]: (spec.restarts[key] ?? 0) + 1 },
          reason: "restart",
        };
      });
    }
  };
  let end = clock.now() + STORY_MS;
  while (clock.now() < end) {
    act();
    await clock.advance(random.between(100, 12_000), check);
    if (random.chance(0.4)) judge.onWish(wish(store, random));
    await clock.advance(random.between(0, 6_000), check);
    if (random.chance(0.25)) {
      // kill -9: nothing more of the old one is begun, what is under way still takes effect.
      void controller.stop();
      const awayMs = random.chance(0.1) ? DAY_MS + 3_600_000 : random.between(0, 3_000);
      await clock.advance(awayMs, check);
      end += awayMs;
      judge.onAway(awayMs);
      controller = startController();
    }
  }
  faults = NO_FAULTS;
  await clock.advance(REST_MS, check);
  judge.checkRest(world, store, foreign, isCalm);
  void controller.stop();
}

// --- the judge

class Judge {
  readonly #seed: number;
  readonly #clock: VirtualClock;
  readonly #termed = new Set<string>();
  readonly #ready = new Set<string>();
  readonly #aborts = new Map<number, number>();
  #failure: Error | undefined;

  constructor(seed: number, clock: VirtualClock) {
    this.#seed = seed;
    this.#clock = clock;
  }

  onError(error: unknown): void {
    const code = (error as { code?: string }).code ?? "";
    if (!code.startsWith("fault.") && !code.startsWith("edge.") && !code.startsWith("lease.")) {
      this.#fail(
        `a pass failed on its own: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
    }
  }

  onDeed(
    world: MemoryWorld,
    deed: string,
    { name = "", traffic, spec }: { name?: string; traffic?: EdgeTraffic; spec?: InstanceSpec },
  ): void {
    if (deed === "join" && !world.isHealthy(name)) {
      // A late or repeated join of one that crashed since it was probed is not a wrong decision.
      if (!this.#ready.has(name)) this.#fail(`${name} joined a pool before it was ever ready`);
    }
    if (deed === "shift" && traffic) this.#checkShift(world, name, traffic);
    if (deed === "terminate") {
      this.#termed.add(name);
      if (
        [...world.edge.values()].some(({ servers }) =>
          servers.some((server) => server.name === name),
        )
      ) {
        this.#fail(`${name} got SIGTERM while it was in a pool`);
      }
    }
    if (deed === "kill" && !/\.(release|smoke)\./.test(name) && !this.#termed.has(name))
      this.#fail(`${name} got SIGKILL before SIGTERM`);
    if (deed === "start" && spec?.labels.component === "release") this.#checkTask(world, spec);
    if (deed === "start" && !name.startsWith("production.shop."))
      this.#fail(`started something of a strange name: ${name}`);
  }

  onWish({ generation, wish }: RolloutWish): void {
    if (wish === "abort") this.#aborts.set(generation, this.#clock.now());
  }

  /** Nobody was there who could have done what was wanted. */
  /** What old releases needed goes; of what runs nothing ever does. */
  onKept(store: SqliteStore, kept: readonly { readonly number: number }[]): void {
    const { serving, warm, rollout } = store.find(APP, NAME)?.status ?? {};
    const inUse = [serving, warm, rollout?.placement].flatMap((one) => one?.set.release ?? []);
    const numbers = kept.map(({ number }) => number);
    const gone = inUse.find((number) => !numbers.includes(number));
    if (gone !== undefined) this.#fail(`release ${gone} runs and is forgotten`);
    if (numbers.length > RELEASES_KEPT + inUse.length)
      this.#fail(`${numbers.length} releases are kept`);
  }

  onAway(awayMs: number): void {
    for (const [generation, at] of this.#aborts) this.#aborts.set(generation, at + awayMs);
  }

  /** At every moment. */
  check(world: MemoryWorld, store: SqliteStore, isCalm: boolean): void {
    for (const name of world.instances.keys()) if (world.isHealthy(name)) this.#ready.add(name);
    const status = store.find(APP, NAME)?.status;
    if (
      status?.rollout &&
      status.rollout.automatic === undefined &&
      status.history.some(({ generation }) => generation === status.rollout?.generation)
    ) {
      this.#fail("a rollout that has ended goes on");
    }
    const abortedAt = this.#aborts.get(status?.rollout?.generation ?? -1);
    const isOnItsWay = status?.rollout?.phase === "returning";
    if (abortedAt !== undefined && !isOnItsWay && this.#clock.now() - abortedAt > ABORT_MS)
      this.#fail("a rollout goes on that was aborted");
    this.#checkPools(world);
    if (isCalm && status) {
      this.#checkCapacity(world, status);
      this.#checkWithdrawn(world, status);
    }
    const sets = new Set(
      [...world.instances.values()]
        .filter(
          ({ state, spec }) =>
            state === "running" && spec.labels.role !== "task" && spec.owner !== "foreign",
        )
        .map(({ spec }) => `${spec.labels.release}-${spec.labels.restarts}`),
    );
    if (sets.size > MAX_SETS) this.#fail(`${sets.size} sets of instances run at once`);
    if (this.#failure) throw this.#failure;
  }

  /** When everything has come to rest. */
  checkRest(world: MemoryWorld, store: SqliteStore, foreign: string, isCalm: boolean): void {
    const app = store.find(APP, NAME);
    const status = app?.status;
    if (!status) throw this.#error("no status");
    if (status.rollout)
      throw this.#error(`a rollout never ended: ${JSON.stringify(status.rollout)}`);
    if (status.settledGeneration !== app.generation)
      throw this.#error("the last change was never dealt with");
    if (!world.instances.has(foreign))
      throw this.#error("an instance of another owner was removed");
    // What is ours alone to do is done where nothing stands in its way.
    const stuck = status.history.find(({ failure }) => failure?.reason.includes("could not get"));
    if (isCalm && stuck) throw this.#error(`for no reason: ${JSON.stringify(stuck)}`);
    const { serving } = status;
    const expected = serving ? expectedNames(serving) : [];
    const running = [...world.instances.values()]
      .filter(({ state, spec }) => state === "running" && spec.owner !== "foreign")
      .map(({ spec }) => spec.name)
      .sort();
    const isCrashing = status.instances.some(
      ({ state }) => state === "crashed" || state === "crash-loop",
    );
    if (!isCrashing && JSON.stringify(running) !== JSON.stringify(expected)) {
      throw this.#error(`runs ${running.join(" ")} instead of ${expected.join(" ")}`);
    }
    const traffic = world.edge.get(NAME)?.traffic;
    if (traffic?.candidate) throw this.#error("a candidate still gets requests");
    if (serving && traffic?.slots["web"] !== serving.slot)
      throw this.#error(`traffic is in slot ${traffic?.slots["web"]}, ${serving.slot} serves`);
    const [last] = status.history;
    const isForward = last?.outcome === "succeeded" && last.automatic === undefined;
    if (isForward && serving?.set.release !== app.spec.release)
      throw this.#error("the last rollout succeeded and something else serves");
  }

  /** Whoever gets requests of a service: what serves, and one candidate at most. */
  #checkPools(world: MemoryWorld): void {
    for (const [appName, { traffic, servers }] of world.edge)
      for (const [service, slot] of Object.entries(traffic?.slots ?? {})) {
        const { candidate } = traffic ?? {};
        if (!candidate?.services.includes(service) || candidate.perMille === 0) continue;
        if (candidate.slot === slot)
          this.#fail(`the candidate of ${appName} is in the slot of what serves`);
        const pool = servers.filter(
          (one) => one.service === service && one.slot === candidate.slot,
        );
        const sets = new Set(
          pool
            .filter(({ state }) => state !== "draining")
            .map(({ name }) => name.split(".").at(-2)),
        );
        if (sets.size > 1) this.#fail(`two candidates get requests: ${[...sets].join(" ")}`);
      }
  }

  /** What is recorded as taken back gets no request any more. */
  #checkWithdrawn(world: MemoryWorld, { rollout, history: [last] }: AppStatus): void {
    if (rollout || last?.failure === undefined || last.strategy === "recreate") return;
    const candidate = world.edge.get(NAME)?.traffic?.candidate;
    if (candidate?.rollout === last.generation && candidate.perMille > 0)
      this.#fail(`release ${last.placement.set.release} is ${last.outcome} and gets requests`);
  }

  /** Without faults there are always as many ready instances as there were wanted before. */
  #checkCapacity(world: MemoryWorld, { serving, rollout }: AppStatus): void {
    const { traffic, servers = [] } = world.edge.get(NAME) ?? {};
    if (!serving || !traffic) return;
    for (const [service, slot] of Object.entries(traffic.slots)) {
      const slots = [slot, traffic.candidate?.perMille ? traffic.candidate.slot : slot];
      const ready = servers.filter(
        (one) =>
          one.service === service &&
          slots.includes(one.slot) &&
          one.state !== "draining" &&
          world.isHealthy(one.name),
      );
      const wanted = Math.min(
        serving.counts[service] ?? 0,
        rollout?.placement.counts[service] ?? Number.POSITIVE_INFINITY,
      );
      if (ready.length < wanted)
        this.#fail(`${service} has ${ready.length} ready instances, ${wanted} are the least`);
    }
  }

  #checkShift(world: MemoryWorld, appName: string, { slots, candidate }: EdgeTraffic): void {
    const app = world.edge.get(appName);
    for (const service of candidate?.services ?? []) {
      const pool = (app?.servers ?? []).filter(
        (server) => server.service === service && server.slot === candidate?.slot,
      );
      if (!pool.some(({ name }) => world.isHealthy(name) || this.#ready.has(name)))
        this.#fail(`a candidate of ${service} gets requests, where nothing was ever ready`);
    }
    for (const [service, slot] of Object.entries(slots)) {
      // What is where it was has not moved.
      const from = app?.traffic?.slots[service];
      if (from === slot) continue;
      // Nor does it take anything from anybody where nobody takes requests either.
      const isAnswered = app?.servers.some(
        (server) =>
          server.service === service && server.slot === from && server.state !== "draining",
      );
      if (from !== undefined && !isAnswered) continue;
      const pool = (app?.servers ?? []).filter(
        (server) => server.service === service && server.slot === slot,
      );
      // Those that crashed between their probe and this moment were ready once.
      const fit = pool.filter(({ name }) => world.isHealthy(name) || this.#ready.has(name));
      if (fit.length === 0)
        this.#fail(`traffic of ${service} moved to slot ${slot}, where nothing was ever ready`);
      const sets = new Set(
        pool.filter(({ state }) => state !== "draining").map(({ name }) => name.split(".").at(-2)),
      );
      if (sets.size > 1)
        this.#fail(
          `traffic of ${service} moved to slot ${slot}, where two releases are: ${[...sets].join(" ")}`,
        );
      if (fit.length < pool.length)
        this.#fail(
          `traffic of ${service} moved to slot ${slot} with an instance that was never ready`,
        );
    }
  }

  #checkTask(world: MemoryWorld, spec: InstanceSpec): void {
    const others = [...world.instances.values()].filter(
      ({ spec: other, state }) =>
        other.labels.component === "release" &&
        other.labels.release === spec.labels.release &&
        other.name !== spec.name &&
        state === "running",
    );
    if (others.length > 0)
      this.#fail(`the release command of release ${spec.labels.release} runs twice at once`);
    const done = [...world.finishedTasks].filter(([name]) =>
      name.startsWith(`production.shop.release.r${spec.labels.release}.`),
    );
    if (done.length > 0)
      this.#fail(
        `the release command of release ${spec.labels.release} ran again after it had succeeded`,
      );
  }

  #fail(text: string): void {
    this.#failure ??= this.#error(text);
  }

  #error(text: string): Error {
    return new Error(`seed ${this.#seed} at +${this.#clock.now() - 1_800_000_000_000} ms: ${text}`);
  }
}

function expectedNames({ set, counts }: Placement): string[] {
  const label = set.restarts === 0 ? `r${set.release}` : `r${set.release}-${set.restarts}`;
  return Object.entries(counts)
    .flatMap(([component, count]) =>
      Array.from({ length: count }, (_, i) => `production.shop.${component}.${label}.${i + 1}`),
    )
    .sort();
}

// --- the story

/** Of the rollout that is under way, whatever it is. */
function wish(store: SqliteStore, random: SeededRandom): RolloutWish {
  const status = store.find(APP, NAME)?.status;
  const wishes = ["pause", "resume", "resume", "promote", "abort"] as const;
  const spec: RolloutWish = {
    generation: status?.rollout?.generation ?? 0,
    wish: wishes[random.between(0, wishes.length - 1)] ?? "abort",
    stage: status?.rollout?.stage ?? 0,
    by: "simulation",
  };
  store.writeSpec(ROLLOUT, NAME, spec, { actor: ACTOR, action: spec.wish });
  return spec;
}

function drawBehaviour(random: SeededRandom, release: number): Behaviour {
  const draw = random.fraction();
  const healthyAfterMs = random.between(50, 2_000);
  if (release > 1 && random.chance(0.2)) return { healthyAfterMs, errorRate: 0.2 };
  if (release > 1 && random.chance(0.1)) return { healthyAfterMs, failsSmoke: true };
  if (release === 1 || draw < 0.6) return { healthyAfterMs };
  if (draw < 0.7) return { healthyAfterMs: 3_600_000 };
  if (draw < 0.8)
    return { healthyAfterMs: 3_600_000, exit: { afterMs: random.between(1, 3_000), code: 1 } };
  if (draw < 0.9) return { healthyAfterMs, ignoresSigterm: true };
  return { healthyAfterMs: random.between(4_000, 9_000) };
}

function behaviourOf({ labels }: InstanceSpec, behaviours: Map<number, Behaviour>): Behaviour {
  if (labels.component === "smoke")
    return { healthyAfterMs: 0, exit: { afterMs: 300, code: labels.release % 5 === 4 ? 1 : 0 } };
  if (labels.role === "task")
    return { healthyAfterMs: 0, exit: { afterMs: 400, code: labels.release % 7 === 5 ? 1 : 0 } };
  const behaviour = behaviours.get(labels.release) ?? { healthyAfterMs: 100 };
  return labels.role === "worker" && behaviour.healthyAfterMs > 60_000 && !behaviour.exit
    ? { healthyAfterMs: 0 }
    : behaviour;
}

function writeRelease(store: SqliteStore, number: number, rollout: object): void {
  const spec: ReleaseSpec = {
    environment: "production",
    app: NAME,
    number,
    reason: "deploy",
    manifest: manifest(rollout),
    source: { digest: `source-${number}`, bytes: 1, inferred: [] },
    config: { version: 0, values: {}, set: {} },
    secrets: {},
    createdBy: "simulation",
  };
  const release = store.writeSpec(RELEASE, releaseName(NAME, number), spec, {
    actor: ACTOR,
    action: "deploy",
  });
  store.writeStatus(release, release.uid, {
    phase: "ready",
    artifact: { kind: "directory", digest: `artifact-${number}` },
  });
}

function writeApp(store: SqliteStore, change: (spec: AppSpec) => AppSpec): void {
  const before = store.find(APP, NAME)?.spec ?? {
    environment: "production",
    release: 0,
    restarts: {},
    scale: {},
    reason: "deploy" as const,
  };
  store.writeSpec(APP, NAME, change(before), { actor: ACTOR, action: "simulate" });
}

async function plantForeign(world: MemoryWorld, clock: VirtualClock): Promise<string> {
  const labels = {
    component: "web",
    role: "service",
    release: 1,
    restarts: 0,
    index: "1",
  } as const;
  const spec: InstanceSpec = {
    name: "production.shop.web.r999.1",
    owner: "foreign",
    appName: "production/other",
    labels,
    artifact: { kind: "directory", digest: "x" },
    command: "web",
    env: {},
    resources: defaultResources,
  };
  const started = world.start(spec);
  await clock.advance(20);
  await started;
  return spec.name;
}

const EMPTY_COMPUTE = new MemoryWorld({
  clock: systemClock,
  random: { fraction: () => 0 },
  faults: () => NO_FAULTS,
  behaviour: () => ({ healthyAfterMs: 0 }),
});
