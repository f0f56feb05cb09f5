// Repositories elsewhere: what a branch points at, and the files of a commit. A shallow copy of each is
// kept, so that only what is new is fetched.

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { invalid, transient } from "../../kernel/error.ts";
import type { Provider } from "../../resources/repository/repository.ts";
import type { RemoteBranch } from "../../resources/repository/repository-driver.ts";
import { assertDiskSpace } from "../build/source-store.ts";
import { run } from "../exec.ts";
import { archiveOf, gitEnvironment, lastLine } from "./git.ts";

export interface FetchedCommit {
  readonly commit: string;
  /** ms since the epoch */
  readonly committedAt: number;
  readonly archive: () => Readable;
}

const LOOK_TIMEOUT_MS = 20_000;
const FETCH_TIMEOUT_MS = 5 * 60_000;
/** Who the token is for, as each of them expects it. */
const USERS: Readonly<Record<Provider, string>> = {
  github: "x-access-token",
  gitlab: "oauth2",
  gitea: "oauth2",
};
const REFUSED =
  /authentication failed|could not read (username|password)|access denied|error: 40[13]\b/i;
const NOT_THERE = /not found|does not exist|error: 404\b/i;

export class RemoteRepositories {
  readonly #dir: string;
  readonly #busy = new Map<string, Promise<unknown>>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /**
   * The commit that the branch points at.
   *
   * @throws repository.refused, repository.not_found, repository.no_branch; repository.away
   */
  async head(remote: RemoteBranch, signal?: AbortSignal): Promise<string> {
    mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    const ref = `refs/heads/${remote.branch}`;
    const { code, stdout, stderr } = await run(["git", "ls-remote", remote.url, ref], {
      cwd: this.#dir,
      env: environmentFor(remote),
      timeoutMs: LOOK_TIMEOUT_MS,
      signal,
    });
    if (code !== 0) throw problemWith(remote, stderr);
    const commit = stdout.split("\t")[0]?.trim();
    if (commit) return commit;
    throw invalid("repository.no_branch", `${remote.url} has no branch ${remote.branch}`, {
      hint: "--branch says which one is deployed",
    });
  }

  /** One after the other for each repository. @throws the same */
  fetch(
    name: string,
    remote: RemoteBranch,
    folder: string | undefined,
    signal: AbortSignal,
  ): Promise<FetchedCommit> {
    const before = this.#busy.get(name) ?? Promise.resolve();
    const mine = before.then(() => this.#fetch(name, remote, folder, signal));
    this.#busy.set(
      name,
      mine.catch(() => undefined),
    );
    return mine;
  }

  async #fetch(
    name: string,
    remote: RemoteBranch,
    folder: string | undefined,
    signal: AbortSignal,
  ): Promise<FetchedCommit> {
    const repository = this.#repository(name);
    mkdirSync(repository, { recursive: true, mode: 0o700 });
    assertDiskSpace(repository);
    const git = (args: readonly string[], timeoutMs = LOOK_TIMEOUT_MS) =>
      run(["git", ...args], { cwd: repository, env: environmentFor(remote), timeoutMs, signal });
    // Of a fetch that was killed: nobody else fetches here.
    for (const left of readdirSync(repository).filter((file) => file.endsWith(".lock")))
      rmSync(join(repository, left), { force: true });
    await git(["init", "--quiet", "--bare"]);
    const into = "refs/holdfast/head";
    const refs = `+refs/heads/${remote.branch}:${into}`;
    const options = ["--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"];
    const fetched = await git(["fetch", ...options, remote.url, refs], FETCH_TIMEOUT_MS);
    if (fetched.code !== 0) throw problemWith(remote, fetched.stderr);
    const { stdout } = await git(["show", "--no-patch", "--format=%H %ct", into]);
    const [commit = "", seconds = ""] = stdout.trim().split(" ");
    return {
      commit,
      committedAt: Number(seconds) * 1_000,
      archive: () => archiveOf({ repository, commit, folder }),
    };
  }

  remove(name: string): void {
    rmSync(this.#repository(name), { recursive: true, force: true });
  }

  #repository(name: string): string {
    return join(this.#dir, `${name}.git`);
  }
}

// Only for that address: whoever it leads on to does not get it. Not among the arguments, where
// everybody on the machine could read it.
function environmentFor({ url, provider, token }: RemoteBranch): NodeJS.ProcessEnv {
  // Where it leads on to is somebody else.
  const still = {
    GIT_CONFIG_COUNT: "1",
    GIT_CONFIG_KEY_0: "http.followRedirects",
    GIT_CONFIG_VALUE_0: "false",
  };
  if (!token) return gitEnvironment(still);
  const basic = Buffer.from(`${USERS[provider]}:${token.reveal()}`).toString("base64");
  return gitEnvironment({
    ...still,
    GIT_CONFIG_COUNT: "2",
    GIT_CONFIG_KEY_1: `http.${new URL(url).origin}/.extraHeader`,
    GIT_CONFIG_VALUE_1: `Authorization: Basic ${basic}`,
  });
}

function problemWith({ url, token, branch }: RemoteBranch, stderr: string) {
  const detail = lastLine(stderr);
  // A port or a name in the address is no answer of the server's.
  const said = stderr.replaceAll(url, "");
  if (/couldn't find remote ref/i.test(said))
    return invalid("repository.no_branch", `${url} has no branch ${branch}`, {
      hint: "--branch says which one is deployed",
    });
  if (REFUSED.test(said))
    return invalid("repository.refused", `${url} does not let us in: ${detail}`, {
      hint: token
        ? "give a token that may read it: holdfast repository connect … < token"
        : "is it private? give a token: holdfast repository connect … < token",
    });
  if (NOT_THERE.test(said))
    return invalid("repository.not_found", `there is no repository at ${url}: ${detail}`, {
      hint: "check its address; a private one needs a token on standard input",
    });
  return transient("repository.away", `${url} can't be reached: ${detail}`, {
    hint: "check its address, and what stands between; pushes to it are fetched once it is back",
  });
}
