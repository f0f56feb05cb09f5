// What happens to a push while git waits for it: the branch that is deployed is handed over like any
// deploy, and what becomes of it is told line by line. Where it is refused or fails, so is the push.

import type { Readable } from "node:stream";
import { Client, type ClientOptions } from "../../client/client.ts";
import { asHoldfastError, type HoldfastError, invalid } from "../../kernel/error.ts";
import type { Output } from "../output.ts";
import { followRollout } from "./rollout-progress.ts";

export interface ReceivedPush {
  readonly environment: string;
  readonly app: string;
  /** `old new refs/heads/main`, a line for each. */
  readonly updates: string;
  /** What was said with `git push -o`. */
  readonly options: readonly string[];
  readonly archive: (commit: string) => Readable;
  /** ms since the epoch */
  readonly committedAt: (commit: string) => Promise<number>;
  /** Address of who made it. */
  readonly author: (commit: string) => Promise<string>;
  /** The commit that a branch points at now. */
  readonly find: (ref: string) => Promise<string | undefined>;
  /** Whether there are branches below that name, so that it can't be one. */
  readonly isTaken: (ref: string) => Promise<boolean>;
  readonly signal: AbortSignal;
}

const DEPLOYED = ["refs/heads/main", "refs/heads/master"];
const NOTHING = /^0+$/;
const FLAGS = ["adopt", "emergency", "override-budget", "accept-contract", "no-wait"];

/** Returns the exit status. */
export async function receivePush(
  push: ReceivedPush,
  options: ClientOptions,
  output: Output,
): Promise<number> {
  const client = new Client(options);
  try {
    return await receive(push, client, output);
  } catch (error) {
    return output.problem(asHoldfastError(error));
  } finally {
    await client.close();
  }
}

async function receive(push: ReceivedPush, client: Client, output: Output): Promise<number> {
  const { environment, app, signal } = push;
  const update = deployedUpdate(push.updates);
  const commit = update?.commit;
  if (update) await assertCanMove(push, update);
  const { flags, reason } = readOptions(push.options);
  if (commit === undefined) {
    output.progress("stored, and not deployed: main (or master) is");
    return 0;
  }
  output.progress(`deploying ${commit.slice(0, 12)} to ${environment}`);
  const outcome = await client.upload(
    `/v1/environments/${environment}/deploys`,
    push.archive(commit),
    {
      folder: app,
      app,
      commit,
      committedAt: await push.committedAt(commit),
      author: await push.author(commit),
      origin: `git:${environment}/${app}`,
      adopt: flags.has("adopt"),
      emergency: flags.has("emergency"),
      overrideBudget: flags.has("override-budget"),
      acceptContract: flags.has("accept-contract"),
      reason,
    },
  );
  for (const note of outcome.inferred) output.progress(`  ${note}`);
  // Nobody holds a push open for as long as an approval may take.
  const isWaiting = outcome.pending !== undefined || flags.has("no-wait");
  if (!isWaiting) return followRollout({ client, output, signal }, outcome);
  if (outcome.pending !== undefined)
    return followRollout({ client, output, signal }, outcome, { wait: false });
  output.progress(
    `release ${outcome.release} is on its way: holdfast rollout ${app} --env ${environment}`,
  );
  return 0;
}

interface Update {
  readonly ref: string;
  readonly old: string;
  readonly commit: string;
}

// Git looks at this only once we are done: by then it would be deployed.
async function assertCanMove(push: ReceivedPush, { ref, old }: Update): Promise<void> {
  const now = await push.find(ref);
  if (now !== (NOTHING.test(old) ? undefined : old))
    throw refused(`${ref} has moved meanwhile`, "git fetch, and push again");
  if (await push.isTaken(ref))
    throw refused(
      `there are branches below ${ref}`,
      `remove them: git push <remote> --delete ${ref.slice(11)}/…`,
    );
}

function deployedUpdate(updates: string): Update | undefined {
  const lines = updates
    .trim()
    .split("\n")
    .map((line) => line.split(" "));
  const meant = lines.filter(([, , ref = ""]) => DEPLOYED.includes(ref));
  const [first, second] = meant;
  if (second) throw refused("main and master came together", "push one of them");
  const [old = "", commit, ref = ""] = first ?? [];
  if (commit !== undefined && NOTHING.test(commit))
    throw refused("what is deployed can't be removed by a push", "holdfast destroy removes an app");
  return commit === undefined ? undefined : { ref, old, commit };
}

function readOptions(given: readonly string[]): {
  readonly flags: ReadonlySet<string>;
  readonly reason: string | undefined;
} {
  const reason = given.find((one) => one.startsWith("reason="))?.slice("reason=".length);
  const flags = given.filter((one) => !one.startsWith("reason="));
  const unknown = flags.find((one) => !FLAGS.includes(one));
  if (unknown !== undefined)
    throw refused(`-o ${unknown} is not known`, `there are: reason=<text>, ${FLAGS.join(", ")}`);
  return { flags: new Set(flags), reason };
}

const refused = (message: string, hint: string): HoldfastError =>
  invalid("push.refused", message, { hint });
