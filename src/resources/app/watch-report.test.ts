import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Release } from "../release/release.ts";
import { type App, type AppStatusFields, EMPTY_STATUS, type Watch } from "./app.ts";
import type { Instance } from "./app-driver.ts";
import type { AppObserved } from "./app-observed.ts";
import { manifestSchema } from "./manifest.ts";
import { reportWatch } from "./watch-report.ts";

const NOW = 1_800_000_000_000;
const MANIFEST = manifestSchema.parse({
  name: "shop",
  services: { web: { command: "w", routes: [{ host: "a.localhost" }] } },
});
const APP = { name: "production/shop", spec: {}, uid: "u" } as unknown as App;
const PLACEMENT = { set: { release: 2, restarts: 0 }, slot: "b", counts: { web: 1 } } as const;
const NAME = "production.shop.web.r2.1";
const STATUS: AppStatusFields = {
  ...EMPTY_STATUS,
  serving: { ...PLACEMENT, since: NOW - 60_000 },
  history: [{ startedAt: NOW - 60_000 }] as unknown as AppStatusFields["history"],
};
const WATCH: Watch = {
  generation: 3,
  placement: PLACEMENT,
  previous: { ...PLACEMENT, set: { release: 1, restarts: 0 }, slot: "a" },
  since: NOW - 60_000,
  until: NOW + 240_000,
  through: NOW - 8_000,
  burn: {},
  seen: {},
};
const SERVER = { name: NAME, service: "web", slot: "b", address: { host: "h", port: 1 } } as const;

const instance = (more: Partial<Instance>): Instance => ({
  name: NAME,
  owner: "u",
  labels: { component: "web", role: "service", index: "1", release: 2, restarts: 0 },
  state: "running",
  address: { host: "h", port: 1 },
  startedAt: NOW - 50_000,
  stoppingSince: undefined,
  exit: undefined,
  exits: [],
  ...more,
});

const observed = (more: Partial<AppObserved> = {}): AppObserved => ({
  now: NOW,
  releases: new Map([[2, { spec: { manifest: MANIFEST } } as unknown as Release]]),
  instances: [instance({})],
  probes: new Map(),
  tails: new Map(),
  edge: {
    declaration: undefined,
    traffic: undefined,
    servers: [{ ...SERVER, state: "up", requests: 0 }],
  } as unknown as AppObserved["edge"],
  stores: { ready: true, startedAt: 0 },
  smoke: new Map(),
  usage: new Map(),
  hasData: false,
  schedule: new Map(),
  watched: { until: NOW - 6_000, seen: { "availability web": { total: 40, bad: 40 } } },
  ...more,
});

const once = (look: Partial<AppObserved>, before: Partial<Watch> = {}) =>
  reportWatch(APP, STATUS, { ...WATCH, ...before }, observed(look));
/** The same for half a minute, looked at every six seconds: a burst alone is no proof. */
function watched(look: Partial<AppObserved>, before: Partial<Watch> = {}) {
  let result = once(look, before);
  for (let i = 1; i <= 5 && result.watch && !result.trouble; i += 1) {
    const now = NOW + i * 6_000;
    const seen = look.watched ?? observed().watched;
    const instances = (look.instances ?? observed().instances).map((one) => ({
      ...one,
      startedAt: one.startedAt + i * 6_000,
      exits: one.exits.map((exit) => ({ ...exit, at: exit.at + i * 6_000 })),
      exit: one.exit && { ...one.exit, at: one.exit.at + i * 6_000 },
    }));
    const next = {
      ...look,
      now,
      instances,
      ...(seen && { watched: { ...seen, until: now - 6_000 } }),
    };
    result = reportWatch(APP, STATUS, result.watch, observed(next));
  }
  return result;
}
const DOWN = { edge: { servers: [] } as unknown as AppObserved["edge"] };
const STARTING = { ...DOWN, instances: [instance({ startedAt: NOW - 1_000 })] };

describe("the watch", () => {
  it("takes a release back whose requests fail", () => {
    const { trouble } = watched({});
    assert.match(
      trouble?.failure.reason ?? "",
      /the error budget of web burns: (\d+) of \1 requests failed/,
    );
  });

  for (const [what, look] of [
    ["is being started after a stop", STARTING],
    ["was stopped with everything else", { ...DOWN, instances: [stopped()] }],
    ["is not there yet", { ...DOWN, instances: [] }],
    ["has a store that is away", { stores: { ready: false, reason: "r", hint: "h" } }],
    ["has a store that was started again", { stores: { ready: true, startedAt: NOW - 7_000 } }],
  ] as const)
    it(`does not count what fails while the release ${what}`, () => {
      const { watch, trouble } = once(look);
      assert.equal(trouble, undefined);
      assert.equal(watch?.through, NOW);
      assert.equal(watch?.isHeldUp, true);
    });

  it("does not count what came before it was ready again either, and then counts on", () => {
    const { watch, trouble } = once({}, { isHeldUp: true, heldUp: 1, through: NOW - 7_000 });
    assert.equal(trouble, undefined);
    assert.deepEqual([watch?.through, watch?.isHeldUp, watch?.heldUp], [NOW, undefined, 1]);
    assert.ok(watched({}, watch && { ...watch, through: NOW - 8_000 }).trouble, "it counts on");
  });

  for (const [what, before, now, isTakenBack] of [
    ["an outage before does not excuse one that fails everything", [1_000, 60], [40, 40], true],
    ["nor does a release before that failed half of its requests", [1_000, 500], [900, 900], true],
    ["what fails as often as before is not its fault", [1_000, 200], [1_000, 220], false],
    ["nor is what fails half as often again", [1_000, 200], [1_000, 300], false],
    ["three times as often is", [1_000, 200], [1_000, 600], true],
    ["a failed request of two before says nothing", [2, 1], [40, 40], true],
  ] as const)
    it(`compares with before: ${what}`, () => {
      const tally = ([total, bad]: readonly [number, number]) => ({
        "availability web": { total, bad },
      });
      const look = { until: NOW - 6_000, seen: tally(now), before: tally(before) };
      assert.equal(watched({ watched: look }).trouble !== undefined, isTakenBack);
    });

  it("takes no release back for one burst, however bad", () => {
    const { watch, trouble } = once({});
    assert.equal(trouble, undefined);
    const quiet = { until: NOW + 30_000, seen: { "availability web": { total: 10, bad: 0 } } };
    const look = observed({ now: NOW + 36_000, watched: quiet });
    assert.ok(watch);
    assert.equal(reportWatch(APP, STATUS, watch, look).trouble, undefined);
  });

  it("asks for more where outcomes vary from client to client", () => {
    const seen = { "availability web": { total: 40, bad: 15 } };
    const look = { watched: { until: NOW - 6_000, seen } };
    assert.ok(watched(look).trouble);
    assert.equal(watched(look, { design: { "availability web": 50 } }).trouble, undefined);
  });

  it("counts what a crash of its own costs, while it starts again too", () => {
    const at = NOW - 2_000;
    const crashed = instance({
      startedAt: NOW - 1_000,
      exits: [{ at, code: 1, signal: undefined }],
    });
    assert.ok(watched({ ...DOWN, instances: [crashed] }).trouble);
    const exit = { at, code: 1, signal: undefined };
    const ended = instance({ state: "exited", exit, exits: [exit] });
    assert.ok(watched({ ...DOWN, instances: [ended] }).trouble);
  });

  it("counts where it is not ready in its time, or is up no more", () => {
    assert.ok(watched({ ...DOWN, instances: [instance({ startedAt: NOW - 600_000 })] }).trouble);
  });

  it("does not excuse a release whose stores go down again and again", () => {
    const again = { stores: { ready: true, startedAt: NOW - 7_000 } } as const;
    assert.equal(once(again, { heldUp: 2 }).watch?.isHeldUp, true);
    assert.ok(watched(again, { heldUp: 3 }).trouble);
  });
});

function stopped(): Instance {
  const before = { at: NOW - 500_000, code: 1, signal: undefined };
  const exit = { at: NOW - 4_000, code: undefined, signal: "SIGTERM" };
  return instance({ state: "exited", exit, exits: [before] });
}
