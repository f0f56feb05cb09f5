// Repositories that are pushed to here, over HTTP: git's own CGI program serves them, and a hook of
// ours deploys what comes in before its branch moves. A push that is refused, or whose release fails,
// leaves the branch where it was: so the same commit can be pushed again.

import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PassThrough, type Readable } from "node:stream";
import { stuck } from "../../kernel/error.ts";
import type { GitAnswer, GitRequest } from "../../resources/repository/repository-driver.ts";
import { readableOf } from "../byte-stream.ts";
import { pipe, runOrThrow } from "../exec.ts";
import { writeWhole } from "../files.ts";
import { gitEnvironment } from "./git.ts";

export interface GitServerOptions {
  readonly dir: string;
  /** What runs the hook: a runtime, and our program. */
  readonly hook: readonly [runtime: string, program: string];
  /** Where the hook reaches the API. */
  readonly apiSocket: string;
}

/** A rollout by canary takes its time, and the push waits for it. */
const SERVE_TIMEOUT_MS = 2 * 3_600_000;
const HEAD_MAX_BYTES = 16_384;
const PACK_MAX_BYTES = 512 * 1024 ** 2;
const CONFIG = [
  ["http.receivepack", "true"],
  ["receive.advertisePushOptions", "true"],
  ["receive.fsckObjects", "true"],
  ["receive.maxInputSize", String(PACK_MAX_BYTES)],
  ["receive.autogc", "true"],
  ["receive.denyDeleteCurrent", "refuse"],
] as const;

export class GitServer {
  readonly #options: GitServerOptions;
  readonly #pushes = new Map<string, Promise<unknown>>();

  constructor(options: GitServerOptions) {
    this.#options = options;
  }

  has(environment: string, app: string): boolean {
    return existsSync(join(this.#repository(environment, app), "HEAD"));
  }

  /** Makes the repository where there is none; says again what it is to do with a push. */
  async ensure(environment: string, app: string): Promise<void> {
    const repository = this.#repository(environment, app);
    const git = (...args: string[]) =>
      runOrThrow(["git", ...args], { cwd: repository, env: gitEnvironment() });
    if (!this.has(environment, app)) {
      mkdirSync(repository, { recursive: true, mode: 0o700 });
      await git("init", "--quiet", "--bare", "--initial-branch=main");
    }
    const hooks = join(this.#options.dir, "hooks");
    for (const [key, value] of [...CONFIG, ["core.hooksPath", hooks] as const])
      await git("config", key, value);
    const [runtime, program] = this.#options.hook;
    writeWhole(join(hooks, "pre-receive"), `#!/bin/sh\nexec '${runtime}' '${program}'\n`, 0o700);
  }

  remove(environment: string, app: string): void {
    rmSync(this.#repository(environment, app), { recursive: true, force: true });
  }

  /** Pushes to one repository wait for each other: what one deploys, the next one has seen. */
  async serve(request: GitRequest): Promise<GitAnswer> {
    if (request.path !== "git-receive-pack") return (await this.#run(request)).answer;
    const key = `${request.environment}/${request.app}`;
    const before = this.#pushes.get(key) ?? Promise.resolve();
    const running = before.then(() => this.#run(request));
    this.#pushes.set(
      key,
      running.then(({ ended }) => ended).catch(() => undefined),
    );
    return (await running).answer;
  }

  async #run(
    request: GitRequest,
  ): Promise<{ readonly answer: GitAnswer; readonly ended: Promise<unknown> }> {
    const { environment, app, path, method, query, contentType, contentEncoding } = request;
    const { stdout, ended } = pipe(["git", "http-backend"], {
      env: gitEnvironment({
        GIT_PROJECT_ROOT: this.#options.dir,
        GIT_HTTP_EXPORT_ALL: "1",
        PATH_INFO: `/${environment}/${app}.git/${path}`,
        REQUEST_METHOD: method,
        QUERY_STRING: query,
        REMOTE_USER: request.actor,
        REMOTE_ADDR: request.from,
        ...(contentType !== undefined && { CONTENT_TYPE: contentType }),
        ...(contentEncoding !== undefined && { HTTP_CONTENT_ENCODING: contentEncoding }),
        ...(request.protocol !== undefined && { GIT_PROTOCOL: request.protocol }),
        HOLDFAST_PUSH_SOCKET: this.#options.apiSocket,
        HOLDFAST_PUSH_TOKEN: request.token.reveal(),
        HOLDFAST_PUSH_FROM: request.from,
        HOLDFAST_PUSH_ENVIRONMENT: environment,
        HOLDFAST_PUSH_APP: app,
      }),
      timeoutMs: SERVE_TIMEOUT_MS,
      signal: request.signal,
      ...(request.body && { input: readableOf(request.body) }),
    });
    const answer = await readCgi(stdout);
    if (answer) return { answer, ended };
    const { stderr } = await ended;
    throw stuck("git.failed", `git could not answer: ${stderr.trim()}`, {
      hint: "is git there? apt-get install git",
    });
  }

  #repository(environment: string, app: string): string {
    return join(this.#options.dir, environment, `${app}.git`);
  }
}

/** Head of a CGI answer (RFC 3875, 6.2), and the rest as it comes; undefined: it ended before. */
async function readCgi(stdout: Readable): Promise<GitAnswer | undefined> {
  let head = Buffer.alloc(0);
  const chunks = stdout[Symbol.asyncIterator]();
  for (;;) {
    const { done, value } = await chunks.next();
    if (done) return undefined;
    head = Buffer.concat([head, value as Buffer]);
    const end = head.indexOf("\r\n\r\n");
    if (end < 0 && head.length <= HEAD_MAX_BYTES) continue;
    if (end < 0) return undefined;
    const headers = Object.fromEntries(
      head
        .subarray(0, end)
        .toString("latin1")
        .split("\r\n")
        .map((line) => [
          line.slice(0, line.indexOf(":")).toLowerCase(),
          line.slice(line.indexOf(":") + 1).trim(),
        ]),
    );
    const { status = "200", ...others } = headers;
    const body = new PassThrough();
    body.write(head.subarray(end + 4));
    void forward(chunks, body);
    return { status: Number.parseInt(status, 10), headers: others, body };
  }
}

async function forward(chunks: AsyncIterator<Buffer>, body: PassThrough): Promise<void> {
  try {
    for (;;) {
      const { done, value } = await chunks.next();
      if (done) break;
      if (!body.write(value)) await new Promise((resolve) => body.once("drain", resolve));
    }
    body.end();
  } catch (error) {
    body.destroy(error as Error);
  }
}
