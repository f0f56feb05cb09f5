// Reads what a database has from PostgreSQL's catalogs, without what PostgreSQL and its extensions
// brought themselves.

import type pg from "pg";
import { Schema, type SchemaFact } from "./schema.ts";

const OWN = `n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'`;
const noExtension = (catalog: string, oid: string): string =>
  `NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = '${catalog}'::regclass AND d.objid = ${oid} AND d.deptype = 'e')`;
const RELATION = `pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND ${OWN}`;
const OF = `n.nspname || '.' || c.relname`;
const COLUMNS_OF = (numbers: string): string =>
  `ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (${numbers}) ORDER BY 1)`;
const NONE = `'{}'::text[]`;
const COLUMN = `pg_attribute a JOIN ${RELATION} ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') WHERE a.attnum > 0 AND NOT a.attisdropped`;
const KINDS = `CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'i' THEN 'index' WHEN 'I' THEN 'index' WHEN 'f' THEN 'foreign table' ELSE 'type' END`;

const FACTS = `
SELECT 'schema' AS kind, '' AS of, n.nspname AS name, '' AS detail, ${NONE} AS columns FROM pg_namespace n WHERE ${OWN}
UNION ALL SELECT 'relation', '', ${OF}, ${KINDS}, ${NONE} FROM ${RELATION} WHERE ${noExtension("pg_class", "c.oid")}
UNION ALL SELECT 'view', ${OF}, '', pg_get_viewdef(c.oid), ${NONE} FROM ${RELATION} WHERE c.relkind IN ('v', 'm') AND ${noExtension("pg_class", "c.oid")}
UNION ALL SELECT 'column', ${OF}, a.attname, format_type(a.atttypid, a.atttypmod), ${NONE} FROM ${COLUMN}
UNION ALL SELECT 'not null', ${OF}, a.attname, '', ${NONE} FROM ${COLUMN} AND a.attnotnull
UNION ALL SELECT 'default', ${OF}, a.attname, a.attidentity::text || a.attgenerated::text, ${NONE} FROM ${COLUMN} AND (a.atthasdef OR a.attidentity <> '')
UNION ALL SELECT 'constraint', ${OF}, o.conname, pg_get_constraintdef(o.oid), ${COLUMNS_OF("o.conkey")}
  FROM pg_constraint o JOIN ${RELATION} ON c.oid = o.conrelid WHERE o.contype IN ('c', 'f', 'p', 'u', 'x')
UNION ALL SELECT 'unique index', ${OF}, i.relname, pg_get_indexdef(i.oid), ${COLUMNS_OF("x.indkey")}
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN ${RELATION} ON c.oid = x.indrelid
  WHERE x.indisunique AND NOT EXISTS (SELECT 1 FROM pg_constraint o WHERE o.conindid = i.oid)
UNION ALL SELECT 'trigger', ${OF}, t.tgname, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid), ${NONE}
  FROM pg_trigger t JOIN ${RELATION} ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL SELECT 'policy', ${OF}, p.polname, concat_ws(' ', p.polcmd::text, p.polpermissive::text, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), ${NONE}
  FROM pg_policy p JOIN ${RELATION} ON c.oid = p.polrelid
UNION ALL SELECT 'row security', ${OF}, '', '', ${NONE} FROM ${RELATION} WHERE c.relrowsecurity
UNION ALL SELECT 'row security', ${OF}, 'forced', '', ${NONE} FROM ${RELATION} WHERE c.relforcerowsecurity
UNION ALL SELECT 'rule', ${OF}, r.rulename, pg_get_ruledef(r.oid), ${NONE}
  FROM pg_rewrite r JOIN ${RELATION} ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'
UNION ALL SELECT 'function', n.nspname || '.' || f.proname, pg_get_function_identity_arguments(f.oid), md5(concat_ws(' ', f.prosrc, pg_get_function_result(f.oid))), ${NONE}
  FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace AND ${OWN} WHERE ${noExtension("pg_proc", "f.oid")}
UNION ALL SELECT 'type', '', n.nspname || '.' || t.typname, t.typtype::text || coalesce(format_type(nullif(t.typbasetype, 0), t.typtypmod), ''), ${NONE}
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND ${OWN} WHERE t.typtype IN ('e', 'd', 'r') AND ${noExtension("pg_type", "t.oid")}
UNION ALL SELECT 'enum value', n.nspname || '.' || t.typname, e.enumlabel, '', ${NONE}
  FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace AND ${OWN}
UNION ALL SELECT 'domain constraint', n.nspname || '.' || t.typname, o.conname, pg_get_constraintdef(o.oid), ${NONE}
  FROM pg_constraint o JOIN pg_type t ON t.oid = o.contypid JOIN pg_namespace n ON n.oid = t.typnamespace AND ${OWN}
UNION ALL SELECT 'domain constraint', n.nspname || '.' || t.typname, 'not null', '', ${NONE}
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND ${OWN} WHERE t.typtype = 'd' AND t.typnotnull
UNION ALL SELECT DISTINCT 'right', ${OF}, l.privilege_type, '', ${NONE}
  FROM ${RELATION} CROSS JOIN LATERAL aclexplode(c.relacl) l JOIN pg_roles r ON r.oid = l.grantee WHERE r.rolname = $1`;

/** @param role whose rights count: the one that the app runs as */
export async function readSchema(client: pg.Client, role: string): Promise<Schema> {
  const { rows } = await client.query<SchemaFact>(FACTS, [role]);
  const builtins = await client.query<{ proname: string }>(
    "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = pg_proc.oid AND d.deptype = 'e')",
  );
  return new Schema(
    rows,
    builtins.rows.map(({ proname }) => proname),
  );
}
