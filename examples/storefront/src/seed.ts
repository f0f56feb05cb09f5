import type { Product } from "./orders.ts";

/** What a new shop starts with. The gift card never runs out. */
export const PRODUCTS: readonly Product[] = [
  {
    sku: "tent-2p",
    name: "Two-person tent",
    description: "Stands in four minutes, in any weather.",
    priceCents: 24_900,
    stock: 120,
  },
  {
    sku: "pack-45",
    name: "Backpack 45 l",
    description: "Carries well, opens wide, lasts long.",
    priceCents: 15_900,
    stock: 200,
  },
  {
    sku: "stove-gas",
    name: "Gas stove",
    description: "Boils a litre in three minutes.",
    priceCents: 5_900,
    stock: 300,
  },
  {
    sku: "bottle-1l",
    name: "Steel bottle 1 l",
    description: "Keeps tea hot for a day.",
    priceCents: 2_900,
    stock: 500,
  },
  {
    sku: "lamp-head",
    name: "Head lamp",
    description: "Four hundred lumens and a red light.",
    priceCents: 3_900,
    stock: 400,
  },
  {
    sku: "rope-60",
    name: "Rope 60 m",
    description: "Dry-treated, for rock and ice.",
    priceCents: 17_900,
    stock: 80,
  },
  {
    sku: "map-alps",
    name: "Map of the Alps",
    description: "Paper never runs out of battery.",
    priceCents: 1_490,
    stock: 1_000,
  },
  {
    sku: "mug-enamel",
    name: "Enamel mug",
    description: "Survives every fall.",
    priceCents: 990,
    stock: 2_000,
  },
  {
    sku: "gift-card",
    name: "Gift card",
    description: "For those who have everything.",
    priceCents: 5_000,
    stock: 1_000_000_000,
  },
];
