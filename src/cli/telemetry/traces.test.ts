import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { TraceSpan } from "../../kernel/signal.ts";
import { Output } from "../output.ts";
import { waterfall } from "./traces.ts";

const span = (spanId: string, parentSpanId: string, more: Partial<TraceSpan> = {}): TraceSpan =>
  ({
    ...{ time: Number(spanId), durationMs: 1, environment: "production", app: "shop" },
    ...{ service: "web", release: 1, instance: "i", spanId, parentSpanId, name: `step ${spanId}` },
    ...{ kind: "", status: "", scope: "", attributes: {}, events: [], ...more },
  }) as TraceSpan;

const drawn = (spans: readonly TraceSpan[]): string[] =>
  waterfall(spans, new Output(false)).split("\n");

describe("a trace as it is drawn", () => {
  it("has every span of a chain of twenty thousand", () => {
    const spans = Array.from({ length: 20_000 }, (_, i) => span(`${i + 1}`, i === 0 ? "" : `${i}`));
    const lines = drawn(spans);
    assert.equal(lines.length, spans.length);
    assert.ok(Math.max(...lines.map((line) => line.length)) < 300);
  });

  it("has spans that are parents of each other, and those whose parent is not there", () => {
    const lines = drawn([span("1", "2"), span("2", "1"), span("3", "3"), span("4", "gone")]);
    assert.equal(lines.length, 4);
  });

  it("has more spans than a call has arguments", () => {
    const spans = Array.from({ length: 150_000 }, (_, i) => span(`${i + 1}`, ""));
    assert.equal(drawn(spans).length, spans.length);
  });
});
