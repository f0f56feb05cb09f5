import { invalid } from "../../kernel/error.ts";
import type { Command } from "../command.ts";
import { appName, chooseApp, wholeNumber } from "./change.ts";
import { CHANGE_OPTIONS, changeFacts } from "./change-options.ts";
import { promoteNow } from "./rollout.ts";
import { followRollout } from "./rollout-progress.ts";

export const promote: Command = {
  usage: "promote [app]",
  summary: "Promote a release to another environment, or skip the remaining stages of a rollout.",
  details:
    "--from and --to promote the same artifact with the target environment's configuration. --now skips the remaining stages of the current rollout.",
  examples: [
    "holdfast promote storefront --from staging --to production",
    "holdfast promote storefront --now",
  ],
  options: [
    { flags: "--from <environment>", description: "source environment" },
    { flags: "--to <environment>", description: "target environment" },
    {
      flags: "--release <release>",
      description: "release to promote; default: the live one",
    },
    { flags: "--now", description: "skip the remaining stages" },
    ...CHANGE_OPTIONS,
  ],
  run: async (context, [app], options) => {
    const { from, to, release, reason } = options;
    if (options["now"] === true)
      return promoteNow(
        context,
        await chooseApp(context, app),
        reason === undefined ? undefined : String(reason),
      );
    if (from === undefined || to === undefined || app === undefined)
      throw invalid("promote.what", "it must be said what to promote, from where and to where", {
        hint: "holdfast promote <app> --from staging --to production, or holdfast promote <app> --now",
      });
    const accepted = await context.client.post(`/v1/environments/${String(to)}/promotions`, {
      app: appName(String(app)),
      from: String(from),
      ...(release !== undefined && { release: wholeNumber(String(release), "--release", 1) }),
      ...changeFacts(options),
    });
    return followRollout(context, accepted, options);
  },
};
