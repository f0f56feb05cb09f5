// What browsers report. Whoever sends may be lying: only the pool comes from the edge, the rest is
// checked for its shape and kept as what somebody said.

import { createHmac, randomBytes } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { invalid } from "../../kernel/error.ts";
import { clean } from "../log-journal.ts";
import { keepFile, readKept } from "../store/durable-file.ts";
import { SEPARATOR } from "../store/journal.ts";

export interface UsageIntakeOptions {
  /** Where the salt of the day is. */
  readonly dir: string;
  readonly now: () => number;
  /** Resolves once the lines are on disk. */
  readonly append: (lines: string) => Promise<void>;
  /** Events of an app that came too fast. */
  readonly onDropped: (app: string, events: number) => void;
}

/** As the edge says it. */
export interface Reporter {
  /** `production.storefront.web.a` */
  readonly pool: string;
  readonly address: string;
  readonly userAgent: string;
}

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** Enough for 100 pages a second of each app; what is beyond is somebody's joke. */
const EVENTS_PER_MINUTE = 30_000;
/** Of one app on one day: a hundred thousand visits, or one flood. */
const CHARS_PER_DAY = 128 * 1024 ** 2;
const EVENTS_PER_REPORT = 25;
const VISITOR_CHARS = 16;

const VALUE_MAX = 600_000;
const page = z.string().startsWith("/").max(300);
const value = z.number().min(0).max(VALUE_MAX);
const event = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("view"), page, text: z.string().max(253).default("") }),
  z.object({
    kind: z.literal("vital"),
    page,
    name: z.enum(["LCP", "INP", "CLS", "FCP", "TTFB"]),
    value,
  }),
  z.object({ kind: z.literal("error"), page, text: z.string().max(300) }),
  z.object({
    kind: z.literal("feedback"),
    page,
    text: z.string().max(1_000).default(""),
    value: z.number().int().min(1).max(5).optional(),
  }),
]);
const report = z.object({
  served: z.string().max(100).optional(),
  events: z.array(z.unknown()).max(EVENTS_PER_REPORT),
});

export class UsageIntake {
  readonly #options: UsageIntakeOptions;
  #salt: { readonly day: string; readonly salt: string } | undefined;
  readonly #perMinute: Budget;
  readonly #perDay: Budget;

  constructor(options: UsageIntakeOptions) {
    this.#options = options;
    this.#perMinute = new Budget(EVENTS_PER_MINUTE, MINUTE_MS);
    this.#perDay = new Budget(CHARS_PER_DAY, DAY_MS);
  }

  /** @throws usage.malformed */
  async take(reporter: Reporter, body: string): Promise<void> {
    const [environment = "", app = "", service = ""] = reporter.pool.split(".");
    const { served, events } = parse(body);
    if (events.length === 0) return;
    const name = `${environment}/${app}`;
    const now = this.#options.now();
    const isTooMuch =
      !this.#perMinute.take(name, events.length, now) || !this.#perDay.take(name, body.length, now);
    if (isTooMuch) return this.#options.onDropped(name, events.length);
    const whose = [environment, app, service, releaseOf(served)];
    const { browser, device } = agentOf(reporter.userAgent);
    const who = [
      this.#visitor(name, reporter),
      truncated(reporter.address),
      browser,
      device,
      traceOf(served),
    ];
    const timeUs = now * 1000;
    const lines = events.map((one) => {
      const { kind, page, name = "", value = "", text = "" } = { ...NOTHING, ...one };
      return [timeUs, ...whose, kind, clean(page), name, value, ...who, clean(text)].join(
        SEPARATOR,
      );
    });
    await this.#options.append(`${lines.join("\n")}\n`);
  }

  // Nobody can be followed from one day to the next, or be found by trying addresses: the salt of a
  // day is overwritten by the next one's.
  #visitor(app: string, { address, userAgent }: Reporter): string {
    const day = new Date(this.#options.now()).toISOString().slice(0, 10);
    if (this.#salt?.day !== day) this.#salt = this.#saltOf(day);
    return createHmac("sha256", this.#salt.salt)
      .update([app, address, userAgent].join("\n"))
      .digest("hex")
      .slice(0, VISITOR_CHARS);
  }

  #saltOf(day: string): { day: string; salt: string } {
    const file = join(this.#options.dir, "visitor-salt.json");
    const kept = readKept<{ day: string; salt: string }>(file);
    if (kept?.day === day) return kept;
    const fresh = { day, salt: randomBytes(32).toString("hex") };
    keepFile(file, JSON.stringify(fresh));
    return fresh;
  }
}

/** What the event does not have. */
const NOTHING: { name?: string; value?: number; text?: string } = {};

/** Events that are none are left out: one must not take the others with it. */
function parse(body: string): { served: string | undefined; events: z.output<typeof event>[] } {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (cause) {
    throw invalid("usage.malformed", "the report is not JSON", { cause });
  }
  const parsed = report.safeParse(json);
  if (!parsed.success) throw invalid("usage.malformed", z.prettifyError(parsed.error));
  const judged = parsed.data.events.map((one) => event.safeParse(one));
  const events = judged.flatMap(({ data }) => (data ? [data] : []));
  const [bad] = judged.flatMap(({ error }) => (error ? [error] : []));
  if (bad && events.length === 0) throw invalid("usage.malformed", z.prettifyError(bad));
  return { served: parsed.data.served, events };
}

/** So much of something in each stretch of time, for each app. */
class Budget {
  readonly #limit: number;
  readonly #everyMs: number;
  readonly #taken = new Map<string, number>();
  #stretch = 0;

  constructor(limit: number, everyMs: number) {
    this.#limit = limit;
    this.#everyMs = everyMs;
  }

  /** False where that would be too much. */
  take(app: string, amount: number, now: number): boolean {
    const stretch = Math.floor(now / this.#everyMs);
    if (stretch !== this.#stretch) this.#taken.clear();
    this.#stretch = stretch;
    const taken = (this.#taken.get(app) ?? 0) + amount;
    if (taken > this.#limit) return false;
    this.#taken.set(app, taken);
    return true;
  }
}

// `r12-<id of the request>`, from the edge through the browser.
const releaseOf = (served: string | undefined): number =>
  Number(/^r(\d{1,9})-/.exec(served ?? "")?.[1] ?? 0);
const traceOf = (served: string | undefined): string =>
  /-([0-9a-f]{32})$/.exec(served ?? "")?.[1] ?? "";

/** Without the last of four numbers, or of all but the first three groups, as the store has it. */
function truncated(address: string): string {
  const plain = address.replace(/^::ffff:/, "");
  if (!plain.includes(":")) return plain.replace(/\.\d+$/, ".0");
  const [before = ""] = plain.split("::");
  return `${before.split(":").slice(0, 3).join(":")}::`;
}

const BROWSERS = [
  ["Edge", /\bEdg/],
  ["Firefox", /\bFirefox\//],
  ["Chrome", /\b(?:Headless)?Chrome\/|\bCriOS\//],
  ["Safari", /\bSafari\//],
] as const;

function agentOf(userAgent: string): { browser: string; device: string } {
  return {
    browser: BROWSERS.find(([, pattern]) => pattern.test(userAgent))?.[0] ?? "other",
    device: /\bMobi|\bAndroid/.test(userAgent) ? "mobile" : "desktop",
  };
}
