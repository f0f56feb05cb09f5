// Deploys as marks among what production said: a change of release explains much of it.

import type { DeployView } from "../../api/monitoring-routes.ts";
import type { CommandContext } from "../command.ts";
import type { Output } from "../output.ts";

/** Oldest first; `since` 0 is all that are known. */
export async function deploysSince(
  { client, environment }: CommandContext,
  sinceMs: number,
  app?: string,
): Promise<readonly DeployView[]> {
  const query = { environment, sinceMs, app };
  return (await client.get("/v1/deploys", query)).deploys;
}

/** From when on a deploy is seen: it had all traffic, or was given up. */
export const momentOf = ({ startedAt, endedAt }: DeployView): number => endedAt ?? startedAt;

export function deployText({ app, release, reason, outcome }: DeployView, output: Output): string {
  const what = `${app} release ${release} (${reason})`;
  if (outcome === "failed") return output.paint("red", `${what} failed`);
  return outcome === "running" ? `${what} under way` : `${what} serves`;
}
