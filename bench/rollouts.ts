// Real rollouts of a small app whose answers take what answers take (a lognormal of 60 ms), released
// by canary again and again under 100 requests per second: with 5 % errors, half as slow again, and
// as good as before. And what a share comes to over many requests.

import { readFileSync } from "node:fs";
import { Agent } from "undici";
import type { RolloutView } from "../src/api/rollout-view.ts";
import { Client } from "../src/client/client.ts";
import { AppFolder } from "../test/support/app-folder.ts";
import { Installation } from "../test/support/installation.ts";

const HOST = "judged.localhost";
const RATE = 100;
const SHARE_RATE = 600;
const SERVER = `
const http = require("node:http");
const times = Number(process.env.TIMES || 1), errors = Number(process.env.ERRORS || 0);
const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
http.createServer((request, response) => {
  if (request.url === "/healthz") return response.end("ok");
  const ms = 60 * Math.exp(0.5 * normal()) * times;
  setTimeout(() => {
    response.statusCode = Math.random() < errors ? 500 : 200;
    response.end(process.env.HOLDFAST_RELEASE);
  }, ms);
}).listen(process.env.PORT, process.env.HOST);
process.on("SIGTERM", () => setTimeout(() => process.exit(0), 500));
`;
const manifest = (steps: string, env: string): string => `
name: judged
services:
  web:
    command: node server.js
    instances: 2
    health: { path: /healthz }
    routes: [{ host: ${HOST} }]
    limits: { requestsPerSecond: 10000 }
    env: { ${env} }
rollout:
  strategy: canary
  steps: ${steps}
  watch: 0s
`;
const STEPS = "[{ share: 10%, for: 2m }]";
const EQUAL_STEPS = "[{ share: 10%, for: 15s }, { share: 50%, for: 15s }]";

interface Answer {
  readonly at: number;
  readonly status: number;
  readonly release: string;
}

/** Asks at a steady rate and remembers every answer. */
class Asking {
  readonly answers: Answer[] = [];
  failed = 0;
  readonly #agent: Agent;
  readonly #origin: string;
  #timer: NodeJS.Timeout | undefined;
  readonly #open = new Set<Promise<void>>();

  constructor(installation: Installation) {
    this.#origin = `https://127.0.0.1:${installation.ports.https}`;
    const connect = { ca: readFileSync(installation.caFile), servername: HOST };
    this.#agent = new Agent({ connections: 64, allowH2: false, connect });
  }

  start(rate: number): void {
    const began = performance.now();
    let sent = 0;
    this.#timer = setInterval(() => {
      const due = ((performance.now() - began) / 1000) * rate;
      for (; sent < due; sent += 1) {
        const one = this.#ask().catch(() => {
          this.failed += 1;
        });
        this.#open.add(one);
        void one.finally(() => this.#open.delete(one));
      }
    }, 5);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    await this.#agent.close();
  }

  async #ask(): Promise<void> {
    const options = {
      origin: this.#origin,
      path: "/",
      method: "GET",
      headers: { host: HOST },
    } as const;
    const { statusCode, body } = await this.#agent.request(options);
    const release = await body.text();
    this.answers.push({ at: Date.now(), status: statusCode, release });
  }
}

export interface Caught {
  readonly caught: boolean;
  readonly seconds: number;
  readonly badOverAllAtOnce: number;
  readonly offMs: number;
}

export interface RolloutRounds {
  readonly errors: number;
  readonly slow: number;
  readonly equal: number;
  /** For each share that is measured. */
  readonly shareRequests: number;
}

export async function measureRollouts(rounds: RolloutRounds, log: (text: string) => void) {
  const installation = new Installation();
  const app = new AppFolder(
    { "server.js": SERVER, "holdfast.yaml": manifest(STEPS, "N: 0") },
    "judged",
  );
  let version = 0;
  const release = async (steps: string, env = ""): Promise<RolloutView> => {
    version += 1;
    app.write({
      "holdfast.yaml": manifest(steps, [`N: ${version}`, env].filter(Boolean).join(", ")),
    });
    await installation.run(["deploy", app.dir, "--override-budget", "--reason", "measured"]);
    return JSON.parse(
      (await installation.run(["rollout", "judged", "--json"])).stdout,
    ) as RolloutView;
  };
  try {
    await installation.ok("up", "--install");
    await installation.ok("deploy", app.dir);
    const asking = new Asking(installation);
    asking.start(RATE);
    await new Promise((resolve) => setTimeout(resolve, 20_000));
    const worse = async (what: string, count: number, env: string): Promise<Caught[]> => {
      const all: Caught[] = [];
      for (let round = 0; round < count; round += 1) {
        asking.answers.length = 0;
        const view = await release(STEPS, env);
        const one = await judged(installation, view, asking.answers);
        log(`${what} ${round + 1}: ${JSON.stringify(one)}`);
        all.push(one);
      }
      return all;
    };
    const errors = await worse("5 % errors", rounds.errors, "ERRORS: 0.05");
    const slow = await worse("half as slow again", rounds.slow, "TIMES: 1.5");
    let falseAborts = 0;
    for (let round = 0; round < rounds.equal; round += 1) {
      const { outcome, verdict } = await release(EQUAL_STEPS);
      if (outcome !== "succeeded") falseAborts += 1;
      log(`equal ${round + 1}: ${outcome} ${verdict.reason}`);
    }
    const { failed } = asking;
    await asking.stop();
    const shares = await measureShares(installation, app, rounds.shareRequests, log);
    return { errors, slow, equal: rounds.equal, falseAborts, failed, shares };
  } finally {
    await installation.close();
    app.remove();
  }
}

const SWITCH_RATE = 500;
const STRATEGIES = [
  "strategy: canary\n  steps: [{ share: 10%, for: 2s }, { share: 50%, for: 2s }]\n  analysis: { warmUp: 0s, minRequests: 20 }",
  "strategy: rolling",
  "strategy: blue-green",
] as const;

export interface Switches {
  readonly requests: number;
  readonly failed: number;
  readonly releases: number;
  readonly aborts: number;
  readonly rollbacks: number;
}

/** Releases by each strategy, aborts half way and rollbacks, of a release that fails no request itself. */
export async function measureSwitches(
  rounds: number,
  log: (text: string) => void,
): Promise<Switches> {
  const installation = new Installation();
  const app = new AppFolder({ "server.js": SERVER }, "judged");
  let version = 0;
  const write = (strategy: string): void => {
    version += 1;
    const [head = ""] = manifest("[]", `N: ${version}`).split("rollout:");
    app.write({ "holdfast.yaml": `${head}rollout:\n  ${strategy}\n  watch: 0s\n` });
  };
  const counts = { releases: 0, aborts: 0, rollbacks: 0 };
  try {
    write(STRATEGIES[2]);
    await installation.ok("up", "--install");
    await installation.ok("deploy", app.dir);
    const asking = new Asking(installation);
    asking.start(SWITCH_RATE);
    for (let round = 0; round < rounds; round += 1) {
      for (const strategy of STRATEGIES) {
        write(strategy);
        await installation.ok("deploy", app.dir);
        await installation.ok("rollback", "judged");
        counts.releases += 1;
        counts.rollbacks += 1;
      }
      write(STRATEGIES[0].replaceAll("for: 2s", "for: 1h"));
      const deployed = installation.run(["deploy", app.dir]);
      const isShared = async (): Promise<boolean> => {
        const { stdout } = await installation.run(["rollout", "judged", "--json"]);
        const { perMille, outcome } = JSON.parse(stdout) as RolloutView;
        return outcome === undefined && perMille === 100;
      };
      while (!(await isShared())) await new Promise((resolve) => setTimeout(resolve, 100));
      await installation.ok("abort", "judged");
      await deployed;
      counts.aborts += 1;
      log(`round ${round + 1}: ${asking.answers.length} requests, ${failedOf(asking)} failed`);
    }
    await asking.stop();
    return { requests: asking.answers.length, failed: failedOf(asking), ...counts };
  } finally {
    await installation.close();
    app.remove();
  }
}

const failedOf = ({ answers, failed }: Asking): number =>
  failed + answers.filter(({ status }) => status >= 500).length;

async function judged(
  installation: Installation,
  view: RolloutView,
  answers: readonly Answer[],
): Promise<Caught> {
  const own = String(view.release);
  const client = new Client({ socket: `${installation.home}/run/api.sock` });
  const { entries } = await client.get(
    `/v1/apps/${"production" as string}/${"judged" as string}/journal`,
    {
      limit: 100,
    },
  );
  await client.close();
  const decidedAt = view.endedAt ?? 0;
  const shift = entries.find(
    ({ step, startedAt }) => step.do === "shift-traffic" && startedAt >= decidedAt - 5,
  );
  const offAt = shift?.endedAt ?? decidedAt;
  const given = view.timeline.find(({ text }) => text.includes("% of requests go to"))?.at ?? 0;
  const ofCandidate = answers.filter((one) => one.release === own);
  const bad = ofCandidate.filter(({ status }) => status >= 500);
  const first = view.failure?.reason.includes("failed") ? bad[0]?.at : ofCandidate[0]?.at;
  const allAtOnce = RATE * ((offAt - given) / 1000) * 0.05;
  return {
    caught: view.outcome === "failed" && view.verdict.verdict === "fail",
    seconds: (offAt - (first ?? given)) / 1000,
    badOverAllAtOnce: bad.length / allAtOnce,
    offMs: offAt - decidedAt,
  };
}

/** Largest difference between the share asked for and given, in points, over some shares. */
async function measureShares(
  installation: Installation,
  app: AppFolder,
  requests: number,
  log: (text: string) => void,
): Promise<number> {
  const shares = [1, 5, 10, 25, 50];
  const view = async (): Promise<RolloutView> =>
    JSON.parse((await installation.run(["rollout", "judged", "--json"])).stdout) as RolloutView;
  let worst = 0;
  for (const percent of shares) {
    const steps = `[{ share: ${percent}%, for: 1h }]`;
    app.write({ "holdfast.yaml": manifest(steps, `N: share-${percent}`) });
    const deployed = installation.run([
      "deploy",
      app.dir,
      "--override-budget",
      "--reason",
      "measured",
    ]);
    const isGiven = async (): Promise<boolean> => {
      const { perMille, outcome } = await view();
      return outcome === undefined && perMille === percent * 10;
    };
    while (!(await isGiven())) await new Promise((resolve) => setTimeout(resolve, 100));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { release } = await view();
    const asking = new Asking(installation);
    asking.start(SHARE_RATE);
    while (asking.answers.length < requests)
      await new Promise((resolve) => setTimeout(resolve, 200));
    await asking.stop();
    const got = asking.answers.filter((one) => one.release === String(release)).length;
    const points = Math.abs((got / asking.answers.length) * 100 - percent);
    log(`${percent} % of ${asking.answers.length} requests: ${points.toFixed(3)} points off`);
    worst = Math.max(worst, points);
    await installation.run(["abort", "judged"]);
    await deployed;
  }
  return worst;
}
