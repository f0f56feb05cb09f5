// A HAProxy of its own for a test, with upstreams that say who they are and what they were sent.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import {
  createServer,
  type IncomingHttpHeaders,
  type RequestListener,
  request as requestPlain,
} from "node:http";
import { Agent, request } from "node:https";
import { createServer as createNetServer, type Server as NetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HaproxyEdgeDriver } from "../../src/drivers/haproxy/haproxy-edge-driver.ts";
import { LocalCa } from "../../src/drivers/local-ca/local-ca.ts";
import { findFreePort } from "../../src/drivers/process/free-port.ts";
import { runbookNames } from "../../src/drivers/runbooks.ts";
import { systemClock } from "../../src/kernel/clock.ts";
import { until } from "./wait.ts";

export interface Reply {
  readonly status: number;
  /** Name of the upstream that answered. */
  readonly by: string;
  /** What the upstream was sent. */
  readonly sent: IncomingHttpHeaders;
  readonly headers: IncomingHttpHeaders;
}

export interface OwnHaproxyOptions {
  readonly httpPort?: number;
  readonly trustedProxies?: readonly string[];
}

export class OwnHaproxy {
  readonly root = mkdtempSync(join(tmpdir(), "holdfast-edge-"));
  readonly signal = AbortSignal.timeout(300_000);
  readonly #ca: LocalCa;
  readonly #servers: NetServer[] = [];
  readonly #ports = new Map<string, number>();
  readonly #agent: Agent;
  readonly httpsPort: number;
  readonly edge: HaproxyEdgeDriver;

  readonly #options: OwnHaproxyOptions;
  /** Lines of the request records, as the edge sends them. */
  readonly records: string[] = [];
  #recordServer: NetServer | undefined;

  static async start(options: OwnHaproxyOptions = {}): Promise<OwnHaproxy> {
    const port = await findFreePort(new Set(), String(Math.random()), {
      first: 18_000,
      last: 18_999,
    });
    const haproxy = new OwnHaproxy(port, options);
    haproxy.#readRecords();
    await haproxy.edge.asEngine().create("edge", haproxy.signal);
    await haproxy.#start();
    return haproxy;
  }

  async #start(): Promise<void> {
    const engine = this.edge.asEngine();
    await engine.start("edge", this.signal);
    await until(
      "HAProxy is up",
      async () => (await engine.observe("edge", this.signal)).process === "ready",
    );
  }

  /** As after a crash: a new process from what is on disk. */
  async restart(): Promise<void> {
    await this.edge.asEngine().stop("edge", this.signal);
    await this.#start();
  }

  #readRecords(): void {
    let rest = "";
    this.#recordServer = createNetServer((socket) => {
      socket.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        this.records.push(...lines);
      });
      socket.on("error", () => undefined);
    }).listen(join(this.root, "requests.sock"));
    this.#recordServer.unref();
  }

  private constructor(httpsPort: number, options: OwnHaproxyOptions) {
    this.httpsPort = httpsPort;
    this.#options = options;
    this.#ca = new LocalCa({
      dir: join(this.root, "ca"),
      givenDir: join(this.root, "given"),
      listFile: join(this.root, "crt-list.txt"),
      now: systemClock.now,
    });
    this.edge = this.reopen();
    this.#agent = new Agent({ keepAlive: true, maxSockets: 16, rejectUnauthorized: false });
  }

  /** A fresh driver over the same HAProxy. */
  reopen(): HaproxyEdgeDriver {
    const { root, httpsPort } = this;
    return new HaproxyEdgeDriver({
      clock: systemClock,
      ca: this.#ca,
      logFile: join(root, "engine.edge.log"),
      masterSocket: join(root, "master.sock"),
      layout: {
        httpBinds: this.#options.httpPort ? [`127.0.0.1:${this.#options.httpPort}`] : [],
        httpsBinds: [`127.0.0.1:${httpsPort}`],
        httpsPort,
        dir: root,
        adminSocket: join(root, "admin.sock"),
        requestSocket: join(root, "requests.sock"),
        usageSocket: join(root, "usage.sock"),
        runbooks: runbookNames(),
        metricsBind: join(root, "metrics.sock"),
        maxConnections: 200,
        clientConnections: 100,
        trustedProxies: this.#options.trustedProxies ?? [],
        user: undefined,
        threads: 1,
        telemetry: true,
      },
    });
  }

  /** Starts something that answers with its name, or as it is told; gives its port. */
  async upstream(name: string, listener?: RequestListener): Promise<number> {
    const known = this.#ports.get(name);
    if (known !== undefined) return known;
    const server = createServer(
      listener ??
        (({ headers }, response) => {
          response.setHeader("x-by", name).setHeader("x-sent", JSON.stringify(headers)).end(name);
        }),
    );
    return this.listen(name, server);
  }

  /** Puts a server of the test's own in its place. */
  async listen(name: string, server: NetServer): Promise<number> {
    this.#servers.push(server);
    const port = await new Promise<number>((resolve) => {
      server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
    });
    this.#ports.set(name, port);
    return port;
  }

  /** Asks over HTTPS, or, given a port, inside. */
  ask(
    host: string,
    path = "/",
    headers: Readonly<Record<string, string>> = {},
    internalPort?: number,
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const options = { host: "127.0.0.1", path, headers: { host, ...headers } };
      const asked =
        internalPort === undefined
          ? request({ ...options, port: this.httpsPort, servername: host, agent: this.#agent })
          : requestPlain({ ...options, port: internalPort });
      asked.on("response", (answer) => {
        answer.resume().on("end", () =>
          resolve({
            status: answer.statusCode ?? 0,
            by: String(answer.headers["x-by"] ?? ""),
            sent: JSON.parse(String(answer.headers["x-sent"] ?? "{}")) as IncomingHttpHeaders,
            headers: answer.headers,
          }),
        );
      });
      asked.on("error", reject).end();
    });
  }

  readFile(name: string): string {
    return readFileSync(join(this.root, name), "utf8");
  }

  async stop(): Promise<void> {
    this.#agent.destroy();
    await this.edge.asEngine().stop("edge", this.signal);
    for (const server of this.#servers) server.close();
    this.#recordServer?.close();
    rmSync(this.root, { recursive: true, force: true });
  }
}
