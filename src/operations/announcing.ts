// What channels are told: alerts that Alertmanager hands over, and what is announced beside them.

import { invalid } from "../kernel/error.ts";
import { refTo } from "../kernel/kind.ts";
import {
  type AlertNotice,
  CHANNEL,
  type Channel,
  type Delivery,
} from "../resources/channel/channel.ts";
import type { OperationDeps } from "./operation-deps.ts";

/** One that says something else than that an alert fires; with it as Alertmanager would send it. */
export function noticeOf(alertname: string, summary: string, channel: string, now: number) {
  const labels = { alertname, severity: "ticket" };
  const notice: AlertNotice = {
    state: "firing",
    alert: labels.alertname,
    severity: labels.severity,
    summary,
    runbook: "",
    query: "",
    labels,
    since: now,
  };
  // As Alertmanager's webhook has it, version 4.
  const raw = {
    version: "4",
    groupKey: alertname,
    status: "firing",
    receiver: channel,
    groupLabels: labels,
    commonLabels: labels,
    commonAnnotations: { summary },
    externalURL: "",
    alerts: [
      {
        status: "firing",
        labels,
        annotations: { summary },
        startsAt: new Date(now).toISOString(),
        endsAt: "0001-01-01T00:00:00Z",
        generatorURL: "",
        fingerprint: alertname,
      },
    ],
  };
  return { notice, raw };
}

/** Tells every channel of something that is no alert; a channel that can't be told holds up nothing. */
export async function announce(
  deps: OperationDeps,
  { title, text }: { readonly title: string; readonly text: string },
): Promise<void> {
  const channels = deps.store.list(CHANNEL);
  await Promise.allSettled(
    channels.map((channel) => {
      const { notice, raw } = noticeOf(title, text, channel.name, deps.clock.now());
      const id = `announce-${deps.newId()}`;
      return deliverTo(deps, channel, { id, kind: "first", notices: [notice], raw });
    }),
  );
}

const ANCHOR_CHARS = 24;

/** `120:9f3c…`, as `audit --verify --anchor` takes it. */
export function anchorOf({ audit }: Pick<OperationDeps, "audit">): string {
  const { seq, hash } = audit.head();
  return `${seq}:${hash.slice(0, ANCHOR_CHARS)}`;
}

/** @throws channel.not_found */
export function getChannel(deps: OperationDeps, name: string): Channel {
  const found = deps.store.find(CHANNEL, name);
  if (found) return found;
  throw invalid("channel.not_found", `there is no channel ${name}`, {
    hint: "holdfast channel list",
  });
}

/** @throws channel.failed */
export async function deliverTo(
  deps: OperationDeps,
  { name, spec }: Channel,
  message: Pick<Delivery, "id" | "kind" | "notices" | "raw">,
): Promise<void> {
  await deps.notify({
    type: spec.type,
    to: spec.to,
    address: deps.sealed.read(refTo(CHANNEL, name), "address", spec.address.version).reveal(),
    signingKey: deps.sealed.signingKey(refTo(CHANNEL, name)),
    ...message,
    anchor: anchorOf(deps),
  });
}
