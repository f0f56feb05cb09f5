// What runs inside a statement: DO blocks, functions that are called. PL/pgSQL is read by its own
// parser; what SQL that is built at run time does can't be read, and is said.

import { parsePlPgSQLSync, parseSync } from "libpg-query";
import { type Found, unread } from "./finding.ts";
import { type MigrationScope, PLACEHOLDER } from "./migration-scope.ts";
import { shown } from "./schema.ts";
import { constantOf, listOf, type Node, namesIn, stringOf, typeText, within } from "./sql-node.ts";
import { ofStatement } from "./statements.ts";

const CALLS_MAX = 20;

/** Of a statement, and of all that it runs. */
export class ProceduralReader {
  readonly #scope: MigrationScope;
  readonly #calling: string[] = [];
  /** Each function is read once: some that call each other twice would be read without end. */
  readonly #read = new Map<string, readonly Found[]>();

  constructor(scope: MigrationScope) {
    this.#scope = scope;
  }

  /**
   * @param stmt as parsed
   * @param text of the statement
   */
  read(stmt: Node, text: string): Found[] {
    const block = stmt["DoStmt"] as Node | undefined;
    if (block) return this.#block(block, text);
    const made = stmt["CreateFunctionStmt"] as Node | undefined;
    if (made) return this.#make(made, text);
    const call = stmt["CallStmt"] as Node | undefined;
    if (call) {
      const outer = call["funccall"] as Node | undefined;
      return [
        ...this.#calls(outer ? [outer] : []),
        ...this.#calls([...within(outer?.["args"], "FuncCall")], false),
      ];
    }
    return this.#statement(stmt);
  }

  #statement(stmt: Node): Found[] {
    const isDirect = "SelectStmt" in stmt;
    const calls = [...within(stmt, "FuncCall")];
    return [...ofStatement(stmt, this.#scope), ...this.#calls(calls, isDirect)];
  }

  #block(node: Node, text: string): Found[] {
    const options = optionsOf(node["args"]);
    const language = options.get("language") ?? "plpgsql";
    if (language !== "plpgsql") return unread(`a block in ${language}: its effect cannot be read`);
    return this.#body(text, firstLine(text, options.get("as") ?? ""));
  }

  // What a function does counts when it is called.
  #make(node: Node, text: string): Found[] {
    const scope = this.#scope;
    const name = scope.newName(namesIn(node["funcname"]));
    const own = `${name}(${argumentsOf(node)})`;
    const isOld =
      node["replace"] === true && !scope.isFresh("function", own) && this.#mayExist(name);
    scope.routines.set(name, [...(scope.routines.get(name) ?? []), text]);
    if (!isOld) scope.make("function", own);
    return isOld ? unread(`replaces the function ${shown(name)}: whether its callers notice`) : [];
  }

  #mayExist(name: string): boolean {
    const { schema } = this.#scope;
    return !schema || [...schema.facts].some((one) => one.kind === "function" && one.of === name);
  }

  /** @param isDirect it runs for its own sake; a value for a row is only looked for in what was made here */
  #calls(calls: readonly Node[], isDirect = true): Found[] {
    return calls.flatMap((call) => {
      const { name, isBuiltin } = this.#scope.functionOf(call);
      const routines = this.#scope.routines.get(name) ?? [];
      if (routines.length === 0)
        return isBuiltin || !isDirect
          ? []
          : unread(`calls ${shown(name)}: its effect cannot be read`);
      if (this.#calling.includes(name) || this.#calling.length > CALLS_MAX) return [];
      this.#calling.push(name);
      try {
        // Which of several of one name is meant is not looked into.
        const inside = routines.flatMap((one) => this.#readOnce(one));
        return inside.map(({ kind, text }) => ({
          kind,
          text: `calls ${shown(name)}, which ${text}`,
        }));
      } finally {
        this.#calling.pop();
      }
    });
  }

  #readOnce(text: string): readonly Found[] {
    const known = this.#read.get(text);
    if (known) return known;
    const found = unique(this.#routine(text));
    this.#read.set(text, found);
    return found;
  }

  #routine(text: string): Found[] {
    const [parsed] = statementsOf(text);
    const node = (parsed?.stmt?.["CreateFunctionStmt"] ?? {}) as Node;
    const options = optionsOf(node["options"]);
    const language = options.get("language") ?? "sql";
    if (node["sql_body"] !== undefined) return this.#inside(node["sql_body"]);
    if (language === "plpgsql") return this.#body(text, 0);
    if (language !== "sql") return unread(`is written in ${language}`);
    return this.#sql(options.get("as") ?? "", 0);
  }

  // BEGIN ATOMIC … END has been parsed with the rest.
  #inside(body: unknown): Found[] {
    const found: Found[] = [];
    for (const { items } of within(body, "List") as Iterable<{ items?: unknown }>)
      for (const one of listOf(items)) {
        if ("List" in one) continue;
        found.push(...this.#statement(one));
      }
    return found;
  }

  #sql(text: string, line: number): Found[] {
    try {
      return statementsOf(text).flatMap(({ stmt, text: own }) =>
        this.read(stmt, own).map((found) => ({ ...found, line: (found.line ?? 0) + line })),
      );
    } catch {
      return [{ kind: "unread", text: "a statement in a block cannot be parsed", line }];
    }
  }

  /** @param line of the statement's text in which the body begins, from 0 */
  #body(text: string, line: number): Found[] {
    let parsed: unknown;
    try {
      parsed = parsePlPgSQLSync(text);
    } catch {
      return unread("a block that cannot be parsed");
    }
    return this.#scope.conditionally(() => this.#walk(parsed, line, 1));
  }

  #walk(node: unknown, first: number, lineno: number, isDynamic = false): Found[] {
    if (Array.isArray(node)) return node.flatMap((one) => this.#walk(one, first, lineno));
    if (node === null || typeof node !== "object") return [];
    const own = (node as { lineno?: number }).lineno ?? lineno;
    return Object.entries(node as Node).flatMap(([key, value]) => {
      const line = first + own - 1;
      if (key === "PLpgSQL_expr") return this.#expression(value as Expression, line);
      if (key === "dynquery" || (key === "query" && isDynamic)) {
        const text = (value as { PLpgSQL_expr?: Expression }).PLpgSQL_expr?.query ?? "";
        return this.#executed(text, line);
      }
      return this.#walk(value, first, own, DYNAMIC.has(key));
    });
  }

  #expression({ query, parseMode }: Expression, line: number): Found[] {
    if (parseMode === STATEMENT) return this.#sql(query, line);
    // An assignment: what is assigned is an expression.
    const value = parseMode === EXPRESSION ? query : query.replace(/^[^=]*?:?=/, "");
    return value.includes("(") ? this.#sql(`SELECT ${value}`, line) : [];
  }

  // EXECUTE of a text: of one that is there, or put together by format() from names alone.
  #executed(expression: string, line: number): Found[] {
    const unknown: Found[] = [
      { kind: "unread", text: "executes SQL that is built at run time", line },
    ];
    let parsed: Node | undefined;
    try {
      const [select] = statementsOf(`SELECT ${expression}`);
      const targets = listOf((select?.stmt["SelectStmt"] as Node | undefined)?.["targetList"]);
      parsed = (targets[0]?.["ResTarget"] as Node | undefined)?.["val"] as Node | undefined;
    } catch {
      return unknown;
    }
    const text = constantOf(parsed);
    if (text !== undefined) return this.#sql(text, line);
    const call = parsed?.["FuncCall"] as Node | undefined;
    const isFormat =
      call &&
      namesIn(call["funcname"]).at(-1) === "format" &&
      this.#scope.functionOf(call).isBuiltin;
    const template = isFormat ? constantOf(listOf(call["args"])[0]) : undefined;
    if (template === undefined) return unknown;
    const found = this.#sql(template.replaceAll(/%(?:\d+\$)?-?\d*([IsL])/g, placeholder), line);
    // %s may be anything, also another statement.
    return /%(\d+\$)?-?\d*s/.test(template) ? [...found, ...unknown] : found;
  }
}

const unique = (found: readonly Found[]): readonly Found[] => [
  ...new Map(found.map((one) => [`${one.kind} ${one.text}`, one])).values(),
];

interface Expression {
  readonly query: string;
  readonly parseMode: number;
}

// Of PL/pgSQL's RawParseMode.
const STATEMENT = 0;
const EXPRESSION = 2;

const placeholder = (_: string, kind: string): string =>
  kind === "L" ? `'${PLACEHOLDER}'` : `"${PLACEHOLDER}"`;

/** In these `query` is a text that is executed; elsewhere it is a statement. */
const DYNAMIC = new Set(["PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"]);

const argumentsOf = (node: Node): string =>
  listOf(node["parameters"])
    .map((one) => one["FunctionParameter"] as Node)
    .filter(({ mode }) => mode !== "FUNC_PARAM_OUT" && mode !== "FUNC_PARAM_TABLE")
    .map(({ argType }) => typeText(argType))
    .join(",");

/** @throws what PostgreSQL's parser says */
export function statementsOf(text: string): { stmt: Node; text: string; at: number }[] {
  const { stmts = [] } = parseSync(text) as {
    stmts?: readonly { stmt?: Node; stmt_location?: number; stmt_len?: number }[];
  };
  // It counts in bytes.
  const bytes = Buffer.from(text);
  return stmts.map(({ stmt = {}, stmt_location: at = 0, stmt_len: length }) => {
    const end = length === undefined ? undefined : at + length;
    return { stmt, text: bytes.subarray(at, end).toString(), at };
  });
}

function optionsOf(nodes: unknown): ReadonlyMap<string, string> {
  return new Map(
    listOf(nodes).map((one) => {
      const { defname, arg } = one["DefElem"] as Node;
      const list = listOf(((arg as Node | undefined)?.["List"] as Node | undefined)?.["items"]);
      return [String(defname), stringOf(arg) ?? stringOf(list[0]) ?? ""];
    }),
  );
}

/** Line of a text, from 0, in which a part of it begins. */
function firstLine(text: string, part: string): number {
  const at = text.indexOf(part);
  return at < 0 ? 0 : text.slice(0, at).split("\n").length - 1;
}
