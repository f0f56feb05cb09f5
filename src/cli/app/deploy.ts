import type { Outcome } from "../../operations/change-operations.ts";
import type { Command, CommandContext, Options } from "../command.ts";
import { load } from "../loading.ts";
import { CHANGE_OPTIONS, changeFacts } from "./change-options.ts";
import { followRollout } from "./rollout-progress.ts";

const LEFT_OUT_SHOWN = 5;

export const deploy: Command = {
  usage: "deploy [dir]",
  summary: "Build a folder and deploy it as the next release.",
  details:
    "Returns when the new release receives all traffic. If it never becomes healthy, it receives no requests and the current release keeps serving.",
  examples: ["holdfast deploy", "holdfast deploy examples/storefront --env production"],
  options: [
    { flags: "--adopt", description: "take over an app that another project deployed" },
    { flags: "--if-changed", description: "do nothing if this source is already live" },
    ...CHANGE_OPTIONS,
  ],
  run: async (context, [dir], options) => {
    const accepted = await upload(context, String(dir ?? "."), options);
    for (const note of accepted.inferred) context.output.progress(`  ${note}`);
    return followRollout(context, accepted, options);
  },
};

async function upload(context: CommandContext, dir: string, options: Options): Promise<Outcome> {
  const { listSource, openSource, packSource } = await load(
    () => import("../../archive/source-folder.ts"),
  );
  const source = await openSource(dir);
  const { folder, commit, committedAt, author, uncommitted, origin } = source;
  const { output, signal } = context;
  output.progress(`deploying ${source.dir} to ${context.environment}`);
  const files = await listSource(source.dir);
  const leftOut = [...files.leftOut];
  const packed = packSource(source.dir, files, (file, why) => leftOut.push(`${file} (${why})`));
  packed.on("end", () => {
    if (leftOut.length > 0) output.progress(`  left out: ${listText(leftOut)}`);
  });
  const path = `/v1/environments/${context.environment}/deploys` as const;
  const query = {
    folder,
    commit,
    committedAt,
    author,
    uncommitted: commit !== undefined && uncommitted,
    origin,
    adopt: options["adopt"] === true,
    ifChanged: options["ifChanged"] === true,
    ...changeFacts(options),
  };
  return context.client.upload(path, packed, query, signal);
}

function listText(names: readonly string[]): string {
  const shown = names.slice(0, LEFT_OUT_SHOWN).join(", ");
  return names.length > LEFT_OUT_SHOWN
    ? `${shown} and ${names.length - LEFT_OUT_SHOWN} more`
    : shown;
}
