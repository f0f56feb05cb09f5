// JSON lines on standard output: whoever runs the shop collects them. A line that is written while a
// request is answered names its trace.

import { traceFields } from "./telemetry.ts";

export function log(
  level: "info" | "warn" | "error",
  message: string,
  fields: Record<string, unknown> = {},
): void {
  console.log(JSON.stringify({ level, message, ...fields, ...traceFields() }));
}
