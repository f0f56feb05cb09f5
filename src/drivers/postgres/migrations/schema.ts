// What a database has: one fact a row, named by its kind, the relation or type it belongs to, and
// its name. The same rows tell a migration's reader what is there, and the difference of two of them
// what a migration did.

/** A fact about a schema. */
export interface SchemaFact {
  readonly kind:
    | "schema"
    | "relation"
    | "view"
    | "column"
    | "not null"
    | "default"
    | "constraint"
    | "unique index"
    | "trigger"
    | "policy"
    | "row security"
    | "rule"
    | "function"
    /** Of the database itself. */
    | "setting"
    | "type"
    | "enum value"
    | "domain constraint"
    | "right"
    | "extension"
    | "parent"
    | "options";
  /** `public.orders`; of what belongs to none: empty. */
  readonly of: string;
  readonly name: string;
  /** A column's type, a view's query, what a constraint says. */
  readonly detail: string;
  /** Of a constraint and an index: the columns it is about. */
  readonly columns: readonly string[];
  /** Of a relation and a column: which one it is, whatever it is called; in one database. */
  readonly id?: string;
}

export class Schema {
  readonly #facts: ReadonlyMap<string, SchemaFact>;
  readonly builtins: ReadonlySet<string>;

  /** @param builtins names of PostgreSQL's own functions */
  constructor(facts: Iterable<SchemaFact>, builtins: Iterable<string> = []) {
    this.#facts = new Map([...facts].map((fact) => [keyOf(fact.kind, fact.of, fact.name), fact]));
    this.builtins = new Set(builtins);
  }

  get(kind: SchemaFact["kind"], of: string, name: string): SchemaFact | undefined {
    return this.#facts.get(keyOf(kind, of, name));
  }

  has(kind: SchemaFact["kind"], of: string, name: string): boolean {
    return this.#facts.has(keyOf(kind, of, name));
  }

  get facts(): Iterable<SchemaFact> {
    return this.#facts.values();
  }
}

const keyOf = (kind: string, of: string, name: string): string => `${kind}\0${of}\0${name}`;

/** `public.orders` → `orders` */
export const shown = (qualified: string): string => qualified.replace(/^public\./, "");

/** Whether whoever reads and writes one type does not notice that it is the other now. */
export function isCompatible(before: string, after: string): boolean {
  const [one, other] = [sized(before), sized(after)];
  if (!one || !other) return false;
  if (one.name === other.name && `${one.sizes}` === `${other.sizes}`) return true;
  if (one.name === "varchar" && other.name === "text") return true;
  if (one.name === "text") return other.name === "varchar" && other.sizes.length === 0;
  if (one.name !== other.name || !["varchar", "numeric"].includes(one.name)) return false;
  if (other.sizes.length === 0) return true;
  const [length = Number.POSITIVE_INFINITY, scale = 0] = one.sizes;
  const [nextLength = 0, nextScale = 0] = other.sizes;
  return nextLength >= length && nextScale === scale;
}

const ALIASES: Readonly<Record<string, string>> = {
  "character varying": "varchar",
  integer: "int4",
  bigint: "int8",
  smallint: "int2",
  boolean: "bool",
  real: "float4",
  "double precision": "float8",
  "timestamp with time zone": "timestamptz",
  "timestamp without time zone": "timestamp",
  "time without time zone": "time",
  decimal: "numeric",
};

// `character varying(20)`, as the catalog says it, and `varchar(20)`, as the parser does.
function sized(type: string) {
  const found = /^([a-z][a-z0-9_ ]*?)\s*(?:\(([\d,]+)\))?$/.exec(type);
  if (!found) return undefined;
  const name = ALIASES[found[1] ?? ""] ?? found[1] ?? "";
  return { name, sizes: (found[2] ?? "").split(",").filter(Boolean).map(Number) };
}
