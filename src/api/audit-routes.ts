// Who did what, from where, with what outcome; and the proof that nobody changed the record of it.

import { Readable } from "node:stream";
import { z } from "zod";
import type { AuditEvent } from "../kernel/audit.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { APP } from "../resources/app/app.ts";
import { type Lines, type Route, route } from "./route.ts";

const LINES = 50;
const some = z.string().min(1).max(200).optional();
const ANCHOR = /^(\d{1,15}):([0-9a-f]{16,64})$/;

export interface AuditView extends AuditEvent {
  /** refused; of a change of an app how its rollout ended; otherwise done. */
  readonly outcome: string;
}

export function auditRoutes(deps: OperationDeps): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/audit",
      summary: "Search the audit log, newest first.",
      query: z.object({
        limit: z.coerce.number().int().min(1).max(1_000).default(LINES),
        before: z.coerce.number().int().optional(),
        from: z.coerce.number().optional(),
        to: z.coerce.number().optional(),
        actor: some,
        action: some,
        kind: some,
        name: some.describe("A part of the name, such as an environment or an app."),
        text: some.describe("A part of what changed."),
      }),
      handle: ({ query }) => ({
        events: deps.audit.search(query).map(
          (event): AuditView => ({
            ...event,
            outcome: outcomeOf(deps, event),
          }),
        ),
      }),
    }),
    route({
      method: "GET",
      path: "/v1/audit/verify",
      summary: "Verify the audit chain, and that it contains a recorded head.",
      query: z.object({
        anchor: z
          .string()
          .regex(ANCHOR, "must be a number and a hash as they were printed, such as 120:9f3c…")
          .optional(),
      }),
      handle: ({ query }) => {
        const verdict = deps.audit.verify();
        const [, seq, hash] = ANCHOR.exec(query.anchor ?? "") ?? [];
        if (seq === undefined || hash === undefined) return verdict;
        if (!verdict.intact || deps.audit.holds({ seq: Number(seq), hash })) return verdict;
        const reason = `event ${seq} is not the one that was noted: it was written anew since`;
        return { intact: false, brokenAt: Number(seq), reason };
      },
    }),
    route({
      method: "GET",
      path: "/v1/audit/export",
      summary: "Export the audit log, oldest first, as NDJSON.",
      answers: "stream",
      handle: (): Lines<AuditEvent> => Readable.from(lines(deps.audit.all())),
    }),
  ];
}

function* lines(events: Iterable<AuditEvent>): Generator<string> {
  for (const event of events) yield `${JSON.stringify(event)}\n`;
}

function outcomeOf(
  { store }: OperationDeps,
  { action, kind, name, generation }: AuditEvent,
): string {
  if (action === "refused") return "refused";
  if (kind !== APP.name) return "done";
  const status = store.find(APP, name)?.status;
  if (status?.rollout?.generation === generation) return "running";
  const ended = status?.history.find((one) => one.generation === generation && !one.automatic);
  return ended?.outcome ?? "done";
}
