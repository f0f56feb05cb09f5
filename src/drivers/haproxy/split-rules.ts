// How the edge splits a service's requests between what serves and a candidate. A map's value says
// that there is something to split, and how:
//
//   stable pool | route | its release | candidate pool | its release | share | key | cookie path | rollout | %
//
// Without the mark at its end none of this is done. Who a request goes to is decided once, where it
// comes in; calls between services carry the decision on in a member of W3C baggage.

import { CANDIDATE_HEADER } from "../../kernel/signal.ts";
import type { CandidateTraffic } from "../../resources/app/app-driver.ts";

const COOKIE = "holdfast-bucket";
const COOKIE_MAX_AGE_S = 7 * 86_400;
const MEMBER = "holdfast-arm";
const NONE = "-";
/** What a request record says instead of its route where a tester chose the candidate. */
export const TESTER_ROUTE = "tester";

const WHOLE = 1_000;
/** Looked for once: asking for a variable costs less than comparing a text, and a dozen rules do. */
const MARK_SPLIT = "http-request set-var(txn.split) bool(true) if { var(txn.to) -m end |% }";
const IS_SPLIT = "{ var(txn.split) -m found }";
const field = (number: number): string => `var(txn.to),field(${number},|)`;

/** The part of a map's value behind its pool and route; empty where nothing is to be split. */
export function splitSuffix(
  candidatePool: string,
  { release, perMille, key, rollout, isSticky }: CandidateTraffic,
  cookiePath: string | undefined,
): string {
  const path = isSticky && cookiePath !== undefined ? cookiePath : NONE;
  return `|${[candidatePool, release, perMille, key, path, rollout, "%"].join("|")}`;
}

/** What HAProxy does between looking up where a request goes and sending it there. */
export function splitRules(
  from: "public" | "internal",
  allowlists: readonly Allowlist[],
): string[] {
  const rides = (arm: string): string => `{ req.hdr(baggage) -m sub ${MEMBER}=${arm} }`;
  const arm = (name: string, when: string): string =>
    `http-request set-var(txn.arm) str(${name}) if ${IS_SPLIT} ${when}`;
  return [
    MARK_SPLIT,
    `http-request set-var(txn.share) ${field(6)} if ${IS_SPLIT}`,
    `http-request set-var(txn.bucket) rand(${WHOLE}) if ${IS_SPLIT}`,
    ...(from === "public" ? stickRules() : []),
    arm("stable", "{ always_true }"),
    arm("candidate", "{ var(txn.bucket),sub(txn.share) lt 0 }"),
    ...(from === "public"
      ? [
          ...allowlists.map(({ pools, addresses }) =>
            arm(
              "tester",
              `{ var(txn.to) -m beg ${pools.join(" ")} } { src ${addresses.join(" ")} }`,
            ),
          ),
          `http-request set-var(txn.key) ${field(7)} if ${IS_SPLIT}`,
          arm("tester", `{ req.hdr(${CANDIDATE_HEADER}),strcmp(txn.key) eq 0 }`),
          // Nobody outside says which way a request goes on inside.
          `http-request del-header baggage if { req.hdr(baggage) -m sub ${MEMBER} }`,
        ]
      : [
          arm("stable", rides("stable")),
          arm("candidate", rides("candidate")),
          arm("tester", rides("tester")),
        ]),
    `http-request add-header baggage ${MEMBER}=%[var(txn.arm)] if ${IS_SPLIT} !{ req.hdr(baggage) -m sub ${MEMBER} }`,
    `http-request set-var(txn.route) ${field(2)} if ${IS_SPLIT}`,
    `http-request set-var(txn.release) ${field(5)} if ${IS_SPLIT}`,
    `http-request set-var(txn.to) ${field(4)},concat(|,txn.route,|),concat(,txn.release) if ${IS_SPLIT} { var(txn.arm) -m str candidate }`,
    `http-request set-var(txn.to) ${field(4)},concat(|${TESTER_ROUTE}|,txn.release) if ${IS_SPLIT} { var(txn.arm) -m str tester }`,
  ];
}

// A client keeps its place between 0 and 999 for one rollout: with a growing share it may come to
// the candidate, and never goes back.
function stickRules(): string[] {
  const isSticky = `${IS_SPLIT} { ${field(8)} -m beg / }`;
  const cookie = `req.cook(${COOKIE})`;
  return [
    `http-request set-var(txn.rollout) ${field(9)} if ${isSticky}`,
    `http-request set-var(txn.path) ${field(8)} if ${isSticky}`,
    `http-request set-var(txn.bucket) ${cookie},field(1,.) if ${isSticky} { ${cookie} -m reg ^[0-9]{1,3}\\.[0-9]+$ } { ${cookie},field(2,.),strcmp(txn.rollout) eq 0 }`,
    `http-request set-var(txn.stick) bool(true) if ${isSticky} !{ ${cookie},field(2,.),strcmp(txn.rollout) eq 0 }`,
    `http-response add-header set-cookie "${COOKIE}=%[var(txn.bucket)].%[var(txn.rollout)]; Path=%[var(txn.path)]; Max-Age=${COOKIE_MAX_AGE_S}; Secure; HttpOnly; SameSite=Lax" if { var(txn.stick) -m bool }`,
  ];
}

/** Addresses that get the candidate of these pools as soon as there is one. */
export interface Allowlist {
  /** `production.storefront.web.` */
  readonly pools: readonly string[];
  readonly addresses: readonly string[];
}
