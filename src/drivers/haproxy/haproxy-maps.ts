// The edge's maps: what decides with each deploy where a request goes, without a reload.

import type { EdgeRoute, EdgeTraffic } from "../../resources/app/app-driver.ts";
import { type EdgeState, poolId } from "./edge-state.ts";
import { API, type EdgeLayout } from "./haproxy-config.ts";
import { splitSuffix, TESTER_ROUTE } from "./split-rules.ts";

/**
 * `host/path/` → `pool|route|release`, and how to split it; the longest prefix wins, so a route ends in a
 * slash. Browsers name the port in the host header where it is not the usual one: that spelling has
 * an entry of its own.
 */
export function routeEntries(
  state: EdgeState,
  { httpsPort, api }: Pick<EdgeLayout, "httpsPort" | "api">,
): [string, string][] {
  // The API's host is the API's, whoever had it before.
  const isApps = ([key]: [string, string]): boolean =>
    api === undefined || !(key.startsWith(`${api.host}/`) || key.startsWith(`${api.host}:`));
  const entry = (
    { host, path }: Omit<EdgeRoute, "service">,
    target: string,
  ): [string, string][] => {
    const prefix = path.endsWith("/") ? path : `${path}/`;
    return [host, `${host}:${httpsPort}`].map((name) => [`${name}${prefix}`, target]);
  };
  const own = api ? entry({ host: api.host, path: "/" }, `${API.pool}|api|0`) : [];
  const ofApps = Object.entries(state.apps).flatMap(([appName, { traffic }]) => {
    if (!traffic) return [];
    const { routes, candidate } = traffic;
    return [
      ...routes.flatMap((route) => {
        const target = targetOf(appName, route.service, traffic, cookiePath(route, routes));
        return target ? entry(route, target(`${route.host}${route.path}`)) : [];
      }),
      ...(candidate?.preview ?? []).flatMap((route) =>
        entry(
          route,
          `${poolId(appName, route.service, candidate?.slot ?? "a")}|${TESTER_ROUTE}|${candidate?.release ?? 0}`,
        ),
      ),
    ];
  });
  return [...own, ...ofApps.filter(isApps)];
}

// The services of one app that share a host share the cookie, and with it the arm.
const cookiePath = ({ host }: EdgeRoute, routes: readonly EdgeRoute[]): string | undefined =>
  routes
    .filter((route) => route.host === host)
    .map(({ path }) => path)
    .toSorted((one, other) => one.length - other.length)[0];

function targetOf(
  appName: string,
  service: string,
  { slots, releases, candidate }: EdgeTraffic,
  cookie: string | undefined,
): ((route: string) => string) | undefined {
  const slot = slots[service];
  if (slot === undefined) return undefined;
  const suffix = candidate?.services.includes(service)
    ? splitSuffix(poolId(appName, service, candidate.slot), candidate, cookie)
    : "";
  // Of a state that an earlier build wrote: until it is shifted next, nobody's.
  const release = releases?.[service] ?? 0;
  return (route) => `${poolId(appName, service, slot)}|${route}|${release}${suffix}`;
}

/** Internal port → `pool|internal`, and how to split it. */
export function internalEntries(state: EdgeState): [string, string][] {
  return Object.entries(state.apps).flatMap(([appName, { internalPorts, traffic }]) =>
    Object.entries(internalPorts).map(([service, port]): [string, string] => {
      const target = traffic && targetOf(appName, service, traffic, undefined);
      return [String(port), target?.("internal") ?? `${poolId(appName, service, "a")}|internal|0`];
    }),
  );
}

/** Host → environment, for the certificates of a connection. */
export function environmentEntries(
  state: EdgeState,
  { api }: Pick<EdgeLayout, "api">,
): [string, string][] {
  const own: [string, string][] = api ? [[api.host, API.pool.split(".")[0] ?? ""]] : [];
  const ofApps = Object.entries(state.apps).flatMap(([appName, { declaration }]) =>
    declaration.hosts.map((host): [string, string] => [host, appName.split("/")[0] ?? ""]),
  );
  return [...own, ...ofApps.filter(([host]) => host !== api?.host)];
}

/** Hosts that answer over plain HTTP too. */
export const plainEntries = ({ apps }: EdgeState): [string, string][] =>
  Object.values(apps).flatMap(({ declaration }) =>
    (declaration.plainHosts ?? []).map((host): [string, string] => [host, "1"]),
  );

export const renderMap = (entries: readonly (readonly [string, string])[]): string =>
  entries
    .map(([key, value]) => `${key} ${value}\n`)
    .sort()
    .join("");
