// The shop's API: products and orders.

import { database } from "./database.ts";
import { findOrder, listProducts, OutOfStock, parseItems, placeOrder } from "./orders.ts";
import { BadRequest, commonRoutes, json, type Request, type Route, serve } from "./server.ts";

const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;
const KEY_MAX_CHARS = 200;

const routes: Route[] = [
  ...commonRoutes(async () => {
    await database.query("SELECT 1");
  }),
  {
    method: "GET",
    path: /^\/api\/products$/,
    handle: async () => json(200, { products: await listProducts() }),
  },
  { method: "POST", path: /^\/api\/orders$/, handle: createOrder },
  {
    method: "GET",
    path: /^\/api\/orders\/(\d{1,18})$/,
    handle: async ({ params: [id = ""] }) => {
      const order = await findOrder(id);
      return order ? json(200, order) : json(404, { error: `there is no order ${id}` });
    },
  },
];

async function createOrder(request: Request) {
  const body = parseJson(await request.text());
  const items = parseItems(body);
  const { email } = body as { email?: unknown };
  if (email !== undefined && (typeof email !== "string" || !EMAIL.test(email)))
    throw new BadRequest("email is not an address");
  const key = request.headers["idempotency-key"];
  if (key !== undefined && (typeof key !== "string" || key.length > KEY_MAX_CHARS))
    throw new BadRequest("Idempotency-Key is too long");
  try {
    const { id, isNew } = await placeOrder(items, email, key);
    return json(201, { id, repeated: !isNew }, { location: `/api/orders/${id}` });
  } catch (error) {
    if (error instanceof OutOfStock) return json(409, { error: error.message, sku: error.sku });
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new BadRequest("the body is not JSON");
  }
}

serve(routes, () => database.end());
