// Tells GitHub, GitLab and Gitea what became of a commit: a status on the commit, and a deployment
// where they know such. One try: who calls tries again.
//
// GitHub: REST "commits/statuses", "deployments". GitLab: "commits", "deployments". Gitea: "repo
// create status"; it has no deployments.

import { messageOf, transient } from "../../kernel/error.ts";
import type { CommitState } from "../../resources/push/push.ts";
import type { CommitNews, ForgeTarget } from "../../resources/push/push-driver.ts";

const TIMEOUT_MS = 10_000;
const ANSWER_MAX_CHARS = 300;
/** GitHub refuses longer ones. */
const DESCRIPTION_MAX_CHARS = 140;

/**
 * Returns the provider's id of the deployment, where there is one.
 *
 * @throws forge.failed with what the other side said
 */
export function tellForge(target: ForgeTarget, news: CommitNews): Promise<string | undefined> {
  switch (target.provider) {
    case "github":
      return tellGithub(target, news);
    case "gitlab":
      return tellGitlab(target, news);
    case "gitea":
      return tellGitea(target, news);
  }
}

async function tellGithub(target: ForgeTarget, news: CommitNews): Promise<string | undefined> {
  const { api, project, environment, isProduction } = target;
  const { commit, state, url, context, description } = news;
  const repo = `${api}/repos/${project}`;
  const headers = {
    authorization: `Bearer ${target.token}`,
    accept: "application/vnd.github+json",
    "x-github-api-version": "2022-11-28",
  };
  const states = { pending: "pending", success: "success", failure: "failure", canceled: "error" };
  const words = cut(description);
  await send("POST", `${repo}/statuses/${commit}`, headers, {
    state: states[state],
    context,
    description: words,
    ...(url !== undefined && { target_url: url }),
  });
  const deployment =
    news.deployment ??
    idOf(
      await send("POST", `${repo}/deployments`, headers, {
        ref: commit,
        environment,
        description: words,
        auto_merge: false,
        required_contexts: [],
        production_environment: isProduction,
      }),
    );
  const progress = { ...states, pending: "in_progress", canceled: "inactive" };
  await send("POST", `${repo}/deployments/${deployment}/statuses`, headers, {
    state: progress[state],
    description: words,
    ...(url !== undefined && { environment_url: url }),
  });
  return deployment;
}

async function tellGitlab(target: ForgeTarget, news: CommitNews): Promise<string | undefined> {
  const { api, environment } = target;
  const { commit, state, url, context, description, branch } = news;
  const project = `${api}/projects/${encodeURIComponent(target.project)}`;
  const headers = { "private-token": target.token };
  const states: Readonly<Record<CommitState, string>> = {
    pending: "running",
    success: "success",
    failure: "failed",
    canceled: "canceled",
  };
  await send("POST", `${project}/statuses/${commit}`, headers, {
    state: states[state],
    name: context,
    ref: branch,
    description: cut(description),
    ...(url !== undefined && { target_url: url }),
  }).catch((error: unknown) => {
    // It refuses to be told the same once more.
    if (!/cannot transition/i.test(messageOf(error))) throw error;
  });
  const status = states[state];
  if (news.deployment !== undefined) {
    await send("PUT", `${project}/deployments/${news.deployment}`, headers, { status });
    return news.deployment;
  }
  const body = { environment, sha: commit, ref: branch, tag: false, status };
  return idOf(await send("POST", `${project}/deployments`, headers, body));
}

async function tellGitea(target: ForgeTarget, news: CommitNews): Promise<undefined> {
  const { commit, state, url, context, description } = news;
  const states = {
    pending: "pending",
    success: "success",
    failure: "failure",
    canceled: "warning",
  };
  await send(
    "POST",
    `${target.api}/repos/${target.project}/statuses/${commit}`,
    { authorization: `token ${target.token}` },
    {
      state: states[state],
      context,
      description: cut(description),
      ...(url !== undefined && { target_url: url }),
    },
  );
}

const cut = (text: string): string =>
  text.length <= DESCRIPTION_MAX_CHARS ? text : `${text.slice(0, DESCRIPTION_MAX_CHARS - 1)}…`;

function idOf(answer: unknown): string {
  const { id } = (answer ?? {}) as { id?: unknown };
  if (typeof id === "number" || typeof id === "string") return String(id);
  throw transient("forge.failed", "the answer names no deployment");
}

async function send(
  method: string,
  url: string,
  headers: Readonly<Record<string, string>>,
  body: unknown,
): Promise<unknown> {
  const { origin, pathname } = new URL(url);
  try {
    const answer = await fetch(url, {
      method,
      headers: { ...headers, "content-type": "application/json", "user-agent": "holdfast" },
      body: JSON.stringify(body),
      // A token goes to whom it was given for, and to nobody they point at.
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const text = await answer.text();
    if (answer.ok) return text === "" ? undefined : (JSON.parse(text) as unknown);
    throw new Error(`${answer.status} ${text.slice(0, ANSWER_MAX_CHARS)}`);
  } catch (error) {
    throw transient("forge.failed", `${method} ${origin}${pathname}: ${messageOf(error)}`, {
      hint: "may the token write statuses and deployments? holdfast repository show",
      cause: undefined,
    });
  }
}
