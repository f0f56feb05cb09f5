import { appName, wholeNumber } from "../app/change.ts";
import type { Command } from "../command.ts";
import { durationText } from "../output.ts";

export const delivery: Command = {
  usage: "delivery [app]",
  summary: "Show lead time, deploy frequency, change failure rate and time to restore.",
  details:
    "By app and environment. Lead time starts at the commit. A change failed if it reached users and was aborted or rolled back within a day.",
  examples: ["holdfast delivery", "holdfast delivery storefront --days 90 --json"],
  options: [{ flags: "--days <days>", description: "days to cover; default: 30" }],
  run: async ({ client, output }, [app], { days }) => {
    const facts = await client.get("/v1/delivery", {
      ...(app !== undefined && { app: appName(String(app)) }),
      ...(days !== undefined && { days: wholeNumber(String(days), "--days", 1) }),
    });
    output.result(facts, () =>
      facts.delivery.length === 0
        ? "nothing was deployed yet"
        : output.table(
            facts.delivery.map((one) => [
              one.environment,
              one.app || "all apps",
              String(one.deploys),
              frequency(one.deploysPerDay),
              one.leadTimeMs === undefined ? "-" : durationText(one.leadTimeMs),
              one.changeFailureRate === undefined
                ? "-"
                : `${(one.changeFailureRate * 100).toFixed(1)} % (${one.failures})`,
              one.timeToRestoreMs === undefined ? "-" : durationText(one.timeToRestoreMs),
            ]),
            ["environment", "app", "deploys", "frequency", "lead time", "failed", "restored in"],
          ),
    );
    return 0;
  },
};

function frequency(perDay: number): string {
  if (perDay === 0) return "-";
  if (perDay >= 1) return `${perDay.toFixed(1)} a day`;
  return perDay * 7 >= 1
    ? `${(perDay * 7).toFixed(1)} a week`
    : `${(perDay * 30).toFixed(1)} a month`;
}
