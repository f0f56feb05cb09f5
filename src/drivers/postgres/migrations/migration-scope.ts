// What names mean while migrations are read in their order: the schema that unqualified ones go to,
// what the migrations themselves have made (nobody uses that yet), and what the database has.

import type { Schema, SchemaFact } from "./schema.ts";
import { listOf, type Node, namesIn } from "./sql-node.ts";

export class MigrationScope {
  /** Undefined where nobody could look. */
  readonly schema: Schema | undefined;
  /** Statements that made functions, by name; of one name there may be several, by what they take. */
  readonly routines = new Map<string, string[]>();
  readonly #made = new Set<string>();
  /** Schemas in which unqualified names are looked for; undefined where nobody can say. */
  #path: readonly string[] | undefined = ["public"];
  #isConditional = false;

  constructor(schema: Schema | undefined) {
    this.schema = schema;
  }

  /** Each file is a session of its own: what is temporary is gone, and names are looked for anew. */
  beginFile(): void {
    this.#path = ["public"];
    for (const one of this.#made) if (one.startsWith("relation pg_temp.")) this.#made.delete(one);
  }

  /** Where unqualified names go from now on; `"$user"` and the like stand for what nobody knows. */
  setPath(schemas: readonly string[]): void {
    const known = schemas.map((one) => one.trim().replaceAll('"', "")).filter(Boolean);
    const isSure = !this.#isConditional && known.every((one) => /^[a-z_][a-z0-9_]*$/.test(one));
    this.#path = isSure ? (known.length > 0 ? known : ["public"]) : undefined;
  }

  /** `[orders]` → `public.orders`; of an unqualified name, the first that there is. */
  qualified(names: readonly string[]): string {
    const name = names.at(-1) ?? "";
    const schema = names.at(-2);
    if (schema !== undefined) return `${schema}.${name}`;
    if (this.#made.has(`relation pg_temp.${name}`)) return `pg_temp.${name}`;
    const path = this.#path ?? ["public"];
    const found = path.find(
      (one) => this.#isMade(`${one}.${name}`) || this.schema?.has("relation", "", `${one}.${name}`),
    );
    if (found !== undefined || this.schema || path.length < 2) return `${found ?? path[0]}.${name}`;
    // Not made here, and nobody can say where it is: where most things are.
    return `${path.includes("public") ? "public" : path.at(-1)}.${name}`;
  }

  /** Where a name that is made goes. */
  #target(names: readonly string[]): string {
    const schema = names.at(-2) ?? this.#path?.[0] ?? UNKNOWN;
    return `${schema}.${names.at(-1) ?? ""}`;
  }

  #isMade(name: string): boolean {
    return ["relation", "type", "function"].some((kind) => this.#made.has(`${kind} ${name}`));
  }

  /** The relation of a `RangeVar`. */
  relation(node: unknown): string {
    return this.#rangeName(node, (names) => this.qualified(names));
  }

  /** The same of one that is made. */
  newRelation(node: unknown): string {
    return this.#rangeName(node, (names) => this.#target(names));
  }

  newName(names: readonly string[]): string {
    return this.#target(names);
  }

  #rangeName(node: unknown, nameOf: (names: readonly string[]) => string): string {
    const range = (node ?? {}) as Node;
    const name = String(range["relname"] ?? "");
    if (range["relpersistence"] === "t") return `pg_temp.${name}`;
    const schema = range["schemaname"];
    return nameOf(schema === undefined ? [name] : [String(schema), name]);
  }

  relations(nodes: unknown): string[] {
    return listOf(nodes).map((one) => this.relation(one["RangeVar"]));
  }

  make(kind: string, name: string): void {
    if (name.includes(PLACEHOLDER) || name.startsWith(`${UNKNOWN}.`)) return;
    // What is there was not made: whoever goes on after the error changes what there was.
    if (isOfSchema(kind) && this.schema?.has(kind, "", name)) return;
    if (this.#isConditional && !this.#isSurelyNew(kind, name)) return;
    this.#made.add(`${kind} ${name}`);
  }

  /** It is gone, or has another name: the next one of that name is another thing. */
  unmake(kind: string, name: string): void {
    this.#made.delete(`${kind} ${name}`);
  }

  /** What is made meanwhile may not have been made: a block has branches. */
  conditionally<Result>(read: () => Result): Result {
    const before = this.#isConditional;
    this.#isConditional = true;
    try {
      return read();
    } finally {
      this.#isConditional = before;
    }
  }

  #isSurelyNew(kind: string, name: string): boolean {
    if (kind === "relation" && name.startsWith("pg_temp.")) return true;
    if (kind === "relation" || kind === "type" || kind === "schema")
      return this.isMissing(kind, "", name);
    const [schema, relation, column = ""] = name.split(".");
    return kind === "column" && this.isMissing("column", `${schema}.${relation}`, column);
  }

  /** Made by these migrations, alone or with the schema that it is in. */
  isFresh(kind: string, name: string): boolean {
    if (this.#path === undefined && !name.startsWith("pg_temp.")) return false;
    const [schema = ""] = name.split(".");
    return this.#made.has(`${kind} ${name}`) || this.#made.has(`schema ${schema}`);
  }

  isFreshColumn(relation: string, column: string): boolean {
    return this.isFresh("relation", relation) || this.#made.has(`column ${relation}.${column}`);
  }

  /** Surely not there before: what IF NOT EXISTS makes then is new. */
  isMissing(kind: SchemaFact["kind"], of: string, name: string): boolean {
    if (this.#path === undefined || `${of}${name}`.includes(PLACEHOLDER)) return false;
    return this.schema !== undefined && !this.schema.has(kind, of, name);
  }

  hasNoFunction(name: string): boolean {
    if (this.#path === undefined || name.includes(PLACEHOLDER) || !this.schema) return false;
    return ![...this.schema.facts].some((one) => one.kind === "function" && one.of === name);
  }

  /** PostgreSQL's own functions, of which none changes a schema. */
  isBuiltin(names: readonly string[]): boolean {
    const name = names.at(-1) ?? "";
    if (names.length > 1 && names.at(-2) !== "pg_catalog") return false;
    return COMMON_BUILTINS.has(name) || (this.schema?.builtins.has(name) ?? false);
  }

  functionOf(call: Node): { readonly name: string; readonly isBuiltin: boolean } {
    const names = namesIn(call["funcname"]);
    return { name: this.qualified(names), isBuiltin: this.isBuiltin(names) };
  }
}

/** Stands in for a name that is put together at run time. */
export const PLACEHOLDER = "…";
const UNKNOWN = "?";
const isOfSchema = (kind: string): kind is "relation" | "type" | "schema" =>
  kind === "relation" || kind === "type" || kind === "schema";

// Where the database can't be asked.
const COMMON_BUILTINS = new Set([
  "setval",
  "set_config",
  "nextval",
  "currval",
  "now",
  "count",
  "max",
  "min",
  "sum",
  "concat",
  "format",
  "lower",
  "upper",
  "replace",
  "gen_random_uuid",
  "pg_get_serial_sequence",
  "pg_advisory_lock",
  "pg_advisory_unlock",
  "pg_advisory_xact_lock",
  "pg_sleep",
  "to_regclass",
  "current_setting",
  "current_schema",
  "row_number",
  "string_agg",
  "array_agg",
  "unnest",
  "generate_series",
  "random",
  "version",
]);
