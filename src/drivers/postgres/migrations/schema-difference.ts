// What a migration took from a release that knows the schema before it, told by both schemas.

import { isCompatible, type Schema, type SchemaFact, shown } from "./schema.ts";

/** In the words that a reader of statements uses for the same. */
export function takenBetween(before: Schema, after: Schema): readonly string[] {
  const texts: string[] = [];
  for (const fact of before.facts) {
    const now = after.get(fact.kind, fact.of, fact.name);
    const text = now ? changed(fact, now) : gone(fact, after);
    if (text !== undefined) texts.push(text);
  }
  for (const fact of after.facts) {
    if (before.has(fact.kind, fact.of, fact.name)) continue;
    const text = asked(fact, before, after);
    if (text !== undefined) texts.push(text);
  }
  return [...new Set(texts)].sort();
}

/** A constraint is the same once it was validated. */
const bare = (detail: string): string => detail.replace(/ NOT VALID$/, "");

/** PostgreSQL writes one expression with its casts here or there, by how it came to be. */
const withoutCasts = (expression: string): string =>
  expression.replaceAll(/::[a-z][a-z ]*(\(\d+(,\d+)?\))?(\[\])?/g, "").replaceAll(/[()\s]/g, "");

/** The same rule over the same columns, whatever it is called: rebuilt, renamed, taken over by a constraint. */
function hasLike(fact: SchemaFact, schema: Schema): boolean {
  const ruleOf = ({ kind, detail }: SchemaFact): string => {
    const isUnique = kind === "unique index" || /^UNIQUE \([^()]*\)$/.test(detail);
    return isUnique
      ? `unique ${kind === "unique index" ? withoutCasts(detail) : ""}`
      : withoutCasts(bare(detail));
  };
  for (const other of schema.facts)
    if (
      (other.kind === "constraint" || other.kind === "unique index") &&
      other.of === fact.of &&
      ruleOf(other) === ruleOf(fact) &&
      other.columns.join() === fact.columns.join()
    )
      return true;
  return false;
}

const nameOf = ({ of, name }: SchemaFact): string => `${shown(of)}.${name}`;

function isThere(of: string, after: Schema): boolean {
  if (of.startsWith("schema ")) return after.has("schema", "", of.slice("schema ".length));
  if (after.has("relation", "", of) || after.has("type", "", of)) return true;
  return [...after.facts].some((fact) => fact.kind === "function" && fact.of === of);
}

// What belongs to a thing that is gone went with it.
const ownerIsGone = ({ kind, of }: SchemaFact, after: Schema): boolean =>
  of !== "" && kind !== "function" && kind !== "right" && !isThere(of, after);

function gone(fact: SchemaFact, after: Schema): string | undefined {
  if (ownerIsGone(fact, after)) return undefined;
  const { kind, of, name, detail } = fact;
  switch (kind) {
    case "relation":
      // An index that is gone makes things slower; a unique one is a fact of its own.
      return detail === "index" ? undefined : `drops ${detail} ${shown(name)}`;
    case "column":
      return `drops column ${nameOf(fact)}`;
    case "default":
      return after.has("column", of, name)
        ? `drops the default of ${nameOf(fact)}: the running release may omit it`
        : undefined;
    case "constraint":
      if (/ON DELETE (CASCADE|SET)/.test(detail) && columnsStay(fact, after))
        return `drops the foreign key ${name} of ${shown(of)}: rows that it removed stay`;
      return /^(UNIQUE|PRIMARY|EXCLUDE)/.test(detail) &&
        columnsStay(fact, after) &&
        !hasLike(fact, after)
        ? `drops the unique constraint ${name} of ${shown(of)}: ON CONFLICT needs it`
        : undefined;
    case "unique index":
      return columnsStay(fact, after) && !hasLike(fact, after)
        ? `drops the unique index ${name} of ${shown(of)}: ON CONFLICT needs it`
        : undefined;
    case "trigger":
    case "policy":
    case "rule":
      return `drops ${kind} ${name} of ${shown(of)}`;
    case "function":
      return `drops function ${shown(of)}(${name})`;
    case "schema":
      return `drops schema ${name}`;
    case "type":
      return `drops type ${shown(name)}`;
    case "enum value":
      return `drops the value ${name} of ${shown(of)}`;
    case "right":
      return isThere(of, after)
        ? `takes the right to ${name.toLowerCase()} ${shown(of)}`
        : undefined;
    case "extension":
      return `drops extension ${name}`;
    case "parent":
      return `takes ${shown(of)} from the table that it is a part of`;
    case "row security":
      return `turns row security off for ${shown(of)}: the running release can access all rows`;
    default:
      return undefined;
  }
}

const columnsStay = ({ of, columns }: SchemaFact, after: Schema): boolean =>
  columns.every((column) => after.has("column", of, column));

function changed(before: SchemaFact, now: SchemaFact): string | undefined {
  const { kind, of, name } = before;
  if (before.id !== undefined && now.id !== undefined && before.id !== now.id)
    return before.detail === "index"
      ? undefined
      : `drops ${kind === "column" ? "column" : before.detail} ${kind === "column" ? nameOf(before) : shown(name)} and makes another of that name`;
  if (bare(before.detail) === bare(now.detail)) return undefined;
  switch (kind) {
    case "column":
      return isCompatible(before.detail, now.detail)
        ? undefined
        : `changes the type of ${nameOf(before)} from ${before.detail} to ${now.detail}`;
    case "relation":
      return `makes ${shown(name)}, a ${before.detail}, a ${now.detail}`;
    case "view":
      return `replaces the view ${shown(of)}: the running release reads it`;
    case "function":
      return `replaces the function ${shown(of)}: the running release calls it`;
    case "constraint":
    case "domain constraint":
    case "trigger":
    case "policy":
    case "rule":
      return `changes ${kind} ${name} of ${shown(of)}`;
    case "unique index":
      return `changes the unique index ${name} of ${shown(of)}`;
    case "parent":
      return `changes which rows the part ${shown(of)} holds: from ${before.detail} to ${now.detail}`;
    case "setting":
      return settingText(now);
    case "type":
      return `changes the type ${shown(name)}`;
    case "options":
      return `changes options of ${shown(of)}: ${before.detail} → ${now.detail}`;
    case "default":
      return now.detail === "d" || (before.detail === "" && now.detail === "")
        ? undefined
        : `changes how ${nameOf(before)} is filled in`;
    default:
      return undefined;
  }
}

// What is asked of those who still write to something that was there before.
function asked(fact: SchemaFact, before: Schema, after: Schema): string | undefined {
  const { kind, of, name, columns } = fact;
  if (kind === "setting") return settingText(fact);
  const isOld = before.has("relation", "", of) || before.has("type", "", of);
  if (!isOld) return undefined;
  const isNewColumn = (column: string): boolean => !before.has("column", of, column);
  switch (kind) {
    case "not null":
      if (after.has("default", of, name) && isNewColumn(name)) return undefined;
      if (isChecked(of, name, before)) return undefined;
      return isNewColumn(name)
        ? `adds ${nameOf(fact)} not null without a default: the running release does not provide it`
        : `makes ${nameOf(fact)} not null: the running release may omit it`;
    case "constraint":
    case "unique index":
      return hasLike(fact, before) || isOfNullable(fact, after, columns.every(isNewColumn))
        ? undefined
        : `adds the ${kind} ${name} to ${shown(of)}: the running release may violate it`;
    case "domain constraint":
      return `adds a constraint to the domain ${shown(of)}: the running release may violate it`;
    case "trigger":
    case "rule":
      return `adds the ${kind} ${name} to ${shown(of)}: the running release triggers it`;
    case "policy":
      return fact.detail.startsWith("restrictive") && after.has("row security", of, "")
        ? `adds the restrictive policy ${name} to ${shown(of)}: the running release sees fewer rows`
        : undefined;
    case "row security":
      return `turns row security on for ${shown(of)}: the running release sees fewer rows`;
    default:
      return undefined;
  }
}

const settingText = ({ name, detail }: SchemaFact): string =>
  `sets ${name} of the database to ${detail}: the running release has it too`;

// A check that says so already: what still runs keeps to it.
const isChecked = (of: string, column: string, before: Schema): boolean =>
  [...before.facts].some(
    (fact) =>
      fact.kind === "constraint" &&
      fact.of === of &&
      fact.columns.join() === column &&
      /^CHECK \(\(\w+ IS NOT NULL\)\)/.test(fact.detail.replaceAll('"', "")),
  );

// What leaves a new column out leaves it null, where nothing fills it in; and null keeps to all that
// does not ask for nulls.
function isOfNullable(fact: SchemaFact, after: Schema, areNew: boolean): boolean {
  const { of, columns, detail } = fact;
  if (columns.length === 0 || !areNew) return false;
  if (
    columns.some((column) => after.has("default", of, column) || after.has("not null", of, column))
  )
    return false;
  return !/NULLS NOT DISTINCT|IS (NOT )?NULL|num_n|\w\(/.test(detail.replace(/^[A-Z ]+\(/, ""));
}
