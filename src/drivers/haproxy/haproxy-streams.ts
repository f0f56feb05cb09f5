// What HAProxy says of the requests under way (`show sess`, its management guide, chapter 9.3).

export interface WaitingStream {
  readonly pool: string;
  readonly server: string;
  readonly ageMs: number;
}

/** Analyser of a response that has not begun; the same in every version since 2.0. */
const AN_RES_WAIT_HTTP = 0x0040_0000;
const UNIT_MS: Readonly<Record<string, number>> = {
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
};

/** Streams that a server has and has not begun to answer. */
export function parseWaiting(sessions: string): WaitingStream[] {
  return sessions.split("\n").flatMap((line) => {
    const [, pool = "", server = "", age = ""] =
      / be=(\S+) srv=(\S+) .*?\bage=(\S+) /.exec(line) ?? [];
    const analysers = / rp\[[^\]]*\ban=([0-9a-f]+)h/.exec(line)?.[1];
    if (server === "" || server.startsWith("<") || analysers === undefined) return [];
    if ((Number.parseInt(analysers, 16) & AN_RES_WAIT_HTTP) === 0) return [];
    return [{ pool, server, ageMs: ageOf(age) }];
  });
}

/** `7s`, `1m5s`, `2h3m` */
const ageOf = (text: string): number =>
  [...text.matchAll(/(\d+)([dhms])/g)].reduce(
    (sum, [, count, unit = ""]) => sum + Number(count) * (UNIT_MS[unit] ?? 0),
    0,
  );
