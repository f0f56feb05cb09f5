// Which messages wake somebody: the first one of a cause does. What joins it, what changes and what
// ends is an update. A group that this control plane knows nothing of is told as a new one.

/** A group of alerts that a channel is told of. */
export interface AlertGroup {
  readonly channel: string;
  readonly key: string;
  /** Those of it that fire, by any name that tells them apart. */
  readonly firing: readonly string[];
  /** What it is about: `production/shop`, `cache production`, `edge`. */
  readonly about: string;
  /** What it would be a sign of: the stores that the app needs, the edge. */
  readonly needs: readonly string[];
  /** Of those, what does not work now. */
  readonly broken?: string | undefined;
}

/** The engines that an app can't do without, and one of them that does not work now. */
export type NeedsOf = (appName: string) => Pick<AlertGroup, "needs" | "broken">;

type Labels = Readonly<Record<string, string>>;

/** What a group is about is in the labels of any of its alerts. */
export function groupOf(
  { environment = "", app, alertname, kind, cause }: Labels,
  named: Pick<AlertGroup, "channel" | "key" | "firing">,
  needsOf: NeedsOf,
): AlertGroup {
  if (app) return { ...named, about: `${environment}/${app}`, ...needsOf(`${environment}/${app}`) };
  const about = alertname === "EdgeDown" ? "edge" : `${kind ?? cause} ${environment}`;
  return { ...named, about, needs: [] };
}

/** none: nothing began of which the channel does not know. */
export type MessageKind = "first" | "update" | "end" | "none";

interface Told {
  readonly group: AlertGroup;
  /** All that fired since it began. */
  readonly known: ReadonlySet<string>;
  readonly at: number;
}

/** A page that nobody ended is a page once more. */
const REMIND_MS = 3.5 * 3_600_000;

export class ToldGroups {
  readonly #open = new Map<string, Told>();

  kindOf(group: AlertGroup, now: number): MessageKind {
    const own = this.#open.get(keyOf(group));
    if (group.firing.length === 0) return "end";
    if (own && now - own.at > REMIND_MS) return "first";
    if (own) return group.firing.every((one) => own.known.has(one)) ? "none" : "update";
    const isKnown = [...this.#open.values()].some(
      (told) =>
        told.group.channel === group.channel &&
        now - told.at <= REMIND_MS &&
        (told.group.needs.includes(group.about) ||
          group.needs.includes(told.group.about) ||
          (group.broken !== undefined && told.group.broken === group.broken)),
    );
    return isKnown ? "update" : "first";
  }

  /** It was delivered. */
  told(group: AlertGroup, kind: MessageKind, now: number): void {
    const key = keyOf(group);
    if (kind === "end") this.#open.delete(key);
    else {
      const before = this.#open.get(key);
      const at = kind === "first" ? now : (before?.at ?? now);
      this.#open.set(key, {
        group,
        at,
        known: new Set([...(before?.known ?? []), ...group.firing]),
      });
    }
  }
}

const keyOf = ({ channel, key }: AlertGroup): string => `${channel}\0${key}`;
