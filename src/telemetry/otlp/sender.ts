// Who sends: every instance gets a token that names it and can't be made up, so that nobody writes
// as another app, service or release, whatever a message says of itself.

import { createHmac, timingSafeEqual } from "node:crypto";

export interface Sender {
  readonly environment: string;
  readonly app: string;
  readonly service: string;
  readonly release: number;
  /** `production.storefront.web.r12.1` */
  readonly instance: string;
}

const signatureOf = (instance: string, key: Buffer): string =>
  createHmac("sha256", key).update(`otlp ${instance}`).digest("base64url");

/** What `OTEL_EXPORTER_OTLP_HEADERS` of an instance holds, as a bearer token. */
export const senderToken = (instance: string, key: Buffer): string =>
  `${instance}~${signatureOf(instance, key)}`;

/** With this Prometheus reads what the telemetry process and the edge count. */
export const scrapeToken = (key: Buffer): string =>
  createHmac("sha256", key).update("scrape").digest("base64url");

/** With this Alertmanager has alerts delivered. */
export const deliverToken = (key: Buffer): string =>
  createHmac("sha256", key).update("deliver").digest("base64url");

export function isScraper(authorization: string | undefined, key: Buffer): boolean {
  const expected = Buffer.from(`Bearer ${scrapeToken(key)}`);
  const given = Buffer.from(authorization ?? "");
  return given.length === expected.length && timingSafeEqual(given, expected);
}

export function findSender(authorization: string | undefined, key: Buffer): Sender | undefined {
  const token = /^Bearer\s+(\S+)$/i.exec(authorization ?? "")?.[1] ?? "";
  const [instance = "", signature = ""] = token.split("~");
  const expected = Buffer.from(signatureOf(instance, key));
  const given = Buffer.from(signature);
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
  const [environment = "", app = "", service = "", release = ""] = instance.split(".");
  return { environment, app, service, release: Number(release.slice(1)) || 0, instance };
}
