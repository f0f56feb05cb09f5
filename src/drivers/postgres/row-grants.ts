// What the runtime role may do in an app's database: read and write rows, of what is there and of what
// its owner makes later.

import type pg from "pg";
import { quote } from "./sql-text.ts";

export async function grantRows(client: pg.Client, owner: string, runtime: string): Promise<void> {
  const [o, r] = [quote(owner), quote(runtime)];
  await client.query(`ALTER SCHEMA public OWNER TO ${o}`);
  await client.query(`REVOKE ALL ON SCHEMA public FROM PUBLIC`);
  await client.query(`GRANT USAGE ON SCHEMA public TO ${r}`);
  for (const [objects, rights] of [
    ["TABLES", "SELECT, INSERT, UPDATE, DELETE"],
    ["SEQUENCES", "USAGE, SELECT, UPDATE"],
    ["FUNCTIONS", "EXECUTE"],
  ] as const) {
    await client.query(`GRANT ${rights} ON ALL ${objects} IN SCHEMA public TO ${r}`);
    await client.query(
      `ALTER DEFAULT PRIVILEGES FOR ROLE ${o} GRANT ${rights} ON ${objects} TO ${r}`,
    );
  }
}
