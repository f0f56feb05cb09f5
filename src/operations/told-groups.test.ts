import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type AlertGroup, ToldGroups } from "./told-groups.ts";

const SHOP: AlertGroup = {
  channel: "phone",
  key: "shop",
  severity: "page",
  firing: ["HighErrorRate"],
  about: "production/shop",
  needs: ["edge", "cache production"],
};
const BLOG: AlertGroup = { ...SHOP, key: "blog", about: "production/blog", needs: ["edge"] };
const CACHE: AlertGroup = { ...SHOP, key: "cache", about: "cache production", needs: [] };
const EDGE: AlertGroup = { ...SHOP, key: "edge", about: "edge", needs: [] };
const MORE: AlertGroup = { ...SHOP, firing: ["HighErrorRate", "SlowResponses"] };
const over = (group: AlertGroup): AlertGroup => ({ ...group, firing: [] });
const MINUTE = 60_000;

describe("messages of alerts", () => {
  const teller = () => {
    const groups = new ToldGroups();
    return (group: AlertGroup, minute: number): string => {
      const kind = groups.kindOf(group, minute * MINUTE);
      groups.told(group, kind, minute * MINUTE);
      return kind;
    };
  };

  it("wake nobody again because the control plane was killed meanwhile", () => {
    let kept: string | undefined;
    const memory = {
      read: () => (kept === undefined ? undefined : JSON.parse(kept)),
      keep: (told: unknown) => {
        kept = JSON.stringify(told);
      },
    };
    const first = new ToldGroups(memory);
    assert.equal(first.kindOf(SHOP, 0), "first");
    first.told(SHOP, "first", 0);
    const second = new ToldGroups(memory);
    assert.equal(second.kindOf(SHOP, 5 * MINUTE), "none");
    second.told(over(SHOP), "end", 6 * MINUTE);
    assert.equal(new ToldGroups(memory).kindOf(SHOP, 7 * MINUTE), "first");
    for (const damaged of ["{}", "[1]", '[{"group":{}}]', "null", '"told"']) {
      kept = damaged;
      assert.equal(new ToldGroups(memory).kindOf(SHOP, 8 * MINUTE), "first", damaged);
    }
  });

  it("wake somebody once for a cause", () => {
    const tell = teller();
    assert.equal(tell(SHOP, 0), "first");
    assert.equal(tell(SHOP, 1), "none", "it is known");
    assert.equal(tell(MORE, 1), "update");
    assert.equal(tell(SHOP, 1), "none", "a part of it is over");
    assert.equal(tell(MORE, 2), "none", "it came and went");
    assert.equal(tell(CACHE, 2), "update", "what it needs is away: it is of that");
    assert.equal(tell(BLOG, 2), "first", "this needs no cache");
    assert.equal(tell(over(SHOP), 3), "end");
    assert.equal(tell(over(CACHE), 3), "end");
    assert.equal(tell(SHOP, 4), "first", "once more is once more");
  });

  it("wake somebody again for what begins long after, in a group that never ended", () => {
    const tell = teller();
    tell(MORE, 0);
    for (let minute = 5; minute <= 100; minute += 5) assert.equal(tell(SHOP, minute), "none");
    assert.equal(tell(MORE, 101), "first", "it was over for more than an hour");
  });

  it("wake somebody again where it still goes on after hours", () => {
    const tell = teller();
    tell(SHOP, 0);
    const later = Array.from({ length: 50 }, (_, index) => (index + 1) * 5);
    const kinds = later.map((minute) => tell(SHOP, minute));
    assert.deepEqual(
      later.filter((_, index) => kinds[index] !== "none"),
      [215],
    );
    assert.equal(kinds[later.indexOf(215)], "first");
  });

  it("wake somebody for the edge, whatever else was told before", () => {
    const tell = teller();
    tell({ ...SHOP, severity: "ticket" }, 0);
    assert.equal(tell(EDGE, 1), "first", "a ticket is no page");
    const other = teller();
    other(SHOP, 0);
    for (const minute of [5, 10]) other(SHOP, minute);
    assert.equal(other(EDGE, 10), "first", "what an app had ten minutes ago is no sign of it");
    const lost = teller();
    lost(SHOP, 0);
    assert.equal(lost(EDGE, 1), "update", "it is found down after the first app that feels it");
  });

  it("forget a group without repeats: its alerts may have resolved unseen", () => {
    const tell = teller();
    assert.equal(tell(SHOP, 0), "first");
    assert.equal(tell(SHOP, 20), "first");
  });

  it("are of one channel: what did not reach another one is new there", () => {
    const groups = new ToldGroups();
    groups.told(SHOP, "first", 0);
    assert.equal(groups.kindOf({ ...SHOP, channel: "mail" }, 1), "first");
    assert.equal(groups.kindOf({ ...SHOP, channel: "mail" }, 2), "first", "it was not delivered");
  });
});
