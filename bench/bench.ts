// Every measurement of the README in one run, and its table. `--write` puts the table into README.md.

import { measureDeploy } from "./deploy.ts";
import { measureDisturbance } from "./disturbance.ts";
import { type ByCpu, measureEdge } from "./edge.ts";
import { measureObserving } from "./observe.ts";
import { measurePass } from "./pass.ts";
import { writeTable } from "./readme-table.ts";

const log = (text: string): void => console.error(text);
const number = (value: number | undefined, digits = 2): string =>
  value === undefined ? "not measured: not installed" : value.toFixed(digits);

/** The median of all rounds, and the least and the most of them. */
const spread = (ratio: ByCpu | undefined): string =>
  ratio === undefined
    ? number(undefined)
    : `${number(ratio.median)} (${number(ratio.least)} to ${number(ratio.most)})`;

const pass = await measurePass();
const edge = await measureEdge(log);
const deploy = await measureDeploy(log);
const observing = await measureObserving(log);
const disturbance = await measureDisturbance(
  {
    deploys: 20,
    rollbacks: 10,
    restarts: 10,
    instanceKills: 10,
    controlPlaneKills: 5,
    requestsPerSecond: 500,
  },
  log,
);

const { failed, sent, lostOrders, doubledOrders, promisedOrders, achievedPerSecond } = disturbance;
const rows = [
  [
    "edge throughput, everything on, over a bare HAProxy of one thread",
    "≥ 0.90",
    number(edge.overBareHaproxy),
  ],
  ["the same for answers of 20 KB", "", number(edge.overBareHaproxyPage)],
  ["the same with TLS", "≥ 0.90", number(edge.overBareHaproxyTls)],
  ["request records, traces and metrics on, over off", "≥ 0.90", number(edge.telemetryOnOverOff)],
  ["the same by CPU of the edge alone", "≥ 0.90", spread(edge.byCpu.overUnseen)],
  ["request records kept, over answers that were got", "≥ 1", number(edge.recordsOverAnswers, 4)],
  ["over nginx as reverse proxy", "≥ 0.9", number(edge.overNginx)],
  ["over Caddy", "≥ 4", number(edge.overCaddy)],
  ["by the edge's CPU, everything on, over a bare HAProxy", "≥ 0.67", spread(edge.byCpu.overBare)],
  ["over HAProxy written by hand for the same work", "", spread(edge.byCpu.overHaproxyByHand)],
  ["over nginx for the same work", "≥ 0.8", spread(edge.byCpu.overNginx)],
  ["over Caddy for the same work", "≥ 1.75", spread(edge.byCpu.overCaddy)],
  ["over a proxy in Node", "≥ 3", number(edge.overNode)],
  [
    "failed requests in 20 deploys, 10 rollbacks, 10 restarts, 10 instance kills, 5 control-plane kills",
    "0",
    `${failed} of ${sent} (${achievedPerSecond.toFixed(0)} req/s)`,
  ],
  ["orders lost, doubled", "0, 0", `${lostOrders}, ${doubledOrders} of ${promisedOrders}`],
  ["deploy of a code-only change over the shop's own start by hand", "≤ 2", number(deploy.ratio)],
  ["control plane at rest: memory", "≤ 150 MB", `${number(deploy.footprint.memoryMb, 0)} MB`],
  ["control plane at rest: CPU", "≤ 1 % of a core", `${number(deploy.footprint.cpuShare * 100)} %`],
  [
    "a pass over 1,000 apps with 10 instances: cost per app over 100 apps",
    "≤ 1.2",
    number(pass.ratio),
  ],
];
const { truth, rest, alertSeconds } = observing;
const pair = (of: readonly number[]): string => of.map((one) => one.toFixed(0)).join(" of ");
rows.push(
  [
    "telemetry and Prometheus, the shop under 50 req/s: memory",
    "≤ 300 MB",
    `${number(rest.telemetry.memoryMb + rest.prometheus.memoryMb, 0)} MB`,
  ],
  [
    "the same: CPU",
    "≤ 5 % of a core",
    `${number((rest.telemetry.cpuShare + rest.prometheus.cpuShare) * 100)} %`,
  ],
  [
    "from the first bad answer to a firing alert, 20 % errors of 100 req/s",
    "≤ 60 s",
    `${number(alertSeconds, 1)} s`,
  ],
  ["requests counted, of those that were answered", "exact", pair(truth.count)],
  ["errors counted, of those there were", "exact", pair(truth.errors)],
  [
    "p50 and p99 off the load generator's",
    "≤ 2 %",
    `${number(truth.p50Off * 100)} %, ${number(truth.p99Off * 100)} %`,
  ],
);
console.log(JSON.stringify({ pass, edge, deploy, observing, disturbance }, null, 2));
writeTable("bench", rows);
process.exit(0);
