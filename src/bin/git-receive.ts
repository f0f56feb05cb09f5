// What git runs when something is pushed to Holdfast; see GitServer.

import { receivePush } from "../cli/app/receive.ts";
import { Output } from "../cli/output.ts";
import { run, runOrThrow } from "../drivers/exec.ts";
import { archiveOf } from "../drivers/git/git.ts";

if (import.meta.main) await main();

async function main(): Promise<void> {
  const { env } = process;
  const interrupted = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const)
    process.on(signal, () => interrupted.abort());
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  const count = Number(env["GIT_PUSH_OPTION_COUNT"] ?? 0);
  // What is pushed is in quarantine until we are done: git says where, and we hand that on.
  const repository = process.cwd();
  const code = await receivePush(
    {
      environment: env["HOLDFAST_PUSH_ENVIRONMENT"] ?? "",
      app: env["HOLDFAST_PUSH_APP"] ?? "",
      updates: Buffer.concat(chunks).toString("utf8"),
      options: Array.from({ length: count }, (_, index) => env[`GIT_PUSH_OPTION_${index}`] ?? ""),
      archive: (commit) => archiveOf({ repository, commit, env }),
      committedAt: async (commit) =>
        Number(await runOrThrow(["git", "show", "-s", "--format=%ct", commit], { env })) * 1_000,
      author: async (commit) =>
        (await runOrThrow(["git", "show", "-s", "--format=%ae", commit], { env })).trim(),
      find: async (ref) => {
        const { code, stdout } = await run(["git", "rev-parse", "--verify", "--quiet", ref], {
          env,
        });
        return code === 0 ? stdout.trim() : undefined;
      },
      isTaken: async (ref) =>
        (await runOrThrow(["git", "for-each-ref", "--count=1", `${ref}/`], { env })).trim() !== "",
      signal: interrupted.signal,
    },
    {
      socket: env["HOLDFAST_PUSH_SOCKET"],
      token: env["HOLDFAST_PUSH_TOKEN"],
      forwardedFor: env["HOLDFAST_PUSH_FROM"],
    },
    new Output(false),
  );
  process.exitCode = code === 0 ? 0 : 1;
}
