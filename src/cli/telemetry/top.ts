import type { TopRow } from "../../api/monitoring-routes.ts";
import type { Command } from "../command.ts";
import { durationText, type Output } from "../output.ts";

const REFRESH_MS = 2_000;
const MIB = 1024 ** 2;

export const top: Command = {
  usage: "top",
  summary: "Show requests, errors, latency, CPU and memory by service and release, live.",
  details: "On a terminal it refreshes until Ctrl-C; otherwise, and with --once, it prints once.",
  examples: ["holdfast top", "holdfast top --once --json"],
  options: [{ flags: "--once", description: "print once and exit" }],
  run: async ({ client, output, environment, signal }, _args, options) => {
    const isLive = process.stdout.isTTY === true && !output.isJson && options["once"] !== true;
    for (;;) {
      const facts = await client.get("/v1/top", { environment });
      output.screen(facts, () => render(facts.rows, environment, output), isLive);
      if (!isLive) return 0;
      await new Promise((resolve) => {
        setTimeout(resolve, REFRESH_MS);
        signal.addEventListener("abort", resolve, { once: true });
      });
      if (signal.aborted) return 0;
    }
  },
};

function render(rows: readonly TopRow[], environment: string, output: Output): string {
  const head = output.paint("dim", `${environment}  ${new Date().toISOString()}  last 30 s`);
  if (rows.length === 0) return `${head}\n\nnothing runs, or nothing was counted yet`;
  const table = output.table(
    rows.map((row) => [
      `${row.app}/${row.service}`,
      `r${row.release}`,
      row.ready < row.wanted
        ? output.paint("red", `${row.ready}/${row.wanted}`)
        : `${row.ready}/${row.wanted}`,
      row.requestsPerSecond.toFixed(1),
      row.errorRatio > 0.01
        ? output.paint("red", `${(row.errorRatio * 100).toFixed(2)} %`)
        : `${(row.errorRatio * 100).toFixed(2)} %`,
      ...[row.p50Ms, row.p95Ms].map((ms) => (row.requestsPerSecond > 0 ? durationText(ms) : "-")),
      row.cpu === undefined ? "-" : row.cpu.toFixed(2),
      row.memoryBytes === undefined ? "-" : `${Math.round(row.memoryBytes / MIB)} MiB`,
    ]),
    ["service", "release", "ready", "req/s", "errors", "p50", "p95", "cores", "memory"],
  );
  return `${head}\n\n${table}`;
}
