// Pieces of SQL that questions are made of.

export const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** A moment, ms since the epoch. */
export const timestamp = (ms: number): string => `make_timestamp(${Math.round(ms * 1000)})`;

/** Milliseconds of a column, with a fraction. */
export const msOf = (column: string): string => `epoch_us(${column}) / 1000.0`;

export const all = (...conditions: readonly (string | undefined)[]): string =>
  conditions.filter((condition) => condition !== undefined).join(" AND ") || "true";

/** `column = value`, or nothing where no value was given. */
export const equals = (column: string, value: string | number | undefined): string | undefined =>
  value === undefined
    ? undefined
    : `${column} = ${typeof value === "number" ? Math.trunc(value) : quoted(value)}`;
