import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { App } from "../app/app.ts";
import type { Release } from "./release.ts";
import { RELEASES_KEPT, releasesToForget } from "./release-retention.ts";

const releases = Array.from(
  { length: RELEASES_KEPT + 10 },
  (_, i) => ({ spec: { number: i + 1 } }) as Release,
);
const forgotten = (app: unknown): number[] =>
  releasesToForget(app as App, releases)
    .map(({ spec }) => spec.number)
    .sort((a, b) => a - b);

describe("retention of releases", () => {
  it("keeps the newest", () => {
    assert.deepEqual(forgotten({ spec: { release: 30 } }), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it("keeps whatever serves, is warm, is wanted or still runs, however old", () => {
    const status = {
      serving: { set: { release: 3 } },
      warm: { set: { release: 4 } },
      rollout: { placement: { set: { release: 5 } } },
      instances: [{ release: 6 }],
    };
    assert.deepEqual(forgotten({ spec: { release: 7 }, status }), [1, 2, 8, 9, 10]);
  });
});
