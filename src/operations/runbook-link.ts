// Where a runbook is shown: by the edge, below a route of the app that an alert is about.

import type { ResourceStore } from "../kernel/resource-store.ts";
import { RUNBOOKS } from "../kernel/signal.ts";
import { servingApps } from "./serving.ts";

/** Undefined: nowhere. */
export function runbookUrl(
  store: ResourceStore,
  publicUrl: (host: string) => string,
  name: string,
  { environment, app }: Readonly<Record<string, string>>,
): string | undefined {
  // The edge shows them: while it is down, that leads nowhere.
  if (name === "edge-down") return undefined;
  const shown = servingApps(store)
    .map((one) => ({
      fits: Number(one.environment === environment) + Number(one.app === app),
      route: Object.values(one.manifest.services)
        .flatMap(({ routes }) => routes)
        .find(({ host }) => !host.startsWith("*.")),
    }))
    .filter(({ route }) => route !== undefined)
    .sort((a, b) => b.fits - a.fits)[0]?.route;
  if (!shown) return undefined;
  const base = publicUrl(shown.host) + shown.path.replace(/\/$/, "");
  return `${base}${RUNBOOKS}${name}`;
}
