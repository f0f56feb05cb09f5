// What of a request is about a person is cut before a row can be asked for or reaches a file, as the
// policy of its environment says. A journal holds it for the minute until its rows are settled.

import {
  DEFAULT_POLICY,
  type TelemetryPolicies,
  type TelemetryPolicy,
} from "../../kernel/signal.ts";
import { quoted } from "../sql.ts";

const ADDRESS = {
  keep: "client",
  // Without the last of four numbers, or of all but the first three groups: many households in one.
  // `::` stands for many: of what is before it there may be fewer than three.
  cut: `CASE WHEN contains(client, ':')
             THEN regexp_replace(split_part(client, '::', 1), '^([^:]*:[^:]*:[^:]*):.*$', '\\1') || '::'
             ELSE regexp_replace(client, '\\.\\d+$', '.0') END`,
  drop: "''",
} as const;

const QUERY = {
  keep: "query",
  names: "regexp_replace(query, '=[^&]*', '=', 'g')",
  drop: "''",
} as const;

export function redactPeople(
  rows: string,
  columns: readonly string[],
  policies: TelemetryPolicies,
): string {
  const by = (choose: (policy: TelemetryPolicy) => string): string => {
    const cases = Object.entries(policies).map(
      ([environment, policy]) => `WHEN ${quoted(environment)} THEN ${choose(policy)}`,
    );
    const otherwise = choose(DEFAULT_POLICY);
    return cases.length === 0
      ? otherwise
      : `CASE environment ${cases.join(" ")} ELSE ${otherwise} END`;
  };
  const replaced: Readonly<Record<string, string>> = {
    client: by(({ privacy }) => ADDRESS[privacy.addresses]),
    query: by(({ privacy }) => QUERY[privacy.queryStrings]),
    user_agent: by(({ privacy }) => (privacy.userAgents === "keep" ? "user_agent" : "''")),
  };
  const list = columns.map((name) => (replaced[name] ? `${replaced[name]} AS ${name}` : name));
  return `SELECT ${list.join(", ")} FROM (${rows}) AS parsed(${columns.join(", ")})`;
}
