// What the subcommands of ALTER TABLE take from a release that still runs, and what waits for them.
// https://www.postgresql.org/docs/current/sql-altertable.html has the locks and the rewrites.

import { contract, type Found, lock, unread } from "./finding.ts";
import type { MigrationScope } from "./migration-scope.ts";
import { isCompatible, shown } from "./schema.ts";
import { listOf, type Node, namesIn, typedOf, typeText, within } from "./sql-node.ts";

type Rule = (relation: string, cmd: Node, scope: MigrationScope) => Found[];

const NOT_KEPT = "the running release may violate it";
const SERIAL = /^(small|big)?serial[248]?$/;

/** Of their kinds, those that neither break anything nor hold anybody up. */
const HARMLESS = new Set([
  "AT_DropNotNull",
  "AT_ValidateConstraint",
  "AT_AlterConstraint",
  "AT_SetStatistics",
  "AT_SetOptions",
  "AT_ResetOptions",
  "AT_SetStorage",
  "AT_SetCompression",
  "AT_ClusterOn",
  "AT_DropCluster",
  "AT_NoForceRowSecurity",
  "AT_AddInherit",
  "AT_AddOf",
  "AT_DropOf",
]);

const REWRITES = new Set([
  "AT_SetExpression",
  "AT_SetTableSpace",
  "AT_SetLogged",
  "AT_SetAccessMethod",
]);

const RULES: Readonly<Record<string, Rule>> = {
  AT_DropColumn: (relation, cmd, scope) =>
    isGone(relation, cmd, scope) ? [] : contract(`drops column ${columnOf(relation, cmd)}`),
  AT_AlterColumnType: ofType,
  AT_SetNotNull: (relation, cmd, scope) => {
    const column = `${relation}.${String(cmd["name"])}`;
    scope.make("required", column);
    return [
      ...(scope.isFresh("given", column)
        ? []
        : contract(`makes ${shown(column)} not null: the running release may omit it`)),
      ...(scope.isFreshColumn(relation, String(cmd["name"]))
        ? []
        : lock(
            `makes ${shown(column)} not null: reads and writes wait while all rows are checked`,
          )),
    ];
  },
  AT_ColumnDefault: (relation, cmd, scope) => {
    const name = String(cmd["name"]);
    const column = `${relation}.${name}`;
    const isFresh = scope.isFreshColumn(relation, name);
    if (cmd["def"] !== undefined && !isNull(cmd["def"])) {
      if (isFresh) scope.make("given", column);
      return [];
    }
    scope.unmake("given", column);
    return isFresh && !scope.isFresh("required", column)
      ? []
      : contract(`drops the default of ${shown(column)}: the running release may omit it`);
  },
  AT_DropIdentity: dropsGenerated,
  AT_DropExpression: dropsGenerated,
  AT_AddIdentity: (relation, cmd, scope) =>
    isGone(relation, cmd, scope)
      ? []
      : contract(
          `makes ${columnOf(relation, cmd)} an identity: the running release may set it itself`,
        ),
  AT_AddColumn: ofNewColumn,
  AT_AddConstraint: ofConstraint,
  AT_DropConstraint: (relation, cmd, scope) => {
    const name = String(cmd["name"] ?? "");
    const fact = scope.schema?.get("constraint", relation, name);
    if (!scope.schema) return unread(`drops the constraint ${name}: whether it is unique`);
    if (fact && /ON DELETE (CASCADE|SET)/.test(fact.detail))
      return contract(`drops the foreign key ${name}: rows that it removed stay`);
    return fact && /^(UNIQUE|PRIMARY|EXCLUDE)/.test(fact.detail)
      ? contract(`drops the unique constraint ${name} of ${shown(relation)}: ON CONFLICT needs it`)
      : [];
  },
  AT_EnableRowSecurity: (relation) =>
    contract(`turns row security on for ${shown(relation)}: the running release sees fewer rows`),
  AT_DisableRowSecurity: (relation) =>
    contract(
      `turns row security off for ${shown(relation)}: the running release can access all rows`,
    ),
  AT_SetIdentity: (relation, cmd) =>
    contract(`changes how ${columnOf(relation, cmd)} is filled in`),
  AT_SetRelOptions: ofOptions,
  AT_ResetRelOptions: ofOptions,
  AT_ReplaceRelOptions: ofOptions,
  AT_ReplicaIdentity: (relation) =>
    unread(`changes the replica identity of ${shown(relation)}: whether what is published notices`),
  AT_ForceRowSecurity: (relation) =>
    contract(`forces row security on ${shown(relation)}: the running release sees fewer rows`),
  AT_DetachPartition: (relation, cmd, scope) =>
    contract(`takes the partition ${partition(cmd, scope)} from ${shown(relation)}`),
  AT_AttachPartition: (relation, cmd, scope) =>
    lock(`attaches ${partition(cmd, scope)} to ${shown(relation)}: all of it is read first`),
  AT_DropInherit: (relation) => contract(`takes ${shown(relation)} from what it inherits of`),
  AT_ChangeOwner: (relation, _, scope) =>
    scope.isFresh("relation", relation) ? [] : contract(`changes the owner of ${shown(relation)}`),
  AT_SetUnLogged: (relation) => contract(`makes ${shown(relation)} unlogged: a crash empties it`),
};

export function ofAlterTable(node: Node, scope: MigrationScope): Found[] {
  const relation = scope.relation(node["relation"]);
  const found: Found[] = [];
  const isFresh = scope.isFresh("relation", relation);
  const mayBeMissing = node["missing_ok"] === true && scope.isMissing("relation", "", relation);
  if (isFresh || mayBeMissing) return [];
  for (const one of listOf(node["cmds"])) {
    const cmd = one["AlterTableCmd"] as Node;
    const kind = String(cmd["subtype"]);
    if (HARMLESS.has(kind)) continue;
    if (REWRITES.has(kind)) found.push(...lock(`rewrites ${shown(relation)}`));
    else if (/^AT_(En|Dis)able(Always|Replica)?(Trig|Rule)/.test(kind))
      found.push(
        ...contract(`changes which triggers or rules run on ${shown(relation)}: ${word(kind)}`),
      );
    else
      found.push(
        ...(RULES[kind]?.(relation, cmd, scope) ??
          unread(`${word(kind)} on ${shown(relation)}: its effect is not known`)),
      );
  }
  return found;
}

const columnOf = (relation: string, cmd: Node): string =>
  `${shown(relation)}.${String(cmd["name"] ?? "")}`;

const partition = (cmd: Node, scope: MigrationScope): string =>
  shown(scope.relation(typedOf(cmd["def"] as Node)[1]["name"]));

// Of a table they are its storage; of a view, whose rights it has.
function ofOptions(relation: string, cmd: Node): Found[] {
  const names = [...within(cmd["def"], "DefElem")].map(({ defname }) => String(defname));
  const isOfView = names.some((name) => /^(security_|check_option)/.test(name));
  return isOfView
    ? contract(`changes whose rights ${shown(relation)} has: ${names.join(", ")}`)
    : [];
}

/** `NULL`, also with a type. */
function isNull(expression: unknown): boolean {
  const [type, node] = typedOf(expression as Node);
  if (type === "TypeCast") return isNull(node["arg"]);
  return type === "A_Const" && node["isnull"] === true;
}

function isGone(relation: string, cmd: Node, scope: MigrationScope): boolean {
  const name = String(cmd["name"]);
  if (scope.isFreshColumn(relation, name)) return true;
  return cmd["missing_ok"] === true && scope.isMissing("column", relation, name);
}

function dropsGenerated(relation: string, cmd: Node, scope: MigrationScope): Found[] {
  return isGone(relation, cmd, scope)
    ? []
    : contract(`no longer fills ${columnOf(relation, cmd)} in: the running release may omit it`);
}

function ofType(relation: string, cmd: Node, scope: MigrationScope): Found[] {
  const name = String(cmd["name"]);
  if (scope.isFreshColumn(relation, name)) return [];
  const def = typedOf(cmd["def"] as Node)[1];
  const after = typeText(def["typeName"]);
  const column = columnOf(relation, cmd);
  const before = scope.schema?.get("column", relation, name)?.detail;
  if (def["raw_default"] === undefined) {
    const isCollated = def["collClause"] !== undefined;
    if (before !== undefined && !isCollated && isCompatible(before, after)) return [];
    if (before === undefined && ["text", "varchar"].includes(after))
      return unread(
        `makes ${column} ${after}: harmless where it was a shorter one, which is not known`,
      );
  }
  const from = before === undefined ? "" : ` from ${before}`;
  return [
    ...contract(`changes the type of ${column}${from} to ${after}`),
    ...lock(`changes the type of ${column}: the table is rewritten`),
  ];
}

function ofNewColumn(relation: string, cmd: Node, scope: MigrationScope): Found[] {
  const column = typedOf(cmd["def"] as Node)[1];
  const name = String(column["colname"]);
  const isThere = scope.schema?.has("column", relation, name) ?? false;
  if (cmd["missing_ok"] !== true || scope.isMissing("column", relation, name))
    scope.make("column", `${relation}.${name}`);
  else if (isThere) return [];
  const constraints = listOf(column["constraints"]).map((one) => one["Constraint"] as Node);
  const of = (kind: string): Node | undefined =>
    constraints.find(({ contype }) => contype === `CONSTR_${kind}`);
  const type = typeText(column["typeName"]);
  const [identity, generated] = [of("IDENTITY"), of("GENERATED")];
  const isSerial = SERIAL.test(type);
  const fallback = of("DEFAULT")?.["raw_expr"];
  const isGiven =
    (fallback !== undefined && !isNull(fallback)) || identity || generated || isSerial;
  if (of("NOTNULL") ?? of("PRIMARY")) scope.make("required", `${relation}.${name}`);
  if (isGiven) scope.make("given", `${relation}.${name}`);
  const text = `${shown(relation)}.${name}`;
  const found: Found[] = [];
  if ((of("NOTNULL") ?? of("PRIMARY")) && !isGiven)
    found.push(
      ...contract(
        `adds ${text} not null without a default: the running release does not provide it`,
      ),
    );
  const domain = scope.qualified(namesIn((column["typeName"] as Node | undefined)?.["names"]));
  if (scope.isFresh("strict domain", domain) && !isGiven)
    found.push(
      ...contract(`adds ${text} of a domain with constraints: the running release omits it`),
    );
  const others = [...within(of("CHECK")?.["raw_expr"], "ColumnRef")]
    .flatMap((one) => namesIn(one["fields"]).slice(-1))
    .filter((one) => one !== name);
  if (others.length > 0 || (of("CHECK") && asksForNulls(of("CHECK"))))
    found.push(...contract(`adds ${text} with a check: the running release may violate it`));
  const isStored = generated !== undefined && generated["generated_kind"] !== "v";
  if (identity || isStored || isSerial || isVolatile(of("DEFAULT")?.["raw_expr"]))
    found.push(...lock(`adds ${text} with a value for each row: the table is rewritten`));
  if (of("UNIQUE") || of("PRIMARY"))
    found.push(...lock(`adds ${text} with an index: reads and writes wait while it is built`));
  if (of("CHECK"))
    found.push(
      ...lock(`adds ${text} with a check: reads and writes wait while all rows are checked`),
    );
  return found;
}

// Within a transaction these stand still, so that one value holds for all rows.
const STABLE = new Set(["now", "transaction_timestamp", "statement_timestamp", "current_setting"]);
const IMMUTABLE = new Set(["lower", "upper", "md5", "concat", "to_date", "make_date", "timezone"]);

function isVolatile(expression: unknown): boolean {
  for (const call of within(expression, "FuncCall")) {
    const name = namesIn(call["funcname"]).at(-1) ?? "";
    if (!STABLE.has(name) && !IMMUTABLE.has(name)) return true;
  }
  return false;
}

/** `IS NULL`, or a function that may look at it. */
const asksForNulls = (node: unknown): boolean =>
  !within(node, "NullTest").next().done || !within(node, "FuncCall").next().done;

function ofConstraint(relation: string, cmd: Node, scope: MigrationScope): Found[] {
  const constraint = typedOf(cmd["def"] as Node)[1];
  const kind = String(constraint["contype"]);
  const name = String(constraint["conname"] ?? word(kind));
  const columns = [...namesIn(constraint["keys"]), ...namesIn(constraint["fk_attrs"])];
  for (const reference of within(constraint["raw_expr"], "ColumnRef"))
    columns.push(...namesIn(reference["fields"]).slice(-1));
  // What leaves a new column out leaves it null, where nothing fills it in; and null keeps to all that
  // does not ask for nulls.
  const isOfNew =
    columns.length > 0 &&
    constraint["nulls_not_distinct"] !== true &&
    !asksForNulls(constraint) &&
    columns.every(
      (one) => scope.isFreshColumn(relation, one) && !scope.isFresh("given", `${relation}.${one}`),
    );
  if (isOfNew && kind !== "CONSTR_PRIMARY" && kind !== "CONSTR_NOTNULL") return [];
  const found = contract(`adds the constraint ${name} to ${shown(relation)}: ${NOT_KEPT}`);
  const isQuick = constraint["skip_validation"] === true || constraint["indexname"] !== undefined;
  if (isQuick) return found;
  const how = ["CONSTR_UNIQUE", "CONSTR_PRIMARY", "CONSTR_EXCLUSION"].includes(kind)
    ? "builds an index meanwhile: CREATE UNIQUE INDEX CONCURRENTLY, then USING INDEX"
    : "reads all rows meanwhile: NOT VALID, then VALIDATE CONSTRAINT";
  return [...found, ...lock(`the constraint ${name} on ${shown(relation)} ${how}`)];
}

const word = (kind: string): string =>
  kind
    .replace(/^(AT|CONSTR)_/, "")
    .replaceAll(/([a-z])([A-Z])/g, "$1 $2")
    .toLowerCase();
