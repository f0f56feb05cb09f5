// What HAProxy says of its servers.

import type { EdgeServer } from "../../resources/app/app-driver.ts";

export interface LiveServer {
  readonly pool: string;
  readonly name: string;
  readonly state: EdgeServer["state"];
  readonly requests: number;
}

/** HAProxy's statistics as CSV: its header names the columns. */
export function parseServers(csv: string): LiveServer[] {
  const [head = "", ...rows] = csv.split("\n").filter(Boolean);
  const columns = head.replace(/^# /, "").split(",");
  const at = (name: string): number => columns.indexOf(name);
  const [pool, server, queued, current, status] = [
    "pxname",
    "svname",
    "qcur",
    "scur",
    "status",
  ].map(at);
  return rows.map((row) => {
    const cells = row.split(",");
    const cell = (index: number | undefined): string => cells[index ?? -1] ?? "";
    return {
      pool: cell(pool),
      name: cell(server),
      state: stateOf(cell(status)),
      requests: Number(cell(queued)) + Number(cell(current)),
    };
  });
}

function stateOf(status: string): EdgeServer["state"] {
  if (status.startsWith("DRAIN") || status.startsWith("MAINT") || status.startsWith("NOLB"))
    return "draining";
  return status.startsWith("DOWN") ? "down" : "up";
}
