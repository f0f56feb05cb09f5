// What a question in SQL may be made of. It is read as a tree, by the parser that would run it: one
// SELECT over the given tables and its own parts, with functions that only compute. What is not
// known here is refused: a new version of the database brings new words.

import { invalid } from "../kernel/error.ts";

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type Node = { readonly [key: string]: Json };

const words = (text: string): ReadonlySet<string> => new Set(text.split(/\s+/).filter(Boolean));

/** Kinds of query, of what stands behind FROM, and of what changes an answer's order and length. */
const PARTS = words(`
  SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE
  BASE_TABLE SUBQUERY JOIN EMPTY EXPRESSION_LIST TABLE_FUNCTION
  ORDER_MODIFIER LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER DISTINCT_MODIFIER
  ORDER_DEFAULT ASCENDING DESCENDING
`);
const EXPRESSIONS = words(`
  BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA LAMBDA_REF
  OPERATOR POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW
`);
const TABLE_FUNCTIONS = words("unnest range generate_series json_each json_tree");
/** No file, no setting, no sequence, no other query, nothing that waits or writes. */
const FUNCTIONS = words(`
  !__postfix !~~ !~~* % & && * ** + - ->> -> / // <-> << <=> <@ >> @ @> ^ ^@ | || ~ ~~ ~~* ~~~
  any_value approx_count_distinct approx_quantile approx_top_k arbitrary arg_max arg_max_null arg_min
  arg_min_null argmax argmin array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count count_if
  count_star countif covar_pop covar_samp cume_dist dense_rank entropy favg fill first first_value fsum
  group_concat histogram histogram_exact kurtosis kurtosis_pop lag last last_value lead list listagg mad
  max max_by mean median min min_by mode nth_value ntile percent_rank product quantile quantile_cont
  quantile_disc rank rank_dense regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx
  regr_sxy regr_syy reservoir_quantile row_number sem skewness stddev stddev_pop stddev_samp string_agg sum
  sum_no_overflow sumkahan var_pop var_samp variance wavg weighted_avg geomean geometric_mean
  abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees divide
  even exp factorial fdiv floor fmod gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm
  least least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power radians random
  round round_even roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc xor
  array_to_string ascii bar base64 bin bit_length char_length character_length chr combine concat concat_ws
  contains damerau_levenshtein decode editdist3 encode ends_with even format formatreadabledecimalsize
  formatreadablesize format_bytes from_base64 from_binary from_hex hamming hash hex ilike_escape instr
  jaccard jaro_similarity jaro_winkler_similarity lcase left left_grapheme len length length_grapheme
  levenshtein like_escape lower lpad ltrim md5 md5_number mismatches nfc_normalize not_ilike_escape
  not_like_escape octet_length ord parse_dirname parse_dirpath parse_filename parse_path position prefix
  printf regexp_escape regexp_extract regexp_extract_all regexp_full_match regexp_matches regexp_replace
  regexp_split_to_array regexp_split_to_table repeat replace reverse right right_grapheme rpad rtrim sha1
  sha256 split split_part starts_with str_split str_split_regex string_split string_split_regex
  string_to_array strip_accents strlen strpos substr substring substring_grapheme suffix to_base to_base64
  to_binary to_hex translate trim ucase unbin unhex unicode upper url_decode url_encode
  age ago century current_date current_localtime current_localtimestamp current_time current_timestamp
  date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname
  dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era
  get_current_time get_current_timestamp hour isodow isoyear julian last_day localtime localtimestamp
  make_date make_time make_timestamp make_timestamp_ms make_timestamp_ns make_timestamptz microsecond
  millennium millisecond minute month monthname nanosecond normalized_interval now quarter second strftime
  strptime time_bucket timezone timezone_hour timezone_minute to_centuries to_days to_decades to_hours
  to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp
  to_weeks to_years today transaction_timestamp try_strptime week weekday weekofyear year yearweek
  array_aggr array_aggregate array_append array_apply array_cat array_concat array_contains array_distinct
  array_extract array_filter array_has array_has_all array_has_any array_indexof array_intersect
  array_length array_pop_back array_pop_front array_position array_prepend array_push_back array_push_front
  array_reduce array_resize array_reverse array_reverse_sort array_select array_slice array_sort
  array_to_json array_transform array_unique array_value array_where array_zip aggregate apply cardinality
  element_at filter flatten generate_series generate_subscripts grade_up json json_array json_array_length
  json_contains json_exists json_extract json_extract_path json_extract_path_text json_extract_string
  json_group_array json_group_object json_group_structure json_keys json_merge_patch json_object json_pretty
  json_quote json_structure json_transform json_transform_strict json_type json_valid json_value from_json
  from_json_strict to_json row_to_json list_aggr list_aggregate list_any_value list_append list_apply
  list_approx_count_distinct list_avg list_bit_and list_bit_or list_bit_xor list_bool_and list_bool_or
  list_cat list_concat list_contains list_count list_distinct list_element list_entropy list_extract
  list_filter list_first list_grade_up list_has list_has_all list_has_any list_histogram list_indexof
  list_intersect list_kurtosis list_kurtosis_pop list_last list_mad list_max list_median list_min list_mode
  list_pack list_position list_prepend list_product list_reduce list_resize list_reverse list_reverse_sort
  list_select list_sem list_skewness list_slice list_sort list_stddev_pop list_stddev_samp list_string_agg
  list_sum list_transform list_unique list_value list_var_pop list_var_samp list_where list_zip map
  map_concat map_contains map_contains_entry map_contains_value map_entries map_extract map_extract_value
  map_from_entries map_keys map_values range reduce row struct_concat struct_contains struct_extract
  struct_extract_at struct_has struct_indexof struct_insert struct_keys struct_pack struct_position
  struct_update struct_values unnest unpivot_list
  alias can_cast_implicitly constant_or_null equi_width_bins error greatest ifnull in_search_path least
  nullif switch typeof uuid uuidv4 uuidv7 gen_random_uuid
`);
/** A part of a query may have such a name; not one under which the database keeps something itself. */
const PART_NAME = /^(?!duckdb_|pg_|sqlite_|pragma_|information_schema)[a-z_][a-z0-9_]*$/i;
const DEPTH_MAX = 200;

const refuse = (what: string, why: string): never => {
  throw invalid("query.not_allowed", `${what} ${why}`, {
    hint: "tables and columns: docs/reference/tables.md",
  });
};

/**
 * Refuses what a question may not have, by the database's own tree of it; gives the tables it asks.
 *
 * @throws query.not_allowed
 */
export function checkQuestion(tree: unknown, tables: readonly string[]): readonly string[] {
  const asked = new Set<string>();
  const parts = new Set<string>();
  const visit = (value: Json, depth: number): void => {
    if (depth > DEPTH_MAX) refuse("the query", "is nested too deeply");
    if (value === null || typeof value !== "object") return;
    if (!Array.isArray(value)) checkNode(value as Node, tables, parts, asked);
    // Parts are named before they are used, whatever their place in the tree.
    for (const one of Object.values(value)) visit(one as Json, depth + 1);
  };
  collectParts(tree as Json, parts, 0);
  visit(tree as Json, 0);
  return [...asked];
}

function collectParts(value: Json, parts: Set<string>, depth: number): void {
  if (depth > DEPTH_MAX) refuse("the query", "is nested too deeply");
  if (value === null || typeof value !== "object") return;
  const map = ((value as Node)["cte_map"] as Node | undefined)?.["map"];
  for (const entry of Array.isArray(map) ? map : []) addPart(parts, (entry as Node)["key"]);
  const recursive = (value as Node)["cte_name"];
  if (recursive !== undefined) addPart(parts, recursive);
  for (const one of Object.values(value)) collectParts(one as Json, parts, depth + 1);
}

function addPart(parts: Set<string>, name: Json | undefined): void {
  if (typeof name !== "string" || !PART_NAME.test(name))
    refuse(`a part of the query called ${JSON.stringify(name)}`, "is not allowed");
  else parts.add(name.toLowerCase());
}

function checkNode(
  node: Node,
  tables: readonly string[],
  parts: ReadonlySet<string>,
  asked: Set<string>,
): void {
  const { class: expression, type } = node;
  if (typeof expression === "string" && !EXPRESSIONS.has(expression))
    refuse(expression.toLowerCase(), "is not allowed in a query");
  if (expression === undefined && typeof type === "string" && !isKnown(type, node))
    refuse(type.toLowerCase().replaceAll("_", " "), "is not allowed in a query");
  if (expression === undefined && type === "BASE_TABLE") checkTable(node, tables, parts, asked);
  if (typeof node["function_name"] === "string") checkFunction(node, false);
  if (type === "TABLE_FUNCTION" && expression === undefined)
    checkFunction(node["function"] as Node, true);
}

// A type of data says what it is made of in the same words as a part of a query does.
const isKnown = (type: string, node: Node): boolean =>
  PARTS.has(type) || type.endsWith("_TYPE_INFO") || "type_info" in node;

function checkTable(
  node: Node,
  tables: readonly string[],
  parts: ReadonlySet<string>,
  asked: Set<string>,
): void {
  const name = String(node["table_name"]).toLowerCase();
  if (node["schema_name"] !== "" || node["catalog_name"] !== "")
    refuse(`the table ${node["schema_name"]}.${name}`, "is not one that can be asked");
  if (tables.includes(name)) asked.add(name);
  else if (!parts.has(name))
    refuse(`the table ${name.slice(0, 100)}`, `is not one that can be asked: ${tables.join(", ")}`);
}

function checkFunction(node: Node, isTable: boolean): void {
  const name = String(node["function_name"]).toLowerCase();
  // The parser itself says `main` where an operator stands for a function.
  const isPlain =
    ["", "main"].includes(String(node["schema"] ?? "")) && (node["catalog"] ?? "") === "";
  const isAllowed = FUNCTIONS.has(name) || TABLE_FUNCTIONS.has(name);
  if (!isPlain || !isAllowed || (isTable && !TABLE_FUNCTIONS.has(name)))
    refuse(`the function ${name.slice(0, 100)}`, "is not allowed in a query");
}
