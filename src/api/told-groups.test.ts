import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type AlertGroup, ToldGroups } from "./told-groups.ts";

const SHOP: AlertGroup = {
  channel: "phone",
  key: "shop",
  firing: ["HighErrorRate"],
  about: "production/shop",
  needs: ["edge", "cache production"],
};
const BLOG: AlertGroup = { ...SHOP, key: "blog", about: "production/blog", needs: ["edge"] };
const CACHE: AlertGroup = { ...SHOP, key: "cache", about: "cache production", needs: [] };
const MINUTE = 60_000;

describe("messages of alerts", () => {
  const tell = (groups: ToldGroups, group: AlertGroup, at: number): string => {
    const kind = groups.kindOf(group, at);
    groups.told(group, kind, at);
    return kind;
  };

  it("wake somebody once for a cause", () => {
    const groups = new ToldGroups();
    assert.equal(tell(groups, SHOP, 0), "first");
    assert.equal(tell(groups, SHOP, MINUTE), "none", "it is known");
    const more = { ...SHOP, firing: [...SHOP.firing, "SlowResponses"] };
    assert.equal(tell(groups, more, MINUTE), "update");
    assert.equal(tell(groups, SHOP, MINUTE), "none", "a part of it is over");
    assert.equal(tell(groups, more, MINUTE), "none", "it came back");
    assert.equal(tell(groups, CACHE, MINUTE), "update", "what it needs is away: it is of that");
    assert.equal(tell(groups, BLOG, MINUTE), "first", "this needs no cache");
    assert.equal(tell(groups, { ...SHOP, firing: [] }, 2 * MINUTE), "end");
    assert.equal(tell(groups, { ...CACHE, firing: [] }, 2 * MINUTE), "end");
    assert.equal(tell(groups, SHOP, 3 * MINUTE), "first", "once more is once more");
  });

  it("wake somebody again where it still goes on after hours", () => {
    const groups = new ToldGroups();
    tell(groups, SHOP, 0);
    assert.equal(tell(groups, SHOP, 3 * 60 * MINUTE), "none");
    assert.equal(tell(groups, SHOP, 4 * 60 * MINUTE), "first");
    assert.equal(tell(groups, SHOP, 4 * 60 * MINUTE + 1), "none");
  });

  it("are of one channel: what did not reach another one is new there", () => {
    const groups = new ToldGroups();
    tell(groups, SHOP, 0);
    assert.equal(tell(groups, { ...SHOP, channel: "mail" }, 1), "first");
    // Not delivered: not told.
    assert.equal(groups.kindOf({ ...BLOG, channel: "mail" }, 2), "first");
    assert.equal(groups.kindOf({ ...BLOG, channel: "mail" }, 3), "first");
  });
});
