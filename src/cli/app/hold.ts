// Holds: what was taken back does not come again by itself.

import type { HoldView } from "../../operations/holds.ts";
import type { Command } from "../command.ts";

const nameOf = ({ commit, digest }: HoldView): string =>
  commit?.slice(0, 12) ?? `source ${digest.slice(0, 12)}`;

export const holdList: Command = {
  usage: "hold list",
  summary: "List sources that were rolled back and are held from automatic deploys.",
  examples: ["holdfast hold list", "holdfast hold list --env staging"],
  run: async ({ client, output, environment }) => {
    const facts = await client.get("/v1/holds", { environment });
    output.result(facts, () =>
      facts.holds.length === 0
        ? `nothing is held in ${environment}`
        : output.table(
            facts.holds.map((one) => [
              one.app,
              nameOf(one),
              String(one.release),
              new Date(one.at).toISOString(),
              one.why,
            ]),
            ["app", "commit", "release", "since", "why"],
          ),
    );
    return 0;
  },
};

export const holdRelease: Command = {
  usage: "hold release <app> [commit]",
  summary: "Release a hold, so that pushes and pipelines may deploy the source again.",
  examples: ["holdfast hold release storefront", "holdfast hold release storefront 4f2a91c"],
  run: async ({ client, output, environment }, [app, commit]) => {
    const path = `/v1/apps/${environment}/${encodeURIComponent(String(app))}/hold/release` as const;
    const gone = await client.post(path, {
      ...(commit !== undefined && { commit: String(commit) }),
    });
    output.result(
      gone,
      () => `${gone.released.map(nameOf).join(", ")} of ${gone.app} may be deployed again`,
    );
    return 0;
  },
};
