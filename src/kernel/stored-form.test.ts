import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "zod";
import { gives, storedForm } from "./stored-form.ts";

const seconds = gives(
  z.number().int(),
  z
    .string()
    .regex(/^\d+s$/)
    .transform((text) => Number.parseInt(text, 10)),
);
const written = z.strictObject({
  wait: seconds.prefault("30s"),
  pauses: z.array(seconds).max(2).default([]),
  byName: z.record(z.string(), seconds).default({}),
  until: z.union([z.literal("ask"), seconds]).optional(),
  step: z.preprocess(
    (value) => (typeof value === "string" ? { for: value } : value),
    z.strictObject({ for: seconds }),
  ),
  inner: z.strictObject({ grace: seconds.prefault("5s") }).prefault({}),
  store: z.strictObject({}).nullable().optional(),
});

describe("the stored form of a schema", () => {
  const stored = storedForm(written);
  const example = { wait: "1s", pauses: ["2s"], byName: { a: "3s" }, until: "4s", step: "6s" };

  it("takes what the schema gave, and gives the same", () => {
    for (const input of [example, { step: { for: "1s" }, until: "ask", store: null }]) {
      const kept = written.parse(input);
      assert.deepEqual(stored.parse(JSON.parse(JSON.stringify(kept))), kept);
    }
  });

  it("fills in what was not there when it was kept", () => {
    const { wait, inner, pauses, ...older } = written.parse(example);
    assert.deepEqual([wait, inner, pauses], [1, { grace: 5 }, [2]]);
    assert.deepEqual(stored.parse(older), {
      ...older,
      wait: 30,
      inner: { grace: 5 },
      pauses: [],
    });
  });

  it("refuses what a person writes, what can't be, and what it does not know", () => {
    const kept = written.parse(example);
    for (const wrong of [
      { ...kept, wait: "1s" },
      { ...kept, pauses: [1, 2, 3] },
      { ...kept, until: "never" },
      { ...kept, gone: 1 },
      { ...kept, step: "6s" },
    ])
      assert.equal(stored.safeParse(wrong).success, false, JSON.stringify(wrong));
  });

  it("is not made of a schema that hides what it gives", () => {
    assert.throws(() => storedForm(z.string().transform(Number)), /has to register/);
  });
});
