// A world in memory: instances and an edge that behave, and misbehave, like the real ones. It is a
// real implementation of the ports: the compute part passes the same conformance suite as processes
// and containers. Faults are drawn per call: the request is lost, the reply is lost, the effect
// comes late, a start is slow, an instance crashes.

import type { Clock } from "../../src/kernel/clock.ts";
import { sleep } from "../../src/kernel/clock.ts";
import { transient } from "../../src/kernel/error.ts";
import type { ArmCounts, ComparisonQuestion, ResourceUse } from "../../src/kernel/signal.ts";
import { QUANTILE_STEPS } from "../../src/kernel/signal.ts";
import type {
  Address,
  ComputeDriver,
  EdgeDeclaration,
  EdgeDriver,
  EdgeServer,
  EdgeTraffic,
  EdgeView,
  HealthProbe,
  Instance,
  InstanceExit,
  InstanceSpec,
  MetricValue,
  ProbeResult,
  RolloutTelemetry,
  SmokeProbe,
  UnansweredRequest,
} from "../../src/resources/app/app-driver.ts";

export interface Faults {
  readonly lostRequest: number;
  readonly lostReply: number;
  readonly lateEffect: number;
  /** Of instances: they crash some time after they became healthy. */
  readonly crash: number;
}

export const NO_FAULTS: Faults = { lostRequest: 0, lostReply: 0, lateEffect: 0, crash: 0 };

/** How the instances of a release behave. */
export interface Behaviour {
  readonly healthyAfterMs: number;
  readonly exit?: { readonly afterMs: number; readonly code: number };
  readonly ignoresSigterm?: boolean;
  /** Of its answers, 0 to 1. */
  readonly errorRate?: number;
  readonly failsSmoke?: boolean;
}

export interface MemoryWorldOptions {
  readonly clock: Clock;
  readonly random: { fraction(): number };
  readonly faults: () => Faults;
  readonly behaviour: (spec: InstanceSpec) => Behaviour;
  /** Called with every deed, before it takes effect: where the judge listens. */
  readonly onDeed?: (
    deed: string,
    detail: { name?: string; traffic?: EdgeTraffic; spec?: InstanceSpec },
  ) => void;
}

interface LiveInstance {
  spec: InstanceSpec;
  state: "running" | "exited";
  address: Address | undefined;
  startedAt: number;
  stoppingSince: number | undefined;
  exit: InstanceExit | undefined;
  exits: InstanceExit[];
  behaviour: Behaviour;
  incarnation: number;
  wasHealthy: boolean;
}

const REQUESTS_PER_S = 50;
const COUNTED_S = 60;
const LATE_MS = 700;
const GRACEFUL_MS = 30;

export class MemoryWorld
  implements ComputeDriver, EdgeDriver, HealthProbe, RolloutTelemetry, SmokeProbe
{
  readonly instances = new Map<string, LiveInstance>();
  readonly edge = new Map<
    string,
    { declaration: EdgeDeclaration; traffic: EdgeTraffic | undefined; servers: EdgeServer[] }
  >();
  /** Release commands that ran to their end: instance name → how often. */
  readonly finishedTasks = new Map<string, number>();
  /** What instances were given to read. */
  readonly fed = new Map<string, string>();
  readonly #options: MemoryWorldOptions;
  #edgeOwes: (() => void)[] = [];
  #nextPort = 20_000;

  constructor(options: MemoryWorldOptions) {
    this.#options = options;
  }

  // --- compute

  async localhost(): Promise<string> {
    return "127.0.0.1";
  }

  async list(owner: string): Promise<readonly Instance[]> {
    return [...this.instances.values()]
      .filter(({ spec }) => spec.owner === owner)
      .map((one) => ({
        name: one.spec.name,
        owner,
        labels: one.spec.labels,
        state: one.state,
        address: one.address,
        startedAt: one.startedAt,
        stoppingSince: one.stoppingSince,
        exit: one.exit,
        exits: [...one.exits],
      }));
  }

  start(spec: InstanceSpec): Promise<void> {
    return this.#call(() => this.#start(spec));
  }

  terminate(owner: string, name: string): Promise<void> {
    return this.#call(() => {
      const one = this.#owned(owner, name);
      if (one?.state !== "running") return;
      this.#options.onDeed?.("terminate", { name });
      one.stoppingSince ??= this.#options.clock.now();
      if (!one.behaviour.ignoresSigterm)
        this.#after(one, GRACEFUL_MS, () => this.#end(one, { code: 0, signal: undefined }));
    });
  }

  kill(owner: string, name: string): Promise<void> {
    return this.#call(() => {
      const one = this.#owned(owner, name);
      if (one?.state !== "running") return;
      this.#options.onDeed?.("kill", { name });
      one.stoppingSince ??= this.#options.clock.now();
      this.#end(one, { code: undefined, signal: "SIGKILL" });
    });
  }

  remove(owner: string, name: string): Promise<void> {
    return this.#call(() => {
      if (this.#owned(owner, name)?.state === "exited") this.instances.delete(name);
    });
  }

  async tail(_owner: string, name: string): Promise<readonly string[]> {
    return this.instances.has(name) ? [`the last words of ${name}`] : [];
  }

  async feed(_owner: string, name: string, input: AsyncIterable<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of input) text += decoder.decode(chunk, { stream: true });
    this.fed.set(name, text);
  }

  async usage(_owner: string, name: string): Promise<ResourceUse | undefined> {
    const isRunning = this.instances.get(name)?.state === "running";
    return isRunning ? { cpuSeconds: 0, memoryBytes: 1 } : undefined;
  }

  isHealthy(name: string): boolean {
    const one = this.instances.get(name);
    if (one?.state !== "running" || one.stoppingSince !== undefined) return false;
    const isUp = this.#options.clock.now() - one.startedAt >= one.behaviour.healthyAfterMs;
    if (isUp) one.wasHealthy = true;
    return isUp;
  }

  async probe(address: Address): Promise<ProbeResult> {
    const one = [...this.instances.values()].find(
      (candidate) => candidate.address?.port === address.port,
    );
    const ok = one !== undefined && this.isHealthy(one.spec.name);
    return { ok, detail: ok ? "GET / → 200" : "GET / → connection refused" };
  }

  /** A crash that nobody asked for. */
  crash(name: string): void {
    const one = this.instances.get(name);
    if (one?.state === "running") this.#end(one, { code: 1, signal: undefined });
  }

  // --- traffic: so many requests per second, to whom the edge sends them now

  async compare(question: ComparisonQuestion): Promise<readonly ArmCounts[]> {
    const { environment, app, releases, from, through, bounds, quantiles } = question;
    const { traffic, servers } = this.edge.get(`${environment}/${app}`) ?? {};
    const seconds = Math.min(COUNTED_S, Math.max(0, (through - from) / 1000));
    return Object.entries(traffic?.slots ?? {}).flatMap(([service, slot]) => {
      const { candidate } = traffic ?? {};
      const share = candidate?.services.includes(service) ? candidate.perMille / 1000 : 0;
      return releases.flatMap((release): ArmCounts[] => {
        const own = servers?.find(
          (one) => one.service === service && this.#releaseOf(one.name) === release,
        );
        if (!own) return [];
        const part = own.slot === slot ? 1 - share : share;
        const requests = Math.round(REQUESTS_PER_S * seconds * part);
        const errorRate = this.instances.get(own.name)?.behaviour.errorRate ?? 0;
        const levels = Array.from({ length: QUANTILE_STEPS + 1 }, (_, i) => i / 10);
        return [
          {
            service,
            release,
            requests,
            errors: Math.round(requests * errorRate),
            logErrors: 0,
            timed: requests,
            over: (bounds[service]?.[release] ?? []).map(() => 0),
            quantiles: quantiles && requests > 0 ? levels : [],
          },
        ];
      });
    });
  }

  async read(): Promise<MetricValue> {
    return { value: null };
  }

  async ask({ key }: { readonly key: string }): Promise<ProbeResult> {
    const found = [...this.edge.values()].find(({ traffic }) => traffic?.candidate?.key === key);
    const { slot } = found?.traffic?.candidate ?? {};
    const server = found?.servers.find((one) => one.slot === slot);
    const ok =
      server !== undefined &&
      this.isHealthy(server.name) &&
      this.instances.get(server.name)?.behaviour.failsSmoke !== true;
    return { ok, detail: ok ? "GET / → 200" : "GET / → 500" };
  }

  #releaseOf(name: string): number | undefined {
    return this.instances.get(name)?.spec.labels.release;
  }

  // --- edge

  async observe(appName: string): Promise<EdgeView | undefined> {
    const app = this.edge.get(appName);
    return {
      declaration: app?.declaration,
      isLoaded: true,
      traffic: app?.traffic,
      servers: (app?.servers ?? []).map((server) =>
        server.state === "draining"
          ? server
          : { ...server, state: this.isHealthy(server.name) ? "up" : "down" },
      ),
    };
  }

  declare(appName: string, declaration: EdgeDeclaration): Promise<void> {
    return this.#callEdge(() => {
      const before = this.edge.get(appName);
      this.edge.set(appName, {
        declaration,
        traffic: before?.traffic,
        servers: before?.servers ?? [],
      });
    });
  }

  join(appName: string, server: Omit<EdgeServer, "state" | "requests">): Promise<void> {
    return this.#callEdge(() => {
      this.#options.onDeed?.("join", { name: server.name });
      const app = this.#app(appName);
      app.servers = [
        ...app.servers.filter(({ name }) => name !== server.name),
        { ...server, state: "up", requests: 0 },
      ];
    });
  }

  async unanswered(): Promise<readonly UnansweredRequest[]> {
    return [];
  }

  drain(appName: string, { name }: { name: string }): Promise<void> {
    return this.#callEdge(() => {
      const app = this.#app(appName);
      app.servers = app.servers.map((one) =>
        one.name === name ? { ...one, state: "draining" } : one,
      );
    });
  }

  leave(appName: string, { name }: { name: string }): Promise<void> {
    return this.#callEdge(() => {
      this.#options.onDeed?.("leave", { name });
      const app = this.#app(appName);
      app.servers = app.servers.filter((one) => one.name !== name);
    });
  }

  shift(appName: string, traffic: EdgeTraffic): Promise<void> {
    return this.#callEdge(() => {
      this.#options.onDeed?.("shift", { name: appName, traffic });
      this.#app(appName).traffic = traffic;
    });
  }

  withdraw(appName: string): Promise<void> {
    return this.#callEdge(() => void this.edge.delete(appName));
  }

  internalPorts(): Readonly<Record<string, number>> {
    return {};
  }

  async bridge(): Promise<void> {}

  // --- inside

  #start(spec: InstanceSpec): void {
    const before = this.instances.get(spec.name);
    if (before?.state === "running" || (before && spec.labels.role === "task")) return;
    this.#options.onDeed?.("start", { name: spec.name, spec });
    const behaviour = this.#options.behaviour(spec);
    this.#nextPort += 1;
    const address =
      spec.port === undefined
        ? undefined
        : { host: "127.0.0.1", port: before?.address?.port ?? this.#nextPort };
    const one: LiveInstance = {
      spec,
      state: "running",
      address,
      startedAt: this.#options.clock.now(),
      stoppingSince: undefined,
      exit: undefined,
      exits: before?.exits ?? [],
      behaviour,
      incarnation: (before?.incarnation ?? 0) + 1,
      wasHealthy: false,
    };
    this.instances.set(spec.name, one);
    const { exit } = behaviour;
    if (exit)
      this.#after(one, exit.afterMs, () => this.#end(one, { code: exit.code, signal: undefined }));
    else if (this.#options.random.fraction() < this.#options.faults().crash) {
      const when = behaviour.healthyAfterMs + this.#options.random.fraction() * 20_000;
      this.#after(one, when, () => this.#end(one, { code: 1, signal: undefined }));
    }
  }

  #end(one: LiveInstance, how: Pick<InstanceExit, "code" | "signal">): void {
    one.state = "exited";
    one.exit = { at: this.#options.clock.now(), ...how };
    if (one.stoppingSince === undefined) one.exits = [...one.exits, one.exit].slice(-10);
    if (one.spec.labels.role === "task" && how.code === 0) {
      this.finishedTasks.set(one.spec.name, (this.finishedTasks.get(one.spec.name) ?? 0) + 1);
    }
  }

  #after(one: LiveInstance, ms: number, work: () => void): void {
    const { incarnation } = one;
    this.#options.clock.after(ms, () => {
      if (one.state === "running" && one.incarnation === incarnation) work();
    });
  }

  #owned(owner: string, name: string): LiveInstance | undefined {
    const one = this.instances.get(name);
    return one?.spec.owner === owner ? one : undefined;
  }

  #app(appName: string) {
    const app = this.edge.get(appName);
    if (!app) throw transient("edge.not_declared", `the edge does not know ${appName}`);
    return app;
  }

  // The edge takes one change after the other: what it was told before comes first, however late.
  #callEdge(effect: () => void): Promise<void> {
    let isDone = false;
    const once = (): void => {
      if (isDone) return;
      isDone = true;
      this.#edgeOwes = this.#edgeOwes.filter((one) => one !== once);
      effect();
    };
    return this.#call(once, () => {
      for (const owed of this.#edgeOwes) {
        try {
          owed();
        } catch {
          // It came too late to matter.
        }
      }
      this.#edgeOwes.push(once);
    });
  }

  async #call(effect: () => void, begin: () => void = () => undefined): Promise<void> {
    const { lostRequest, lostReply, lateEffect } = this.#options.faults();
    const { clock, random } = this.#options;
    await sleep(clock, 1 + random.fraction() * 5);
    const draw = random.fraction();
    if (draw < lostRequest) throw transient("fault.lost_request", "the request was lost");
    begin();
    if (draw < lostRequest + lateEffect) {
      clock.after(LATE_MS, () => {
        try {
          effect();
        } catch {
          // It came too late to matter.
        }
      });
      throw transient("fault.timeout", "no answer in time");
    }
    effect();
    if (draw < lostRequest + lateEffect + lostReply)
      throw transient("fault.lost_reply", "the reply was lost");
  }
}
