// Requests of one kind: their method and path, without what names one user, order or file.

/** Parts of a path that are told apart; deeper ones are one route. */
const PARTS_MAX = 4;

/** SQL: `GET /api/orders/*` for `/api/orders/4711`. A part with a digit in it, or a long one, is a name. */
export const routePattern = (method: string, path: string): string =>
  `${method} || ' ' || array_to_string(list_transform(list_slice(string_split(${path}, '/'), 1, ${PARTS_MAX + 1}),
     lambda part: CASE WHEN length(part) > 40 OR regexp_matches(part, '[0-9]') THEN '*' ELSE part END), '/')`;
