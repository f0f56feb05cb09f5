// Which message of a group of alerts wakes somebody: the first one does, what joins it soon is an
// update, and what the channel knows is not sent. Alertmanager repeats what still fires every few
// minutes, so a group that is not heard of is over.

import { z } from "zod";

/** A group of alerts in one channel. */
export interface AlertGroup {
  readonly channel: string;
  readonly key: string;
  readonly severity: string;
  /** Those of it that fire, by any name that tells them apart. */
  readonly firing: readonly string[];
  /** What it is about: `production/shop`, `cache production`, `edge`. */
  readonly about: string;
  /** The stores that the app needs, the edge. */
  readonly needs: readonly string[];
  /** Of those, what does not work now. */
  readonly broken?: string | undefined;
}

/** The engines that an app can't do without, and one of them that does not work now. */
export type NeedsOf = (appName: string) => Pick<AlertGroup, "needs" | "broken">;

type Labels = Readonly<Record<string, string>>;

/** By the labels that all alerts of a group have in common. */
export function groupOf(
  alerts: readonly { readonly labels: Labels }[],
  named: Pick<AlertGroup, "channel" | "key" | "firing">,
  needsOf: NeedsOf,
): AlertGroup {
  const common = Object.entries(alerts[0]?.labels ?? {}).filter(([key, value]) =>
    alerts.every(({ labels }) => labels[key] === value),
  );
  const labels: Labels = Object.fromEntries(common);
  const { environment = "", app, alertname, kind, cause, severity = "" } = labels;
  const own = { ...named, severity };
  if (app) return { ...own, about: `${environment}/${app}`, ...needsOf(`${environment}/${app}`) };
  const about =
    alertname === "EdgeDown" || kind === "edge" ? "edge" : `${kind ?? cause} ${environment}`;
  return { ...own, about, needs: [] };
}

/** none: the channel knows all of it. */
export type MessageKind = "first" | "update" | "end" | "none";

/** What cannot be read is forgotten: a message too many, never one that is not sent. */
const keptSchema = z.array(
  z.object({
    group: z.object({
      channel: z.string(),
      key: z.string(),
      severity: z.string(),
      firing: z.array(z.string()),
      about: z.string(),
      needs: z.array(z.string()),
      broken: z.string().optional(),
    }),
    known: z.array(z.tuple([z.string(), z.number()])),
    wokeAt: z.number(),
    heardAt: z.number(),
  }),
);
type Kept = z.input<typeof keptSchema>[number];

interface Told {
  readonly group: AlertGroup;
  /** Alert → when it was last seen to fire. */
  readonly known: ReadonlyMap<string, number>;
  readonly wokeAt: number;
  readonly heardAt: number;
}

const MINUTE_MS = 60_000;
/** A page that nobody ended is a page once more. */
const REMIND_MS = 3.5 * 60 * MINUTE_MS;
/** What begins so long after somebody was woken wakes again. */
const QUIET_MS = 30 * MINUTE_MS;
/** An alert that was over for this long is a new one. */
const FORGET_MS = 10 * MINUTE_MS;
/** Three repeats of Alertmanager's, and some. */
const HEARD_MS = 16 * MINUTE_MS;
/** An engine is found to be down so long after the first app that feels it, at most. */
const DETECTED_MS = 2 * MINUTE_MS;

/** What outlives the control plane: whoever was woken before it was killed is not woken again. */
export interface ToldMemory {
  /** Undefined where nothing was kept, or nobody can read it. */
  readonly read: () => unknown;
  readonly keep: (told: unknown) => void;
}

export class ToldGroups {
  readonly #open: Map<string, Told>;
  readonly #memory: ToldMemory | undefined;

  constructor(memory?: ToldMemory) {
    this.#memory = memory;
    const kept = keptSchema.safeParse(memory?.read());
    this.#open = new Map(
      (kept.data ?? []).map((one) => [keyOf(one.group), { ...one, known: new Map(one.known) }]),
    );
  }

  kindOf(group: AlertGroup, now: number): MessageKind {
    this.#forget(now);
    if (group.firing.length === 0) return "end";
    const own = this.#open.get(keyOf(group));
    if (!own) return this.#isExplained(group, now) ? "update" : "first";
    if (now - own.wokeAt > REMIND_MS) return "first";
    const isKnown = (alert: string): boolean =>
      now - (own.known.get(alert) ?? -Infinity) <= FORGET_MS;
    if (group.firing.every(isKnown)) return "none";
    return now - own.wokeAt > QUIET_MS ? "first" : "update";
  }

  /** When somebody was last woken for it. */
  wokeAt(group: AlertGroup): number | undefined {
    return this.#open.get(keyOf(group))?.wokeAt;
  }

  /** It was delivered, or there was nothing to deliver. */
  told(group: AlertGroup, kind: MessageKind, now: number): void {
    this.#note(group, kind, now);
    const kept = [...this.#open.values()].map(
      ({ group, ...one }): Kept => ({
        ...one,
        group: { ...group, firing: [...group.firing], needs: [...group.needs] },
        known: [...one.known],
      }),
    );
    this.#memory?.keep(kept);
  }

  #note(group: AlertGroup, kind: MessageKind, now: number): void {
    const key = keyOf(group);
    if (kind === "end") {
      this.#open.delete(key);
      return;
    }
    const before = this.#open.get(key);
    const wokeAt = before && kind !== "first" ? before.wokeAt : now;
    const known = new Map(before?.known);
    for (const alert of group.firing) known.set(alert, now);
    this.#open.set(key, { group, known, wokeAt, heardAt: now });
  }

  // Somebody was woken for what this comes from, or what comes from this.
  #isExplained({ channel, severity, about, needs, broken }: AlertGroup, now: number): boolean {
    return [...this.#open.values()].some(({ group, wokeAt }) => {
      if (group.channel !== channel || group.severity !== severity) return false;
      if (needs.includes(group.about)) return true;
      if (group.needs.includes(about)) return now - wokeAt <= DETECTED_MS;
      return broken !== undefined && group.broken === broken && now - wokeAt <= QUIET_MS;
    });
  }

  #forget(now: number): void {
    for (const [key, { heardAt }] of this.#open)
      if (now - heardAt > HEARD_MS) this.#open.delete(key);
  }
}

const keyOf = ({ channel, key }: AlertGroup): string => `${channel}\0${key}`;
