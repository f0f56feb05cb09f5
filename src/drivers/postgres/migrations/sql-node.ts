// PostgreSQL's parse tree, as libpg_query gives it: an object with one key, which is its type.

export type Node = Readonly<Record<string, unknown>>;

export const listOf = (value: unknown): readonly Node[] =>
  Array.isArray(value) ? (value as Node[]) : [];

/** `{ DeleteStmt: { … } }` → `["DeleteStmt", { … }]` */
export function typedOf(node: Node | undefined): readonly [string, Node] {
  const [first] = Object.entries(node ?? {}) as [string, Node][];
  return first ?? ["", {}];
}

export const stringOf = (node: unknown): string | undefined =>
  ((node as Node | undefined)?.["String"] as { sval?: string } | undefined)?.sval;

/** Every `FuncCall` and the like under a node. */
export function* within(node: unknown, type: string): Generator<Node> {
  if (Array.isArray(node)) {
    for (const one of node) yield* within(one, type);
    return;
  }
  if (node === null || typeof node !== "object") return;
  for (const [key, value] of Object.entries(node)) {
    if (key === type) yield value as Node;
    yield* within(value, type);
  }
}

/** The text of a constant, where it is one. */
export function constantOf(node: unknown): string | undefined {
  const cast = (node as Node | undefined)?.["TypeCast"] as Node | undefined;
  const constant = ((cast?.["arg"] ?? node) as Node | undefined)?.["A_Const"] as Node | undefined;
  return (constant?.["sval"] as { sval?: string } | undefined)?.sval;
}

/** `OBJECT_TABLE` → `table` */
export const word = (type: unknown): string =>
  String(type)
    .replace(/^OBJECT_/, "")
    .toLowerCase()
    .replaceAll("_", " ");

/** Names of a list of strings: `[schema, table, column]`. */
export const namesIn = (nodes: unknown): string[] =>
  listOf(nodes).flatMap((one) => stringOf(one) ?? []);

/** `varchar(20)`; undefined where its length is not a number. */
export function typeText(type: unknown): string {
  const node = (type ?? {}) as Node;
  const name = namesIn(node["names"]).at(-1) ?? "";
  const sizes = listOf(node["typmods"]).map(
    (one) => ((one["A_Const"] as Node | undefined)?.["ival"] as { ival?: number })?.ival ?? 0,
  );
  const array = listOf(node["arrayBounds"]).length > 0 ? "[]" : "";
  return `${name}${sizes.length > 0 ? `(${sizes.join(",")})` : ""}${array}`;
}
