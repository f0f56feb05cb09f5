// What counts an environment's PostgreSQL looks at it as a role of its own:
// statistics, no tables. What others run at the moment it could see, and does not count.

import type { Redacted } from "../../kernel/redacted.ts";
import type { PostgresEngineDriver } from "./postgres-engine-driver.ts";

const ROLE = "holdfast_monitor";
const MAX_CONNECTIONS = 3;

/** Makes sure of the role; resolves to where it connects, with the password in it. */
export async function ensurePostgresMonitor(
  engine: PostgresEngineDriver,
  environment: string,
  port: number,
  password: Redacted,
): Promise<string> {
  // Made by us of letters that SQL and URLs take as they are.
  const secret = password.reveal();
  await engine.asAdmin(environment, "postgres", async (client) => {
    const { rowCount } = await client.query("SELECT FROM pg_roles WHERE rolname = $1", [ROLE]);
    const verb = rowCount === 0 ? "CREATE" : "ALTER";
    await client.query(
      `${verb} ROLE ${ROLE} LOGIN PASSWORD '${secret}' CONNECTION LIMIT ${MAX_CONNECTIONS}`,
    );
    await client.query(`GRANT pg_monitor TO ${ROLE}`);
    await client.query(`GRANT CONNECT ON DATABASE postgres TO ${ROLE}`);
  });
  return `postgresql://${ROLE}:${secret}@127.0.0.1:${port}/postgres?sslmode=disable`;
}
