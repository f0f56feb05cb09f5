// The edge: HAProxy, driven. As an engine it is created, started and watched; as the edge of apps
// it gets declarations (static, may reload), servers and traffic (runtime API, never a reload).
// All changes pass one queue, so state on disk and HAProxy's own never cross.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Clock, sleep } from "../../kernel/clock.ts";
import { stuck, transient } from "../../kernel/error.ts";
import type { Slot } from "../../resources/app/app.ts";
import type {
  EdgeDeclaration,
  EdgeDriver,
  EdgeServer,
  EdgeTraffic,
  EdgeView,
  UnansweredRequest,
} from "../../resources/app/app-driver.ts";
import type { EngineDriver, EngineView } from "../../resources/engine/engine-driver.ts";
import { run } from "../exec.ts";
import { readJson, readText, writeWhole } from "../files.ts";
import type { LocalCa } from "../local-ca/local-ca.ts";
import { CLEAN_ENV } from "../process/app-user.ts";
import { findFreePort } from "../process/free-port.ts";
import { SupervisedEngine } from "../process/supervised-engine.ts";
import { renderBodyLimitScript } from "./body-limit.ts";
import { configFileOf, writeEdgeFiles } from "./edge-files.ts";
import {
  type EdgeApp,
  type EdgeState,
  EMPTY_EDGE_STATE,
  type PooledServer,
  poolId,
  serviceId,
} from "./edge-state.ts";
import { type EdgeLayout, renderReloadPart } from "./haproxy-config.ts";
import {
  environmentEntries,
  internalEntries,
  plainEntries,
  renderMap,
  routeEntries,
} from "./haproxy-maps.ts";
import { type LiveServer, parseServers } from "./haproxy-stats.ts";
import { parseWaiting } from "./haproxy-streams.ts";
import { haproxyVersion } from "./haproxy-version.ts";
import { HaproxyWorkers, RELOAD_TIMEOUT_MS } from "./haproxy-workers.ts";
import { SIDE, serverLine, sideServerLine } from "./pool-config.ts";
import { RuntimeApi } from "./runtime-api.ts";
import { renderUsageScript } from "./usage-script.ts";

export interface HaproxyOptions {
  readonly clock: Clock;
  readonly layout: EdgeLayout;
  readonly masterSocket: string;
  readonly logFile: string;
  readonly ca: LocalCa;
}

const INTERNAL_PORTS = { first: 30_000, last: 31_999 };
/** How soon a certificate that somebody renewed is seen. */
const CERTIFICATES_LOOK_MS = 10_000;
const AGAIN = "it is tried again; holdfast logs --engine edge";
const LEAVE_ATTEMPTS = 40;
const LEAVE_RETRY_MS = 50;
const VIEW_MAX_AGE_MS = 20;

export class HaproxyEdgeDriver implements EdgeDriver {
  readonly #options: HaproxyOptions;
  readonly #api: RuntimeApi;
  readonly #workers: HaproxyWorkers;
  readonly #engine: SupervisedEngine;
  #state: EdgeState;
  #queue: Promise<unknown> = Promise.resolve();
  /** What HAProxy should have loaded, as of a moment ago, and what it has. */
  #wanted: { readonly at: number; readonly fingerprint: string } | undefined;
  #loaded: string | undefined;
  #stats: { at: number; servers: Promise<readonly LiveServer[] | undefined> } | undefined;

  constructor(options: HaproxyOptions) {
    this.#options = options;
    const { dir, adminSocket } = options.layout;
    this.#api = new RuntimeApi(adminSocket);
    const master = new RuntimeApi(options.masterSocket);
    this.#workers = new HaproxyWorkers(options.clock, master, this.#api);
    this.#engine = new SupervisedEngine({ ...options, dir: join(dir, "run") });
    this.#state = readJson<EdgeState>(join(dir, "state.json")) ?? EMPTY_EDGE_STATE;
  }

  /** Instances of an app that are in its pools. */
  servers(appName: string): readonly PooledServer[] {
    return this.#state.apps[appName]?.servers ?? [];
  }

  certificates() {
    return this.#options.ca.certificates();
  }

  // --- the edge as apps see it

  async observe(appName: string): Promise<EdgeView | undefined> {
    const live = await this.#liveServers();
    if (!live) return undefined;
    const app = this.#state.apps[appName];
    const servers = (app?.servers ?? []).flatMap((server): EdgeServer[] => {
      const seen = live.find(
        ({ pool, name }) =>
          name === server.name && pool === poolId(appName, server.service, server.slot),
      );
      const beside = live.find(
        ({ pool, name }) =>
          name === server.name && pool === sidePoolId(appName, server.service, server.slot),
      );
      const requests = (seen?.requests ?? 0) + (beside?.requests ?? 0);
      return seen ? [{ ...server, state: seen.state, requests }] : [];
    });
    const problem = app?.declaration.hosts
      .map((host) => this.#options.ca.problemWith(host))
      .find((one) => one !== undefined);
    return {
      declaration: app?.declaration,
      isLoaded: !this.#isReloadOwed(),
      traffic: app?.traffic,
      servers,
      ...(problem !== undefined && { problem }),
    };
  }

  async unanswered(appName: string): Promise<readonly UnansweredRequest[]> {
    const streams = parseWaiting(await this.#api.ask("show sess"));
    return this.servers(appName).flatMap(({ service, slot, name }) =>
      streams
        .filter(({ pool, server }) => server === name && pool === poolId(appName, service, slot))
        .map(({ ageMs }) => ({ service, server: name, ageMs })),
    );
  }

  declare(appName: string, declaration: EdgeDeclaration): Promise<void> {
    return this.#exclusively(async () => {
      const before = this.#state.apps[appName];
      const internalPorts = await this.#internalPortsFor(appName, declaration);
      // Certificates first: the reload below must find them.
      await this.#options.ca.ensureHosts(
        this.#hosts(withApp(this.#state, appName, { ...EMPTY_APP, ...before, declaration })),
      );
      const servers = (before?.servers ?? []).filter(
        ({ service }) => declaration.services[service],
      );
      const app: EdgeApp = { declaration, traffic: before?.traffic, internalPorts, servers };
      await this.#write(withApp(this.#state, appName, app));
    });
  }

  join(appName: string, server: PooledServer): Promise<void> {
    return this.#exclusively(async () => {
      const { service, slot, name, address } = server;
      const app = this.#requireApp(appName);
      const pool = poolId(appName, service, slot);
      const policy = app.declaration.services[service]?.[slot];
      const side = sidePoolId(appName, service, slot);
      await this.#addServer(side, sideServerLine(server, policy));
      await this.#addServer(pool, serverLine(server, policy));
      await this.#api.expect(
        /^\s*$/,
        `set server ${side}/${name} state ready`,
        `set server ${pool}/${name} state ready`,
        `enable health ${pool}/${name}`,
        // Otherwise those that came at run time have none.
        ...(policy?.affinity
          ? [pool, side].map((one) => `enable dynamic-cookie backend ${one}`)
          : []),
      );
      const servers = [
        ...app.servers.filter((one) => one.name !== name),
        { service, slot, name, address },
      ];
      this.#save(withApp(this.#state, appName, { ...app, servers }));
    });
  }

  drain(appName: string, server: Pick<EdgeServer, "service" | "slot" | "name">): Promise<void> {
    return this.#exclusively(async () => {
      for (const id of serverIds(appName, server))
        await this.#api.expect(/^\s*$|No such server/, `set server ${id} state drain`);
    });
  }

  leave(appName: string, server: Pick<EdgeServer, "service" | "slot" | "name">): Promise<void> {
    return this.#exclusively(async () => {
      for (const id of serverIds(appName, server)) await this.#removeServer(id);
      const app = this.#requireApp(appName);
      const servers = app.servers.filter(({ name }) => name !== server.name);
      this.#save(withApp(this.#state, appName, { ...app, servers }));
    });
  }

  shift(appName: string, traffic: EdgeTraffic): Promise<void> {
    return this.#exclusively(async () => {
      const app = this.#requireApp(appName);
      const next = withApp(this.#state, appName, { ...app, traffic });
      const { layout } = this.#options;
      // Each map changes in one go: a request sees all of the old or all of the new.
      await this.#api.replaceMap(join(layout.dir, "routes.map"), routeEntries(next, layout));
      await this.#replaceInternalMap(next);
      this.#save(next);
    });
  }

  withdraw(appName: string): Promise<void> {
    return this.#exclusively(async () => {
      const { [appName]: _, ...apps } = this.#state.apps;
      await this.#write({ ...this.#state, apps });
    });
  }

  bridge(address: string, ports: readonly number[]): Promise<void> {
    return this.#exclusively(async () => {
      const before = this.#state.bridges[address] ?? [];
      const all = [...new Set([...before, ...ports])].sort((a, b) => a - b);
      if (this.#state.bridges[address] && all.length === before.length) return;
      await this.#write({
        ...this.#state,
        bridges: { ...this.#state.bridges, [address]: all },
      });
    });
  }

  internalPorts(appName: string): Readonly<Record<string, number>> {
    return this.#state.apps[appName]?.internalPorts ?? {};
  }

  readonly allInternalPorts = (): readonly number[] =>
    Object.values(this.#state.apps).flatMap((app) => Object.values(app.internalPorts));

  // --- the edge as an engine

  /** Created, started and watched like any engine. */
  asEngine(): EngineDriver {
    return {
      observe: () => this.#observeEngine(),
      create: () => this.#create(),
      start: () => this.#start(),
      configure: () =>
        this.#exclusively(async () => {
          await this.#options.ca.ensureHosts(this.#hosts(this.#state));
          await this.#write(this.#state);
        }),
      stop: () => this.#engine.stop("SIGTERM", RELOAD_TIMEOUT_MS),
    };
  }

  async #observeEngine(): Promise<EngineView> {
    const { layout } = this.#options;
    const process = this.#engine.observe();
    const note = process.running ? await this.#workers.describeEarlier() : undefined;
    return {
      version: await haproxyVersion(),
      packages: "haproxy",
      hasData: existsSync(this.#configFile),
      process: process.running ? ((await this.#api.isUp()) ? "ready" : "starting") : "absent",
      startedAt: process.startedAt,
      endedAt: process.endedAt,
      recentEnds: process.recentEnds,
      detail: process.detail,
      address: [...layout.httpsBinds, ...layout.httpBinds].join(" "),
      ...(note !== undefined && { note }),
      ...(this.#isReloadOwed() && { outdated: "what HAProxy has loaded" }),
    };
  }

  #create(): Promise<void> {
    return this.#exclusively(async () => {
      const { dir } = this.#options.layout;
      mkdirSync(dir, { recursive: true, mode: 0o755 });
      await this.#options.ca.ensureHosts(["localhost"]);
      writeEdgeFiles(this.#state, this.#options.layout);
    });
  }

  #start(): Promise<void> {
    return this.#exclusively(async () => {
      const { adminSocket } = this.#options.layout;
      await this.#options.ca.ensureHosts(this.#hosts(this.#state));
      writeEdgeFiles(this.#state, this.#options.layout);
      const loading = this.#fingerprint();
      await this.#checkConfig();
      for (const socket of [adminSocket, this.#options.masterSocket])
        rmSync(socket, { force: true });
      this.#engine.start([
        "haproxy",
        "-W",
        "-S",
        `${this.#options.masterSocket},mode,600`,
        "-f",
        this.#configFile,
      ]);
      this.#markLoaded(loading);
    });
  }

  // --- inside

  get #configFile(): string {
    return configFileOf(this.#options.layout);
  }

  #exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
    const mine = this.#queue.then(work).finally(() => {
      this.#stats = undefined;
    });
    this.#queue = mine.catch(() => undefined);
    return mine;
  }

  #requireApp(appName: string): EdgeApp {
    const app = this.#state.apps[appName];
    if (!app)
      throw transient("edge.not_declared", `the edge does not know ${appName} yet`, {
        hint: AGAIN,
      });
    return app;
  }

  #save(state: EdgeState): void {
    writeEdgeFiles(state, this.#options.layout);
    this.#state = state;
    this.#wanted = undefined;
  }

  async #write(state: EdgeState): Promise<void> {
    const previous = this.#state;
    this.#save(state);
    if (!this.#isReloadOwed()) return;
    // As of now: what changes while HAProxy loads is owed again.
    const loading = this.#fingerprint();
    try {
      await this.#checkConfig();
    } catch (error) {
      // Last good configuration back: a restart of HAProxy must never meet the bad one.
      this.#save(previous);
      throw error;
    }
    await this.#workers.reload();
    this.#markLoaded(loading);
  }

  // --- what HAProxy has loaded, kept on disk: a reload that was lost on the way is still owed

  #isReloadOwed(): boolean {
    const now = this.#options.clock.now();
    if (!this.#wanted || now - this.#wanted.at > CERTIFICATES_LOOK_MS)
      this.#wanted = { at: now, fingerprint: this.#fingerprint() };
    this.#loaded ??= readText(this.#loadedFile);
    return this.#wanted.fingerprint !== this.#loaded;
  }

  #markLoaded(fingerprint: string): void {
    this.#loaded = fingerprint;
    this.#wanted = undefined;
    writeWhole(this.#loadedFile, fingerprint);
  }

  #fingerprint(): string {
    return createHash("sha256")
      .update(renderReloadPart(this.#state, this.#options.layout))
      .update(this.#options.ca.fingerprint())
      .update(renderUsageScript())
      .update(renderBodyLimitScript())
      .update(renderMap(environmentEntries(this.#state, this.#options.layout)))
      .update(renderMap(plainEntries(this.#state)))
      .digest("hex");
  }

  get #loadedFile(): string {
    return join(this.#options.layout.dir, "loaded");
  }

  async #checkConfig(): Promise<void> {
    const { code, stderr, stdout } = await run(["haproxy", "-c", "-f", this.#configFile], {
      env: CLEAN_ENV,
    });
    if (code === 0) return;
    const detail = (stderr || stdout).split("\n").find((line) => line.includes("ALERT")) ?? stderr;
    throw stuck("edge.bad_config", `HAProxy refuses the configuration: ${detail.trim()}`, {
      hint: `haproxy -c -f ${this.#configFile}; the edge goes on with the last good one`,
    });
  }

  // Without internal listeners HAProxy has not loaded that map.
  async #replaceInternalMap(state: EdgeState): Promise<void> {
    const entries = internalEntries(state);
    const path = join(this.#options.layout.dir, "internal.map");
    if (entries.length > 0) await this.#api.replaceMap(path, entries);
  }

  async #internalPortsFor(appName: string, declaration: EdgeDeclaration) {
    const before = this.#state.apps[appName]?.internalPorts ?? {};
    const taken = new Set(
      Object.values(this.#state.apps).flatMap(({ internalPorts }) => Object.values(internalPorts)),
    );
    const ports: Record<string, number> = {};
    for (const service of Object.keys(declaration.services).sort()) {
      ports[service] =
        before[service] ??
        (await findFreePort(
          taken,
          serviceId(appName, service) + this.#options.layout.dir,
          INTERNAL_PORTS,
        ));
      taken.add(ports[service]);
    }
    return ports;
  }

  #hosts({ apps }: EdgeState): string[] {
    const { api } = this.#options.layout;
    const hosts = Object.values(apps).flatMap(({ declaration }) => declaration.hosts);
    return [...new Set(["localhost", ...(api ? [api.host] : []), ...hosts])].sort();
  }

  async #addServer(pool: string, line: string): Promise<void> {
    const [name, ...options] = line.split(" ");
    const live = await this.#freshServers();
    if (live.some((one) => one.pool === pool && one.name === name)) return;
    await this.#api.expect(
      /New server registered/,
      `add server ${pool}/${name} ${options.join(" ")}`,
    );
  }

  async #removeServer(id: string): Promise<void> {
    const answer = await this.#api.ask(`set server ${id} state maint`);
    if (/No such (server|backend)/i.test(answer)) return;
    for (let attempt = 0; attempt < LEAVE_ATTEMPTS; attempt += 1) {
      await this.#api.ask(`shutdown sessions server ${id}`);
      const result = await this.#api.ask(`del server ${id}`);
      if (/Server deleted|No such (server|backend)/i.test(result)) return;
      await sleep(this.#options.clock, LEAVE_RETRY_MS);
    }
    throw transient("edge.server_busy", `${id} still has connections`, { hint: AGAIN });
  }

  #liveServers(): Promise<readonly LiveServer[] | undefined> {
    const now = this.#options.clock.now();
    if (this.#stats && now - this.#stats.at < VIEW_MAX_AGE_MS) return this.#stats.servers;
    const servers = this.#freshServers().catch(() => undefined);
    this.#stats = { at: now, servers };
    return servers;
  }

  async #freshServers(): Promise<readonly LiveServer[]> {
    return parseServers(await this.#api.ask("show stat -1 4 -1"));
  }
}

const sidePoolId = (appName: string, service: string, slot: Slot): string =>
  `${poolId(appName, service, slot)}${SIDE}`;

/** In its pool and in the one beside it. */
const serverIds = (
  appName: string,
  { service, slot, name }: Pick<EdgeServer, "service" | "slot" | "name">,
): string[] => [
  `${poolId(appName, service, slot)}/${name}`,
  `${sidePoolId(appName, service, slot)}/${name}`,
];

const EMPTY_APP = { traffic: undefined, internalPorts: {}, servers: [] };

function withApp(state: EdgeState, appName: string, app: EdgeApp): EdgeState {
  return { ...state, apps: { ...state.apps, [appName]: app } };
}
