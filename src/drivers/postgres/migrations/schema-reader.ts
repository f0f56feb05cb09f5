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

const NO_ID = "NULL::text";
const FACTS = `
SELECT 'schema' AS kind, '' AS of, n.nspname AS name, '' AS detail, ${NONE} AS columns, ${NO_ID} AS id FROM pg_namespace n WHERE ${OWN}
UNION ALL SELECT 'extension', '', e.extname, '', ${NONE}, ${NO_ID} FROM pg_extension e
UNION ALL SELECT 'relation', '', ${OF}, ${KINDS}, ${NONE}, c.oid::text FROM ${RELATION} WHERE ${noExtension("pg_class", "c.oid")}
UNION ALL SELECT 'view', ${OF}, '', pg_get_viewdef(c.oid), ${NONE}, ${NO_ID} FROM ${RELATION} WHERE c.relkind IN ('v', 'm') AND ${noExtension("pg_class", "c.oid")}
UNION ALL SELECT 'options', ${OF}, '', concat_ws(' ', c.relpersistence::text, CASE WHEN c.relkind = 'v' THEN c.reloptions::text END, s.seqincrement::text, s.seqmax::text, s.seqmin::text), ${NONE}, ${NO_ID}
  FROM ${RELATION} LEFT JOIN pg_sequence s ON s.seqrelid = c.oid WHERE c.relkind IN ('r', 'p', 'v', 'S') AND ${noExtension("pg_class", "c.oid")}
UNION ALL SELECT 'parent', ${OF}, i.inhparent::text, coalesce(pg_get_expr(c.relpartbound, c.oid), ''), ${NONE}, ${NO_ID} FROM ${RELATION} JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relkind IN ('r', 'p', 'f')
UNION ALL SELECT 'column', ${OF}, a.attname, format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attcollation NOT IN (0, 100) THEN ' collate ' || a.attcollation ELSE '' END, ${NONE}, c.oid || '.' || a.attnum FROM ${COLUMN}
UNION ALL SELECT 'not null', ${OF}, a.attname, '', ${NONE}, ${NO_ID} FROM ${COLUMN} AND a.attnotnull
UNION ALL SELECT 'default', ${OF}, a.attname, a.attidentity::text || CASE WHEN a.attgenerated <> '' THEN (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE d.adrelid = c.oid AND d.adnum = a.attnum) ELSE '' END, ${NONE}, ${NO_ID} FROM ${COLUMN} AND (a.atthasdef OR a.attidentity <> '')
UNION ALL SELECT 'constraint', ${OF}, o.conname, pg_get_constraintdef(o.oid), ${COLUMNS_OF("o.conkey")}, ${NO_ID}
  FROM pg_constraint o JOIN ${RELATION} ON c.oid = o.conrelid WHERE o.contype IN ('c', 'f', 'p', 'u', 'x')
UNION ALL SELECT 'unique index', ${OF}, i.relname, concat_ws(' ', pg_get_expr(x.indexprs, x.indrelid), pg_get_expr(x.indpred, x.indrelid), CASE WHEN pg_get_indexdef(i.oid) LIKE '%NULLS NOT DISTINCT%' THEN 'NULLS NOT DISTINCT' END), ${COLUMNS_OF("x.indkey")}, ${NO_ID}
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN ${RELATION} ON c.oid = x.indrelid AND c.relkind IN ('r', 'p')
  WHERE x.indisunique AND NOT EXISTS (SELECT 1 FROM pg_constraint o WHERE o.conindid = i.oid AND o.contype IN ('p', 'u', 'x'))
UNION ALL SELECT 'trigger', ${OF}, t.tgname, t.tgenabled::text || ' ' || pg_get_triggerdef(t.oid), ${NONE}, ${NO_ID}
  FROM pg_trigger t JOIN ${RELATION} ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL SELECT 'policy', ${OF}, p.polname, concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, p.polcmd::text, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)), ${NONE}, ${NO_ID}
  FROM pg_policy p JOIN ${RELATION} ON c.oid = p.polrelid
UNION ALL SELECT 'row security', ${OF}, '', '', ${NONE}, ${NO_ID} FROM ${RELATION} WHERE c.relrowsecurity
UNION ALL SELECT 'row security', ${OF}, 'forced', '', ${NONE}, ${NO_ID} FROM ${RELATION} WHERE c.relforcerowsecurity
UNION ALL SELECT 'rule', ${OF}, r.rulename, r.ev_enabled::text || ' ' || pg_get_ruledef(r.oid), ${NONE}, ${NO_ID}
  FROM pg_rewrite r JOIN ${RELATION} ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'
UNION ALL SELECT 'function', n.nspname || '.' || f.proname, pg_get_function_identity_arguments(f.oid), md5(concat_ws(' ', f.prokind::text, f.prosrc, f.prosqlbody::text, f.prosecdef::text, f.proisstrict::text, f.provolatile::text, pg_get_expr(f.proargdefaults, 0), f.proconfig::text, pg_get_function_result(f.oid))), ${NONE}, ${NO_ID}
  FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace AND ${OWN} WHERE ${noExtension("pg_proc", "f.oid")}
UNION ALL SELECT 'type', '', n.nspname || '.' || t.typname, t.typtype::text || coalesce(format_type(nullif(t.typbasetype, 0), t.typtypmod), ''), ${NONE}, ${NO_ID}
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND ${OWN} WHERE t.typtype IN ('e', 'd', 'r') AND ${noExtension("pg_type", "t.oid")}
UNION ALL SELECT 'enum value', n.nspname || '.' || t.typname, e.enumlabel, '', ${NONE}, ${NO_ID}
  FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace AND ${OWN}
UNION ALL SELECT 'domain constraint', n.nspname || '.' || t.typname, o.conname, pg_get_constraintdef(o.oid), ${NONE}, ${NO_ID}
  FROM pg_constraint o JOIN pg_type t ON t.oid = o.contypid JOIN pg_namespace n ON n.oid = t.typnamespace AND ${OWN}
UNION ALL SELECT 'domain constraint', n.nspname || '.' || t.typname, 'not null', '', ${NONE}, ${NO_ID}
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace AND ${OWN} WHERE t.typtype = 'd' AND t.typnotnull
UNION ALL SELECT 'right', ${OF}, p.name, '', ${NONE}, ${NO_ID}
  FROM ${RELATION} CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p(name)
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND has_table_privilege($1::text, c.oid, p.name)
UNION ALL SELECT 'right', ${OF}, CASE p.name WHEN 'USAGE' THEN 'USE' ELSE p.name END, '', ${NONE}, ${NO_ID}
  FROM ${RELATION} CROSS JOIN unnest(ARRAY['USAGE', 'UPDATE']) p(name) WHERE c.relkind = 'S' AND has_sequence_privilege($1::text, c.oid, p.name)
UNION ALL SELECT 'setting', '', split_part(one.setting, '=', 1), substr(one.setting, strpos(one.setting, '=') + 1), ${NONE}, ${NO_ID}
  FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS one(setting) WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.setrole = 0
UNION ALL SELECT 'right', ${OF}, p.name || ' ' || a.attname, '', ${NONE}, ${NO_ID}
  FROM pg_attribute a JOIN ${RELATION} ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'v') CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) p(name)
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attacl IS NOT NULL AND has_column_privilege($1::text, c.oid, a.attnum, p.name)
UNION ALL SELECT 'right', 'schema ' || n.nspname, 'use', '', ${NONE}, ${NO_ID} FROM pg_namespace n WHERE ${OWN} AND has_schema_privilege($1::text, n.oid, 'USAGE')
UNION ALL SELECT 'right', n.nspname || '.' || f.proname, 'call (' || pg_get_function_identity_arguments(f.oid) || ')', '', ${NONE}, ${NO_ID}
  FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace AND ${OWN} WHERE has_function_privilege($1::text, f.oid, 'EXECUTE') AND ${noExtension("pg_proc", "f.oid")}`;

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
