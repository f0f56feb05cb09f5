import { wholeNumber } from "../app/change.ts";
import type { Command } from "../command.ts";
import { oneLine } from "../output.ts";
import { sinceMsOf } from "./since.ts";

const CELL_MAX_CHARS = 120;

export const query: Command = {
  usage: "query <sql>",
  summary: "Query logs, spans and requests with read-only SQL.",
  details:
    "Tables and columns: docs/reference/tables.md. The dialect is DuckDB's. Without --env it covers all environments and requires a role in all.",
  examples: [
    "holdfast query 'SELECT path, count(*) AS n FROM requests WHERE status >= 500 GROUP BY path ORDER BY n DESC'",
    "holdfast query --since 1h \"SELECT level, count(*) FROM logs WHERE app = 'storefront' GROUP BY level\"",
  ],
  options: [
    {
      flags: "--since <time>",
      description: "look at the last 30s, 5m, 2h, 7d, or since 14:30, 2026-11-26T14:30Z",
      default: "1d",
    },
    { flags: "--until <time>", description: "only what is older than 5m, or before 14:30Z" },
    { flags: "-n, --lines <count>", description: "at most this many rows", default: "1000" },
  ],
  run: async ({ client, output }, [sql], options) => {
    const limit = wholeNumber(String(options["lines"] ?? "1000"), "-n", 1);
    const environment = options["env"] as string | undefined;
    const body = {
      sql: String(sql),
      sinceMs: sinceMsOf(options["since"]),
      untilMs: sinceMsOf(options["until"], "--until"),
      limit,
      environment,
    };
    const table = await client.post("/v1/query", body);
    output.result(table, () =>
      output.table(
        table.rows.map((row) => row.map(cell)),
        table.columns,
      ),
    );
    if (table.rows.length >= limit) output.progress(`the first ${limit} rows; more with -n`);
    return 0;
  },
};

function cell(value: unknown): string {
  const text =
    value === null
      ? ""
      : typeof value === "object"
        ? JSON.stringify(value)
        : oneLine(String(value));
  // Whoever reads it with a program wants all of it.
  if (process.stdout.isTTY !== true) return text;
  return text.length > CELL_MAX_CHARS ? `${text.slice(0, CELL_MAX_CHARS)}…` : text;
}
