// What users did and saw: page views, visitors, web vitals, errors and feedback, by page and release.
// Requests that failed are the edge's word; the rest is what browsers reported.

import type { PageUsage, ReleaseUsage, UsageReport } from "../../kernel/signal.ts";
import { all, equals, msOf } from "../sql.ts";
import type { Row } from "../store/database.ts";
import { pageOf } from "../store/tables.ts";
import type { TelemetryStore } from "../store/telemetry-store.ts";

export interface UsageQuestion {
  readonly from: number;
  readonly to: number;
  readonly environment: string;
  readonly app: string;
  readonly release?: number | undefined;
  /** Of each list, at most this many. */
  readonly limit: number;
}

// A browser says a vital again when it got worse: what counts is the last of each page load.
const LAST = `kind <> 'vital' OR trace_id = ''
  OR row_number() OVER (PARTITION BY kind, trace_id, page, name ORDER BY time DESC) = 1`;
const VITALS = ["LCP", "INP", "CLS"]
  .map((name) => `quantile_cont(value, 0.75) FILTER (name = '${name}') AS ${name}`)
  .join(", ");
const VIEWS = "(count(*) FILTER (kind = 'view'))::DOUBLE AS views";
const VISITORS = "(count(DISTINCT visitor) FILTER (kind = 'view'))::DOUBLE AS visitors";
const ERRORS = "(count(*) FILTER (kind = 'error'))::DOUBLE AS errors";

export class UsageQuery {
  readonly #store: TelemetryStore;

  constructor(store: TelemetryStore) {
    this.#store = store;
  }

  async report(question: UsageQuestion): Promise<UsageReport> {
    await this.#store.load(["usage", "requests"]);
    const { from, to, environment, app, release, limit } = question;
    const extent = { from, to, environment };
    const where = all(equals("app", app), equals("release", release));
    const reports = `(SELECT * FROM (${this.#store.rows("usage", extent)}) WHERE ${where} QUALIFY ${LAST})`;
    const requests = `(SELECT * FROM (${this.#store.rows("requests", extent)}) WHERE ${where})`;
    const ask = (sql: string): Promise<readonly Row[]> => this.#store.database.read(sql);
    const most = `LIMIT ${Math.trunc(limit)}`;
    const [sums, pages, releases, referrers, browsers, errors, feedback] = await Promise.all([
      ask(`SELECT ${VIEWS}, ${VISITORS} FROM ${reports}`),
      ask(pagesSql(reports, requests, limit)),
      ask(`
          SELECT service, release, ${VIEWS}, ${ERRORS}, ${VITALS}
          FROM ${reports} GROUP BY ALL ORDER BY release DESC, service ${most}`),
      ask(`
          SELECT text AS host, count(*)::DOUBLE AS views FROM ${reports}
          WHERE kind = 'view' AND text <> '' GROUP BY ALL ORDER BY views DESC, host ${most}`),
      ask(`
          SELECT browser || ' ' || device AS browser, count(*)::DOUBLE AS views FROM ${reports}
          WHERE kind = 'view' GROUP BY ALL ORDER BY views DESC, 1 ${most}`),
      ask(`
          SELECT text, page, max(release) AS release, count(*)::DOUBLE AS count,
                 max(${msOf("time")}) AS last FROM ${reports}
          WHERE kind = 'error' GROUP BY text, page ORDER BY count DESC, last DESC ${most}`),
      ask(`
          SELECT ${msOf("time")} AS time, page, release, value AS rating, text FROM ${reports}
          WHERE kind = 'feedback' ORDER BY time DESC ${most}`),
    ]);
    return {
      views: Number(sums[0]?.["views"]),
      visitors: Number(sums[0]?.["visitors"]),
      pages: ranked(pages, "by_views", limit),
      slowest: ranked(pages, "by_time", limit),
      failing: ranked(pages, "by_failures", limit),
      releases: releases.map(releaseUsage),
      referrers: referrers as unknown as UsageReport["referrers"],
      browsers: browsers as unknown as UsageReport["browsers"],
      errors: errors as unknown as UsageReport["errors"],
      feedback: feedback.map((row) => ({
        time: Number(row["time"]),
        page: String(row["page"]),
        release: Number(row["release"]),
        rating: optional(row["rating"]),
        text: String(row["text"]),
      })),
    };
  }
}

// A page that always fails never loads the script: it is known by its requests alone. What a browser
// asks for when a person goes somewhere is a page; what pages load is not. Those that are among the
// first by one of the three counts, with their places.
const pagesSql = (reports: string, requests: string, limit: number): string => `
  SELECT *,
         CASE WHEN views > 0 THEN row_number() OVER (ORDER BY views DESC, page) END AS by_views,
         CASE WHEN LCP IS NOT NULL
              THEN row_number() OVER (ORDER BY LCP DESC NULLS LAST, page) END AS by_time,
         CASE WHEN errors + failed > 0
              THEN row_number() OVER (ORDER BY errors + failed DESC, page) END AS by_failures
  FROM (SELECT coalesce(seen.page, broken.page) AS page, coalesce(views, 0) AS views,
          coalesce(visitors, 0) AS visitors, coalesce(errors, 0) AS errors,
          coalesce(failed, 0) AS failed, LCP, INP, CLS
   FROM (SELECT page, ${VIEWS}, ${VISITORS}, ${ERRORS}, ${VITALS} FROM ${reports} GROUP BY page) AS seen
   FULL JOIN (SELECT ${pageOf("path")} AS page, count(*)::DOUBLE AS failed FROM ${requests}
              WHERE failed = 1 AND method = 'GET' AND route <> 'internal'
                AND NOT regexp_matches(path, '\\.[a-z0-9]{1,5}$') GROUP BY ALL) AS broken
   ON seen.page = broken.page)
  QUALIFY least(by_views, by_time, by_failures) <= ${Math.trunc(limit)}`;

const ranked = (rows: readonly Row[], place: string, limit: number): PageUsage[] =>
  rows
    .filter((row) => row[place] !== null && Number(row[place]) <= limit)
    .toSorted((one, other) => Number(one[place]) - Number(other[place]))
    .map(pageUsage);

const optional = (value: unknown): number | undefined =>
  value === null || value === undefined ? undefined : Number(value);

const vitalsOf = (row: Row) => ({
  lcpMs: optional(row["LCP"]),
  inpMs: optional(row["INP"]),
  cls: optional(row["CLS"]),
});

const pageUsage = (row: Row): PageUsage => ({
  page: String(row["page"]),
  views: Number(row["views"]),
  visitors: Number(row["visitors"]),
  errors: Number(row["errors"]),
  failed: Number(row["failed"]),
  ...vitalsOf(row),
});

const releaseUsage = (row: Row): ReleaseUsage => ({
  service: String(row["service"]),
  release: Number(row["release"]),
  views: Number(row["views"]),
  errors: Number(row["errors"]),
  ...vitalsOf(row),
});
