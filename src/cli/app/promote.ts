import { invalid } from "../../kernel/error.ts";
import type { Command } from "../command.ts";
import { chooseApp } from "./change.ts";
import { promoteNow } from "./rollout.ts";

export const promote: Command = {
  usage: "promote [app]",
  summary: "Give a release that is being rolled out all requests now.",
  examples: ["holdfast promote storefront --now"],
  options: [
    { flags: "--now", description: "end the rollout under way: all requests go to its release" },
    { flags: "--reason <text>", description: "why, as the rollout's story tells it" },
  ],
  run: async (context, [app], options) => {
    if (options["now"] !== true)
      throw invalid("promote.what", "it must be said what to promote", {
        hint: "holdfast promote <app> --now ends a rollout",
      });
    const reason = options["reason"] === undefined ? undefined : String(options["reason"]);
    return promoteNow(context, await chooseApp(context, app), reason);
  },
};
