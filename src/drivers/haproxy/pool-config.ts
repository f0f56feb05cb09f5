// Pools: the instances of a service in one slot, twice. What is short and of a known length goes to the
// first; tunnels, streams of events and bodies of no said length have the one beside it, with room of
// their own.

import type { Slot } from "../../resources/app/app.ts";
import type { PoolPolicy } from "../../resources/app/app-driver.ts";
import { defaultHealth, defaultLimits, type Health } from "../../resources/app/manifest.ts";
import { section } from "./config-section.ts";
import {
  type EdgeApp,
  type EdgeState,
  type PooledServer,
  poolId,
  serviceId,
} from "./edge-state.ts";

export const RATE_WINDOW_S = 10;
const QUEUE_PER_INSTANCE = 4;
/** At the end of a pool's name: its twin for what lasts, and for bodies of no said length. */
export const SIDE = ".side";
const AFFINITY_COOKIE = "holdfast-instance";
/** What comes whole, or may wait. */
export const DOCUMENT_TYPES =
  "text/html text/css text/xml text/javascript application/javascript application/xml application/manifest+json image/svg+xml";
/** What may be written line by line too: compressed, the end of each line waits for the next one. */
const STREAM_TYPES = "text/plain application/json";
/** HAProxy knows no other way to compress nothing where its defaults compress. */
const NO_TYPE = "holdfast/none";
/** The page where a body was too large, or broken; which one it is, the status says. */
export const BODY_REFUSED = "body-refused";
/** No instance is held while a body trickles in; where there is none, this is over at once. */
const AWAIT_BODY = "http-request wait-for-body time 30s at-least 16k";
/** A stream of events has nothing to say while nothing happens. */
const EVENTS_MAY_BE_QUIET =
  "http-request set-timeout server 1h if { req.hdr(accept) -m sub text/event-stream }";
/** The timeout is for the beginning of an answer: older ones have no rule for what comes after. */
const ONCE_BEGUN = [".if version_atleast(3.0)", "http-response set-timeout server 1h", ".endif"];

export interface Pool {
  readonly service: string;
  readonly slot: Slot;
  readonly policy: PoolPolicy;
  readonly isSide?: boolean;
}

export function poolsOf({ declaration }: EdgeApp): Pool[] {
  return Object.entries(declaration.services).flatMap(([service, slots]) =>
    (["a", "b"] as const).map((slot) => ({ service, slot, policy: slots[slot] })),
  );
}

export function renderPool(appName: string, pool: Pool, servers: readonly string[]): string {
  const { health, limits } = pool.policy;
  const lines = [
    "balance roundrobin",
    ...compressionLines(pool.policy),
    ...checkLines(health),
    `timeout check ${health.timeout}ms`,
    `timeout server ${limits.timeout}ms`,
    ...affinityLines(appName, pool),
    // Of a request `conn_cur` is how many of its address are under way: HTTP/2 brings many on one connection.
    `stick-table type ipv6 size 100k expire 1m store http_req_rate(${RATE_WINDOW_S}s),conn_cur`,
    "http-request track-sc0 src",
    `http-request deny deny_status 429 if { sc_http_req_rate(0) gt ${Math.ceil(limits.requestsPerSecond * RATE_WINDOW_S)} }`,
    `http-request deny deny_status 429 if { sc_conn_cur(0) gt ${limits.connections} }`,
    `http-request deny deny_status 413 if { req.hdr_val(content-length) gt ${limits.body} } { req.hdr(expect) -m found }`,
    `http-request use-service lua.holdfast-too-large if { req.hdr_val(content-length) gt ${limits.body} }`,
    AWAIT_BODY,
    // Over HTTP/2 any method can bring a body without saying so; here nothing would count it.
    'http-request return status 411 content-type text/plain string "411 a body needs a content-length here" if !{ req.hdr(content-length) -m found } { req.body_len gt 0 }',
    // Only what is safe to repeat may be sent a second time after it reached an instance.
    limits.retryIdempotencyKey
      ? "http-request disable-l7-retry if !{ method GET HEAD OPTIONS } !{ req.hdr(idempotency-key) -m found }"
      : "http-request disable-l7-retry if !{ method GET HEAD OPTIONS }",
    // A page's script can read this, and says with it which release the page is from.
    ...(pool.policy.usage
      ? [
          "http-response add-header server-timing holdfast;desc=%[srv_name,field(4,.)]-%[unique-id] if { res.hdr(content-type) -m beg text/html }",
        ]
      : []),
    ...ONCE_BEGUN,
    ...servers,
  ];
  return section(`backend ${poolId(appName, pool.service, pool.slot)}`, lines);
}

// The same instances for what lasts (tunnels, streams of events) or has no said length, with room of
// their own and without checks: where one does not answer, another is
// asked, and the pool itself says who is there. Nothing that came this way is sent a second time.
export function renderSidePool(
  appName: string,
  pool: Pool,
  servers: readonly string[],
  dir: string,
): string {
  const { limits } = pool.policy;
  const id = poolId(appName, pool.service, pool.slot);
  return section(`backend ${id}${SIDE}`, [
    "balance roundrobin",
    `timeout server ${limits.timeout}ms`,
    // A tunnel whose other end has gone is not kept open for it.
    "timeout client-fin 30s",
    "timeout server-fin 30s",
    "retries 3",
    "retry-on conn-failure",
    ...affinityLines(appName, pool),
    ...compressionLines(pool.policy),
    "filter compression",
    `errorfile 400 ${dir}/errors/${BODY_REFUSED}.http`,
    "filter lua.holdfast-body-limit",
    `http-request track-sc0 src table ${id}`,
    `http-request deny deny_status 429 if { sc_http_req_rate(0) gt ${Math.ceil(limits.requestsPerSecond * RATE_WINDOW_S)} }`,
    `http-request deny deny_status 429 if { sc_conn_cur(0) gt ${limits.connections} }`,
    `http-request deny deny_status 413 if { req.hdr_val(content-length) gt ${limits.body} }`,
    // Calls in gRPC speak both ways at once.
    `${AWAIT_BODY} if !{ req.hdr(upgrade) -m found } !{ req.hdr(content-type) -m beg application/grpc }`,
    EVENTS_MAY_BE_QUIET,
    `http-request set-var(txn.bodymax) int(${limits.body}) if !{ req.hdr(upgrade) -m found }`,
    "http-after-response set-status 413 if { var(txn.toolarge) -m bool }",
    ...ONCE_BEGUN,
    ...servers,
  ]);
}

function compressionLines({ compression }: PoolPolicy): string[] {
  if (compression === "all") return [`compression type ${DOCUMENT_TYPES} ${STREAM_TYPES}`];
  return compression === "none" ? [`compression type ${NO_TYPE}`] : [];
}

function affinityLines(appName: string, { service, policy }: Pool): string[] {
  if (!policy.affinity) return [];
  const key = serviceId(appName, service);
  return [
    `cookie ${AFFINITY_COOKIE} insert indirect nocache httponly secure dynamic attr SameSite=Lax`,
    `dynamic-cookie-key ${key}`,
  ];
}

function checkLines(health: Health): string[] {
  // Without a path an instance that was ready once is healthy while it accepts connections: an error
  // at / must not take the whole app away.
  if (health.path === undefined) return [];
  const host = health.host ?? "localhost";
  return [
    "option httpchk",
    `http-check send meth GET uri ${health.path} ver HTTP/1.1 hdr host ${host} hdr user-agent holdfast-probe hdr x-forwarded-proto https hdr connection close`,
    `http-check expect status ${health.status}`,
  ];
}

export function serversOf(
  state: EdgeState,
  appName: string,
  { service, slot, policy, isSide = false }: Pool,
): string[] {
  const servers = state.apps[appName]?.servers ?? [];
  return servers
    .filter((server) => server.service === service && server.slot === slot)
    .map(
      (server) => `server ${isSide ? sideServerLine(server, policy) : serverLine(server, policy)}`,
    );
}

/** Name, address and options: the same in the file and for `add server` at run time. */
export function serverLine(server: PooledServer, policy: PoolPolicy | undefined): string {
  const { health, limits } = policy ?? { health: defaultHealth, limits: defaultLimits };
  const { host, port } = server.address;
  return [
    `${server.name} ${host}:${port}`,
    `check inter ${health.interval}ms fastinter 200ms downinter 500ms fall 2 rise 1`,
    "observe layer4 error-limit 1 on-error mark-down",
    `maxconn ${limits.perInstance} maxqueue ${limits.perInstance * QUEUE_PER_INSTANCE}`,
    ...(policy?.protocol === "h2c"
      ? [`proto h2 check-proto ${health.path === undefined ? "none" : "h2"}`]
      : []),
  ].join(" ");
}

/** The same of its twin, for what has room of its own. */
export function sideServerLine(server: PooledServer, policy: PoolPolicy | undefined): string {
  const { limits } = policy ?? { limits: defaultLimits };
  const { host, port } = server.address;
  return [
    `${server.name} ${host}:${port}`,
    `maxconn ${limits.tunnels} maxqueue ${QUEUE_PER_INSTANCE}`,
    ...(policy?.protocol === "h2c" ? ["proto h2"] : []),
  ].join(" ");
}
