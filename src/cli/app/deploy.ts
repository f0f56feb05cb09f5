import type { Accepted } from "../../api/release-writer.ts";
import type { Command, CommandContext } from "../command.ts";
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
  ],
  run: async (context, [dir], options) => {
    const accepted = await upload(
      context,
      String(dir ?? "."),
      options["adopt"] === true,
      options["ifChanged"] === true,
    );
    for (const note of accepted.inferred) context.output.progress(`  ${note}`);
    return followRollout(context, accepted);
  },
};

async function upload(
  context: CommandContext,
  dir: string,
  adopt: boolean,
  ifChanged: boolean,
): Promise<Accepted> {
  const source = openSource(dir);
  const { folder, commit, origin } = source;
  context.output.progress(`deploying ${source.dir} to ${context.environment}`);
  const path = `/v1/environments/${context.environment}/deploys`;
  return context.client.upload<Accepted>(path, archive(source), {
    folder,
    commit,
    origin,
    adopt,
    ifChanged,
  });
}
