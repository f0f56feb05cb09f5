// What names mean while migrations are read in their order: the schema that unqualified ones go to,
// what the migrations themselves have made (nobody uses that yet), and what the database has.

import type { Schema, SchemaFact } from "./schema.ts";
import { listOf, type Node, namesIn } from "./sql-node.ts";

/** A routine that the migrations made: what calling it does. */
export interface Routine {
  readonly text: string;
  /** Line of the file in which its text begins. */
  readonly line: number;
}

export class MigrationScope {
  /** Undefined where nobody could look. */
  readonly schema: Schema | undefined;
  readonly routines = new Map<string, Routine>();
  readonly #made = new Set<string>();
  #path = "public";
  #isConditional = false;

  constructor(schema: Schema | undefined) {
    this.schema = schema;
  }

  /** Where unqualified names go from now on. */
  set path(schema: string) {
    this.#path = schema || "public";
  }

  /** `[orders]` → `public.orders` */
  qualified(names: readonly string[]): string {
    const name = names.at(-1) ?? "";
    const schema = names.at(-2);
    if (schema === undefined && this.#made.has(`relation pg_temp.${name}`))
      return `pg_temp.${name}`;
    return `${schema ?? this.#path}.${name}`;
  }

  /** The relation of a `RangeVar`. */
  relation(node: unknown): string {
    const range = (node ?? {}) as Node;
    const name = String(range["relname"] ?? "");
    if (range["relpersistence"] === "t") return `pg_temp.${name}`;
    const schema = range["schemaname"];
    return this.qualified(schema === undefined ? [name] : [String(schema), name]);
  }

  relations(nodes: unknown): string[] {
    return listOf(nodes).map((one) => this.relation(one["RangeVar"]));
  }

  make(kind: string, name: string): void {
    if (this.#isConditional && !this.#isSurelyNew(kind, name)) return;
    this.#made.add(`${kind} ${name}`);
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

  /** Made by these migrations, alone or with the schema or relation that it is in. */
  isFresh(kind: string, name: string): boolean {
    const [schema = ""] = name.split(".");
    return this.#made.has(`${kind} ${name}`) || this.#made.has(`schema ${schema}`);
  }

  isFreshColumn(relation: string, column: string): boolean {
    return this.isFresh("relation", relation) || this.#made.has(`column ${relation}.${column}`);
  }

  /** Surely not there before: what IF NOT EXISTS makes then is new. */
  isMissing(kind: SchemaFact["kind"], of: string, name: string): boolean {
    return this.schema !== undefined && !this.schema.has(kind, of, name);
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
