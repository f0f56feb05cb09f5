import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { PushEvent } from "../resources/push/push-driver.ts";
import { readDelivery } from "./webhook.ts";

const AFTER = "a".repeat(40);
const GITHUB = {
  "x-github-event": "push",
  "content-type": "application/json",
  "x-github-delivery": "1",
};
const GITLAB = { "x-gitlab-event": "Push Hook", "content-type": "application/json" };

const github = (more: object = {}): Buffer =>
  Buffer.from(
    JSON.stringify({
      ref: "refs/heads/main",
      before: "0".repeat(40),
      after: AFTER,
      repository: { full_name: "acme/shop" },
      pusher: { name: "sam", email: "sam@example.test" },
      sender: { login: "sam" },
      head_commit: { id: AFTER, message: "short" },
      commits: [{ id: AFTER, message: "short" }],
      ...more,
    }),
  );
const read = (body: Buffer, headers: Record<string, string> = GITHUB): PushEvent => {
  const event = readDelivery(headers === GITLAB ? "gitlab" : "github", headers, body);
  assert.ok("commit" in event, JSON.stringify(event));
  return event;
};

describe("readDelivery", () => {
  it("reads a push whose commits have messages of any length, and keeps a line of one", () => {
    const long = `Squash: everything\n\n${"details ".repeat(100_000)}`;
    const event = read(
      github({
        head_commit: { id: AFTER, message: long },
        commits: [
          { id: "b".repeat(40), message: long },
          { id: AFTER, message: long },
        ],
      }),
    );
    assert.equal(event.message, "Squash: everything");
    const gitlab = Buffer.from(
      JSON.stringify({
        ref: "refs/heads/main",
        after: AFTER,
        user_username: "sam",
        project: { path_with_namespace: "acme/shop" },
        commits: [{ id: AFTER, message: "y".repeat(11_000), title: "y" }],
      }),
    );
    assert.equal(read(gitlab, GITLAB).message.length, 200);
  });

  it("reads a push whatever else of it is missing, null, or of another kind", () => {
    const strange: object[] = [
      { head_commit: null, commits: [] },
      { head_commit: 7, commits: "none", pusher: "sam", sender: null },
      { commits: [null, 3, { id: 5 }], repository: null, project: [] },
      { pusher: { name: 5, email: null }, user_name: {} },
      { repository: { full_name: "x".repeat(100_000) } },
    ];
    for (const more of strange) {
      const event = read(github(more));
      assert.equal(event.commit, AFTER);
      assert.ok(event.project.length <= 1_000);
    }
  });

  it("refuses one whose ref or commit can't be read", () => {
    for (const more of [{ after: "main" }, { after: null }, { ref: 7 }, { ref: "x".repeat(501) }])
      assert.throws(() => readDelivery("github", GITHUB, github(more)), {
        code: "webhook.unreadable",
      });
    assert.throws(() => readDelivery("github", GITHUB, Buffer.from("{")), /not JSON/);
  });
});
