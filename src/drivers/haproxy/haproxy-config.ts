// From what the edge is to do to HAProxy's configuration: pure, and held by golden files.
//
// Static here: listeners, certificates, one pair of pools per service, limits. A change of those
// costs a hitless reload. What moves with every deploy is not static: servers come and go and maps
// decide route and slot, all over the runtime API; they are rendered too, so that a restart of
// HAProxy begins where it was.
//
// Every rule costs each request: bench/edge.ts says how much.

import {
  REQUEST_COLUMNS,
  type RequestColumn,
  RUNBOOKS,
  USAGE_REPORTS,
  USAGE_SCRIPT,
} from "../../kernel/signal.ts";
import { section } from "./config-section.ts";
import { type EdgeState, poolId, serviceId } from "./edge-state.ts";
import {
  DOCUMENT_TYPES,
  type Pool,
  poolsOf,
  RATE_WINDOW_S,
  renderPool,
  renderSidePool,
  SIDE,
  serversOf,
} from "./pool-config.ts";
import { type Allowlist, splitRules } from "./split-rules.ts";

export interface EdgeLayout {
  readonly httpBinds: readonly string[];
  readonly httpsBinds: readonly string[];
  readonly httpsPort: number;
  /** Folder of maps, certificates and error pages. */
  readonly dir: string;
  readonly adminSocket: string;
  readonly requestSocket: string;
  readonly usageSocket: string;
  /** Names of the pages that are shown below RUNBOOKS. */
  readonly runbooks: readonly string[];
  /** Where the API is shown to the world. */
  readonly api?: { readonly host: string; readonly socket: string } | undefined;
  /** Where Prometheus reads what it counted. */
  readonly metricsBind: string;
  readonly maxConnections: number;
  /** Open at once from one address, refused at accept beyond it; of proxies in front as many as they like. */
  readonly clientConnections: number;
  /** Proxies in front, whose word on the client's address counts. */
  readonly trustedProxies: readonly string[];
  /** Undefined: it stays the user that starts it. */
  readonly user: string | undefined;
  readonly threads: number | undefined;
  /** A record per request, and its trace; off only to measure what they cost. */
  readonly telemetry: boolean;
}

/** What one browser may report, which is one report every few seconds. */
const RUNBOOK_POOL = "holdfast.runbooks";
const USAGE = { pool: "holdfast.usage", reportsPerWindow: 20, bytes: 16_384 };

export const API = { pool: "holdfast.api", requestsPerWindow: 300 };
/** For how long connections of a worker that made way for the next go on, and of how many of them. */
export const OLD_WORKER_HOURS = 12;
export const OLD_WORKERS_MAX = 10;
const HEADERS_MAX = 100;
const URL_KEPT_BYTES = 4_096;
/** With every byte of what a client chose escaped. */
const RECORD_MAX_BYTES = 32_768;
/** A name or an address, perhaps with a port: nothing else can be looked up, or shown, or sent on. */
const IS_HOST =
  "{ req.hdr(host) -m reg -i '^(([a-z0-9_-]+\\.)*[a-z0-9_-]+\\.?|\\[[0-9a-f:.]+\\])(:[0-9]{1,5})?$' }";
export const ERROR_STATUSES = [400, 403, 404, 408, 413, 429, 500, 502, 503, 504] as const;

/** How HAProxy says each column of a request record. */
const COLUMN_EXPRESSIONS: Readonly<Record<RequestColumn, string>> = {
  pool: "%b",
  instance: "%s",
  route: "%[var(txn.to),field(2,|)]",
  client: "%ci",
  method: "%HM",
  host: "%[capture.req.hdr(0),json(utf8s)]",
  path: "%HPO",
  query: "%HQ",
  version: "%HV",
  status: "%ST",
  queueMs: "%Tw",
  connectMs: "%Tc",
  responseMs: "%Tr",
  totalMs: "%Ta",
  bytesIn: "%U",
  bytesOut: "%B",
  ending: "%tsc",
  retries: "%rc",
  requestId: "%ID",
  continuedTrace: "%[var(txn.trace)]",
  userAgent: "%[capture.req.hdr(1),json(utf8s)]",
  release: "%[var(txn.to),field(3,|)]",
  urlBytes: "%[var(txn.urlbytes)]",
};

export function renderConfig(state: EdgeState, layout: EdgeLayout): string {
  return `${renderStatic(state, layout, (app, pool) => serversOf(state, app, pool))}\n`;
}

/** The part whose change needs a reload: everything but the servers. */
export const renderReloadPart = (state: EdgeState, layout: EdgeLayout): string =>
  renderStatic(state, layout, () => []);

function renderStatic(
  state: EdgeState,
  layout: EdgeLayout,
  servers: (appName: string, pool: Pool) => readonly string[],
): string {
  const pools = Object.entries(state.apps).flatMap(([appName, app]) =>
    poolsOf(app).map((pool) => [appName, pool] as const),
  );
  const reporting = pools
    .filter(([, { policy }]) => policy.usage)
    .map(([appName, { service, slot }]) => poolId(appName, service, slot));
  return [
    "# Written by Holdfast: every change here is overwritten.",
    renderGlobal(layout),
    ...(layout.telemetry ? [renderRing(layout)] : []),
    renderDefaults(layout),
    renderPublic(layout, reporting, allowlistsOf(state), environmentsOf(state).length > 1),
    renderInternal(state, layout),
    renderMetrics(layout),
    ...Object.entries(state.bridges).flatMap(([address, ports]) =>
      ports.map((port) => renderBridge(address, port)),
    ),
    ...pools.flatMap(([appName, pool]) => [
      renderPool(appName, pool, servers(appName, pool)),
      renderSidePool(appName, pool, servers(appName, { ...pool, isSide: true }), layout.dir),
    ]),
    renderRunbooks(layout),
    ...(reporting.length > 0 ? [renderUsage(layout)] : []),
    ...(layout.api ? [renderApi(layout.api.socket)] : []),
  ].join("\n\n");
}

function renderGlobal({ dir, adminSocket, user, maxConnections, threads }: EdgeLayout): string {
  return section("global", [
    `stats socket ${adminSocket} mode 600 level admin expose-fd listeners`,
    ...(user === undefined ? [] : [`user ${user}`, `group ${user}`]),
    `maxconn ${maxConnections}`,
    ...(threads === undefined ? [] : [`nbthread ${threads}`]),
    // Long connections live on in the worker they came to; how many of those there are is bounded.
    `hard-stop-after ${OLD_WORKER_HOURS}h`,
    `mworker-max-reloads ${OLD_WORKERS_MAX}`,
    `lua-load-per-thread ${dir}/body-limit.lua`,
    "tune.http.maxhdr 128",
    `tune.http.logurilen ${URL_KEPT_BYTES}`,
    "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets",
    "ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20",
  ]);
}

// Request records leave through a ring in memory: a slow or absent reader costs records, never a
// request.
function renderRing({ requestSocket }: EdgeLayout): string {
  return section("ring requests", [
    "format raw",
    `maxlen ${RECORD_MAX_BYTES}`,
    "size 4194304",
    "timeout connect 1s",
    "timeout server 10s",
    `server telemetry unix@${requestSocket}`,
  ]);
}

function renderDefaults({ dir, telemetry }: EdgeLayout): string {
  return section("defaults", [
    "mode http",
    ...(telemetry ? [`log ring@requests len ${RECORD_MAX_BYTES} format raw local0`] : []),
    "timeout connect 2s",
    "timeout client 60s",
    "timeout server 60s",
    "timeout http-request 10s",
    "timeout http-keep-alive 75s",
    "timeout queue 10s",
    "timeout tunnel 1h",
    "timeout check 5s",
    "option redispatch 1",
    // A client that left waits for nothing: its request ends, also at the instance, and has a record.
    "option abortonclose",
    "option http-keep-alive",
    "option splice-auto",
    // X_Forwarded_For and x-forwarded-for are one variable to CGI, WSGI and PHP.
    "option http-restrict-req-hdr-names delete",
    // Who gets no answer is sent to one other instance, not from one to the next: it may be what ends them.
    "retries 1",
    "retry-on conn-failure empty-response",
    "http-reuse safe",
    "compression algo gzip",
    `compression type ${DOCUMENT_TYPES}`,
    ...ERROR_STATUSES.map((status) => `errorfile ${status} ${dir}/errors/${status}.http`),
  ]);
}

function renderPublic(
  layout: EdgeLayout,
  reporting: readonly string[],
  allowlists: readonly Allowlist[],
  areMany: boolean,
): string {
  const { dir, httpBinds, httpsBinds, httpsPort, clientConnections, trustedProxies } = layout;
  const port = httpsPort === 443 ? "" : `:${httpsPort}`;
  const isTrusted = trustedProxies.length > 0 ? `{ src ${trustedProxies.join(" ")} }` : undefined;
  const isPlain = "!{ var(txn.proto) -m str https }";
  return section("frontend public", [
    ...httpBinds.map((bind) => `bind ${bind}`),
    ...httpsBinds.map((bind) => `bind ${bind} ssl crt-list ${dir}/crt-list.txt alpn h2,http/1.1`),
    `tcp-request connection track-sc1 src table connections${isTrusted === undefined ? "" : ` if !${isTrusted}`}`,
    `tcp-request connection reject if { sc1_conn_cur gt ${clientConnections} }`,
    "http-request set-var(txn.proto) ssl_fc,iif(https,http)",
    ...(isTrusted === undefined ? [] : trustedHeaders(isTrusted)),
    // A name with a slash would be found in the map as the beginning of its own path.
    "http-request deny deny_status 400 if { req.hdr_cnt(host) gt 1 } or { req.hdr(host) -m sub / }",
    `http-request return status 431 content-type text/plain string "431 more than ${HEADERS_MAX} headers" if { req.fhdr_cnt gt ${HEADERS_MAX} }`,
    ...identifyRequest(layout),
    // Before routing: what is not TLS is only told where to go.
    `http-request deny deny_status 400 if ${isPlain} !${IS_HOST}`,
    `http-request redirect location https://%[req.hdr(host),field(1,:),lower]${port}%[pathq] code 308 if ${isPlain} !{ req.hdr(host),field(1,:),lower,map(${dir}/plain.map) -m found }`,
    // One lookup for the host and path as they came; other spellings of the host and wildcards only
    // where that found nothing.
    `http-request set-var(txn.to) base,concat(/),map_beg(${dir}/routes.map)`,
    `http-request deny deny_status 400 if !{ var(txn.to) -m found } !${IS_HOST}`,
    "http-request set-var(txn.path) path if !{ var(txn.to) -m found }",
    "http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.) if !{ var(txn.to) -m found }",
    `http-request set-var(txn.to) var(txn.host),concat(,txn.path,/),map_beg(${dir}/routes.map) if !{ var(txn.to) -m found }`,
    `http-request set-var(txn.to) var(txn.host),regsub(^[^.]*,*),concat(,txn.path,/),map_beg(${dir}/routes.map) if !{ var(txn.to) -m found }`,
    "http-request return status 404 content-type text/html lf-file " +
      `${dir}/errors/no-route.html if !{ var(txn.to) -m found }`,
    ...(areMany ? misdirected(dir) : []),
    ...forwardedHeaders(),
    ...splitRules("public", allowlists),
    ...reporting.map(
      (pool) =>
        `use_backend ${USAGE.pool} if { path_end ${USAGE_SCRIPT} ${USAGE_REPORTS} } { var(txn.to) -m beg ${pool}| }`,
    ),
    ...(layout.runbooks.length > 0
      ? [
          // Any other path that looks like it is the app's.
          `use_backend ${RUNBOOK_POOL} if { path_sub ${RUNBOOKS} } { path_end ${layout.runbooks.map((name) => RUNBOOKS + name).join(" ")} }`,
        ]
      : []),
    ...toPool(),
    ...logFormat(layout),
  ]).concat(
    "\n\n",
    section("backend connections", ["stick-table type ipv6 size 100k expire 1m store conn_cur"]),
  );
}

function renderMetrics({ metricsBind }: EdgeLayout): string {
  return section("frontend metrics", [
    "no log",
    `bind ${metricsBind}`,
    "http-request use-service prometheus-exporter if { path /metrics }",
    "http-request return status 404",
  ]);
}

// Components of an app reach each other here, by port: the same pools, the same records.
function renderInternal(state: EdgeState, layout: EdgeLayout): string {
  const ports = Object.values(state.apps).flatMap(({ internalPorts }) =>
    Object.values(internalPorts),
  );
  if (ports.length === 0) return "# no internal listeners yet";
  return section("frontend internal", [
    ...["127.0.0.1", ...Object.keys(state.bridges)].flatMap((address) =>
      ports
        .toSorted((a, b) => a - b)
        .map((port) => `bind ${address}:${port}${address === "127.0.0.1" ? "" : " transparent"}`),
    ),
    ...identifyRequest(layout),
    `http-request set-var(txn.to) dst_port,map_int(${layout.dir}/internal.map)`,
    ...splitRules("internal", []),
    ...toPool(),
    ...logFormat(layout),
  ]);
}

// Pages of ours, from memory: they can be read while everything else is down.
function renderRunbooks({ dir, runbooks }: EdgeLayout): string {
  const safe =
    "hdr content-security-policy \"default-src 'none'; style-src 'unsafe-inline'\" hdr x-content-type-options nosniff";
  return section(`backend ${RUNBOOK_POOL}`, [
    "http-request set-log-level silent",
    'http-request return status 405 hdr allow "GET, HEAD" if !{ method GET HEAD }',
    ...runbooks.map(
      (name) =>
        `http-request return status 200 content-type text/html ${safe} file ${dir}/runbooks/${name}.html if { path_end ${RUNBOOKS}${name} }`,
    ),
    'http-request return status 404 content-type text/plain string "404 there is no such runbook"',
  ]);
}

// What browsers report goes to telemetry, whoever they say they are: only the pool is the edge's word.
function renderUsage({ dir, usageSocket }: EdgeLayout): string {
  return section(`backend ${USAGE.pool}`, [
    `http-request return status 200 content-type text/javascript hdr cache-control "public, max-age=3600" file ${dir}/usage.js if { path_end ${USAGE_SCRIPT} }`,
    "http-request return status 405 hdr allow POST if !{ method POST }",
    `http-request deny deny_status 413 if { req.hdr_val(content-length) gt ${USAGE.bytes} }`,
    `stick-table type ipv6 size 100k expire 1m store http_req_rate(${RATE_WINDOW_S}s)`,
    "http-request track-sc0 src",
    `http-request deny deny_status 429 if { sc_http_req_rate(0) gt ${USAGE.reportsPerWindow} }`,
    "http-request set-header x-holdfast-pool %[var(txn.to),field(1,|)]",
    `server telemetry unix@${usageSocket}`,
  ]);
}

// Whoever comes this way shows a token or a signature; what they ask is in the audit, not in the records
// of an app.
function renderApi(socket: string): string {
  return section(`backend ${API.pool}`, [
    "http-request set-log-level silent",
    `stick-table type ipv6 size 100k expire 1m store http_req_rate(${RATE_WINDOW_S}s)`,
    "http-request track-sc0 src",
    `http-request deny deny_status 429 if { sc_http_req_rate(0) gt ${API.requestsPerWindow} }`,
    "http-request disable-l7-retry if !{ method GET }",
    // Rollouts are followed for as long as they take.
    "timeout server 2h",
    `server control-plane unix@${socket}`,
  ]);
}

// Containers reach a store through here. `transparent`: the edge starts also while the address is
// not there yet, after a reboot.
function renderBridge(address: string, port: number): string {
  return section(`listen bridge-${address}-${port}`, [
    "mode tcp",
    "no log",
    `bind ${address}:${port} transparent`,
    "timeout client 1h",
    "timeout server 1h",
    `server loopback 127.0.0.1:${port}`,
  ]);
}

// A trace that the client has begun goes on, by W3C's headers or else by those of B3, sampled or not as
// the client says. Whatever of them it sent names the edge's span as the parent from here on.
function continueTrace(): string[] {
  const span = "%[unique-id,bytes(16,16)]";
  const isContinued = "{ var(txn.trace) -m found }";
  const isB3 = "{ var(txn.b3) -m found }";
  const zeros = (count: number): string => "0".repeat(count);
  const ids = "[0-9a-f]{32}-[0-9a-f]{16}";
  // What a later version adds at the end is not ours to understand.
  const traceparent = `^00-${ids}-[0-9a-f]{2}$|^(0[1-9a-f]|[1-9a-e][0-9a-f]|f[0-9a-e])-${ids}-[0-9a-f]{2}(-|$)`;
  const valid = [
    `{ req.hdr_cnt(traceparent) gt 0 } { req.hdr(traceparent) -m reg ${traceparent} }`,
    `!{ req.hdr(traceparent) -m sub -- -${zeros(32)}- -${zeros(16)}- }`,
  ].join(" ");
  const hasB3 = "{ req.hdr_cnt(b3) gt 0 }";
  const hasMulti = "{ req.hdr_cnt(x-b3-traceid) gt 0 } or { req.hdr_cnt(x-b3-sampled) gt 0 }";
  return [
    `http-request set-var(txn.trace) req.hdr(traceparent),bytes(3,49) if ${valid}`,
    `http-request set-var(txn.sampled) req.hdr(traceparent),bytes(53,2) if ${isContinued}`,
    `http-request set-var(txn.b3) req.hdr(b3) if !${isContinued} ${hasB3}`,
    `http-request set-var(txn.b3span) req.hdr(x-b3-spanid) if !${isContinued} !${hasB3} { req.hdr_cnt(x-b3-traceid) eq 1 }`,
    "http-request set-var(txn.b3) req.hdr(x-b3-traceid),concat(-,txn.b3span) if { var(txn.b3span) -m found }",
    `http-request set-var(txn.b3) str(${zeros(16)}),concat(,txn.b3) if ${isB3} { var(txn.b3) -m reg ^[0-9a-f]{16}-[0-9a-f]{16}(-|$) }`,
    // A decision without a trace is one for the trace that begins here.
    `http-request set-var(txn.sampled) str(00) if ${isB3} { var(txn.b3) -m reg -- ^0$|-[0-9a-f]{16}-0(-|$) } or !${isContinued} !${hasB3} { req.hdr(x-b3-sampled) 0 false }`,
    `http-request set-var(txn.trace) var(txn.b3),bytes(0,49) if ${isB3} { var(txn.b3) -m reg ^${ids}(-|$) } !{ var(txn.b3) -m beg ${zeros(32)} } !{ var(txn.b3) -m sub -- -${zeros(16)} }`,
    "http-request set-var(txn.sampled) str(01) if !{ var(txn.sampled) -m found }",
    `http-request del-header tracestate if !${isContinued} or ${isB3}`,
    "http-request del-header traceparent",
    `http-request add-header traceparent 00-%[var(txn.trace),bytes(0,32)]-${span}-%[var(txn.sampled)] if ${isContinued}`,
    `http-request add-header traceparent 00-%[unique-id]-${span}-%[var(txn.sampled)] if !${isContinued}`,
    `http-request set-var(txn.b3) req.hdr(traceparent),bytes(3,32) if ${hasB3} or ${hasMulti}`,
    `http-request set-var(txn.flag) str(1) if ${isB3}`,
    `http-request set-var(txn.flag) str(0) if ${isB3} { var(txn.sampled) -m end 0 2 4 6 8 a c e }`,
    `http-request set-var(txn.flag) str(d) if ${hasB3} { req.hdr(b3) -m reg -- ^d$|-[0-9a-f]{16}-d(-|$) }`,
    `http-request set-header b3 %[var(txn.b3)]-${span}-%[var(txn.flag)] if ${hasB3}`,
    `http-request set-header x-b3-spanid ${span} if ${hasMulti}`,
    `http-request set-header x-b3-sampled %[var(txn.flag)] if ${hasMulti}`,
    `http-request set-header x-b3-traceid %[var(txn.b3)] if ${hasMulti}`,
    `http-request del-header x-b3-parentspanid if ${isB3}`,
  ];
}

// A request id of microseconds and chance, which is the id of the trace too: a W3C traceparent is
// begun with it, or continued where the client sent a valid one. Its second half names the edge's
// own span: so a request record is a span, and needs no further column.
function identifyRequest({ telemetry }: EdgeLayout): string[] {
  const random = "%[rand,hex,lower]";
  const time = "%[date(0,us),hex,lower]";
  return [
    "capture request header host len 255",
    "capture request header user-agent len 200",
    `unique-id-format ${time}${random}`,
    "unique-id-header x-request-id",
    "http-request del-header x-request-id",
    ...(telemetry ? continueTrace() : []),
    "http-request set-var(txn.urlbytes) url,length",
    // What a client says of its connection to us is no business of the instance's.
    "http-request del-header upgrade if !{ req.hdr(upgrade) -m str -i websocket }",
    "http-request del-header connection",
    "http-request set-header connection upgrade if { req.hdr(upgrade) -m found }",
    "http-response set-header x-request-id %[unique-id]",
  ];
}

// What lasts has room of its own, and so have bodies that have to be counted as they come.
function toPool(): string[] {
  return [
    "http-request set-var(txn.side) bool(true) if { req.hdr(upgrade) -m found } or { req.hdr(transfer-encoding) -m found } or !{ method GET HEAD OPTIONS } !{ req.hdr(content-length) -m found } or { req.hdr(accept) -m sub text/event-stream }",
    `use_backend %[var(txn.to),field(1,|)]${SIDE} if { var(txn.side) -m bool }`,
    "use_backend %[var(txn.to),field(1,|)]",
  ];
}

// A browser uses a connection for every host that its certificate covers; each environment has its own.
function misdirected(dir: string): string[] {
  const at = `${dir}/environments.map`;
  return [
    `http-request set-var(sess.env) ssl_fc_sni,lower,map(${at}) if { ssl_fc_has_sni } !{ var(sess.env) -m found }`,
    `http-request set-var(sess.env) ssl_fc_sni,lower,regsub(^[^.]*,*),map(${at}) if { ssl_fc_has_sni } !{ var(sess.env) -m found }`,
    'http-request return status 421 content-type text/plain string "421 this connection is for another host" if { var(sess.env) -m found } !{ var(txn.to),field(1,.),strcmp(sess.env) eq 0 }',
  ];
}

// What a proxy in front says of its client; the last address is the one that it saw itself.
function trustedHeaders(isTrusted: string): string[] {
  return [
    `http-request set-var(txn.proto) str(https) if ${isTrusted} { req.hdr(x-forwarded-proto) -i https }`,
    `http-request set-src req.hdr_ip(x-forwarded-for,-1) if ${isTrusted} { req.hdr(x-forwarded-for) -m found }`,
  ];
}

// Whatever a client says of itself here is replaced: only the edge knows.
function forwardedHeaders(): string[] {
  return [
    "http-request del-header x-forwarded- -m beg",
    "http-request del-header forwarded",
    "http-request del-header proxy",
    "http-request del-header x-real-ip",
    "http-request add-header x-forwarded-for %[src]",
    "http-request add-header x-real-ip %[src]",
    "http-request add-header x-forwarded-proto %[var(txn.proto)]",
    "http-request add-header x-forwarded-host %[req.hdr(host)]",
    "http-request add-header x-forwarded-port %[dst_port]",
    "http-response set-header strict-transport-security max-age=31536000 if !{ capture.req.hdr(0) -m sub localhost }",
  ];
}

function logFormat({ telemetry }: EdgeLayout): string[] {
  const fields = REQUEST_COLUMNS.map((column) => COLUMN_EXPRESSIONS[column]).join("\\t");
  return telemetry ? [`log-format "${fields}"`] : [];
}

/** Of apps that have a host. */
const environmentsOf = (state: EdgeState): string[] => [
  ...new Set(
    Object.entries(state.apps)
      .filter(([, { declaration }]) => declaration.hosts.length > 0)
      .map(([appName]) => appName.split("/")[0] ?? ""),
  ),
];

function allowlistsOf(state: EdgeState): Allowlist[] {
  return Object.entries(state.apps).flatMap(([appName, { declaration }]) =>
    Object.entries(declaration.services).flatMap(([service, { a, b }]) => {
      const addresses = [...new Set([...(a.testers ?? []), ...(b.testers ?? [])])].sort();
      return addresses.length > 0
        ? [{ pools: [`${serviceId(appName, service)}.`], addresses }]
        : [];
    }),
  );
}
