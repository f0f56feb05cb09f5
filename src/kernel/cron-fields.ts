const FIELDS = 5;

/** What is wrong with a schedule that has other than the five fields of cron; undefined: nothing. */
export function cronFieldsMistake(schedule: string): string | undefined {
  const fields = schedule.trim().split(/\s+/);
  // `@daily` and the like.
  if (fields.length === FIELDS || (fields.length === 1 && schedule.trim().startsWith("@")))
    return undefined;
  return `is not a schedule: it has ${fields.length} fields, and cron has five (minute, hour, day, month, weekday)`;
}
