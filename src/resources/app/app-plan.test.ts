// Named safety properties of the plan, over worlds that chance makes: also ones that no story leads to.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Release } from "../release/release.ts";
import {
  type App,
  type AppStatusFields,
  EMPTY_STATUS,
  instanceName,
  type Placement,
  type Rollout,
  type Slot,
} from "./app.ts";
import type { EdgeServer, Instance } from "./app-driver.ts";
import type { AppObserved } from "./app-observed.ts";
import { planApp } from "./app-plan.ts";
import { reportApp } from "./app-report.ts";
import type { AppStep } from "./app-step.ts";
import { componentsOf, manifestSchema } from "./manifest.ts";
import { defaultRollout, STRATEGIES } from "./rollout-policy.ts";
import { servingOf, stagesOf } from "./rollout-stages.ts";

const NOW = 1_800_000_000_000;
const NAME = "production/shop";
const MANIFEST = manifestSchema.parse({
  name: "shop",
  services: {
    web: {
      command: "w",
      instances: 2,
      health: { path: "/" },
      routes: [{ host: "shop.localhost" }],
    },
  },
  workers: { mail: { command: "m" } },
  release: { command: "r" },
});

const slot = fc.constantFrom<Slot>("a", "b");
const placement = fc.record({
  set: fc.record({
    release: fc.integer({ min: 1, max: 4 }),
    restarts: fc.integer({ min: 0, max: 1 }),
  }),
  slot,
  counts: fc.record({ web: fc.integer({ min: 0, max: 3 }), mail: fc.integer({ min: 0, max: 1 }) }),
});

const instance = fc
  .record({
    component: fc.constantFrom("web", "mail"),
    release: fc.integer({ min: 1, max: 4 }),
    restarts: fc.integer({ min: 0, max: 1 }),
    index: fc.integer({ min: 1, max: 3 }),
    isRunning: fc.boolean(),
    isStopping: fc.boolean(),
    isReady: fc.boolean(),
    ageMs: fc.integer({ min: 0, max: 60_000 }),
    pool: fc.option(
      fc.record({
        slot,
        state: fc.constantFrom<EdgeServer["state"]>("up", "down", "draining"),
        requests: fc.integer({ min: 0, max: 2 }),
      }),
    ),
  })
  .map((drawn) => ({ ...drawn, name: instanceName(NAME, drawn.component, drawn, drawn.index) }));

const story = fc.record({
  serving: fc.option(placement),
  warm: fc.option(placement),
  rollout: fc.option(
    fc.record({
      placement,
      phase: fc.constantFrom<Rollout["phase"]>(
        "building",
        "stores",
        "release-command",
        "stopping",
        "starting",
        "smoke",
        "preview",
        "stepping",
        "shifting",
      ),
      strategy: fc.constantFrom(...STRATEGIES),
      stage: fc.integer({ min: 0, max: 1 }),
      perMille: fc.constantFrom(undefined, 0, 100, 500),
      isJudged: fc.boolean(),
    }),
  ),
  instances: fc.uniqueArray(instance, { maxLength: 10, selector: ({ name }) => name }),
  target: fc.integer({ min: 1, max: 4 }),
  traffic: fc.option(slot),
  deleting: fc.boolean(),
  /** Of a release that is only being drained nothing may be known any more. */
  forgotten: fc.subarray([1, 2, 3, 4]),
});

type Story = typeof story extends fc.Arbitrary<infer S> ? S : never;

function play(drawn: Story): { steps: readonly AppStep[]; observed: AppObserved; app: App } {
  const spokenOf = [
    drawn.target,
    ...[drawn.serving, drawn.warm, drawn.rollout?.placement].map((one) => one?.set.release),
  ];
  const known = [1, 2, 3, 4].filter(
    (number) => spokenOf.includes(number) || !drawn.forgotten.includes(number),
  );
  const releases = new Map(
    known.map((number): [number, Release] => [
      number,
      { spec: { number, manifest: MANIFEST }, status: { phase: "ready" } } as unknown as Release,
    ]),
  );
  const instances = drawn.instances.map(
    (one, i): Instance => ({
      name: one.name,
      owner: "u",
      labels: {
        component: one.component,
        role: one.component === "web" ? "service" : "worker",
        release: one.release,
        restarts: one.restarts,
        index: String(one.index),
      },
      state: one.isRunning ? "running" : "exited",
      address: one.component === "web" ? { host: "127.0.0.1", port: 20_000 + i } : undefined,
      startedAt: NOW - one.ageMs,
      stoppingSince: one.isStopping ? NOW - 500 : undefined,
      exit: one.isRunning ? undefined : { at: NOW - 100, code: 1, signal: undefined },
      exits: [],
    }),
  );
  const servers = drawn.instances.flatMap((one, i): EdgeServer[] =>
    one.pool && one.component === "web"
      ? [
          {
            service: "web",
            name: one.name,
            address: { host: "127.0.0.1", port: 20_000 + i },
            ...one.pool,
          },
        ]
      : [],
  );
  const { perMille, isJudged, stage, ...begun } = drawn.rollout ?? {
    strategy: "blue-green" as const,
  };
  const policy = { ...defaultRollout, strategy: begun.strategy };
  const rollout = drawn.rollout && {
    ...begun,
    stages: stagesOf(
      policy,
      componentsOf(MANIFEST),
      drawn.rollout.placement.counts,
      drawn.serving?.counts ?? {},
    ),
    results: [],
    ...(drawn.rollout?.phase === "stepping" && { stage }),
    ...(perMille !== undefined && { perMille }),
    ...(isJudged && { stageSince: NOW - 500, exposedAt: NOW - 500 }),
    ...(drawn.serving && { from: drawn.serving.set.release }),
    generation: 5,
    reason: "deploy",
    phaseSince: NOW - 100,
    startedAt: NOW - 1_000,
    timeline: [],
  };
  const status = {
    ...EMPTY_STATUS,
    settledGeneration: 4,
    ...(drawn.serving && { serving: { ...drawn.serving, since: 0 } }),
    ...(drawn.warm && { warm: { ...drawn.warm, until: NOW + 60_000 } }),
    ...(rollout && { rollout }),
  } as AppStatusFields;
  const app = {
    kind: "app",
    name: NAME,
    uid: "u",
    generation: 5,
    deleting: drawn.deleting,
    spec: {
      environment: "production",
      release: drawn.target,
      restarts: {},
      scale: {},
      reason: "deploy",
    },
    status,
  } as unknown as App;
  const observed: AppObserved = {
    now: NOW,
    releases,
    instances,
    probes: new Map(
      drawn.instances
        .filter(({ pool }) => !pool)
        .map(({ name, isReady }) => [name, { ok: isReady, detail: "" }]),
    ),
    tails: new Map(),
    edge: {
      isLoaded: true,
      declaration: { services: { web: { a: {} as never, b: {} as never } }, hosts: [] },
      traffic: drawn.traffic
        ? { slots: { web: drawn.traffic }, releases: { web: 1 }, routes: [] }
        : undefined,
      servers,
    },
    stores: { ready: true, startedAt: 0 },
    hasData: false,
    smoke: new Map(),
    usage: new Map(),
    schedule: new Map(),
  };
  const reported = { ...app, status: reportApp(app, observed) } as App;
  const plan = planApp(reported, observed);
  return { steps: plan.verdict === "change" ? plan.steps : [], observed, app: reported };
}

function holds(property: (played: ReturnType<typeof play>) => void): void {
  fc.assert(
    fc.property(story, (drawn) => property(play(drawn))),
    { numRuns: 3_000 },
  );
}

const serverOf = (observed: AppObserved, name: string) =>
  observed.edge?.servers.find((server) => server.name === name);

describe("plan of an app", () => {
  it("never sends SIGTERM or SIGKILL to an instance that is in a pool", () => {
    holds(({ steps, observed }) => {
      for (const step of steps) {
        if (step.do === "terminate-instance" || step.do === "kill-instance")
          assert.equal(serverOf(observed, step.name), undefined);
      }
    });
  });

  it("never puts an instance into a pool that is not running, ready and wanted to stay", () => {
    holds(({ steps, observed }) => {
      for (const step of steps) {
        if (step.do !== "join-pool") continue;
        const joined = observed.instances.find(({ name }) => name === step.server.name);
        assert.equal(joined?.state, "running");
        assert.equal(joined.stoppingSince, undefined);
        const server = serverOf(observed, step.server.name);
        assert.ok(server || observed.probes.get(step.server.name)?.ok);
      }
    });
  });

  it("never moves traffic to a rollout of which anything is missing, unready or shared with another release", () => {
    holds(({ steps, observed, app }) => {
      const { rollout, serving } = app.status ?? {};
      for (const step of steps) {
        if (step.do !== "shift-traffic" || app.deleting) continue;
        const to = step.traffic.slots["web"];
        if (!rollout || to !== rollout.placement.slot || (serving && to === serving.slot)) continue;
        const { set, counts } = rollout.placement;
        for (let index = 1; index <= (counts["web"] ?? 0); index += 1) {
          const server = serverOf(observed, instanceName(NAME, "web", set, index));
          assert.ok(server && server.slot === to && server.state === "up");
        }
        const label = instanceName(NAME, "web", set, "").slice(0, -1);
        const strangers =
          observed.edge?.servers.filter(
            (server) =>
              server.slot === to &&
              server.state !== "draining" &&
              !server.name.startsWith(`${label}.`),
          ) ?? [];
        assert.deepEqual(strangers, []);
      }
    });
  });

  it("never ends what serves, unless the app is being destroyed", () => {
    holds(({ steps, app }) => {
      const { rollout } = app.status ?? {};
      // What a strategy asks for: fewer of what serves, stage by stage, or none.
      const serving: Placement | undefined = app.deleting
        ? undefined
        : servingOf(app.status?.serving, rollout);
      if (!serving) return;
      const kept = new Set(
        Object.entries(serving.counts).flatMap(([component, count]) =>
          Array.from({ length: count }, (_, i) =>
            instanceName(NAME, component, serving.set, i + 1),
          ),
        ),
      );
      for (const step of steps) {
        if (
          step.do === "terminate-instance" ||
          step.do === "kill-instance" ||
          step.do === "remove-instance"
        )
          assert.ok(!kept.has(step.name), step.name);
        if (step.do === "drain-server") assert.ok(!kept.has(step.server.name), step.server.name);
      }
    });
  });

  it("never gives a candidate requests where none of it is ready, or somebody else is too", () => {
    holds(({ steps, observed }) => {
      for (const step of steps) {
        if (step.do !== "shift-traffic") continue;
        const { candidate } = step.traffic;
        for (const service of candidate?.services ?? []) {
          const pool = observed.edge?.servers.filter(
            (server) => server.service === service && server.slot === candidate?.slot,
          );
          const open = pool?.filter(({ state }) => state !== "draining") ?? [];
          assert.ok(open.some(({ state }) => state === "up"));
          assert.equal(new Set(open.map(({ name }) => name.split(".").at(-2))).size, 1);
        }
      }
    });
  });

  it("never makes an instance leave its pool while it has requests and time", () => {
    holds(({ steps, observed }) => {
      for (const step of steps) {
        if (step.do !== "leave-pool") continue;
        const left = observed.instances.find(({ name }) => name === step.server.name);
        const isElsewhere = left?.address?.port !== step.server.address.port;
        if (left?.state !== "running" || isElsewhere || step.why.includes("listens elsewhere"))
          continue;
        assert.equal(step.server.requests, 0);
      }
    });
  });

  it("starts only names that are made of app, component, release and number", () => {
    holds(({ steps }) => {
      for (const step of steps) {
        if (step.do === "start-instance")
          assert.match(
            step.instance.name,
            /^production\.shop\.(web|mail|release)\.r\d+(-\d+)?\.(\d+|g\d+)$/,
          );
      }
    });
  });

  it("says why, for every step", () => {
    holds(({ steps }) => {
      for (const { why } of steps) assert.ok(why.length > 3);
    });
  });
});
