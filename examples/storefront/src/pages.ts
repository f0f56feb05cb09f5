// The shop's pages, as plain functions from data to HTML.

import type { Cart } from "./cache.ts";
import type { Product } from "./orders.ts";

const shopName = process.env["SHOP_NAME"] ?? "Storefront";
const usageScript = process.env["HOLDFAST_USAGE_SCRIPT"];
const banner = process.env["BANNER"] ?? "";

const STYLE = `
:root{--ink:#1d2b2a;--paper:#fbf9f4;--accent:#0b6e4f;--line:#e2ddd0}
*{box-sizing:border-box}body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
header{display:flex;justify-content:space-between;align-items:baseline;padding:1.2rem 2rem;border-bottom:1px solid var(--line);background:#fff}
header a{color:inherit;text-decoration:none}h1{font:600 1.4rem Georgia,serif;margin:0}
.banner{background:var(--accent);color:#fff;text-align:center;padding:.5rem}
main{max-width:64rem;margin:2rem auto;padding:0 2rem}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(14rem,1fr));gap:1.5rem}
.card{background:#fff;border:1px solid var(--line);border-radius:.6rem;overflow:hidden;display:flex;flex-direction:column}
.art{height:9rem;display:grid;place-items:center;font-size:3rem}.card div.text{padding:1rem;flex:1;display:flex;flex-direction:column;gap:.3rem}
.card h2{font-size:1.05rem;margin:0}.card p{margin:0;color:#66706e;font-size:.9rem;flex:1}
.row{display:flex;justify-content:space-between;align-items:center;margin-top:.5rem}
button{background:var(--accent);color:#fff;border:0;border-radius:.4rem;padding:.5rem .9rem;font:inherit;cursor:pointer}
button:focus-visible,a:focus-visible,input:focus-visible{outline:3px solid #f2b705}
table{width:100%;border-collapse:collapse;background:#fff}td,th{padding:.7rem;border-bottom:1px solid var(--line);text-align:left}
input{font:inherit;padding:.5rem;border:1px solid #bbb;border-radius:.4rem;width:18rem;max-width:100%}
footer{color:#8a928f;font-size:.8rem;text-align:center;padding:2rem}`;

export const escapeHtml = (text: string): string =>
  text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");

const price = (cents: number): string => `€ ${(cents / 100).toFixed(2)}`;

function page(title: string, cartSize: number, body: string): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>${escapeHtml(title)} · ${escapeHtml(shopName)}</title><style>${STYLE}</style>${usageScript ? `<script defer src="${usageScript}"></script>` : ""}</head>
<body>${banner ? `<div class="banner">${escapeHtml(banner)}</div>` : ""}
<header><h1><a href="/">${escapeHtml(shopName)}</a></h1><a href="/cart">Cart (${cartSize})</a></header>
<main>${body}</main>
<footer>release ${escapeHtml(process.env["HOLDFAST_RELEASE"] ?? "dev")} · ${escapeHtml(process.env["HOLDFAST_INSTANCE"] ?? "dev")}</footer>
</body></html>`;
}

const sizeOf = (cart: Cart): number =>
  Object.values(cart).reduce((sum, quantity) => sum + quantity, 0);

// A picture without pictures: a colour and a letter from the product's own name.
function art({ name }: Product): string {
  const hue = [...name].reduce((sum, char) => sum + char.charCodeAt(0), 0) % 360;
  return `<div class="art" style="background:hsl(${hue} 45% 88%);color:hsl(${hue} 45% 35%)" aria-hidden="true">${escapeHtml(name.charAt(0))}</div>`;
}

export function renderCatalog(products: readonly Product[], cart: Cart): string {
  const cards = products.map(
    (
      product,
    ) => `<article class="card">${art(product)}<div class="text"><h2>${escapeHtml(product.name)}</h2>
<p>${escapeHtml(product.description)}</p><div class="row"><strong>${price(product.priceCents)}</strong>
<form method="post" action="/cart"><input type="hidden" name="sku" value="${escapeHtml(product.sku)}">
<button ${product.stock > 0 ? "" : "disabled"}>${product.stock > 0 ? "Add to cart" : "Sold out"}</button></form></div></div></article>`,
  );
  return page("Everything for outdoors", sizeOf(cart), `<div class="grid">${cards.join("")}</div>`);
}

export function renderCart(products: readonly Product[], cart: Cart, problem = ""): string {
  const lines = products.filter(({ sku }) => cart[sku]);
  const total = lines.reduce((sum, { sku, priceCents }) => sum + priceCents * (cart[sku] ?? 0), 0);
  const rows = lines.map(
    ({ sku, name, priceCents }) =>
      `<tr><td>${escapeHtml(name)}</td><td>${cart[sku]}</td><td>${price(priceCents * (cart[sku] ?? 0))}</td></tr>`,
  );
  const body = lines.length
    ? `<table><thead><tr><th>Product</th><th>Quantity</th><th>Price</th></tr></thead><tbody>${rows.join("")}
<tr><th colspan="2">Total</th><th>${price(total)}</th></tr></tbody></table>
<form method="post" action="/checkout"><p><label>E-mail for the confirmation<br><input type="email" name="email" required></label></p>
<button>Place order</button></form>`
    : `<p>Your cart is empty.</p><p><a href="/">Look around</a></p>`;
  return page(
    "Cart",
    sizeOf(cart),
    `${problem ? `<p role="alert"><strong>${escapeHtml(problem)}</strong></p>` : ""}${body}`,
  );
}

// What the usage script of the edge offers; without it there is nobody to tell.
const feedback = usageScript
  ? `<p>How was it? ${[1, 2, 3, 4, 5]
      .map(
        (rating) =>
          `<button onclick="holdfast.feedback('',${rating});this.disabled=true">${rating}</button>`,
      )
      .join(" ")}</p>`
  : "";

export const renderThanks = (id: string, cart: Cart): string =>
  page(
    "Thank you",
    sizeOf(cart),
    `<h2>Thank you!</h2><p>We have your order <strong>${escapeHtml(id)}</strong>. A confirmation is on its way.</p>${feedback}<p><a href="/">Back to the shop</a></p>`,
  );

export const renderProblem = (text: string): string =>
  page("Sorry", 0, `<h2>Sorry</h2><p>${escapeHtml(text)}</p>`);
