// Current values, in the text that Prometheus scrapes. Each app has a limit of series; points over it
// are refused and counted by metric. The text is always valid, whatever an app sends: with one invalid
// line Prometheus refuses the metrics of all apps.

export type MetricType = "counter" | "gauge" | "histogram" | "summary";
export type Labels = Readonly<Record<string, string | number>>;

interface Series {
  readonly suffix: string;
  readonly labels: Labels;
  value: number;
  /** A counter that was not read yet: it is shown as 0 once, or its first increase would be lost. */
  isFresh: boolean;
  at: number;
  readonly owner: string;
}

interface Family {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  /** Name with suffix and labels, as it is written → its value. */
  readonly series: Map<string, Series>;
}

/** A metric with its series; of a histogram and a summary with `_bucket`, `_sum`, `_count`. */
export interface MetricFamily {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly series: readonly Readonly<Pick<Series, "suffix" | "labels" | "value">>[];
}

export interface Observation {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  /** `_bucket`, `_sum`, `_count`; empty for the value itself. */
  readonly suffix?: string;
  readonly labels: Labels;
  readonly value: number;
  /** Adds to what is there instead of replacing it. */
  readonly isDelta?: boolean;
  /** Whose series it is: bounds are per owner. */
  readonly owner: string;
}

export const SERIES_PER_OWNER = 10_000;
/** Of what nobody speaks any more, such as an instance that is gone. */
const FORGET_AFTER_MS = 10 * 60_000;
const LABEL_MAX_CHARS = 300;

export class MetricRegistry {
  readonly #now: () => number;
  /** By name and type: what one app calls a gauge may be another's histogram. */
  readonly #families = new Map<string, Family>();
  readonly #counts = new Map<string, number>();
  readonly #refused = new Map<string, { owner: string; metric: string; count: number }>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** False where it was not taken. */
  observe(observation: Observation): boolean {
    const { name, type, help, suffix = "", labels, value, isDelta, owner } = observation;
    let family = this.#families.get(`${name} ${type}`);
    if (!family) {
      family = { name, type, help, series: new Map() };
      this.#families.set(`${name} ${type}`, family);
    }
    const key = `${name}${suffix}${labelText(labels)}`;
    const known = family.series.get(key);
    if (known) {
      known.value = isDelta ? known.value + value : value;
      known.at = this.#now();
      return true;
    }
    const count = this.#counts.get(owner) ?? 0;
    if (name === "" || count >= SERIES_PER_OWNER) {
      this.refuse(owner, name);
      return false;
    }
    this.#counts.set(owner, count + 1);
    const at = this.#now();
    family.series.set(key, { suffix, labels, value, isFresh: isDelta === true, at, owner });
    return true;
  }

  /** Owner, metric and how many points of it were not taken. */
  get refused(): readonly { owner: string; metric: string; count: number }[] {
    return [...this.#refused.values()];
  }

  /** Forgets what is not so any more, of metrics whose name begins so. */
  keepOnly(prefix: string, isThere: (labels: Labels) => boolean): void {
    for (const { name, series } of this.#families.values()) {
      if (!name.startsWith(prefix)) continue;
      for (const [key, one] of series) if (!isThere(one.labels)) this.#drop(series, key, one.owner);
    }
  }

  #drop(series: Family["series"], key: string, owner: string): void {
    series.delete(key);
    this.#counts.set(owner, (this.#counts.get(owner) ?? 1) - 1);
  }

  /** Everything as it stands now. */
  families(): readonly MetricFamily[] {
    return [...this.#families.values()].map(({ name, type, help, series }) => ({
      name,
      type,
      help,
      series: [...series.values()],
    }));
  }

  render(): string {
    this.#forget();
    const lines: string[] = [];
    for (const { name, type, help, series } of this.#families.values()) {
      if (series.size === 0) continue;
      lines.push(`# HELP ${name} ${help.replaceAll(/[\\\n]/g, " ")}`, `# TYPE ${name} ${type}`);
      for (const [key, one] of series) {
        lines.push(`${key} ${numberText(one.isFresh ? 0 : one.value)}`);
        one.isFresh = false;
      }
    }
    return `${lines.join("\n")}\n`;
  }

  /** Counts a point that was not taken. */
  refuse(owner: string, metric: string): void {
    const key = `${owner} ${metric}`;
    const known = this.#refused.get(key);
    if (known) known.count += 1;
    else if (this.#refused.size < SERIES_PER_OWNER)
      this.#refused.set(key, { owner, metric, count: 1 });
  }

  #forget(): void {
    const before = this.#now() - FORGET_AFTER_MS;
    for (const [id, { series }] of this.#families) {
      for (const [key, { at, owner }] of series) {
        if (at < before) this.#drop(series, key, owner);
      }
      if (series.size === 0) this.#families.delete(id);
    }
  }
}

export const metricName = (text: string): string =>
  text.replaceAll(/[^a-zA-Z0-9_:]/g, "_").replace(/^(?=\d)/, "_");

/** Empty where there is nothing to name. `__` at the beginning is Prometheus' own. */
const labelName = (text: string): string =>
  text
    .replaceAll(/[^a-zA-Z0-9_]/g, "_")
    .replace(/^(?=\d)/, "_")
    .replace(/^__+/, "_");

/** With the names that Prometheus has for them; values of one name are joined, as its OTLP door does. */
export function namedLabels(labels: Labels): Labels {
  const named = new Map<string, string | number>();
  for (const [key, value] of Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    const name = labelName(key);
    if (name === "" || value === "") continue;
    const known = named.get(name);
    named.set(name, known === undefined ? value : `${known};${value}`);
  }
  return Object.fromEntries(named);
}

function labelText(labels: Labels): string {
  const parts = Object.entries(labels)
    .filter(([, value]) => value !== "")
    .map(([key, value]) => `${key}="${escaped(String(value))}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

const escaped = (text: string): string =>
  text
    .slice(0, LABEL_MAX_CHARS)
    .replaceAll("\\", "\\\\")
    .replaceAll('"', '\\"')
    .replaceAll("\n", "\\n");

const numberText = (value: number): string =>
  Number.isNaN(value)
    ? "NaN"
    : value === Infinity
      ? "+Inf"
      : value === -Infinity
        ? "-Inf"
        : String(value);
