import pg from "pg";
import { log } from "./log.ts";

const MAX_CONNECTIONS = 8;
const TIMEOUT_MS = 5_000;

export const database = new pg.Pool({
  connectionString: process.env["DATABASE_URL"],
  max: MAX_CONNECTIONS,
  connectionTimeoutMillis: TIMEOUT_MS,
  statement_timeout: TIMEOUT_MS,
});
database.on("error", (error) =>
  log("warn", "a database connection was lost", { error: error.message }),
);

export async function inTransaction<Result>(
  work: (client: pg.PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await database.connect();
  try {
    await client.query("BEGIN");
    const result = await work(client);
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
