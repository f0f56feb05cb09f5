import pg from "pg";
import { log } from "./log.ts";
import { inSpan } from "./telemetry.ts";

const MAX_CONNECTIONS = 8;
const TIMEOUT_MS = 5_000;

const pool = new pg.Pool({
  connectionString: process.env["DATABASE_URL"],
  max: MAX_CONNECTIONS,
  connectionTimeoutMillis: TIMEOUT_MS,
  statement_timeout: TIMEOUT_MS,
});
pool.on("error", (error) =>
  log("warn", "a database connection was lost", { error: error.message }),
);

export interface Queryable {
  query<Row extends pg.QueryResultRow>(
    text: string,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
}

/** Each statement is a span of the request that it is for. */
const traced = (on: pg.Pool | pg.PoolClient): Queryable => ({
  query: <Row extends pg.QueryResultRow>(text: string, values?: readonly unknown[]) => {
    const operation = text.trimStart().split(/\s/)[0]?.toUpperCase() ?? "QUERY";
    const attributes = {
      "db.system.name": "postgresql",
      "db.operation.name": operation,
      "db.query.text": text,
    };
    return inSpan(operation, "client", attributes, () => on.query<Row>(text, values as unknown[]));
  },
});

export const database = { ...traced(pool), end: () => pool.end() };

export async function inTransaction<Result>(
  work: (client: Queryable) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const result = await work(traced(client));
    await client.query("COMMIT");
    client.release();
    return result;
  } catch (error) {
    // The connection's state is unknown: it is not given back to the pool.
    await client.query("ROLLBACK").then(
      () => client.release(),
      (broken: Error) => client.release(broken),
    );
    throw error;
  }
}
