import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, get, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, it } from "node:test";
import type { LogLine } from "../kernel/signal.ts";
import { LineStream } from "./telemetry-server.ts";

const lineOf = (number: number): LogLine =>
  ({
    ...{ time: number, environment: "production", app: "shop", service: "web", release: 1 },
    ...{ instance: "web.1", level: "info", text: `${number} ${"x".repeat(10_000)}` },
  }) as LogLine;

describe("lines to a reader that follows", () => {
  it("are left out while it stands still, and it is told how many", {
    timeout: 60_000,
  }, async () => {
    const MAX = 1024 ** 2;
    let response: ServerResponse | undefined;
    const server = createServer((_, opened) => {
      response = opened;
      opened.flushHeaders();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const request = get({ host: "127.0.0.1", port });
    try {
      const [reader] = (await once(request, "response")) as [IncomingMessage];
      assert.ok(response);
      const stream = new LineStream(response);
      for (let number = 0; number < 5_000; number += 1) {
        stream.write([lineOf(number)], MAX);
        if (number % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok(response.writableLength < 2 * MAX, `${response.writableLength} bytes wait`);
      let text = "";
      reader.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      while (response.writableLength > 0) await new Promise((resolve) => setImmediate(resolve));
      stream.write([lineOf(5_000)], MAX);
      response.end();
      await once(reader, "end");
      const lines = text
        .trimEnd()
        .split("\n")
        .map((one) => (JSON.parse(one) as LogLine).text);
      const told = lines.find((one) => one.includes("lines left out")) ?? assert.fail("not told");
      const [, leftOut = "0"] = /(\d+) lines left out/.exec(told) ?? [];
      assert.equal(lines.length - 1 + Number(leftOut), 5_001, "each is there or counted");
      assert.match(lines.at(-1) ?? "", /^5000 x/);
    } finally {
      request.destroy();
      server.close();
    }
  });
});
