// The shop's pages. Products and orders come from the API, which is reached through the edge; carts
// are kept in Redis.

import { randomUUID } from "node:crypto";
import { addToCart, cache, clearCart, readCart } from "./cache.ts";
import { log } from "./log.ts";
import type { Product } from "./orders.ts";
import { renderCart, renderCatalog, renderProblem, renderThanks } from "./pages.ts";
import { type Answer, commonRoutes, type Request, type Route, serve } from "./server.ts";
import { inSpan, traceHeaders } from "./telemetry.ts";

const api = process.env["API_URL"] ?? "http://127.0.0.1:3001";
const API_TIMEOUT_MS = 5_000;
const SESSION = /(?:^|;\s*)session=([\w-]{36})(?:;|$)/;

const html = (status: number, body: string, headers: Record<string, string> = {}): Answer => ({
  status,
  body,
  headers,
});
const redirect = (to: string, headers: Record<string, string> = {}): Answer => ({
  status: 303,
  body: "",
  headers: { location: to, ...headers },
});

function sessionOf(request: Request): { id: string; headers: Record<string, string> } {
  const known = SESSION.exec(request.headers.cookie ?? "")?.[1];
  if (known) return { id: known, headers: {} };
  const id = randomUUID();
  return { id, headers: { "set-cookie": `session=${id}; Path=/; HttpOnly; Secure; SameSite=Lax` } };
}

// The trace goes on to the API.
function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const method = init.method ?? "GET";
  return inSpan(`${method} ${path}`, "client", { "http.request.method": method }, (span) => {
    const headers = { ...(init.headers as Record<string, string>), ...traceHeaders() };
    return fetch(`${api}${path}`, {
      ...init,
      headers,
      signal: AbortSignal.timeout(API_TIMEOUT_MS),
    }).then((answer) => {
      span.setAttribute("http.response.status_code", answer.status);
      return answer;
    });
  });
}

async function products(): Promise<Product[]> {
  const answer = await ask("/api/products");
  if (!answer.ok) throw new Error(`the API answered ${answer.status}`);
  return ((await answer.json()) as { products: Product[] }).products;
}

async function checkout(request: Request): Promise<Answer> {
  const session = sessionOf(request);
  const cart = await readCart(session.id);
  const email = new URLSearchParams(await request.text()).get("email") ?? "";
  const items = Object.entries(cart).map(([sku, quantity]) => ({ sku, quantity }));
  const answer = await ask("/api/orders", {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": randomUUID() },
    body: JSON.stringify({ items, email }),
  });
  const body = (await answer.json()) as { id?: string; error?: string };
  if (!answer.ok)
    return html(
      answer.status,
      renderCart(await products(), cart, body.error ?? "the order was not accepted"),
    );
  await clearCart(session.id);
  return redirect(`/thanks/${body.id}`, session.headers);
}

const routes: Route[] = [
  ...commonRoutes(async () => {
    await cache.ping();
  }),
  {
    method: "GET",
    path: /^\/$/,
    handle: async (request) => {
      const session = sessionOf(request);
      const [catalog, cart] = await Promise.all([products(), readCart(session.id)]);
      return html(200, renderCatalog(catalog, cart), session.headers);
    },
  },
  {
    method: "GET",
    path: /^\/cart$/,
    handle: async (request) => {
      const session = sessionOf(request);
      const [catalog, cart] = await Promise.all([products(), readCart(session.id)]);
      return html(200, renderCart(catalog, cart), session.headers);
    },
  },
  {
    method: "POST",
    path: /^\/cart$/,
    handle: async (request) => {
      const session = sessionOf(request);
      const sku = new URLSearchParams(await request.text()).get("sku") ?? "";
      if (!/^[\w-]{1,40}$/.test(sku))
        return html(400, renderProblem("That is not a product of this shop."));
      await addToCart(session.id, sku, 1);
      return redirect("/cart", session.headers);
    },
  },
  { method: "POST", path: /^\/checkout$/, handle: checkout },
  {
    method: "GET",
    path: /^\/thanks\/(\d{1,18})$/,
    handle: async (request) => {
      const session = sessionOf(request);
      return html(
        200,
        renderThanks(request.params[0] ?? "", await readCart(session.id)),
        session.headers,
      );
    },
  },
];

cache
  .connect()
  .catch((error: Error) => log("error", "Redis can't be reached", { error: error.message }));
serve(routes, async () => {
  await cache.close();
});
