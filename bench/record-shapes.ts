// Records what traffic looks like, for bench/judging.ts: the shop on real engines under three kinds of
// load, its request records by service. Writes bench/traffic-shapes.json.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ResultTable } from "../src/kernel/signal.ts";
import { Installation, STOREFRONT } from "../test/support/installation.ts";
import { Load } from "../test/support/load.ts";

const SECONDS = 60;
const WARM_UP_MS = 10_000;

/** Requests per second of the load, by second. */
const LOADS: Readonly<Record<string, (second: number) => number>> = {
  "steady 100 req/s": () => 100,
  "quiet, 8 req/s": () => 8,
  "bursts to 400 req/s": (second) => (second % 12 < 3 ? 400 : 30),
};

const installation = new Installation();
try {
  await installation.ok("up", "--install");
  await installation.ok("deploy", STOREFRONT);
  const shapes = [];
  for (const [name, rateAt] of Object.entries(LOADS)) {
    await drive(WARM_UP_MS / 1000, rateAt);
    const from = Date.now();
    await drive(SECONDS, rateAt);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    shapes.push({ name, ...(await recorded(from, Date.now() - 1_000)) });
    console.error(`recorded ${name}`);
  }
  const file = join(import.meta.dirname, "traffic-shapes.json");
  writeFileSync(file, `${JSON.stringify(shapes)}\n`);
} finally {
  await installation.close();
}

async function drive(seconds: number, rateAt: (second: number) => number): Promise<void> {
  for (let second = 0; second < seconds; second += 1) {
    const load = new Load({
      origin: `https://127.0.0.1:${installation.ports.https}`,
      host: "storefront.localhost",
      caFile: installation.caFile,
      requestsPerSecond: rateAt(second),
      connections: 32,
      orderShare: 0.1,
    });
    load.start();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await load.stop();
  }
}

async function recorded(from: number, to: number) {
  const where = `app = 'storefront' AND epoch_ms(time) BETWEEN ${from} AND ${to}`;
  const ask = async (sql: string): Promise<ResultTable["rows"]> =>
    (await installation.json<ResultTable>("query", sql, "--since", "10m", "-n", "1000")).rows;
  const perSecond = await ask(
    `SELECT count(*) FROM requests WHERE ${where} GROUP BY epoch_ms(time) // 1000 ORDER BY epoch_ms(time) // 1000`,
  );
  const services = await ask(
    `SELECT service, count(*), count(*) FILTER (status >= 500) FROM requests WHERE ${where} AND release > 0 GROUP BY ALL ORDER BY service`,
  );
  const total = services.reduce((sum, [, count]) => sum + Number(count), 0);
  const rows = await Promise.all(
    services.map(async ([service, count, errors]) => {
      const levels = await quantilesOf(String(service), where, ask);
      return {
        service: String(service),
        share: Number(count) / total,
        errorRate: Number(errors) / Number(count),
        quantiles: levels.map(([, ms]) => Number(ms)),
      };
    }),
  );
  return { perSecond: perSecond.map(([count]) => Number(count)), services: rows };
}

// A quantile's level has to be a constant.
async function quantilesOf(
  service: string,
  where: string,
  ask: (sql: string) => Promise<ResultTable["rows"]>,
): Promise<ResultTable["rows"]> {
  const levels = Array.from({ length: 201 }, (_, level) => level / 200).join(", ");
  return ask(
    `SELECT generate_subscripts(q, 1), unnest(q) FROM (SELECT quantile_cont(duration_ms, [${levels}]) AS q FROM requests WHERE ${where} AND service = '${service}')`,
  );
}
