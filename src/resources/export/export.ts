// An export sends an environment's telemetry onward, by OTLP, to whoever else is to have it. Named
// `<environment>/<name>`; its headers are sealed like secrets: they let one write there.

import { z } from "zod";
import { defineKind, type SpecOf, sealed } from "../../kernel/kind.ts";
import { EXPORT_SIGNALS } from "../../kernel/signal.ts";

/** How a message is sent is not for a person to say. */
const OWN_HEADERS =
  /^(host|connection|content-.*|transfer-encoding|expect|upgrade|te|trailer|keep-alive|proxy-.*)$/i;
// What an HTTP header may be made of: RFC 9110, section 5.
const HEADER = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e]*$/;

/** Addresses at which clouds answer with what the machine may do. */
const METADATA =
  /^(169\.254\.\d+\.\d+|168\.63\.129\.16|100\.100\.100\.200|192\.0\.0\.192|metadata(\.google\.internal)?\.?|\[(fe80:.*|fd00:ec2::254|::ffff:a9fe:.*)\])$/i;

export const exportInput = z.strictObject({
  endpoint: z
    .url({ protocol: /^https?$/, error: "must be a URL such as https://otlp.example.com" })
    .max(2_000)
    .refine((url) => !/[?#]/.test(url), "has no place for ? and #")
    .refine((url) => !METADATA.test(new URL(url).hostname), "is where a cloud keeps credentials")
    .refine((url) => !/\/v1\/(logs|traces|metrics)\/?$/.test(url), "must be without /v1/…")
    .describe("Base URL; /v1/logs, /v1/traces and /v1/metrics are asked below it."),
  signals: z
    .array(z.enum(EXPORT_SIGNALS))
    .min(1)
    .default([...EXPORT_SIGNALS]),
  headers: z
    .record(
      z
        .string()
        .regex(HEADER, "must be the name of a header")
        .refine((name) => !OWN_HEADERS.test(name), "is set by the sender itself"),
      z.string().max(8_000).regex(HEADER_VALUE, "must be one line of plain text"),
    )
    .default({})
    .describe("Sent with every message, such as an API key; never shown again."),
});

const exportSpec = z.strictObject({
  endpoint: z.string(),
  signals: z.array(z.enum(EXPORT_SIGNALS)),
  headers: sealed("headers").describe("Version of the sealed headers."),
});

export type ExportSpec = SpecOf<typeof exportSpec>;

export const EXPORT = defineKind<ExportSpec>({
  name: "export",
  summary: "A telemetry export over OTLP.",
  scope: "environment",
  spec: exportSpec,
});
