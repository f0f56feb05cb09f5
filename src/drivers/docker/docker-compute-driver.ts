// Instances as containers: limits, no added rights, a private network per environment, nothing
// published. What carries another installation's label, or none, is never touched.

import { createHash } from "node:crypto";
import { appendFileSync, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { type Clock, sleep } from "../../kernel/clock.ts";
import { messageOf } from "../../kernel/error.ts";
import { Redacted } from "../../kernel/redacted.ts";
import type { ResourceUse } from "../../kernel/signal.ts";
import type {
  ComputeDriver,
  Instance,
  InstanceExit,
  InstanceLabels,
  InstanceSpec,
} from "../../resources/app/app-driver.ts";
import { describeLog, endLog } from "../log-source.ts";
import { tailFile } from "../log-tail.ts";
import { OOM_SCORE } from "../process/sandbox.ts";
import type { DockerEngine } from "./docker-engine.ts";
import { copyLog, demultiplex } from "./docker-log.ts";

export interface DockerComputeOptions {
  readonly clock: Clock;
  readonly engine: DockerEngine;
  /** Tells the containers of this installation from all others. */
  readonly installation: string;
  readonly logDir: string;
  /** Whether the whole installation was being stopped at this time. */
  readonly wasStoppedAt: (at: number) => boolean;
}

const DEFAULT_PORT = 3_000;
const EXITS_KEPT = 10;
const LABEL = "holdfast";
const EVENTS_RETRY_MS = 5_000;
/** What everything uses is asked for every few seconds: a daemon that hangs must not hold that up. */
const USAGE_TIMEOUT_MS = 2_000;

interface ContainerSummary {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly State: string;
  readonly Labels: Readonly<Record<string, string>>;
}

interface ContainerEvent {
  readonly Actor?: { readonly Attributes?: Readonly<Record<string, string>> };
}

interface ContainerDetails {
  readonly Id: string;
  readonly Config: { readonly Labels: Readonly<Record<string, string>> };
  readonly State: {
    readonly Running: boolean;
    readonly Status: string;
    readonly OOMKilled: boolean;
    readonly ExitCode: number;
    readonly Error: string;
    readonly StartedAt: string;
    readonly FinishedAt: string;
  };
  readonly HostConfig: { readonly Memory: number };
  readonly NetworkSettings: {
    readonly Networks: Readonly<
      Record<string, { readonly IPAddress: string; readonly Gateway: string }>
    >;
  };
}

interface ContainerStats {
  readonly cpu_stats: { readonly cpu_usage: { readonly total_usage: number } };
  readonly memory_stats: {
    readonly usage?: number;
    readonly stats?: Readonly<Record<string, number>>;
  };
}

export class DockerComputeDriver implements ComputeDriver {
  readonly #options: DockerComputeOptions;
  readonly #installation: string;
  readonly #stopping = new Map<string, number>();
  readonly #following = new Set<string>();

  constructor(options: DockerComputeOptions) {
    this.#options = options;
    this.#installation = createHash("sha256")
      .update(options.installation)
      .digest("hex")
      .slice(0, 12);
  }

  async list(owner: string): Promise<readonly Instance[]> {
    if (!this.#options.engine.isPresent) return [];
    const containers = await this.#summaries([`${LABEL}.owner=${owner}`]);
    const details = await Promise.all(containers.map(({ Id }) => this.#inspect(Id)));
    return details.flatMap((one) =>
      one && one.State.Status !== "created" ? [this.#instanceOf(one)] : [],
    );
  }

  async start(spec: InstanceSpec, signal: AbortSignal): Promise<void> {
    const { engine } = this.#options;
    const id = this.#containerName(spec.name);
    const before = await this.#inspect(id);
    if (before?.State.Running) return;
    if (before?.State.Status === "exited" && spec.labels.role === "task") return;
    const exits =
      before && before.State.Status !== "created"
        ? this.#exitsOf(before, this.#stopping.has(spec.name))
        : [];
    this.#stopping.delete(spec.name);
    if (before) await engine.call("DELETE", `/containers/${id}?force=true`, { accept: [404] });
    signal.throwIfAborted();
    const network = await this.#ensureNetwork(spec.appName.split("/")[0] ?? "");
    const port =
      spec.port === undefined
        ? undefined
        : spec.port || (await this.#exposedPort(spec.artifact.digest)) || DEFAULT_PORT;
    await engine.call("POST", `/containers/create?name=${id}`, {
      body: this.#containerSpec(spec, network.name, port, exits),
    });
    await engine.call("POST", `/containers/${id}/start`, { accept: [304] });
    void this.#followLogs(spec.name);
  }

  async terminate(owner: string, name: string): Promise<void> {
    await this.#signal(owner, name, "SIGTERM");
  }

  async kill(owner: string, name: string): Promise<void> {
    await this.#signal(owner, name, "SIGKILL");
  }

  async remove(owner: string, name: string): Promise<void> {
    const details = await this.#inspectOwned(owner, name);
    if (!details || details.State.Running) return;
    endLog(this.#logFile(name));
    await this.#options.engine.call("DELETE", `/containers/${details.Id}?v=true`, {
      accept: [404, 409],
    });
    this.#stopping.delete(name);
  }

  async tail(owner: string, name: string, maxLines: number): Promise<readonly string[]> {
    const details = await this.#inspectOwned(owner, name);
    if (!details) return tailFile(this.#logFile(name), maxLines);
    const stream = await this.#options.engine.stream(
      "GET",
      `/containers/${details.Id}/logs?stdout=1&stderr=1&tail=${maxLines}`,
    );
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    return demultiplex(Buffer.concat(chunks)).text.split("\n").filter(Boolean).slice(-maxLines);
  }

  /** Calls back with the app whose container ended; takes up the logs of those that run. */
  watch(onEnd: (appName: string) => void): () => void {
    const stop = new AbortController();
    void this.#watchEvents(onEnd, stop.signal);
    return () => stop.abort();
  }

  async feed(owner: string, name: string, input: AsyncIterable<Uint8Array>): Promise<void> {
    const details = await this.#inspectOwned(owner, name);
    if (!details?.State.Running) return;
    const stdin = await this.#options.engine.attach(details.Id);
    stdin.resume();
    // It may end without having read all of it.
    await pipeline(input, stdin).catch(() => stdin.destroy());
  }

  async usage(owner: string, name: string): Promise<ResourceUse | undefined> {
    const { engine } = this.#options;
    const container = await this.#inspectOwned(owner, name, USAGE_TIMEOUT_MS);
    if (!container?.State.Running) return undefined;
    const { status, body } = await engine.call(
      "GET",
      `/containers/${container.Id}/stats?stream=false&one-shot=true`,
      { accept: [404, 409], timeoutMs: USAGE_TIMEOUT_MS },
    );
    if (status >= 300) return undefined;
    const { cpu_stats, memory_stats } = body as ContainerStats;
    const { usage = 0, stats = {} } = memory_stats;
    // Files that the kernel can drop are not counted; control groups of version 1 call them otherwise.
    const droppable = stats["inactive_file"] ?? stats["total_inactive_file"] ?? 0;
    const limit = container.HostConfig.Memory;
    return {
      cpuSeconds: cpu_stats.cpu_usage.total_usage / 1e9,
      memoryBytes: Math.max(0, usage - droppable),
      ...(limit > 0 && { memoryLimitBytes: limit }),
    };
  }

  async localhost(environment: string): Promise<string> {
    return (await this.#ensureNetwork(environment)).gateway;
  }

  /** Ends every container of this installation; their logs stay. */
  async stopAll(graceSeconds: number): Promise<void> {
    if (!this.#options.engine.isPresent) return;
    const running = (await this.#summaries([])).filter(({ State }) => State === "running");
    await Promise.all(
      running.map(({ Id }) =>
        this.#options.engine.call("POST", `/containers/${Id}/stop?t=${graceSeconds}`, {
          accept: [304, 404],
        }),
      ),
    );
  }

  /** Removes the networks of this installation that nothing is attached to. */
  async removeNetworks(): Promise<void> {
    const { engine } = this.#options;
    if (!engine.isPresent) return;
    const wanted = { label: [`${LABEL}.installation=${this.#installation}`] };
    const { body } = await engine.call(
      "GET",
      `/networks?filters=${encodeURIComponent(JSON.stringify(wanted))}`,
    );
    for (const { Id } of body as { Id: string }[]) {
      await engine.call("DELETE", `/networks/${Id}`, { accept: [403, 404, 409] });
    }
  }

  /** The environment's private network; its gateway is how containers reach this machine. */
  async #ensureNetwork(
    environment: string,
  ): Promise<{ readonly name: string; readonly gateway: string }> {
    const { engine } = this.#options;
    const name = `holdfast-${this.#installation}-${environment}`;
    const labels = { [`${LABEL}.installation`]: this.#installation };
    const seen = await engine.call("GET", `/networks/${name}`, { accept: [404] });
    if (seen.status === 404) {
      await engine.call("POST", "/networks/create", {
        body: { Name: name, Driver: "bridge", CheckDuplicate: true, Labels: labels },
      });
    }
    const { body } = await engine.call("GET", `/networks/${name}`);
    const gateway =
      (body as { IPAM: { Config: { Gateway: string }[] } }).IPAM.Config[0]?.Gateway ?? "";
    return { name, gateway };
  }

  // One stream for both outputs of a command: two would lose the order of their lines.
  #containerSpec(
    spec: InstanceSpec,
    network: string,
    port: number | undefined,
    exits: readonly InstanceExit[],
  ) {
    const { cpu, memory, disk, processes, readOnlyRoot } = spec.resources;
    const variables: Record<string, string | Redacted> = { HOST: "0.0.0.0", ...spec.env };
    if (port !== undefined) variables["PORT"] = String(port);
    const env = Object.entries(variables);
    return {
      Image: spec.artifact.digest,
      ...(spec.command !== "" && {
        Cmd: ["/bin/sh", "-c", `exec 2>&1\n${spec.command}`],
        Entrypoint: [],
      }),
      ...(spec.takesInput && { OpenStdin: true, StdinOnce: true }),
      Env: env.map(
        ([key, value]) => `${key}=${value instanceof Redacted ? value.reveal() : value}`,
      ),
      Labels: {
        [`${LABEL}.installation`]: this.#installation,
        [`${LABEL}.owner`]: spec.owner,
        [`${LABEL}.name`]: spec.name,
        [`${LABEL}.app`]: spec.appName,
        [`${LABEL}.labels`]: JSON.stringify(spec.labels),
        [`${LABEL}.exits`]: JSON.stringify(exits),
        ...(port !== undefined && { [`${LABEL}.port`]: String(port) }),
      },
      HostConfig: {
        NetworkMode: network,
        Init: true,
        RestartPolicy: { Name: "no" },
        ReadonlyRootfs: readOnlyRoot,
        SecurityOpt: ["no-new-privileges"],
        Tmpfs: { "/tmp": `rw,nosuid,nodev,size=${disk}` },
        PidsLimit: processes,
        OomScoreAdj: OOM_SCORE.instance,
        Memory: memory,
        MemorySwap: memory,
        ...(cpu !== undefined && { NanoCpus: Math.round(cpu * 1e9) }),
        LogConfig: { Type: "json-file", Config: { "max-size": "10m", "max-file": "3" } },
      },
    };
  }

  async #exposedPort(image: string): Promise<number | undefined> {
    const { status, body } = await this.#options.engine.call("GET", `/images/${image}/json`, {
      accept: [404],
    });
    if (status === 404) return undefined;
    const ports = Object.keys(
      (body as { Config: { ExposedPorts?: Record<string, unknown> } }).Config.ExposedPorts ?? {},
    );
    return ports[0] === undefined ? undefined : Number.parseInt(ports[0], 10);
  }

  #instanceOf(details: ContainerDetails): Instance {
    const labels = details.Config.Labels;
    const name = labels[`${LABEL}.name`] ?? "";
    const port = labels[`${LABEL}.port`];
    const network = Object.values(details.NetworkSettings.Networks)[0];
    const isRunning = details.State.Running;
    const stoppingSince = this.#stopping.get(name);
    const exits = this.#exitsOf(details, stoppingSince !== undefined);
    return {
      name,
      owner: labels[`${LABEL}.owner`] ?? "",
      labels: JSON.parse(labels[`${LABEL}.labels`] ?? "{}") as InstanceLabels,
      state: isRunning ? "running" : "exited",
      address:
        port === undefined || !isRunning || !network?.IPAddress
          ? undefined
          : { host: network.IPAddress, port: Number(port) },
      startedAt: Date.parse(details.State.StartedAt),
      stoppingSince,
      exit: isRunning ? undefined : exitOf(details),
      exits,
    };
  }

  #exitsOf(details: ContainerDetails, wasAsked: boolean): readonly InstanceExit[] {
    const before = JSON.parse(details.Config.Labels[`${LABEL}.exits`] ?? "[]") as InstanceExit[];
    if (details.State.Running || wasAsked) return before;
    const exit = exitOf(details);
    return this.#options.wasStoppedAt(exit.at) ? before : [...before, exit].slice(-EXITS_KEPT);
  }

  async #signal(owner: string, name: string, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const details = await this.#inspectOwned(owner, name);
    if (!details?.State.Running) return;
    if (!this.#stopping.has(name)) this.#stopping.set(name, this.#options.clock.now());
    await this.#options.engine.call("POST", `/containers/${details.Id}/kill?signal=${signal}`, {
      accept: [404, 409],
    });
  }

  async #inspect(id: string, timeoutMs?: number): Promise<ContainerDetails | undefined> {
    const { status, body } = await this.#options.engine.call("GET", `/containers/${id}/json`, {
      accept: [404],
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
    return status === 404 ? undefined : (body as ContainerDetails);
  }

  async #inspectOwned(
    owner: string,
    name: string,
    timeoutMs?: number,
  ): Promise<ContainerDetails | undefined> {
    if (!this.#options.engine.isPresent) return undefined;
    const details = await this.#inspect(this.#containerName(name), timeoutMs);
    return details?.Config.Labels[`${LABEL}.owner`] === owner ? details : undefined;
  }

  async #summaries(labels: readonly string[]): Promise<readonly ContainerSummary[]> {
    const filters = encodeURIComponent(
      JSON.stringify({ label: [`${LABEL}.installation=${this.#installation}`, ...labels] }),
    );
    const { body } = await this.#options.engine.call(
      "GET",
      `/containers/json?all=true&filters=${filters}`,
    );
    return body as readonly ContainerSummary[];
  }

  // --- output, into the same files that processes write to

  async #watchEvents(onEnd: (appName: string) => void, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // The engine may be away or go away: instances are listed anew at the next look anyway.
      if (this.#options.engine.isPresent)
        await this.#listenOnce(onEnd, signal).catch(() => undefined);
      await sleep(this.#options.clock, EVENTS_RETRY_MS, signal);
    }
  }

  async #listenOnce(onEnd: (appName: string) => void, signal: AbortSignal): Promise<void> {
    for (const { Labels, State } of await this.#summaries([])) {
      if (State === "running") void this.#followLogs(Labels[`${LABEL}.name`] ?? "");
    }
    const wanted = {
      type: ["container"],
      event: ["die"],
      label: [`${LABEL}.installation=${this.#installation}`],
    };
    const filters = encodeURIComponent(JSON.stringify(wanted));
    const events = await this.#options.engine.stream("GET", `/events?filters=${filters}`, {
      signal,
    });
    for await (const chunk of events) {
      for (const line of String(chunk).split("\n").filter(Boolean)) {
        const app = (JSON.parse(line) as ContainerEvent).Actor?.Attributes?.[`${LABEL}.app`];
        if (app) onEnd(app);
      }
    }
  }

  async #followLogs(name: string): Promise<void> {
    if (this.#following.has(name)) return;
    this.#following.add(name);
    try {
      const details = await this.#inspect(this.#containerName(name));
      if (!details) return;
      const file = this.#logFile(name);
      this.#describeLog(file, details);
      // What was written while no control plane was there follows on what is in the file.
      const since = existsSync(file) && statSync(file).size > 0 ? statSync(file).mtimeMs / 1000 : 0;
      const query = `stdout=1&stderr=1&follow=1&since=${since.toFixed(9)}`;
      const stream = await this.#options.engine.stream(
        "GET",
        `/containers/${details.Id}/logs?${query}`,
      );
      await copyLog(stream, file);
      const ended = await this.#inspect(this.#containerName(name));
      const detail = ended && !ended.State.Running ? exitOf(ended).detail : undefined;
      const line = `holdfast: this instance ended: ${detail}`;
      // The next control plane looks once more.
      if (detail !== undefined && tailFile(file, 1)[0] !== line) appendFileSync(file, `${line}\n`);
    } catch (error) {
      // Logs never stand in the way of what runs; the next control plane takes them up again.
      void messageOf(error);
    } finally {
      this.#following.delete(name);
    }
  }

  #describeLog(file: string, details: ContainerDetails): void {
    const labels = JSON.parse(details.Config.Labels[`${LABEL}.labels`] ?? "{}") as InstanceLabels;
    describeLog(file, {
      app: details.Config.Labels[`${LABEL}.app`] ?? "",
      service: labels.component,
      release: labels.release,
      instance: details.Config.Labels[`${LABEL}.name`] ?? "",
      role: labels.role,
    });
  }

  #logFile(name: string): string {
    return join(this.#options.logDir, `${name}~docker.log`);
  }

  #containerName(name: string): string {
    return `holdfast-${this.#installation}.${name}`;
  }
}

function exitOf({ State, HostConfig }: ContainerDetails): InstanceExit {
  const at = Date.parse(State.FinishedAt);
  const signal = State.ExitCode > 128 ? `signal ${State.ExitCode - 128}` : undefined;
  const limit =
    HostConfig.Memory > 0 ? ` (limit ${Math.round(HostConfig.Memory / 1024 ** 2)} MB)` : "";
  const detail = State.OOMKilled ? `out of memory${limit}` : State.Error || undefined;
  return {
    at,
    code: signal ? undefined : State.ExitCode,
    signal,
    ...(detail !== undefined && { detail }),
  };
}
