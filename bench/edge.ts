// What the edge costs: the same load through Holdfast's edge with everything on, a bare HAProxy,
// nginx, Caddy and a proxy in Node, one thread each, in front of one upstream, in turn, in one run.
// The proxy has one core to itself; load generator, upstream and the telemetry process, which takes
// in every request record meanwhile, share the other. Answers of 40 bytes show what a request costs;
// of 20 KB, what that is for a page.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeEdgeFiles } from "../src/drivers/haproxy/edge-files.ts";
import type { EdgeState } from "../src/drivers/haproxy/edge-state.ts";
import { type EdgeLayout, renderConfig } from "../src/drivers/haproxy/haproxy-config.ts";
import { renderMap, routeEntries } from "../src/drivers/haproxy/haproxy-maps.ts";
import { LocalCa } from "../src/drivers/local-ca/local-ca.ts";
import { runbookNames } from "../src/drivers/runbooks.ts";
import { TelemetryClient } from "../src/drivers/telemetry-client.ts";
import { homeAt } from "../src/host/home.ts";
import type { ResultTable } from "../src/kernel/signal.ts";
import { defaultHealth, defaultLimits } from "../src/resources/app/manifest.ts";
import { caddyOfSameWork, haproxyByHand, nginxOfSameWork } from "./edge-peers.ts";

const UPSTREAM = 19_100;
const PORTS = {
  holdfast: 19_101,
  "holdfast-tls": 19_102,
  bare: 19_103,
  "bare-tls": 19_104,
  nginx: 19_105,
  caddy: 19_106,
  node: 19_107,
  unseen: 19_108,
  "nginx-same": 19_109,
  "caddy-same": 19_110,
  "haproxy-same": 19_111,
} as const;
type Proxy = keyof typeof PORTS;
const PAGE_BYTES = 20_000;
const HOST = "bench.localhost";
/** Short and many: what the machine does otherwise changes within seconds. */
const SECONDS = Number(process.env["HOLDFAST_BENCH_SECONDS"] ?? 2);
const ROUNDS = Number(process.env["HOLDFAST_BENCH_ROUNDS"] ?? 7);
/** Only these, to take something apart. */
const ONLY = process.env["HOLDFAST_BENCH_PROXIES"]?.split(",");
const PROXY_CPU = "0";
const OTHER_CPU = "1";

interface Measured {
  readonly answers: number;
  readonly perSecond: number;
  /** Of one core, while under load. */
  readonly cpu: number;
}

export interface ByCpu {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

export async function measureEdge(log: (text: string) => void) {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-bench-"));
  const children: ChildProcess[] = [];
  const start = (cpu: string, argv: readonly string[]): ChildProcess => {
    const child = spawn("taskset", ["-c", cpu, ...argv], { stdio: "ignore" });
    children.push(child);
    return child;
  };
  pinSelf(OTHER_CPU);
  try {
    const tls = await prepare(dir);
    const telemetry = startTelemetry(join(dir, "home"), children);
    start(OTHER_CPU, ["haproxy", "-f", join(dir, "upstream.cfg")]);
    const proxies: Partial<Record<Proxy, ChildProcess>> = {};
    proxies.holdfast = start(PROXY_CPU, ["haproxy", "-f", join(dir, "holdfast.cfg")]);
    proxies["holdfast-tls"] = proxies.holdfast;
    proxies.unseen = start(PROXY_CPU, ["haproxy", "-f", join(dir, "unseen.cfg")]);
    proxies.bare = start(PROXY_CPU, ["haproxy", "-f", join(dir, "bare.cfg")]);
    proxies["bare-tls"] = proxies.bare;
    if (tls.nginx)
      proxies.nginx = start(PROXY_CPU, [
        "nginx",
        "-c",
        join(dir, "nginx.conf"),
        "-g",
        "daemon off;",
      ]);
    if (tls.caddy)
      proxies.caddy = start(PROXY_CPU, [
        "env",
        "GOMAXPROCS=1",
        tls.caddy,
        "run",
        "--config",
        join(dir, "Caddyfile"),
        "--adapter",
        "caddyfile",
      ]);
    if (tls.nginx)
      proxies["nginx-same"] = start(PROXY_CPU, [
        "nginx",
        "-c",
        join(dir, "nginx-same.conf"),
        "-g",
        "daemon off;",
      ]);
    if (tls.caddy)
      proxies["caddy-same"] = start(PROXY_CPU, [
        "env",
        "GOMAXPROCS=1",
        tls.caddy,
        "run",
        "--config",
        join(dir, "Caddyfile-same"),
        "--adapter",
        "caddyfile",
      ]);
    proxies["haproxy-same"] = start(PROXY_CPU, ["haproxy", "-f", join(dir, "by-hand.cfg")]);
    proxies.node = start(PROXY_CPU, [
      process.execPath,
      join(import.meta.dirname, "node-proxy.ts"),
      String(PORTS.node),
      String(UPSTREAM),
    ]);
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    const results = new Map<string, Measured[]>();
    const { telemetrySocket } = homeAt(join(dir, "home"));
    let answered = 0;
    let records = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, child] of Object.entries(proxies) as [Proxy, ChildProcess][]) {
        if (ONLY && !ONLY.includes(name)) continue;
        for (const path of name === "holdfast" || name === "bare" ? ["/", "/page"] : ["/"]) {
          const measured = await load(name, child, path);
          if (name.startsWith("holdfast")) answered += measured.answers;
          // What comes next must not pay for the records of what was.
          records = await countRecords(telemetrySocket);
          const key = `${name}${path}`;
          results.set(key, [...(results.get(key) ?? []), measured]);
          log(
            `round ${round + 1}: ${key} ${Math.round(measured.perSecond)} req/s at ${(measured.cpu * 100).toFixed(0)} % of a core`,
          );
        }
      }
    }
    const median = (name: string): Measured | undefined =>
      results.get(name)?.toSorted((a, b) => a.perSecond - b.perSecond)[Math.floor(ROUNDS / 2)];
    const ratio = (a: Proxy, b: Proxy, path = "/"): number | undefined => {
      const [one, other] = [median(a + path), median(b + path)];
      return one && other && one.perSecond / other.perSecond;
    };
    // Of each round by itself, so that what drifts from one to the next is in neither.
    const byCpu = (a: Proxy, b: Proxy): ByCpu | undefined => {
      const [one, other] = [results.get(`${a}/`), results.get(`${b}/`)];
      if (!one || !other) return undefined;
      const ratios = one
        .map(({ answers, cpu }, round) => {
          const peer = other[round] ?? { answers: 0, cpu: 1 };
          return answers / cpu / (peer.answers / peer.cpu);
        })
        .sort((x, y) => x - y);
      const [least = 0, most = 0] = [ratios[0], ratios.at(-1)];
      return { median: ratios[Math.floor(ratios.length / 2)] ?? 0, least, most };
    };
    return {
      medians: Object.fromEntries([...results.keys()].map((name) => [name, median(name)])),
      telemetryMicrosPerRecord: (cpuSeconds(telemetry.pid ?? 0) / records) * 1e6,
      recordsOverAnswers: records / answered,
      telemetryOnOverOff: ratio("holdfast", "unseen"),
      /** Answers per second of the proxy's own CPU, as ratios. */
      byCpu: {
        overUnseen: byCpu("holdfast", "unseen"),
        overBare: byCpu("holdfast", "bare"),
        overHaproxyByHand: byCpu("holdfast", "haproxy-same"),
        overNginx: byCpu("holdfast", "nginx-same"),
        overCaddy: byCpu("holdfast", "caddy-same"),
      },
      overBareHaproxy: ratio("holdfast", "bare"),
      overBareHaproxyPage: ratio("holdfast", "bare", "/page"),
      overBareHaproxyTls: ratio("holdfast-tls", "bare-tls"),
      overNginx: ratio("holdfast", "nginx"),
      overCaddy: ratio("holdfast", "caddy"),
      overNode: ratio("holdfast", "node"),
    };
  } finally {
    for (const child of children) child.kill("SIGTERM");
    rmSync(dir, { recursive: true, force: true });
    pinSelf(`${PROXY_CPU},${OTHER_CPU}`);
  }
}

/** The process itself, as an installation runs it, on the core of load and upstream. */
function startTelemetry(home: string, children: ChildProcess[]): ChildProcess {
  const program = join(import.meta.dirname, "../src/bin/telemetry.ts");
  const nicely = ["nice", "-n", "5", process.execPath, program];
  const child = spawn("taskset", ["-c", OTHER_CPU, ...nicely], {
    env: { ...process.env, HOLDFAST_HOME: home },
    stdio: "ignore",
  });
  children.push(child);
  return child;
}

/** Once it answers, telemetry has taken in all there was. */
async function countRecords(telemetrySocket: string): Promise<number> {
  const client = new TelemetryClient(telemetrySocket);
  const sql = "SELECT count(*) FROM requests";
  const { rows } = await client.ask<ResultTable>("/query", {
    sql,
    from: 0,
    to: Date.now() + 60_000,
    limit: 1,
    timeoutMs: 30_000,
  });
  return Number(rows[0]?.[0]);
}

function pinSelf(cpus: string): void {
  spawnSync("taskset", ["-a", "-c", "-p", cpus, String(process.pid)], { stdio: "ignore" });
}

async function load(name: Proxy, proxy: ChildProcess, path: string): Promise<Measured> {
  const scheme = name.endsWith("-tls") ? "https" : "http";
  const before = cpuSeconds(proxy.pid ?? 0);
  const output = await new Promise<string>((resolve) => {
    const wrk = spawn("taskset", [
      "-c",
      OTHER_CPU,
      "wrk",
      "-t1",
      "-c32",
      `-d${SECONDS}s`,
      "-H",
      `Host: ${HOST}`,
      `${scheme}://127.0.0.1:${PORTS[name]}${path}`,
    ]);
    let text = "";
    wrk.stdout.on("data", (chunk) => {
      text += chunk;
    });
    wrk.on("close", () => resolve(text));
  });
  const cpu = (cpuSeconds(proxy.pid ?? 0) - before) / SECONDS;
  if (/Non-2xx|Socket errors/.test(output))
    throw new Error(`${name} answered with errors: ${output}`);
  const answers = Number(/(\d+) requests in/.exec(output)?.[1]);
  if (!(answers > 0)) throw new Error(`${name} answered nothing: ${output}`);
  return { answers, perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1]), cpu };
}

const TICKS_PER_SECOND = 100;

/** User and system time of a process and its children. */
function cpuSeconds(pid: number): number {
  const own = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, "utf8") : "";
  const children = existsSync(`/proc/${pid}/task/${pid}/children`)
    ? readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
        .split(" ")
        .filter(Boolean)
        .map(Number)
    : [];
  const fields = own.slice(own.lastIndexOf(")") + 2).split(" ");
  return (
    (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND +
    children.reduce((sum, child) => sum + cpuSeconds(child), 0)
  );
}

async function prepare(dir: string): Promise<{ nginx: boolean; caddy: string | undefined }> {
  const ca = new LocalCa({
    dir: join(dir, "ca"),
    givenDir: join(dir, "given"),
    listFile: join(dir, "crt-list.txt"),
    now: Date.now,
  });
  await ca.ensureHosts([HOST]);
  const pem = join(dir, "ca", "hosts", `${HOST}.pem`);
  const state = edgeState();
  const layout: EdgeLayout = {
    httpBinds: [],
    httpsBinds: [`127.0.0.1:${PORTS["holdfast-tls"]}`],
    httpsPort: PORTS["holdfast-tls"],
    dir,
    adminSocket: join(dir, "admin.sock"),
    requestSocket: homeAt(join(dir, "home")).requestSocket,
    runbooks: runbookNames(),
    usageSocket: homeAt(join(dir, "home")).usageSocket,
    metricsBind: join(dir, "metrics.sock"),
    maxConnections: 1_000,
    clientConnections: 1_000,
    trustedProxies: [],
    user: undefined,
    threads: 1,
    telemetry: true,
  };
  mkdirSync(join(dir, "errors"));
  writeEdgeFiles(state, layout);
  writeFileSync(
    join(dir, "routes.map"),
    renderMap([
      ...routeEntries(state, { httpsPort: PORTS.holdfast }),
      ...routeEntries(state, { httpsPort: PORTS["holdfast-tls"] }).filter(([key]) =>
        key.includes(":"),
      ),
    ]),
  );
  const peer = (name: Proxy) => ({ dir, port: PORTS[name], upstream: UPSTREAM });
  writeFileSync(join(dir, "by-hand.cfg"), haproxyByHand(peer("haproxy-same")));
  writeFileSync(join(dir, "nginx-same.conf"), nginxOfSameWork(peer("nginx-same")));
  writeFileSync(join(dir, "Caddyfile-same"), caddyOfSameWork(peer("caddy-same")));
  // Takes the records that HAProxy by hand writes, and drops them.
  createServer((socket) => void socket.on("error", () => undefined).resume())
    .listen(join(dir, "sink.sock"))
    .unref();
  // The public listener redirects what is not TLS: to measure without TLS that one rule is left out.
  const plain = (config: string, port: number): string =>
    config
      .replace("frontend public\n", `frontend public\n  bind 127.0.0.1:${port}\n`)
      .replace(/^ {2}http-request redirect location .*\n/m, "");
  writeFileSync(join(dir, "holdfast.cfg"), plain(renderConfig(state, layout), PORTS.holdfast));
  const unseen = {
    ...layout,
    telemetry: false,
    httpsBinds: [],
    adminSocket: join(dir, "off.sock"),
    metricsBind: join(dir, "off-metrics.sock"),
  };
  writeFileSync(join(dir, "unseen.cfg"), plain(renderConfig(state, unseen), PORTS.unseen));
  const common =
    "defaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n";
  writeFileSync(
    join(dir, "bare.cfg"),
    `global\n  nbthread 1\n  maxconn 1000\n${common}frontend f\n  bind 127.0.0.1:${PORTS.bare}\n  bind 127.0.0.1:${PORTS["bare-tls"]} ssl crt ${pem} alpn h2,http/1.1\n  default_backend b\nbackend b\n  server s 127.0.0.1:${UPSTREAM}\n`,
  );
  writeFileSync(join(dir, "page.html"), "<p>of a page</p>\n".repeat(PAGE_BYTES / 17));
  writeFileSync(
    join(dir, "upstream.cfg"),
    `global\n  tune.bufsize 32768\n  nbthread 1\n  maxconn 1000\n${common}frontend u\n  bind 127.0.0.1:${UPSTREAM}\n  http-request return status 200 content-type text/html file ${dir}/page.html if { path /page }\n  http-request return status 200 content-type text/plain string "hello from the upstream, a small answer"\n`,
  );
  writeFileSync(
    join(dir, "nginx.conf"),
    `worker_processes 1; pid ${dir}/nginx.pid; error_log /dev/null;\nevents { worker_connections 1000; }\nhttp { access_log off; client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir}; scgi_temp_path ${dir}; keepalive_requests 1000000;\nupstream u { server 127.0.0.1:${UPSTREAM}; keepalive 64; keepalive_requests 1000000; }\nserver { listen 127.0.0.1:${PORTS.nginx}; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } } }\n`,
  );
  writeFileSync(
    join(dir, "Caddyfile"),
    `{\n  admin off\n  auto_https off\n}\nhttp://${HOST}:${PORTS.caddy} {\n  bind 127.0.0.1\n  reverse_proxy 127.0.0.1:${UPSTREAM}\n}\n`,
  );
  return { nginx: existsSync("/usr/sbin/nginx"), caddy: findCaddy() };
}

function edgeState(): EdgeState {
  const policy = {
    health: defaultHealth,
    limits: { ...defaultLimits, requestsPerSecond: 1_000_000, connections: 100_000 },
  };
  const servers = (["a", "b"] as const).map((slot) => ({
    service: "web",
    slot,
    name: `production.bench.web.r1.${slot}`,
    address: { host: "127.0.0.1", port: UPSTREAM },
  }));
  return {
    apps: {
      "production/bench": {
        declaration: { services: { web: { a: policy, b: policy } }, hosts: [HOST] },
        traffic: {
          slots: { web: "a" },
          releases: { web: 1 },
          routes: [{ host: HOST, path: "/", service: "web" }],
        },
        internalPorts: {},
        servers,
      },
    },
    bridges: {},
  };
}

function findCaddy(): string | undefined {
  const given = process.env["HOLDFAST_BENCH_CADDY"];
  if (given) return given;
  return existsSync("/usr/bin/caddy") ? "/usr/bin/caddy" : undefined;
}

if (process.argv[1] === import.meta.filename) {
  console.log(JSON.stringify(await measureEdge((text) => console.error(text)), null, 2));
  process.exit(0);
}
