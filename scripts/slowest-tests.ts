// A reporter for `node --test`: the ten slowest tests, at the end.

import { relative } from "node:path";

interface TestEvent {
  readonly type: string;
  readonly data: {
    readonly name: string;
    readonly file?: string;
    readonly details?: { readonly duration_ms: number; readonly type?: string };
  };
}

const SHOWN = 10;

// biome-ignore lint/style/noDefaultExport: the runner loads a reporter by it.
export default async function* slowestTests(events: AsyncIterable<TestEvent>) {
  const tests: { readonly seconds: number; readonly text: string }[] = [];
  for await (const { type, data } of events) {
    const isTest = (type === "test:pass" || type === "test:fail") && data.details?.type !== "suite";
    if (!isTest || data.details === undefined) continue;
    const seconds = data.details.duration_ms / 1_000;
    const file = data.file === undefined ? "" : ` (${relative(process.cwd(), data.file)})`;
    tests.push({ seconds, text: `${seconds.toFixed(1)} s ${data.name}${file}` });
  }
  const slowest = tests.toSorted((one, other) => other.seconds - one.seconds).slice(0, SHOWN);
  yield `slowest:\n${slowest.map(({ text }) => `  ${text}\n`).join("")}`;
}
