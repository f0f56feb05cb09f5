// Times of day in a zone, through changes of its clock.

/** What clocks in the zone are ahead of UTC at a moment, ms. */
export function zoneOffset(timezone: string, at: number): number {
  const format = formatOf(timezone);
  const parts = Object.fromEntries(
    format.formatToParts(at).map(({ type, value }) => [type, Number(value)]),
  );
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(at / 1_000) * 1_000;
}

/** When clocks in the zone show what they would show that long after `from`, had nobody moved them. */
export function wallClockAfter(timezone: string, from: number, durationMs: number): number {
  const shown = from + zoneOffset(timezone, from) + durationMs;
  return fromWallClock(timezone, shown);
}

/**
 * The moment at which clocks in the zone show a time, given as if it were UTC. Of a time that there is
 * twice the first; one that is skipped is as if the clock had not been moved yet.
 */
export function fromWallClock(timezone: string, shown: number): number {
  const offsets = [-DAY_MS, DAY_MS].map((near) => zoneOffset(timezone, shown + near));
  const moments = offsets.map((offset) => shown - offset);
  const there = moments.find((at, index) => zoneOffset(timezone, at) === offsets[index]);
  return there ?? moments[0] ?? shown;
}

const DAY_MS = 86_400_000;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(timezone: string): Intl.DateTimeFormat {
  const known = formats.get(timezone);
  if (known) return known;
  const made = new Intl.DateTimeFormat("en-u-hc-h23", {
    timeZone: timezone,
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  formats.set(timezone, made);
  return made;
}
