// Deliveries of GitHub, GitLab and Gitea: whether one is really theirs, and what it says.
//
// GitHub and Gitea sign the body with HMAC-SHA256 (`X-Hub-Signature-256`, `X-Gitea-Signature`); GitLab
// sends the secret itself (`X-Gitlab-Token`), or signs id, time and body as Standard Webhooks has it.
// All comparisons take the same time whatever differs.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { type HoldfastError, invalid } from "../kernel/error.ts";
import type { PushEvent } from "../resources/push/push-driver.ts";
import type { Provider } from "../resources/repository/repository.ts";

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

const TOLERANCE_MS = 5 * 60_000;
const MESSAGE_MAX_CHARS = 200;
const TEXT_KEPT_CHARS = 1_000;

/** @throws webhook.unauthorized */
export function verifyDelivery(
  provider: Provider,
  headers: Headers,
  body: Buffer,
  secret: string,
  now: number,
): void {
  if (provider === "gitlab") {
    if (one(headers, "webhook-signature") !== undefined) {
      standardWebhook(headers, body, secret, now);
    } else if (!isSame(one(headers, "x-gitlab-token") ?? "", secret)) {
      throw notTheirs("X-Gitlab-Token");
    }
    return;
  }
  const given =
    provider === "github"
      ? one(headers, "x-hub-signature-256")?.replace(/^sha256=/, "")
      : (one(headers, "x-gitea-signature") ?? one(headers, "x-forgejo-signature"));
  signedHex(given, body, secret);
}

function signedHex(given: string | undefined, body: Buffer, secret: string): void {
  const wanted = createHmac("sha256", secret).update(body).digest("hex");
  if (given === undefined || !isSame(given.toLowerCase(), wanted)) throw notTheirs("its signature");
}

/** standardwebhooks.com: `v1,` and the HMAC of `id.timestamp.body` in base64; several, by spaces. */
function standardWebhook(headers: Headers, body: Buffer, secret: string, now: number): void {
  const id = one(headers, "webhook-id") ?? "";
  const timestamp = one(headers, "webhook-timestamp") ?? "";
  const sentAt = Number(timestamp) * 1_000;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const wanted = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
  const expected = `v1,${wanted.digest("base64")}`;
  const given = (one(headers, "webhook-signature") ?? "").split(" ");
  const isTheirs = given.some((text) => isSame(text, expected));
  if (!isTheirs || id === "") throw notTheirs("its signature");
  if (Math.abs(now - sentAt) <= TOLERANCE_MS) return;
  throw invalid("webhook.unauthorized", `it was sent at ${timestamp}, which is not now`, {
    hint: "a delivery that is sent again by hand gets a time of its own; check the clocks",
  });
}

// Of equal length whatever is compared.
const isSame = (one: string, other: string): boolean =>
  timingSafeEqual(
    createHash("sha256").update(one).digest(),
    createHash("sha256").update(other).digest(),
  );

const notTheirs = (what: string): HoldfastError =>
  invalid("webhook.unauthorized", `the delivery is not signed with this repository's secret`, {
    hint: `${what} does not fit: compare the secret there with what holdfast repository connect said`,
  });

const one = (headers: Headers, name: string): string | undefined => {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
};

const COMMIT = /^[0-9a-f]{40}([0-9a-f]{24})?$/;
// Only what decides is required, and refused where it is not as it should be. The rest is read where it
// can be, whatever its length, and cut where it is kept.
const text = z
  .string()
  .transform((value) => value.slice(0, TEXT_KEPT_CHARS))
  .optional()
  .catch(undefined);
const person = z
  .looseObject({
    name: text,
    username: text,
    login: text,
    email: text,
  })
  .optional()
  .catch(undefined);
const commit = z.looseObject({ id: text, message: text }).optional().catch(undefined);
const pushBody = z.looseObject({
  ref: z.string().max(500),
  after: z.string().regex(COMMIT),
  head_commit: commit,
  commits: z.array(commit).optional().catch(undefined),
  pusher: person,
  sender: person,
  user_username: text,
  user_name: text,
  user_email: text,
  repository: z.looseObject({ full_name: text }).optional().catch(undefined),
  project: z.looseObject({ path_with_namespace: text }).optional().catch(undefined),
});

const EVENT: Readonly<Record<Provider, readonly [header: string, push: string]>> = {
  github: ["x-github-event", "push"],
  gitlab: ["x-gitlab-event", "Push Hook"],
  gitea: ["x-gitea-event", "push"],
};
const DELIVERY: Readonly<Record<Provider, readonly string[]>> = {
  github: ["x-github-delivery"],
  gitlab: ["idempotency-key", "webhook-id", "x-gitlab-event-uuid"],
  gitea: ["x-gitea-delivery", "x-forgejo-delivery"],
};

/**
 * What was pushed, or why there is nothing to do.
 *
 * @throws webhook.unreadable
 */
export function readDelivery(
  provider: Provider,
  headers: Headers,
  body: Buffer,
): PushEvent | { readonly ignored: string } {
  const [header, push] = EVENT[provider];
  const event = one(headers, header) ?? one(headers, header.replace("gitea", "forgejo"));
  if (event !== push) return { ignored: `${event ?? "an unnamed event"} is no push` };
  const { ref, after, ...rest } = parse(headers, body);
  if (/^0+$/.test(after)) return { ignored: `${ref} was removed` };
  const { pusher, sender, user_username, user_name, user_email } = rest;
  const names = [
    user_username,
    pusher?.username,
    pusher?.login,
    sender?.login,
    pusher?.name,
    user_name,
    pusher?.email,
    user_email,
  ].flatMap((name) => (name ? [name] : []));
  const message =
    rest.head_commit?.message ?? rest.commits?.find((one) => one?.id === after)?.message ?? "";
  const bodyDigest = createHash("sha256").update(body).digest("hex");
  const delivery = DELIVERY[provider].map((name) => one(headers, name)).find(Boolean);
  return {
    ref,
    commit: after,
    project: rest.project?.path_with_namespace ?? rest.repository?.full_name ?? "",
    message: (message.split("\n")[0] ?? "").slice(0, MESSAGE_MAX_CHARS),
    pusher: names[0] ?? "somebody",
    authors: [...new Set(names.map((name) => name.toLowerCase()))],
    delivery: delivery ?? bodyDigest,
    bodyDigest,
  };
}

function parse(headers: Headers, body: Buffer): z.output<typeof pushBody> {
  const isForm = one(headers, "content-type")?.startsWith("application/x-www-form-urlencoded");
  const json = isForm ? (new URLSearchParams(body.toString()).get("payload") ?? "") : String(body);
  try {
    return pushBody.parse(JSON.parse(json));
  } catch (cause) {
    const what =
      cause instanceof z.ZodError
        ? cause.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ")
        : "it is not JSON";
    throw invalid("webhook.unreadable", `the delivery can't be read: ${what}`, {
      hint: "the webhook's content type is application/json, its event push",
    });
  }
}
