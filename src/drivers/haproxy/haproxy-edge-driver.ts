// The edge: HAProxy, driven. As an engine it is created, started and watched; as the edge of apps
// it gets declarations (static, may reload), servers and traffic (runtime API, never a reload).
// All changes pass one queue, so state on disk and HAProxy's own never cross.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Clock, sleep } from "../../kernel/clock.ts";
import { stuck, transient } from "../../kernel/error.ts";
import type {
  EdgeDeclaration,
  EdgeDriver,
  EdgeServer,
  EdgeTraffic,
  EdgeView,
} from "../../resources/app/app-driver.ts";
import type { EngineDriver, EngineView } from "../../resources/engine/engine-driver.ts";
import { run } from "../exec.ts";
import { keepJson, readJson, readText, writeWhole } from "../files.ts";
import type { LocalCa } from "../local-ca/local-ca.ts";
import { findFreePort } from "../process/free-port.ts";
import { SupervisedEngine } from "../process/supervised-engine.ts";
import {
  type EdgeApp,
  type EdgeState,
  EMPTY_EDGE_STATE,
  type PooledServer,
  poolId,
  serviceId,
} from "./edge-state.ts";
import { renderErrorPages, renderNoRoutePage } from "./error-pages.ts";
import {
  type EdgeLayout,
  ERROR_STATUSES,
  renderConfig,
  renderReloadPart,
  serverLine,
} from "./haproxy-config.ts";
import { internalEntries, renderMap, routeEntries } from "./haproxy-maps.ts";
import { type LiveServer, parseServers } from "./haproxy-stats.ts";
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
const RELOAD_AGAIN_MS = 2_500;
const RELOAD_TIMEOUT_MS = 10_000;
const LEAVE_ATTEMPTS = 40;
const LEAVE_RETRY_MS = 50;
const VIEW_MAX_AGE_MS = 20;

export class HaproxyEdgeDriver implements EdgeDriver {
  readonly #options: HaproxyOptions;
  readonly #api: RuntimeApi;
  readonly #master: RuntimeApi;
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
    this.#master = new RuntimeApi(options.masterSocket);
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
      return seen ? [{ ...server, state: seen.state, requests: seen.requests }] : [];
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
      const live = await this.#freshServers();
      if (!live.some((one) => one.pool === pool && one.name === name)) {
        const [, ...options] = serverLine(server, policy).split(" ");
        await this.#api.expect(
          /New server registered/,
          `add server ${pool}/${name} ${options.join(" ")}`,
        );
      }
      const server_ = `${pool}/${name}`;
      await this.#api.expect(
        /^\s*$/,
        `set server ${server_} state ready`,
        `enable health ${server_}`,
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
      const id = `${poolId(appName, server.service, server.slot)}/${server.name}`;
      await this.#api.expect(/^\s*$|No such server/, `set server ${id} state drain`);
    });
  }

  leave(appName: string, server: Pick<EdgeServer, "service" | "slot" | "name">): Promise<void> {
    return this.#exclusively(async () => {
      await this.#removeServer(`${poolId(appName, server.service, server.slot)}/${server.name}`);
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
      ...(this.#isReloadOwed() && { outdated: "what HAProxy has loaded" }),
    };
  }

  #create(): Promise<void> {
    return this.#exclusively(async () => {
      const { dir } = this.#options.layout;
      mkdirSync(dir, { recursive: true, mode: 0o755 });
      await this.#options.ca.ensureHosts(["localhost"]);
      this.#writeFiles(this.#state);
    });
  }

  #start(): Promise<void> {
    return this.#exclusively(async () => {
      const { adminSocket } = this.#options.layout;
      await this.#options.ca.ensureHosts(this.#hosts(this.#state));
      this.#writeFiles(this.#state);
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
    return join(this.#options.layout.dir, "haproxy.cfg");
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
    this.#writeFiles(state);
    this.#state = state;
    this.#wanted = undefined;
  }

  #writeFiles(state: EdgeState): void {
    const { layout } = this.#options;
    for (const status of ERROR_STATUSES) {
      const file = join(layout.dir, "errors", `${status}.http`);
      if (!existsSync(file)) writeWhole(file, renderErrorPages(status), 0o644);
    }
    writeWhole(join(layout.dir, "errors", "no-route.html"), renderNoRoutePage(), 0o644);
    writeWhole(join(layout.dir, "usage.js"), renderUsageScript(), 0o644);
    const routes = renderMap(routeEntries(state, layout));
    writeWhole(join(layout.dir, "routes.map"), routes, 0o644);
    writeWhole(join(layout.dir, "internal.map"), renderMap(internalEntries(state)), 0o644);
    writeWhole(this.#configFile, renderConfig(state, layout), 0o644);
    keepJson(join(layout.dir, "state.json"), state);
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
    await this.#reload();
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
      .digest("hex");
  }

  get #loadedFile(): string {
    return join(this.#options.layout.dir, "loaded");
  }

  async #checkConfig(): Promise<void> {
    const { code, stderr, stdout } = await run(["haproxy", "-c", "-f", this.#configFile]);
    if (code === 0) return;
    const detail = (stderr || stdout).split("\n").find((line) => line.includes("ALERT")) ?? stderr;
    throw stuck("edge.bad_config", `HAProxy refuses the configuration: ${detail.trim()}`, {
      hint: `haproxy -c -f ${this.#configFile}; the edge goes on with the last good one`,
    });
  }

  async #reload(): Promise<void> {
    const { clock } = this.#options;
    const pidBefore = await this.#workerPid();
    const deadline = clock.now() + RELOAD_TIMEOUT_MS;
    let askedAt = Number.NEGATIVE_INFINITY;
    while (clock.now() < deadline) {
      // The master starts itself again for each reload; one that is asked for meanwhile can be lost.
      if (clock.now() - askedAt > RELOAD_AGAIN_MS) {
        await this.#master.ask("reload").catch(() => undefined);
        askedAt = clock.now();
      }
      const pid = await this.#workerPid();
      if (pid !== undefined && pid !== pidBefore) return;
      await sleep(clock, LEAVE_RETRY_MS);
    }
    throw transient(
      "edge.reload_failed",
      "HAProxy did not take over the new configuration in time",
      {
        hint: "holdfast logs --engine edge",
      },
    );
  }

  // Without internal listeners HAProxy has not loaded that map.
  async #replaceInternalMap(state: EdgeState): Promise<void> {
    const entries = internalEntries(state);
    const path = join(this.#options.layout.dir, "internal.map");
    if (entries.length > 0) await this.#api.replaceMap(path, entries);
  }

  async #workerPid(): Promise<string | undefined> {
    const info = await this.#api.ask("show info").catch(() => "");
    return /^Pid: (\d+)$/m.exec(info)?.[1];
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

const EMPTY_APP = { traffic: undefined, internalPorts: {}, servers: [] };

function withApp(state: EdgeState, appName: string, app: EdgeApp): EdgeState {
  return { ...state, apps: { ...state.apps, [appName]: app } };
}

let version: Promise<string | undefined> | undefined;
function haproxyVersion(): Promise<string | undefined> {
  version ??= run(["haproxy", "-v"]).then(
    ({ stdout }) => /version (\S+)/.exec(stdout)?.[1],
    () => {
      version = undefined;
      return undefined;
    },
  );
  return version;
}
