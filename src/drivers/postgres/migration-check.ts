// What migrations would break for the release that still runs: PostgreSQL's own parser reads them,
// and what takes something away, renames it or asks for more than before is named. Expand first,
// contract with a later release.

import { loadModule, parse } from "libpg-query";
import { messageOf } from "../../kernel/error.ts";

export interface MigrationFinding {
  readonly file: string;
  readonly line: number;
  /** contract: what still runs may break. lock: writers wait meanwhile. unread: nobody can say. */
  readonly kind: "contract" | "lock" | "unread";
  readonly text: string;
}

export interface MigrationFile {
  readonly name: string;
  readonly text: string;
}

type Node = Readonly<Record<string, unknown>>;
type Found = Pick<MigrationFinding, "kind" | "text">;

let isLoaded: Promise<void> | undefined;

export async function checkMigrations(
  files: readonly MigrationFile[],
): Promise<readonly MigrationFinding[]> {
  isLoaded ??= loadModule();
  await isLoaded;
  // What one of them makes is nobody's yet: whatever happens to it breaks nothing.
  const fresh = new Set<string>();
  const findings: MigrationFinding[] = [];
  for (const { name, text } of files) {
    try {
      const { stmts = [] } = (await parse(text)) as {
        stmts?: readonly { stmt?: Node; stmt_location?: number }[];
      };
      for (const { stmt, stmt_location: at = 0 } of stmts) {
        const [[type, node] = ["", {}]] = Object.entries(stmt ?? {}) as [string, Node][];
        if (type === "CreateStmt") fresh.add(relationOf(node));
        for (const found of findingsOf(type, node, fresh))
          findings.push({ file: name, line: lineAt(text, at), ...found });
      }
    } catch (error) {
      findings.push({ file: name, line: 1, kind: "unread", text: messageOf(error) });
    }
  }
  return findings;
}

function findingsOf(type: string, node: Node, fresh: ReadonlySet<string>): Found[] {
  const table = relationOf(node);
  const contract = (text: string): Found[] => [{ kind: "contract", text }];
  switch (type) {
    case "AlterTableStmt":
      if (fresh.has(table)) return [];
      return listOf(node["cmds"]).flatMap((cmd) => ofAlter(table, cmd["AlterTableCmd"] as Node));
    case "DropStmt":
      return droppedOf(node)
        .filter((name) => !fresh.has(name))
        .flatMap((name) => contract(`drops ${word(node["removeType"])} ${name}`));
    case "RenameStmt": {
      if (fresh.has(table)) return [];
      const what = node["subname"] === undefined ? table : `${table}.${String(node["subname"])}`;
      return contract(`renames ${word(node["renameType"])} ${what} to ${String(node["newname"])}`);
    }
    case "TruncateStmt":
      return contract(
        `empties ${listOf(node["relations"])
          .map((one) => String((one["RangeVar"] as Node)["relname"]))
          .join(", ")}`,
      );
    case "AlterEnumStmt":
      return node["oldVal"] === undefined || node["oldVal"] === ""
        ? []
        : contract(`renames the value ${String(node["oldVal"])} of a type`);
    case "IndexStmt":
      return fresh.has(table) ? [] : ofIndex(table, node);
    default:
      return [];
  }
}

function ofAlter(table: string, { subtype, name, def }: Node): Found[] {
  const contract = (text: string): Found[] => [{ kind: "contract", text }];
  const column = `${table}.${String(name)}`;
  switch (subtype) {
    case "AT_DropColumn":
      return contract(`drops column ${column}`);
    case "AT_AlterColumnType":
      return contract(`changes the type of ${column}`);
    case "AT_SetNotNull":
      return contract(`makes ${column} not null: what still runs may leave it out`);
    case "AT_AddColumn": {
      const added = (def as Node)["ColumnDef"] as Node;
      const types = listOf(added["constraints"]).map(
        (one) => (one["Constraint"] as Node)["contype"],
      );
      const isGiven = ["CONSTR_DEFAULT", "CONSTR_IDENTITY", "CONSTR_GENERATED"].some((one) =>
        types.includes(one),
      );
      if (!types.includes("CONSTR_NOTNULL") || isGiven) return [];
      return contract(
        `adds ${table}.${String(added["colname"])} not null without a default: what still runs does not give it`,
      );
    }
    case "AT_AddConstraint": {
      const constraint = (def as Node)["Constraint"] as Node;
      return contract(
        `adds the constraint ${String(constraint["conname"] ?? "")} to ${table}: what still runs may not keep to it`,
      );
    }
    default:
      return [];
  }
}

function ofIndex(table: string, node: Node): Found[] {
  const name = String(node["idxname"] ?? "");
  const unique: Found[] =
    node["unique"] === true
      ? [
          {
            kind: "contract",
            text: `makes ${name} unique on ${table}: what still runs may not keep to it`,
          },
        ]
      : [];
  const lock: Found[] =
    node["concurrent"] === true
      ? []
      : [
          {
            kind: "lock",
            text: `builds the index ${name} on ${table}, writers wait: CREATE INDEX CONCURRENTLY`,
          },
        ];
  return [...unique, ...lock];
}

const listOf = (value: unknown): readonly Node[] => (Array.isArray(value) ? (value as Node[]) : []);

const relationOf = (node: Node): string =>
  String((node["relation"] as Node | undefined)?.["relname"] ?? "");

/** `OBJECT_TABLE` → `table` */
const word = (type: unknown): string =>
  String(type)
    .replace(/^OBJECT_/, "")
    .toLowerCase()
    .replaceAll("_", " ");

function droppedOf(node: Node): string[] {
  return listOf(node["objects"]).map((object) => {
    const items = listOf((object["List"] as Node | undefined)?.["items"]);
    const last = items.at(-1) ?? object;
    return String((last["String"] as Node | undefined)?.["sval"] ?? "something");
  });
}

function lineAt(text: string, at: number): number {
  // A statement begins where the one before ended: with its line ends.
  const gap = /^\s*/.exec(text.slice(at))?.[0].length ?? 0;
  return text.slice(0, at + gap).split("\n").length;
}
