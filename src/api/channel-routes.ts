// Channels: where alerts go. Alertmanager hands alerts over here, and tries again what failed.

import { z } from "zod";
import { type HoldfastError, invalid } from "../kernel/error.ts";
import { refTo } from "../kernel/kind.ts";
import { contextOf, needsOfApp } from "../operations/alert-context.ts";
import { deliverTo, getChannel, noticeOf } from "../operations/announcing.ts";
import type { Declarations } from "../operations/declared/declarations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { groupOf, ToldGroups } from "../operations/told-groups.ts";
import { name as channelName } from "../resources/app/manifest.ts";
import { type AlertNotice, CHANNEL, channelInput } from "../resources/channel/channel.ts";
import { type Route, route } from "./route.ts";

const ofChannel = z.object({ channel: channelName });

const webhook = z.looseObject({
  groupKey: z.string().default(""),
  alerts: z
    .array(
      z.looseObject({
        status: z.enum(["firing", "resolved"]),
        labels: z.record(z.string(), z.string()),
        annotations: z.record(z.string(), z.string()).default({}),
        startsAt: z.string(),
        endsAt: z.string().default(""),
        fingerprint: z.string().default(""),
      }),
    )
    .max(10_000),
});

type WebhookAlert = z.output<typeof webhook>["alerts"][number];

/** Of more alerts in one group nobody reads the words. */
const NOTICES_MAX = 30;

export function channelRoutes(deps: OperationDeps, declarations: Declarations): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/channels",
      summary: "List notification channels, without addresses.",
      handle: () => ({
        channels: deps.store
          .list(CHANNEL)
          .map(({ name, spec: { type, severities, to } }) => ({ name, type, severities, to })),
      }),
    }),
    route({
      method: "PUT",
      path: "/v1/channels/{channel}",
      summary: "Create or update a channel; for a webhook, the answer has its signing key.",
      params: ofChannel,
      body: channelInput,
      handle: async ({ params: { channel }, body, actor }) => {
        await declarations.write({ kind: CHANNEL.name, name: channel, spec: body }, actor);
        const { type, severities } = body;
        return {
          name: channel,
          type,
          severities,
          ...(type === "webhook" && {
            signingKey: deps.sealed.signingKey(refTo(CHANNEL, channel)),
          }),
        };
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/channels/{channel}",
      summary: "Remove a channel.",
      params: ofChannel,
      handle: async ({ params: { channel }, actor }) => {
        await declarations.remove(getChannel(deps, channel), actor);
        return { name: channel, removed: true };
      },
    }),
    testRoute(deps),
    deliverRoute(deps, new ToldGroups(deps.toldMemory)),
  ];
}

function testRoute(deps: OperationDeps): Route {
  return route({
    method: "POST",
    path: "/v1/channels/{channel}/test",
    summary: "Send a test alert to a channel.",
    params: ofChannel,
    handle: async ({ params: { channel } }) => {
      const { notice, raw } = testAlert(channel, deps.clock.now());
      const id = `test-${deps.newId()}`;
      const message = { id, kind: "first" as const, notices: [notice], raw };
      await deliverTo(deps, getChannel(deps, channel), message);
      return { name: channel, delivered: true };
    },
  });
}

function deliverRoute(deps: OperationDeps, toldGroups: ToldGroups): Route {
  return route({
    method: "POST",
    path: "/v1/channels/{channel}/deliver",
    summary: "For Alertmanager: deliver a group of alerts.",
    open: true,
    params: ofChannel,
    body: webhook,
    handle: async ({ params: { channel }, body, request }) => {
      if (!deps.mayDeliver(request.headers.authorization)) throw mayNotDeliver();
      const found = getChannel(deps, channel);
      const firing = body.alerts
        .filter(({ status }) => status === "firing")
        .map(({ labels }) => JSON.stringify(labels));
      const group = groupOf(body.alerts, { channel, key: body.groupKey, firing }, (name) =>
        needsOfApp(deps, name),
      );
      const kind = toldGroups.kindOf(group, deps.clock.now());
      // The same for a repeated delivery of one message, another for the next message of a group.
      const woke = toldGroups.wokeAt(group) ?? 0;
      const id = deps.digest(
        `${channel} ${body.groupKey} ${kind} ${woke} ${body.alerts.map((one) => `${one.fingerprint} ${one.status} ${one.startsAt}`).join(" ")}`,
      );
      const isOver = body.alerts.some(({ status }) => status === "resolved");
      // A receiving Alertmanager groups by itself; a webhook needs each resolution to close its own.
      const isWanted =
        kind !== "none" ||
        found.spec.type === "alertmanager" ||
        (found.spec.type === "webhook" && isOver);
      if (!isWanted) {
        toldGroups.told(group, kind, deps.clock.now());
        return { delivered: 0 };
      }
      const notices = await noticesOf(deps, body.alerts);
      const shown = kind === "none" ? "update" : kind;
      await deliverTo(deps, found, { id, kind: shown, notices, raw: body });
      toldGroups.told(group, kind, deps.clock.now());
      return { delivered: notices.length };
    },
  });
}

/** What fires first; of more than somebody reads the rest is left out. */
function noticesOf(
  deps: OperationDeps,
  alerts: readonly WebhookAlert[],
): Promise<readonly AlertNotice[]> {
  const sorted = alerts.toSorted(
    (one, other) => Number(one.status === "resolved") - Number(other.status === "resolved"),
  );
  return Promise.all(sorted.slice(0, NOTICES_MAX).map((one) => noticeOfAlert(deps, one)));
}

async function noticeOfAlert(deps: OperationDeps, given: WebhookAlert): Promise<AlertNotice> {
  const { status, labels, annotations, startsAt, endsAt } = given;
  // Alertmanager says since when it fires, which is later than it began.
  const since = Date.parse(startsAt) - heldMs(annotations["held"]);
  const until = status === "resolved" ? Date.parse(endsAt) || undefined : undefined;
  const runbook = annotations["runbook"] ?? "";
  return {
    state: status,
    alert: labels["alertname"] ?? "",
    severity: labels["severity"] ?? "",
    summary: annotations["summary"] ?? "",
    runbook,
    query: annotations["query"] ?? "",
    labels,
    since,
    ...(await contextOf(deps, labels, since, until)),
    ...(runbook !== "" && deps.runbook(runbook, labels)),
  };
}

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** `1m` → 60,000 */
function heldMs(text = ""): number {
  const [, count, unit] = /^(\d+)([smh])$/.exec(text) ?? [];
  return count === undefined ? 0 : Number(count) * UNITS[unit as keyof typeof UNITS];
}

const testAlert = (channel: string, now: number) =>
  noticeOf("Test", `a test of the channel ${channel}: nothing is wrong`, channel, now);

const mayNotDeliver = (): HoldfastError =>
  invalid("auth.unauthorized", "only Alertmanager may deliver", { hint: "holdfast channel test" });
