// What users do and see, as a real browser reports it, from the page to the command line.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import type { Page } from "playwright-core";
import type { ResultTable, UsageReport } from "../../src/kernel/signal.ts";
import { AppFolder } from "../support/app-folder.ts";
import { ask } from "../support/ask.ts";
import { noBrowser, startBrowser } from "../support/browser.ts";
import { Installation } from "../support/installation.ts";
import { until } from "../support/wait.ts";

const HOST = "pages.localhost";
const SERVER = `
const http = require("node:http");
const script = process.env.HOLDFAST_USAGE_SCRIPT;
http.createServer((request, response) => {
  if (request.url === "/broken") { response.writeHead(500); return response.end("no"); }
  response.writeHead(200, { "content-type": "text/html" });
  response.end('<!doctype html>' + (script ? '<script defer src="' + script + '"></script>' : '') +
    '<h1>' + request.url + '</h1><button id="slow" onclick="const end = Date.now() + 120; while (Date.now() < end);">work</button>' +
    '<button id="fail" onclick="throw new Error(\\'kaputt\\')">fail</button>');
}).listen(process.env.PORT, process.env.HOST);
process.on("SIGTERM", () => process.exit(0));
`;
const manifest = (usage: boolean): string => `
name: pages
services:
  web: { command: node server.js, routes: [{ host: ${HOST} }] }
  blog: { command: node server.js, routes: [{ host: ${HOST}, path: /blog }] }
usage: ${usage}
`;
const REPORTED = {
  served: "r1-000660cb009cec1400000000c052bcd5",
  events: [{ kind: "view", page: "/forged" }],
};

describe("usage", { timeout: 300_000, ...(noBrowser && { skip: noBrowser }) }, () => {
  const holdfast = new Installation();
  const app = new AppFolder({ "server.js": SERVER, "holdfast.yaml": manifest(true) });
  const report = (): Promise<UsageReport> => holdfast.json<UsageReport>("usage", "pages");
  const post = (body: string, headers: Record<string, string> = {}) =>
    ask(holdfast, { host: HOST, path: "/_holdfast/usage", method: "POST", body, headers });
  const inBrowser = async (use: (page: Page, origin: string) => Promise<void>): Promise<void> => {
    const browser = await startBrowser();
    try {
      const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
      await use(page, `https://${HOST}:${holdfast.ports.https}`);
      // A visitor who leaves: what is still waiting is sent on the way out.
      await page.goto("about:blank");
    } finally {
      await browser.close();
    }
  };

  before(async () => {
    await holdfast.ok("up");
    await holdfast.ok("deploy", app.dir);
  });
  after(async () => {
    await holdfast.close();
    app.remove();
  });

  it("shows views, one visitor, web vitals, errors and feedback by page and release", async () => {
    await inBrowser(async (page, origin) => {
      await page.goto(`${origin}/one?secret=1`);
      await page.click("#slow");
      // A browser knows how long it took once the next frame was shown.
      await page.waitForTimeout(1_000);
      await page.goto(`${origin}/two`, { referer: "https://search.example/?q=pages" });
      await page.click("#fail");
      await page.evaluate("holdfast.feedback('good', 5)");
      await page.evaluate("history.pushState({}, '', '/soft/000660cb009cec1400000000c052bcd5')");
      await page.goto(`${origin}/broken`);
      await page.goto(`${origin}/blog/post`);
      await page.waitForTimeout(100);
    });
    let found = await report();
    await until("all reports are there", async () => {
      found = await report();
      const hasInp = found.pages.some(({ inpMs }) => inpMs !== undefined);
      return found.views >= 4 && found.feedback.length > 0 && hasInp;
    });
    assert.equal(found.views, 4);
    assert.equal(found.visitors, 1);
    const pages = new Map(found.pages.map((one) => [one.page, one]));
    assert.deepEqual([...pages.keys()].sort(), ["/blog/post", "/one", "/soft/*", "/two"]);
    const one = pages.get("/one");
    assert.ok((one?.lcpMs ?? 0) > 0 && one?.cls !== undefined, "vitals of a page");
    assert.ok((one?.inpMs ?? 0) >= 100, `the click took 120 ms, reported: ${one?.inpMs}`);
    assert.equal(pages.get("/two")?.errors, 1);
    assert.deepEqual(
      found.failing.map(({ page, errors, failed }) => [page, errors, failed]),
      [
        ["/broken", 0, 1],
        ["/two", 1, 0],
      ],
    );
    assert.deepEqual(
      found.releases.map(({ service, release, views }) => [service, release, views]),
      [
        ["blog", 1, 1],
        ["web", 1, 3],
      ],
    );
    assert.match(found.errors[0]?.text ?? "", /Error: kaputt/);
    assert.deepEqual(
      found.feedback.map(({ page, rating, text, release }) => [page, rating, text, release]),
      [["/two", 5, "good", 1]],
    );
    assert.deepEqual(
      found.referrers.map(({ host }) => host),
      ["search.example"],
    );
    const { rows } = await holdfast.json<ResultTable>(
      "query",
      "SELECT DISTINCT client, browser, (SELECT count(*) FROM requests r WHERE r.trace_id = u.trace_id) FROM usage u",
    );
    assert.deepEqual(rows, [["127.0.0.0", "Chrome", "1"]], "the request of the page is found");
    assert.doesNotMatch(JSON.stringify(found), /secret/);
  });

  it("sets no cookie and keeps nothing in the browser", async () => {
    await inBrowser(async (page, origin) => {
      await page.goto(`${origin}/one`);
      await page.waitForTimeout(2_500);
      assert.deepEqual(await page.context().cookies(), []);
      assert.equal(await page.evaluate("localStorage.length + sessionStorage.length"), 0);
    });
  });

  it("counts nobody who says that they don't want it, whatever sent the report", async () => {
    const { views } = await report();
    for (const header of ["sec-gpc", "dnt"])
      assert.equal((await post(JSON.stringify(REPORTED), { [header]: "1" })).status, 204);
    await post(JSON.stringify({ ...REPORTED, events: [{ kind: "view", page: "/counted" }] }));
    await until("the other is there", async () =>
      JSON.stringify(await report()).includes("/counted"),
    );
    assert.equal((await report()).views, views + 1);
    assert.doesNotMatch(JSON.stringify(await report()), /forged/);
  });

  it("refuses what is no report, what is too large, and other methods", async () => {
    const { views } = await report();
    assert.equal((await post("{")).status, 400);
    assert.equal((await post("x".repeat(40_000))).status, 413);
    assert.equal((await ask(holdfast, { host: HOST, path: "/_holdfast/usage" })).status, 405);
    assert.match((await ask(holdfast, { host: HOST, path: "/_holdfast/usage/x" })).text, /<h1>/);
    const statuses = [];
    for (let i = 0; i < 40; i += 1) statuses.push((await post('{"events":[]}')).status);
    assert.ok(statuses.includes(204) && statuses.includes(429), statuses.join());
    assert.equal((await report()).views, views);
  });

  it("is off unless the manifest says so: the app answers there itself", async () => {
    app.write({ "holdfast.yaml": manifest(false) });
    await holdfast.ok("deploy", app.dir);
    const page = await ask(holdfast, { host: HOST });
    assert.doesNotMatch(page.text, /_holdfast/);
    assert.equal(page.headers["server-timing"], undefined);
    assert.equal(
      (await post(JSON.stringify(REPORTED))).text.includes("<h1>/_holdfast/usage"),
      true,
    );
    assert.doesNotMatch(JSON.stringify(await report()), /forged/);
  });
});
