// A request record as the edge writes it.

import { REQUEST_COLUMNS, type RequestColumn } from "../../src/kernel/signal.ts";

export type RecordValues = Partial<Record<RequestColumn, string>>;

let count = 0;

/** One line of a journal; `at` in ms since the epoch. */
export function requestRecord(at: number, values: RecordValues = {}): string {
  count += 1;
  const hex = (value: number): string => value.toString(16).padStart(16, "0");
  const whole: Record<RequestColumn, string> = {
    pool: "production.shop.web.a",
    instance: "production.shop.web.r1.1",
    route: "shop.localhost/",
    client: "203.0.113.77",
    method: "GET",
    host: "shop.localhost",
    path: "/account",
    query: "?email=ana%40example.com&page=2",
    version: "HTTP/1.1",
    status: "200",
    queueMs: "0",
    connectMs: "0",
    responseMs: "1",
    totalMs: "2",
    bytesIn: "10",
    bytesOut: "20",
    ending: "--",
    retries: "0",
    requestId: hex(Math.round(at * 1000)) + hex(count),
    continuedTrace: "-",
    userAgent: "Mozilla/5.0 (Ana's phone)",
    release: "1",
    urlBytes: "39",
    ...values,
  };
  return `${REQUEST_COLUMNS.map((name) => whole[name]).join("\t")}\n`;
}
