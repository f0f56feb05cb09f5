// A host of repositories for tests: real git over HTTP with a token, and an API that keeps what it is
// told, in the places where GitHub, GitLab and Gitea have it.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Told {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: Readonly<Record<string, unknown>>;
}

const GIT_ENV = {
  ...process.env,
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_AUTHOR_NAME: "Ana",
  GIT_AUTHOR_EMAIL: "ana@example.com",
  GIT_COMMITTER_NAME: "Ana",
  GIT_COMMITTER_EMAIL: "ana@example.com",
};

export function git(cwd: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const done = spawnSync("git", args, { cwd, env: { ...GIT_ENV, ...env }, encoding: "utf8" });
  return { code: done.status ?? -1, output: done.stdout + done.stderr };
}

/** The same, without holding up servers of this very process. */
export function gitAsync(
  cwd: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ readonly code: number; readonly output: string }> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = spawn("git", args, { cwd, env: { ...GIT_ENV, ...env } });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (chunk) => {
        output += String(chunk);
      });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code: code ?? -1, output }));
  });
}

export class GitHost {
  readonly token = "read-me-if-you-can";
  readonly told: Told[] = [];
  /** What the API answers with instead, while it is set. */
  failWith: number | undefined;
  readonly dir = mkdtempSync(join(tmpdir(), "holdfast-git-host-"));
  readonly work = join(this.dir, "work");
  readonly #server: Server;

  constructor() {
    const bare = join(this.dir, "acme", "shop.git");
    mkdirSync(bare, { recursive: true });
    git(bare, ["init", "--quiet", "--bare", "--initial-branch=main"]);
    mkdirSync(this.work);
    git(this.work, ["init", "--quiet", "--initial-branch=main"]);
    git(this.work, ["remote", "add", "origin", bare]);
    this.#server = createServer((request, response) => {
      if (request.url?.startsWith("/acme/")) this.#serveGit(request, response);
      else this.#keep(request, response);
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get url(): string {
    return `${this.origin}/acme/shop.git`;
  }

  /** Commits these files and pushes them; returns the commit. */
  commit(files: Readonly<Record<string, string>>, message: string, branch = "main"): string {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(this.work, name, ".."), { recursive: true });
      writeFileSync(join(this.work, name), text);
    }
    git(this.work, ["add", "-A"]);
    git(this.work, ["commit", "--quiet", "--allow-empty", "-m", message]);
    const pushed = git(this.work, ["push", "--quiet", "--force", "origin", `HEAD:${branch}`]);
    if (pushed.code !== 0) throw new Error(pushed.output);
    return git(this.work, ["rev-parse", "HEAD"]).output.trim();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.dir, { recursive: true, force: true });
  }

  #serveGit(request: IncomingMessage, response: ServerResponse): void {
    const [, given = ""] = (request.headers.authorization ?? "").split(" ");
    if (!Buffer.from(given, "base64").toString().endsWith(`:${this.token}`)) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="git"' }).end();
      return;
    }
    const { pathname, search } = new URL(request.url ?? "", this.origin);
    const child = spawn("git", ["http-backend"], {
      env: {
        ...GIT_ENV,
        GIT_PROJECT_ROOT: this.dir,
        GIT_HTTP_EXPORT_ALL: "1",
        PATH_INFO: pathname,
        QUERY_STRING: search.slice(1),
        REQUEST_METHOD: request.method,
        CONTENT_TYPE: request.headers["content-type"],
        HTTP_CONTENT_ENCODING: request.headers["content-encoding"],
        GIT_PROTOCOL: String(request.headers["git-protocol"] ?? ""),
      },
    });
    request.pipe(child.stdin);
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.on("close", () => {
      const all = Buffer.concat(chunks);
      const end = all.indexOf("\r\n\r\n");
      for (const line of all.subarray(0, end).toString().split("\r\n")) {
        const [name = "", value = ""] = line.split(": ");
        if (name === "Status") response.statusCode = Number.parseInt(value, 10);
        else response.setHeader(name, value);
      }
      response.end(all.subarray(end + 4));
    });
  }

  #keep(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      if (this.failWith !== undefined) {
        response.writeHead(this.failWith).end("not now");
        return;
      }
      const { method = "", url: path = "", headers } = request;
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Told["body"];
      this.told.push({ method, path, headers, body });
      response.writeHead(201, { "content-type": "application/json" });
      response.end(JSON.stringify({ id: 7 }));
    });
  }
}

export type Provider = "github" | "gitlab" | "gitea";

export interface Delivery {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A push as each of them tells of it: headers, fields and signature as their documents have them. */
export function deliveryOf(
  provider: Provider,
  secret: string,
  { commit, ref = "refs/heads/main", message = "a change", pusher = "ana" }: PushFacts,
): Delivery {
  const id = randomUUID();
  const before = "1".repeat(40);
  if (provider === "gitlab") {
    const body = JSON.stringify({
      object_kind: "push",
      event_name: "push",
      before,
      after: commit,
      ref,
      checkout_sha: commit,
      user_id: 4,
      user_name: "Ana A.",
      user_username: pusher,
      user_email: `${pusher}@example.com`,
      project_id: 15,
      project: {
        id: 15,
        name: "Shop",
        path_with_namespace: "acme/shop",
        default_branch: "main",
        git_http_url: "https://gitlab.example.com/acme/shop.git",
      },
      commits: [{ id: commit, message, timestamp: "2026-11-21T10:00:00+00:00", author: {} }],
      total_commits_count: 1,
    });
    const headers = {
      "content-type": "application/json",
      "x-gitlab-event": "Push Hook",
      "x-gitlab-event-uuid": id,
      "idempotency-key": id,
      "x-gitlab-token": secret,
    };
    return { headers, body };
  }
  const person = { name: pusher, login: pusher, username: pusher, email: `${pusher}@example.com` };
  const body = JSON.stringify({
    ref,
    before,
    after: commit,
    created: false,
    deleted: false,
    forced: false,
    repository: { id: 140, name: "shop", full_name: "acme/shop", pushed_at: Date.now() },
    pusher: person,
    sender: person,
    head_commit: { id: commit, message, timestamp: "2026-11-21T10:00:00Z", author: person },
    commits: [{ id: commit, message, author: person }],
  });
  const digest = createHmac("sha256", secret).update(body).digest("hex");
  const github = {
    "x-github-event": "push",
    "x-github-delivery": id,
    "x-hub-signature-256": `sha256=${digest}`,
  };
  const gitea = { "x-gitea-event": "push", "x-gitea-delivery": id, "x-gitea-signature": digest };
  return {
    headers: {
      "content-type": "application/json",
      // Gitea says it in GitHub's words, too.
      ...(provider === "gitea" ? { ...github, ...gitea } : github),
    },
    body,
  };
}

export interface PushFacts {
  readonly commit: string;
  readonly ref?: string;
  readonly message?: string;
  readonly pusher?: string;
}
