// Tells a channel of alerts, in the form that it takes. One try: who calls tries again.

import { createHmac } from "node:crypto";
import nodemailer from "nodemailer";
import { messageOf, transient } from "../../kernel/error.ts";
import type { AlertNotice, ChannelType, Delivery } from "../../resources/channel/channel.ts";

const TIMEOUT_MS = 10_000;
const ANSWER_MAX_CHARS = 300;
/** Chats cut longer texts, or refuse them. */
const TEXT_MAX_CHARS = 1_900;

/** @throws channel.failed with what the other side said */
export async function deliver(delivery: Delivery): Promise<void> {
  try {
    if (delivery.type === "email") await mail(delivery);
    else await post(delivery.address, ...BODIES[delivery.type](delivery));
  } catch (error) {
    throw transient("channel.failed", `the channel did not take it: ${messageOf(error)}`, {
      hint: "check its address and what stands between, then: holdfast channel add, holdfast channel test",
    });
  }
}

type Message = Pick<Delivery, "kind" | "notices" | "anchor">;

const WORDS = { first: "FIRING", update: "update", end: "resolved" } as const;

export function titleOf({ kind, notices }: Message): string {
  const firing = notices.filter(({ state }) => state === "firing");
  const told = firing.length > 0 ? firing : notices;
  const [first] = sorted(told);
  const more = told.length > 1 ? ` and ${told.length - 1} more` : "";
  return `${WORDS[kind]}: ${first?.alert ?? ""} ${first?.summary ?? ""}${more}`;
}

export function textOf({ notices, anchor }: Message): string {
  const texts = sorted(notices).map((one) =>
    [
      `${one.state === "firing" ? "FIRING" : "resolved"} ${one.alert} (${one.severity}): ${one.summary}`,
      ...(one.route === undefined ? [] : [`worst route: ${one.route}`]),
      ...(one.broken === undefined ? [] : [`possible cause: ${one.broken}`]),
      `since ${new Date(one.since).toISOString()}${releaseText(one)}`,
      ...(one.state === "firing" && one.firstStep !== undefined ? [`first: ${one.firstStep}`] : []),
      ...(one.runbook ? [`runbook: ${one.runbookUrl ?? one.runbook}`] : []),
    ].join("\n"),
  );
  return [...texts, ...(anchor === undefined ? [] : [`audit ${anchor}`])].join("\n\n");
}

/** What fires goes first, of that what pages, of that what began first. */
const sorted = (notices: readonly AlertNotice[]): readonly AlertNotice[] =>
  notices.toSorted(
    (one, other) =>
      Number(one.state === "resolved") - Number(other.state === "resolved") ||
      one.severity.localeCompare(other.severity) ||
      one.since - other.since,
  );

function releaseText({ release, afterDeployMs }: AlertNotice): string {
  if (release === undefined) return "";
  const after =
    afterDeployMs === undefined ? "" : `, ${Math.round(afterDeployMs / 1000)} s after its deploy`;
  return `, release ${release}${after}`;
}

async function mail(delivery: Delivery): Promise<void> {
  const { address, to, id } = delivery;
  const transport = nodemailer.createTransport({
    url: address,
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
  });
  try {
    await transport.sendMail({
      from: `Holdfast <holdfast@${new URL(address).hostname || "localhost"}>`,
      to: to ?? "",
      subject: titleOf(delivery).slice(0, 200),
      text: textOf(delivery),
      headers: { "X-Holdfast-Delivery": id },
    });
  } finally {
    transport.close();
  }
}

type Body = readonly [body: string, headers: Readonly<Record<string, string>>];

const json = (value: unknown): Body => [
  JSON.stringify(value),
  { "content-type": "application/json" },
];

const BODIES: Readonly<Record<Exclude<ChannelType, "email">, (delivery: Delivery) => Body>> = {
  slack: (delivery) =>
    // Escaped as Slack has it: what an alert says must not call everybody.
    json({ text: slackText(`*${titleOf(delivery)}*\n${cut(textOf(delivery))}`) }),
  discord: (delivery) =>
    json({
      content:
        `**${markdownText(titleOf(delivery))}**\n${markdownText(cut(textOf(delivery)))}`.slice(
          0,
          2_000,
        ),
      // As above.
      allowed_mentions: { parse: [] },
    }),
  teams: (delivery) =>
    json({
      type: "message",
      attachments: [
        {
          contentType: "application/vnd.microsoft.card.adaptive",
          content: {
            type: "AdaptiveCard",
            version: "1.4",
            body: [
              {
                type: "TextBlock",
                weight: "bolder",
                wrap: true,
                text: markdownText(titleOf(delivery)),
              },
              { type: "TextBlock", wrap: true, text: markdownText(cut(textOf(delivery))) },
            ],
          },
        },
      ],
    }),
  ntfy: (delivery) => [
    cut(textOf(delivery)),
    {
      "content-type": "text/plain; charset=utf-8",
      // Headers are Latin-1: everything else is encoded as mail does.
      title: `=?UTF-8?B?${Buffer.from(titleOf(delivery)).toString("base64")}?=`,
      priority: isUrgent(delivery) ? "urgent" : "default",
    },
  ],
  webhook: (delivery) => signed(delivery),
  alertmanager: ({ raw }) => json(raw),
};

const isUrgent = ({ kind, notices }: Delivery): boolean =>
  kind === "first" &&
  notices.some(({ state, severity }) => state === "firing" && severity === "page");

// A path that a visitor asked for must not become a link with a name of their choice.
const markdownText = (text: string): string => text.replaceAll(/[[\]()*~`<>|\\]/g, "\\$&");

const slackText = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// Standard Webhooks: id, time and body signed with the channel's key.
function signed({ id, kind, notices, signingKey, anchor }: Delivery): Body {
  const isFiring = notices.some(({ state }) => state === "firing");
  const timestamp = Math.floor(Date.now() / 1000);
  const body = JSON.stringify({
    type: isFiring ? "alert.firing" : "alert.resolved",
    timestamp: new Date(timestamp * 1000).toISOString(),
    data: { kind, alerts: notices, ...(anchor !== undefined && { audit: anchor }) },
  });
  const key = Buffer.from(signingKey.replace(/^whsec_/, ""), "base64");
  const signature = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
  return [
    body,
    {
      "content-type": "application/json",
      "webhook-id": id,
      "webhook-timestamp": String(timestamp),
      "webhook-signature": `v1,${signature}`,
    },
  ];
}

async function post(
  url: string,
  body: string,
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const answer = await fetch(url, {
    method: "POST",
    headers,
    body,
    redirect: "error",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const text = await answer.text();
  if (!answer.ok)
    throw new Error(`it answered ${answer.status}: ${text.slice(0, ANSWER_MAX_CHARS)}`);
}

const cut = (text: string): string =>
  text.length > TEXT_MAX_CHARS ? `${text.slice(0, TEXT_MAX_CHARS)}…` : text;
