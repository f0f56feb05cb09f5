// Every kind of channel, delivered to a receiver that listens.

import assert from "node:assert/strict";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import type { AlertNotice, ChannelType } from "../../resources/channel/channel.ts";
import { deliver } from "./notifier.ts";

const NOTICE: AlertNotice = {
  state: "firing",
  alert: "HighErrorRate",
  severity: "page",
  summary: "production/shop web fails 20 % — <!channel> @everyone",
  runbook: "docs/runbooks/high-error-rate.md",
  query: "up",
  labels: { alertname: "HighErrorRate" },
  since: Date.parse("2026-11-21T10:00:00Z"),
  release: 7,
  afterDeployMs: 12_000,
};
const RAW = { version: "4", groupKey: "g", alerts: [{ status: "firing" }] };

describe("channels", () => {
  let status = 200;
  let body = "";
  let headers: IncomingHttpHeaders = {};
  const server = createServer((request, response) => {
    body = "";
    headers = request.headers;
    request.setEncoding("utf8").on("data", (chunk: string) => {
      body += chunk;
    });
    request.on("end", () => response.writeHead(status).end("so it is"));
  });
  const told = (
    type: ChannelType,
    notices = [NOTICE],
    kind: "first" | "update" | "end" = "first",
  ): Promise<void> =>
    deliver({
      type,
      kind,
      address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
      signingKey: "whsec_c2VjcmV0",
      id: "one",
      notices,
      raw: RAW,
    });
  before(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve)));
  after(() => {
    server.close();
    server.closeAllConnections();
  });

  it("says what, since when, of which release and how soon after its deploy, to each", async () => {
    for (const type of ["slack", "discord", "teams", "ntfy"] as const) {
      await told(type);
      for (const said of [
        "HighErrorRate",
        "production/shop web fails 20 %",
        "since 2026-11-21T10:00:00.000Z, release 7, 12 s after its deploy",
        "runbook: docs/runbooks/high-error-rate.md",
      ])
        assert.ok(body.includes(said), `${type}: ${said} in ${body}`);
    }
  });

  it("has the shape that each takes, and calls nobody by what an alert says", async () => {
    await told("slack");
    assert.match(JSON.parse(body).text, /^\*FIRING: HighErrorRate .*&lt;!channel&gt;/);
    await told("discord");
    assert.deepEqual(JSON.parse(body).allowed_mentions, { parse: [] });
    await told("teams");
    const [card] = JSON.parse(body).attachments;
    assert.equal(card.contentType, "application/vnd.microsoft.card.adaptive");
    assert.equal(card.content.type, "AdaptiveCard");
    await told("ntfy");
    assert.equal(headers["priority"], "urgent");
    const title = /^=\?UTF-8\?B\?(.+)\?=$/.exec(String(headers["title"]))?.[1] ?? "";
    assert.match(Buffer.from(title, "base64").toString(), /^FIRING: HighErrorRate .*20 % —/);
    await told("alertmanager");
    assert.deepEqual(JSON.parse(body), RAW);
    await told("webhook");
    assert.equal(JSON.parse(body).type, "alert.firing");
    assert.match(String(headers["webhook-signature"]), /^v1,/);
  });

  it("is quieter about what is over, and cuts what a chat would refuse", async () => {
    await told("ntfy", [{ ...NOTICE, state: "resolved" }]);
    assert.equal(headers["priority"], "default");
    const many = Array.from({ length: 50 }, () => NOTICE);
    await told("discord", many);
    assert.ok(JSON.parse(body).content.length <= 2_000);
  });

  it("wakes nobody a second time, and begins with what fires", async () => {
    const over: AlertNotice = { ...NOTICE, state: "resolved", alert: "InstanceDown" };
    const more: AlertNotice = {
      ...NOTICE,
      route: "GET /checkout: 37 of 40 failed",
      broken: "the cache of production is silent",
      firstStep: "holdfast rollback <app>",
      runbookUrl: "https://shop.localhost/_holdfast/runbooks/high-error-rate",
    };
    await told("ntfy", [over, more], "update");
    assert.equal(headers["priority"], "default");
    const title = /^=\?UTF-8\?B\?(.+)\?=$/.exec(String(headers["title"]))?.[1] ?? "";
    assert.match(Buffer.from(title, "base64").toString(), /^update: HighErrorRate /);
    assert.match(body, /^FIRING HighErrorRate /);
    for (const said of [
      "worst route: GET /checkout: 37 of 40 failed",
      "possible cause: the cache of production is silent",
      "first: holdfast rollback <app>",
      "runbook: https://shop.localhost/_holdfast/runbooks/high-error-rate",
      "resolved InstanceDown",
    ])
      assert.ok(body.includes(said), `${said} in ${body}`);
  });

  it("says what was answered where it was refused", async () => {
    status = 403;
    await assert.rejects(told("slack"), /it answered 403: so it is/);
    status = 200;
  });
});
