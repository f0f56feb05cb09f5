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
/** Enough for 100 pages a second of each app; what is beyond is somebody's joke. */
const EVENTS_PER_MINUTE = 30_000;
const VISITOR_CHARS = 16;

const event = z.object({
  kind: z.enum(["view", "vital", "error", "feedback"]),
  page: z.string().startsWith("/").max(500),
  name: z.enum(["LCP", "INP", "CLS", "FCP", "TTFB"]).optional(),
  value: z.number().min(0).max(600_000).optional(),
  text: z.string().max(2_000).optional(),
});
const report = z.object({
  served: z.string().max(100).optional(),
  events: z.array(event).max(100),
});

export class UsageIntake {
  readonly #options: UsageIntakeOptions;
  #salt: { readonly day: string; readonly salt: string } | undefined;
  #minute = 0;
  readonly #counts = new Map<string, number>();

  constructor(options: UsageIntakeOptions) {
    this.#options = options;
  }

  /** @throws usage.malformed */
  async take(reporter: Reporter, body: string): Promise<void> {
    const [environment = "", app = "", service = ""] = reporter.pool.split(".");
    const { served, events } = parse(body);
    if (events.length === 0 || this.#isTooMuch(`${environment}/${app}`, events.length)) return;
    const whose = [environment, app, service, releaseOf(served)];
    const { browser, device } = agentOf(reporter.userAgent);
    const who = [
      this.#visitor(`${environment}/${app}`, reporter),
      truncated(reporter.address),
      browser,
      device,
      traceOf(served),
    ];
    const timeUs = this.#options.now() * 1000;
    const lines = events.map(({ kind, page, name = "", value = "", text = "" }) =>
      [timeUs, ...whose, kind, clean(page), name, value, ...who, clean(text)].join(SEPARATOR),
    );
    await this.#options.append(`${lines.join("\n")}\n`);
  }

  #isTooMuch(app: string, events: number): boolean {
    const minute = Math.floor(this.#options.now() / MINUTE_MS);
    if (minute !== this.#minute) this.#counts.clear();
    this.#minute = minute;
    const count = (this.#counts.get(app) ?? 0) + events;
    this.#counts.set(app, count);
    if (count <= EVENTS_PER_MINUTE) return false;
    this.#options.onDropped(app, events);
    return true;
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

function parse(body: string): z.output<typeof report> {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch (cause) {
    throw invalid("usage.malformed", "the report is not JSON", { cause });
  }
  const parsed = report.safeParse(json);
  if (parsed.success) return parsed.data;
  throw invalid("usage.malformed", z.prettifyError(parsed.error));
}

// `r12-<id of the request>`, from the edge through the browser.
const releaseOf = (served: string | undefined): number =>
  Number(/^r(\d{1,9})-/.exec(served ?? "")?.[1] ?? 0);
const traceOf = (served: string | undefined): string =>
  /-([0-9a-f]{32})$/.exec(served ?? "")?.[1] ?? "";

/** Without the last of four numbers, or of all but the first three groups. */
function truncated(address: string): string {
  const plain = address.replace(/^::ffff:/, "");
  return plain.includes(":")
    ? plain.replace(/^((?:[0-9a-fA-F]*:){3}).*$/, "$1:")
    : plain.replace(/\.\d+$/, ".0");
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
