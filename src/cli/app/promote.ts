import { invalid } from "../../kernel/error.ts";
import type { Outcome } from "../../operations/change-operations.ts";
import type { Command } from "../command.ts";
import { appName, chooseApp, wholeNumber } from "./change.ts";
import { CHANGE_OPTIONS, changeFacts } from "./change-options.ts";
import { promoteNow } from "./rollout.ts";
import { followRollout } from "./rollout-progress.ts";

export const promote: Command = {
  usage: "promote [app]",
  summary:
    "Bring what runs in one environment to another, or end a rollout with all requests to it.",
  details:
    "With --from and --to: the same artifact, digest for digest, with the other environment's configuration. With --now: the rollout under way skips its stages.",
  examples: [
    "holdfast promote storefront --from staging --to production",
    "holdfast promote storefront --now",
  ],
  options: [
    { flags: "--from <environment>", description: "where it ran" },
    { flags: "--to <environment>", description: "where it shall run" },
    {
      flags: "--release <release>",
      description: "which of its releases; default: the one that serves",
    },
    { flags: "--now", description: "give the rollout under way all requests" },
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
    const accepted = await context.client.post<Outcome>(
      `/v1/environments/${String(to)}/promotions`,
      {
        app: appName(String(app)),
        from: String(from),
        ...(release !== undefined && { release: wholeNumber(String(release), "--release", 1) }),
        ...changeFacts(options),
      },
    );
    return followRollout(context, accepted, options);
  },
};
