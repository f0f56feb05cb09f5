import type { Outcome } from "../../api/change-operations.ts";
import type { Command, CommandContext, Options } from "../command.ts";
import { CHANGE_OPTIONS, changeFacts } from "./change-options.ts";
import { followRollout } from "./rollout-progress.ts";
import { archive, openSource } from "./source-archive.ts";

export const deploy: Command = {
  usage: "deploy [dir]",
  summary: "Build a folder and make it the live release.",
  details:
    "Returns once the new release carries all traffic. If it never becomes healthy it gets no request, and what served goes on.",
  examples: ["holdfast deploy", "holdfast deploy examples/storefront --env production"],
  options: [
    { flags: "--adopt", description: "take over an app that was deployed from elsewhere" },
    { flags: "--if-changed", description: "do nothing where this very source serves already" },
    ...CHANGE_OPTIONS,
  ],
  run: async (context, [dir], options) => {
    const accepted = await upload(context, String(dir ?? "."), options);
    for (const note of accepted.inferred) context.output.progress(`  ${note}`);
    return followRollout(context, accepted, options);
  },
};

async function upload(context: CommandContext, dir: string, options: Options): Promise<Outcome> {
  const source = openSource(dir);
  const { folder, commit, committedAt, origin } = source;
  context.output.progress(`deploying ${source.dir} to ${context.environment}`);
  const path = `/v1/environments/${context.environment}/deploys`;
  return context.client.upload<Outcome>(path, archive(source), {
    folder,
    commit,
    committedAt,
    origin,
    adopt: options["adopt"] === true,
    ifChanged: options["ifChanged"] === true,
    ...changeFacts(options),
  });
}
