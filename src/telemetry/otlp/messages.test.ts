import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeRequest, encodeRequest, hexId, plainObject } from "./messages.ts";

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
const TRACE = "5b8efff798038103d269b633813fc60c";
const SPAN = "eee19b7ec3c1b174";
const span = {
  traceId: TRACE,
  spanId: SPAN,
  name: "GET /",
  kind: "SPAN_KIND_SERVER",
  startTimeUnixNano: "1544712660000000000",
  endTimeUnixNano: "1544712661000000000",
  status: { code: "STATUS_CODE_ERROR" },
  attributes: [{ key: "a", value: { stringValue: "SPAN_KIND_SERVER" } }],
};
const spansOf = (value: unknown) =>
  decodeRequest("traces", "json", json(value)).resourceSpans?.[0]?.scopeSpans?.[0]?.spans ?? [];
const wrapped = (one: unknown) => ({ resourceSpans: [{ scopeSpans: [{ spans: [one] }] }] });

describe("OTLP in JSON", () => {
  it("has names for enumerations and hex for ids, as the specification says", () => {
    const [seen] = spansOf(wrapped(span));
    assert.equal(seen?.kind, 2);
    assert.equal(seen?.status?.code, 2);
    assert.equal(hexId(seen?.traceId, "json", 16), TRACE);
    assert.equal(hexId(seen?.spanId, "json", 8), SPAN);
    assert.equal(seen?.startTimeUnixNano, "1544712660000000000");
    assert.deepEqual(plainObject(seen?.attributes), { a: "SPAN_KIND_SERVER" });
  });

  it("is text where text belongs, whatever was sent, or refused", () => {
    const metric = { name: 7, description: 5, gauge: { dataPoints: [{ asDouble: "x" }] } };
    const { resourceMetrics } = decodeRequest(
      "metrics",
      "json",
      json({ resourceMetrics: [{ scopeMetrics: [{ metrics: [metric] }] }] }),
    );
    const [seen] = resourceMetrics?.[0]?.scopeMetrics?.[0]?.metrics ?? [];
    assert.deepEqual([seen?.name, seen?.description], ["7", "5"]);
    for (const bad of [{ resourceSpans: "x" }, wrapped("x"), { resourceSpans: { length: 1 } }])
      assert.throws(() => spansOf(bad), { code: "otlp.malformed" });
  });

  it("is the same message as protobuf", () => {
    const message = {
      resourceSpans: [
        {
          scopeSpans: [
            {
              spans: [
                {
                  ...span,
                  traceId: Buffer.from(TRACE, "hex").toString("base64"),
                  spanId: Buffer.from(SPAN, "hex").toString("base64"),
                  kind: 2,
                  status: { code: 2 },
                },
              ],
            },
          ],
        },
      ],
    };
    const decoded = decodeRequest("traces", "protobuf", encodeRequest("traces", message));
    assert.deepEqual(JSON.parse(JSON.stringify(decoded)), message);
  });
});
