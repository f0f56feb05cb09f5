// What each kind of statement takes from a release that still runs. A kind that is not listed is
// "unread": it counts as risk, never as fine.

import { ofAlterTable } from "./alter-table.ts";
import { contract, type Found, lock, unread } from "./finding.ts";
import type { MigrationScope } from "./migration-scope.ts";
import { shown } from "./schema.ts";
import {
  constantOf,
  listOf,
  type Node,
  namesIn,
  stringOf,
  typedOf,
  typeText,
  within,
  word,
} from "./sql-node.ts";

/** @param stmt the statement with its type */
type Rule = (node: Node, scope: MigrationScope, stmt: Node) => Found[];

const nothing: Rule = () => [];
const makes =
  (kind: string, nameOf: (node: Node, scope: MigrationScope) => string): Rule =>
  (node, scope) => {
    const name = nameOf(node, scope);
    const of = kind === "relation" || kind === "type" || kind === "schema" ? kind : undefined;
    const isNew = of !== undefined && scope.isMissing(of, "", name);
    if (node["if_not_exists"] !== true || isNew) scope.make(kind, name);
    return [];
  };

const RULES: Readonly<Record<string, Rule>> = {
  // --- makes something
  CreateStmt: makes("relation", (node, scope) => scope.newRelation(node["relation"])),
  CreateForeignTableStmt: makes("relation", (node, scope) =>
    scope.newRelation((node["base"] as Node | undefined)?.["relation"]),
  ),
  CreateTableAsStmt: (node, scope, stmt) => {
    const into = { rel: (node["into"] as Node)["rel"], if_not_exists: node["if_not_exists"] };
    makes("relation", () => scope.newRelation(into.rel))(into, scope, stmt);
    return ofRows(node, scope, stmt);
  },
  CreateSeqStmt: makes("relation", (node, scope) => scope.newRelation(node["sequence"])),
  CreateEnumStmt: makes("type", (node, scope) => scope.newName(namesIn(node["typeName"]))),
  CreateRangeStmt: makes("type", (node, scope) => scope.newName(namesIn(node["typeName"]))),
  CreateDomainStmt: (node, scope, stmt) => {
    const name = scope.newName(namesIn(node["domainname"]));
    if (listOf(node["constraints"]).length > 0) scope.make("strict domain", name);
    return makes("type", () => name)(node, scope, stmt);
  },
  CompositeTypeStmt: makes("type", (node, scope) => scope.newRelation(node["typevar"])),
  DefineStmt: makes("function", (node, scope) => scope.newName(namesIn(node["defnames"]))),
  CreateSchemaStmt: makes("schema", (node) => String(node["schemaname"] ?? "")),
  CreateExtensionStmt: nothing,
  CreateStatsStmt: nothing,
  ViewStmt: ofView,
  IndexStmt: ofIndex,
  // --- changes what is there
  AlterTableStmt: ofAlterTable,
  RenameStmt: ofRename,
  AlterObjectSchemaStmt: (node, scope) => {
    const name = node["relation"]
      ? scope.relation(node["relation"])
      : scope.qualified(namesIn(nameListOf(node["object"])));
    return isFreshObject(scope, name)
      ? []
      : contract(
          `moves ${word(node["objectType"])} ${shown(name)} to the schema ${String(node["newschema"])}`,
        );
  },
  AlterOwnerStmt: (node, scope) => {
    const name = scope.qualified(namesIn(nameListOf(node["object"])));
    return isFreshObject(scope, name)
      ? []
      : contract(`changes the owner of ${word(node["objectType"])} ${shown(name)}`);
  },
  AlterEnumStmt: (node, scope) =>
    !node["oldVal"] || scope.isFresh("type", scope.qualified(namesIn(node["typeName"])))
      ? []
      : contract(`renames the value ${String(node["oldVal"])} of a type`),
  AlterDomainStmt: ofDomain,
  AlterTypeStmt: nothing,
  AlterSeqStmt: (node, scope) =>
    scope.isFresh("relation", scope.relation(node["sequence"])) ||
    listOf(node["options"]).every((one) => (one["DefElem"] as Node)["defname"] === "owned_by")
      ? []
      : unread(
          `changes the sequence ${shown(scope.relation(node["sequence"]))}: whether its users notice`,
        ),
  AlterStatsStmt: nothing,
  AlterExtensionStmt: () => unread("updates an extension: what that changes is not known"),
  CreateTrigStmt: (node, scope) =>
    onOld(node, scope, (table) =>
      contract(
        `adds the trigger ${String(node["trigname"])} to ${table}: the running release triggers it`,
      ),
    ),
  CreateEventTrigStmt: () => contract("adds an event trigger"),
  RuleStmt: (node, scope) =>
    onOld(node, scope, (table) =>
      contract(
        `adds the rule ${String(node["rulename"])} to ${table}: statements do something else`,
      ),
    ),
  CreatePolicyStmt: (node, scope) =>
    onOld({ relation: node["table"] }, scope, (table) =>
      node["permissive"] === true
        ? []
        : contract(`adds a restrictive policy to ${table}: the running release sees fewer rows`),
    ),
  AlterPolicyStmt: (node, scope) =>
    onOld({ relation: node["table"] }, scope, (table) =>
      contract(`changes the policy ${String(node["policy_name"])} of ${table}`),
    ),
  GrantStmt: (node, scope) => {
    if (node["is_grant"] === true) return [];
    const names = listOf(node["objects"]).map((one) =>
      one["RangeVar"] ? scope.relation(one["RangeVar"]) : scope.qualified(namesIn(nameListOf(one))),
    );
    const old = names.filter((name) => !isFreshObject(scope, name));
    return old.length === 0 && names.length > 0
      ? []
      : contract(`takes rights on ${old.map(shown).join(", ") || "all of a kind"}`);
  },
  GrantRoleStmt: (node) =>
    node["is_grant"] === true ? [] : contract("takes a role from an account"),
  AlterDefaultPrivilegesStmt: nothing,
  // --- takes something away
  DropStmt: ofDrop,
  DropOwnedStmt: () => contract("drops all that a role owns"),
  DropRoleStmt: () => contract("drops a role"),
  DropdbStmt: () => contract("drops a database"),
  ReassignOwnedStmt: () => contract("gives what a role owns to another"),
  TruncateStmt: (node, scope) => {
    const old = scope.relations(node["relations"]).filter((one) => !scope.isFresh("relation", one));
    return old.length === 0 ? [] : contract(`empties ${old.map(shown).join(", ")}`);
  },
  // --- holds others up
  ReindexStmt: (node) =>
    listOf(node["params"]).some((one) => (one["DefElem"] as Node)["defname"] === "concurrently")
      ? []
      : lock("builds indexes anew, writers wait: REINDEX CONCURRENTLY"),
  VacuumStmt: (node) =>
    listOf(node["options"]).some((one) => {
      const { defname, arg } = one["DefElem"] as Node;
      return defname === "full" && !/false|off|"ival":0|\{\}/.test(JSON.stringify(arg ?? "on"));
    })
      ? lock("writes tables anew (VACUUM FULL), reads and writes wait")
      : [],
  ClusterStmt: () => lock("writes a table anew (CLUSTER), reads and writes wait"),
  LockStmt: (node, scope) =>
    lock(
      `locks ${scope.relations(node["relations"]).map(shown).join(", ")} until its transaction ends`,
    ),
  RefreshMatViewStmt: (node, scope) =>
    node["concurrent"] === true || scope.isFresh("relation", scope.relation(node["relation"]))
      ? []
      : lock(`fills ${shown(scope.relation(node["relation"]))} anew, readers wait: CONCURRENTLY`),
  // --- rows
  InsertStmt: ofRows,
  SelectStmt: ofRows,
  UpdateStmt: ofRows,
  DeleteStmt: ofRows,
  MergeStmt: ofRows,
  CopyStmt: (node, scope, stmt) =>
    node["is_program"] === true ? unread("COPY runs a program") : ofRows(node, scope, stmt),
  ExplainStmt: (node, scope) => ofStatement(node["query"] as Node, scope),
  PrepareStmt: (node, scope) => ofStatement(node["query"] as Node, scope),
  // --- of the session
  VariableSetStmt: (node, scope) => {
    const isPath = node["name"] === "search_path" || node["kind"] === "VAR_RESET_ALL";
    if (isPath) scope.setPath(listOf(node["args"]).map((one) => constantOf(one) ?? "?"));
    return [];
  },
  TransactionStmt: nothing,
  VariableShowStmt: nothing,
  ConstraintsSetStmt: nothing,
  CommentStmt: nothing,
  SecLabelStmt: nothing,
  NotifyStmt: nothing,
  DiscardStmt: nothing,
  CheckPointStmt: nothing,
  DeclareCursorStmt: (node, scope) => ofStatement(node["query"] as Node, scope),
  FetchStmt: nothing,
  ClosePortalStmt: nothing,
};

export function ofStatement(stmt: Node | undefined, scope: MigrationScope): Found[] {
  const [type, node] = typedOf(stmt);
  if (type === "") return [];
  const rule = RULES[type];
  return rule && stmt
    ? rule(node, scope, stmt)
    : unread(`${type.replace(/Stmt$/, "")}: its effect is not known`);
}

// Dropped, owned and moved things are named by a list, an object with arguments or a type.
function nameListOf(object: unknown): unknown {
  const [type, node] = typedOf(object as Node);
  if (type === "List") return node["items"];
  if (type === "ObjectWithArgs") return node["objname"];
  if (type === "TypeName") return node["names"];
  return [object];
}

const isFreshObject = (scope: MigrationScope, name: string): boolean =>
  ["relation", "type", "function", "schema"].some((kind) => scope.isFresh(kind, name));

function onOld(node: Node, scope: MigrationScope, found: (table: string) => Found[]): Found[] {
  const relation = scope.relation(node["relation"]);
  return scope.isFresh("relation", relation) ? [] : found(shown(relation));
}

function ofView(node: Node, scope: MigrationScope): Found[] {
  const name = scope.newRelation(node["view"]);
  const isOld =
    node["replace"] === true &&
    !scope.isFresh("relation", name) &&
    !scope.isMissing("relation", "", name);
  if (isOld) return contract(`replaces the view ${shown(name)}: the running release reads it`);
  scope.make("relation", name);
  return [];
}

function ofIndex(node: Node, scope: MigrationScope): Found[] {
  const relation = scope.relation(node["relation"]);
  const name = String(node["idxname"] ?? "");
  scope.make("relation", `${relation.split(".")[0]}.${name}`);
  if (scope.isFresh("relation", relation)) return [];
  const table = shown(relation);
  const columns = listOf(node["indexParams"]).flatMap((one) => {
    const { name: column, expr } = one["IndexElem"] as Node;
    if (column !== undefined) return [String(column)];
    return [...within(expr, "ColumnRef")].flatMap((ref) => namesIn(ref["fields"]).slice(-1));
  });
  const isOfNew =
    columns.length > 0 &&
    node["nulls_not_distinct"] !== true &&
    columns.every((one) => scope.isFreshColumn(relation, one) && !isGiven(scope, relation, one));
  return [
    ...(node["unique"] === true && !isOfNew
      ? contract(`makes ${name} unique on ${table}: the running release may violate it`)
      : []),
    ...(node["concurrent"] === true
      ? []
      : lock(`builds the index ${name} on ${table}, writers wait: CREATE INDEX CONCURRENTLY`)),
  ];
}

/** Something fills it in: what leaves it out does not leave it null. */
const isGiven = (scope: MigrationScope, relation: string, column: string): boolean =>
  scope.isFresh("given", `${relation}.${column}`);

function ofRename(node: Node, scope: MigrationScope): Found[] {
  const kind = String(node["renameType"]);
  const newName = String(node["newname"]);
  // Nobody asks for them by name.
  if (["OBJECT_INDEX", "OBJECT_TRIGGER", "OBJECT_POLICY", "OBJECT_RULE"].includes(kind)) return [];
  const isOfRelation = node["relation"] !== undefined;
  const name = isOfRelation
    ? scope.relation(node["relation"])
    : scope.qualified(namesIn(nameListOf(node["object"])));
  const column = node["subname"] === undefined ? undefined : String(node["subname"]);
  const isColumn = kind === "OBJECT_COLUMN" || kind === "OBJECT_ATTRIBUTE";
  const schema = name.split(".")[0];
  if (isColumn && column !== undefined && scope.isFreshColumn(name, column)) {
    scope.unmake("column", `${name}.${column}`);
    scope.make("column", `${name}.${newName}`);
    return [];
  }
  const what = isOfRelation ? "relation" : kind === "OBJECT_SCHEMA" ? "schema" : "type";
  if (scope.isFresh(what, name)) {
    if (isColumn) return [];
    scope.unmake(what, name);
    scope.make(what, `${schema}.${newName}`);
    return [];
  }
  if (scope.schema?.get("relation", "", name)?.detail === "index") return [];
  const text = column === undefined ? shown(name) : `${shown(name)}.${column}`;
  return contract(`renames ${word(kind)} ${text} to ${newName}`);
}

function ofDomain(node: Node, scope: MigrationScope): Found[] {
  const name = scope.qualified(namesIn(node["typeName"]));
  if (scope.isFresh("type", name)) return [];
  const type = shown(name);
  switch (node["subtype"]) {
    case "C":
    case "O":
    case "AD_AddConstraint":
    case "AD_SetNotNull":
      return contract(
        `adds a constraint to the domain ${type}: the running release may violate it`,
      );
    case "T":
    case "AD_AlterDefault":
      return node["def"] === undefined ? contract(`drops the default of the domain ${type}`) : [];
    default:
      return [];
  }
}

/** They belong to a table, whose name comes before theirs. */
const OF_TABLES: Readonly<Record<string, "trigger" | "policy" | "rule">> = {
  OBJECT_TRIGGER: "trigger",
  OBJECT_POLICY: "policy",
  OBJECT_RULE: "rule",
};
const RELATIONS = ["TABLE", "VIEW", "MATVIEW", "SEQUENCE", "INDEX", "FOREIGN_TABLE"];

function ofDrop(node: Node, scope: MigrationScope): Found[] {
  const removes = String(node["removeType"]);
  if (removes === "OBJECT_STATISTIC_EXT") return [];
  const isOptional = node["missing_ok"] === true;
  return listOf(node["objects"]).flatMap((object) => {
    const names = namesIn(nameListOf(object));
    const ofTable = OF_TABLES[removes];
    if (ofTable) {
      const table = scope.qualified(names.slice(0, -1));
      if (scope.isFresh("relation", table)) return [];
      if (isOptional && scope.isMissing(ofTable, table, names.at(-1) ?? "")) return [];
      return contract(`drops ${ofTable} ${names.at(-1)} of ${shown(table)}`);
    }
    if (removes === "OBJECT_SCHEMA" || removes === "OBJECT_EXTENSION") {
      const [name = ""] = names.length > 0 ? names : [stringOf(object) ?? ""];
      if (scope.isFresh("schema", name)) return [];
      const what = removes === "OBJECT_SCHEMA" ? "schema" : "extension";
      if (isOptional && scope.isMissing(what, "", name)) return [];
      return contract(`drops ${word(removes)} ${name}`);
    }
    const name = scope.qualified(names);
    const type = removes.replace("OBJECT_", "");
    const kind = RELATIONS.includes(type)
      ? "relation"
      : ROUTINES.includes(type)
        ? "function"
        : "type";
    const own = kind === "function" ? `${name}(${typesOf(object)})` : name;
    if (scope.isFresh(kind, own)) {
      scope.unmake(kind, own);
      return [];
    }
    if (removes === "OBJECT_INDEX") return ofDroppedIndex(name, node, scope);
    if (isOptional && kind !== "function" && scope.isMissing(kind, "", name)) return [];
    if (isOptional && kind === "function" && scope.hasNoFunction(name)) return [];
    return contract(`drops ${word(removes)} ${shown(name)}`);
  });
}

const ROUTINES = ["FUNCTION", "PROCEDURE", "ROUTINE", "AGGREGATE"];

/** What a function takes, of `DROP FUNCTION f(int)`. */
const typesOf = (object: Node): string =>
  listOf((object["ObjectWithArgs"] as Node | undefined)?.["objargs"])
    .map((one) => typeText(one["TypeName"]))
    .join(",");

// Slower is not broken; but ON CONFLICT needs a unique one.
function ofDroppedIndex(name: string, node: Node, scope: MigrationScope): Found[] {
  const isUnique = [...(scope.schema?.facts ?? [])].some(
    (fact) => fact.kind === "unique index" && `${fact.of.split(".")[0]}.${fact.name}` === name,
  );
  return [
    ...(scope.schema ? [] : unread(`drops the index ${shown(name)}: whether it is unique`)),
    ...(isUnique ? contract(`drops the unique index ${shown(name)}: ON CONFLICT needs it`) : []),
    ...(node["concurrent"] === true
      ? []
      : lock(`drops the index ${shown(name)}, reads and writes wait: DROP INDEX CONCURRENTLY`)),
  ];
}

// --- rows: also those that a statement writes on the way (WITH … DELETE)

function ofRows(node: Node, scope: MigrationScope, stmt: Node): Found[] {
  const found: Found[] = [];
  for (const one of within(stmt, "DeleteStmt")) found.push(...ofDelete(one, scope));
  for (const one of within(stmt, "UpdateStmt")) found.push(...ofUpdate(one, scope));
  for (const one of within(stmt, "MergeStmt")) found.push(...ofMerge(one, scope));
  const into = (node["intoClause"] as Node | undefined)?.["rel"];
  if (into) scope.make("relation", scope.newRelation(into));
  for (const call of within(node, "FuncCall")) setsPath(call, scope);
  return found;
}

function setsPath(call: Node, scope: MigrationScope): void {
  const [name, value] = listOf(call["args"]).map(constantOf);
  if (namesIn(call["funcname"]).at(-1) === "set_config" && name === "search_path")
    scope.setPath((value ?? "?").split(","));
}

// `WHERE true` is none.
const selects = (where: unknown): boolean => !within(where, "ColumnRef").next().done;

function ofDelete(node: Node, scope: MigrationScope): Found[] {
  const relation = scope.relation(node["relation"]);
  return selects(node["whereClause"]) || scope.isFresh("relation", relation)
    ? []
    : contract(`deletes every row of ${shown(relation)}`);
}

function ofUpdate(node: Node, scope: MigrationScope): Found[] {
  const relation = scope.relation(node["relation"]);
  if (selects(node["whereClause"])) return [];
  const old = listOf(node["targetList"])
    .map((one) => String((one["ResTarget"] as Node)["name"]))
    .filter((column) => !scope.isFreshColumn(relation, column));
  return old.length === 0
    ? []
    : contract(`overwrites ${old.join(", ")} in every row of ${shown(relation)}`);
}

function ofMerge(node: Node, scope: MigrationScope): Found[] {
  const relation = scope.relation(node["relation"]);
  const deletes = listOf(node["mergeWhenClauses"]).some(
    (one) => (one["MergeWhenClause"] as Node)["commandType"] === "CMD_DELETE",
  );
  return deletes && !scope.isFresh("relation", relation)
    ? contract(`deletes rows of ${shown(relation)}`)
    : [];
}
