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

const nameOf = ({ of, name }: SchemaFact): string => `${shown(of)}.${name}`;

// What belongs to a thing that is gone went with it.
const ownerIsGone = ({ kind, of }: SchemaFact, after: Schema): boolean =>
  of !== "" && !after.has("relation", "", of) && !after.has("type", "", of) && kind !== "function";

function gone(fact: SchemaFact, after: Schema): string | undefined {
  if (ownerIsGone(fact, after)) return undefined;
  const { kind, of, name, detail } = fact;
  switch (kind) {
    case "relation":
      // An index that is gone makes things slower; a unique one is a fact of its own.
      return detail === "index" || detail === "type" ? undefined : `drops ${detail} ${shown(name)}`;
    case "column":
      return `drops column ${nameOf(fact)}`;
    case "default":
      return after.has("column", of, name)
        ? `drops the default of ${nameOf(fact)}: what still runs may leave it out`
        : undefined;
    case "constraint":
      return /^(UNIQUE|PRIMARY|EXCLUDE)/.test(detail) && columnsStay(fact, after)
        ? `drops the unique constraint ${name} of ${shown(of)}: ON CONFLICT needs it`
        : undefined;
    case "unique index":
      return columnsStay(fact, after)
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
      return `takes the right to ${name.toLowerCase()} ${shown(of)}`;
    default:
      return undefined;
  }
}

const columnsStay = ({ of, columns }: SchemaFact, after: Schema): boolean =>
  columns.every((column) => after.has("column", of, column));

function changed(before: SchemaFact, now: SchemaFact): string | undefined {
  if (before.detail === now.detail) return undefined;
  const { kind, of, name } = before;
  switch (kind) {
    case "column":
      return isCompatible(before.detail, now.detail)
        ? undefined
        : `changes the type of ${nameOf(before)} from ${before.detail} to ${now.detail}`;
    case "relation":
      return `makes ${shown(name)}, a ${before.detail}, a ${now.detail}`;
    case "view":
      return `replaces the view ${shown(of)}: what still runs reads it`;
    case "function":
      return `replaces the function ${shown(of)}: what still runs calls it`;
    case "constraint":
    case "domain constraint":
    case "trigger":
    case "policy":
    case "rule":
      return `changes ${kind} ${name} of ${shown(of)}`;
    case "unique index":
      return `changes the unique index ${name} of ${shown(of)}`;
    case "type":
      return `changes the type ${shown(name)}`;
    default:
      return undefined;
  }
}

// What is asked of those who still write to something that was there before.
function asked(fact: SchemaFact, before: Schema, after: Schema): string | undefined {
  const { kind, of, name, columns } = fact;
  const isOld = before.has("relation", "", of) || before.has("type", "", of);
  if (!isOld) return undefined;
  const isNewColumn = (column: string): boolean => !before.has("column", of, column);
  switch (kind) {
    case "not null":
      if (after.has("default", of, name) && isNewColumn(name)) return undefined;
      return isNewColumn(name)
        ? `adds ${nameOf(fact)} not null without a default: what still runs does not give it`
        : `makes ${nameOf(fact)} not null: what still runs may leave it out`;
    case "constraint":
    case "unique index":
      return columns.length > 0 && columns.every(isNewColumn)
        ? undefined
        : `adds the ${kind} ${name} to ${shown(of)}: what still runs may not keep to it`;
    case "domain constraint":
      return `adds a constraint to the domain ${shown(of)}: what still runs may not keep to it`;
    case "trigger":
    case "rule":
      return `adds the ${kind} ${name} to ${shown(of)}: what still runs sets it off`;
    case "policy":
      return before.has("row security", of, "")
        ? undefined
        : `adds the policy ${name} to ${shown(of)}`;
    case "row security":
      return `turns row security on for ${shown(of)}: what still runs sees fewer rows`;
    default:
      return undefined;
  }
}
