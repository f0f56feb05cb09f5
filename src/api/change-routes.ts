// Changes of protected environments, and the windows and freezes that say when they may run.

import { z } from "zod";
import type { ChangeControl } from "../operations/change-control.ts";
import type { ChangeOperations } from "../operations/change-operations.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { name as appName } from "../resources/app/manifest.ts";
import { durationText } from "../resources/app/quantity.ts";
import {
  CHANGE,
  type Change,
  type ChangeSpec,
  type ChangeStatus,
  ENDED,
} from "../resources/change/change.ts";
import { nextStretch, WINDOW, windowSchema } from "../resources/window/window.ts";
import { waitingOf } from "./environment-routes.ts";
import { type Route, route } from "./route.ts";

const environment = appName.describe("Name of the environment, such as production.");
const ofChange = z.object({ number: z.coerce.number().int().min(1) });
const REASON_MAX = 1_000;
const words = z.string().trim().min(1).max(REASON_MAX);
const LISTED = 50;

export interface ChangeView extends ChangeSpec {
  readonly phase: ChangeStatus["phase"];
  readonly text: string;
  readonly since: number;
  readonly problem?: string;
  readonly opensAt?: number;
  /** Accounts that hold the role to approve it. */
  readonly approvers: readonly string[];
  /** An emergency that nobody has looked at yet. */
  readonly toReview: boolean;
}

const isToReview = ({ emergency, review }: ChangeSpec): boolean =>
  emergency !== undefined && review === undefined;

export function changeRoutes(deps: OperationDeps, control: ChangeControl): Route[] {
  const { changes, approvers, access } = control;
  const view = ({ spec, status }: Change): ChangeView => ({
    ...spec,
    phase: status?.phase ?? "asked",
    text: status?.text ?? "",
    since: status?.since ?? spec.askedAt,
    ...(status?.problem !== undefined && { problem: status.problem }),
    ...(status?.opensAt !== undefined && { opensAt: status.opensAt }),
    // Reading the audit for each of a thousand ended changes would take seconds.
    approvers: ENDED.has(status?.phase ?? "asked") ? [] : approvers.of(spec),
    toReview: isToReview(spec),
  });
  return [
    route({
      method: "GET",
      path: "/v1/changes",
      summary: "List changes in protected environments, newest first.",
      query: z.object({
        environment: environment.optional(),
        app: appName.optional(),
        open: z.stringbool().default(false).describe("Only those that have not ended."),
        review: z.stringbool().default(false).describe("Only emergencies to be reviewed."),
        limit: z.coerce.number().int().min(1).max(1_000).default(LISTED),
      }),
      handle: ({ query, actor }) => {
        const places = new Map<string, boolean>();
        const maySee = ({ environment: place, app }: ChangeSpec): boolean => {
          const key = `${place}/${app}`;
          const known = places.get(key) ?? access.decide(actor, "view", place, app).allowed;
          places.set(key, known);
          return known;
        };
        const found: ChangeView[] = [];
        for (const one of deps.store.list(CHANGE).toReversed()) {
          const { environment: place, app } = one.spec;
          if (query.environment !== undefined && place !== query.environment) continue;
          if (query.app !== undefined && app !== query.app) continue;
          if (query.open && ENDED.has(one.status?.phase ?? "asked")) continue;
          if (query.review && !isToReview(one.spec)) continue;
          if (maySee(one.spec)) found.push(view(one));
          if (found.length === query.limit) break;
        }
        return { changes: found };
      },
    }),
    route({
      method: "GET",
      path: "/v1/changes/{number}",
      summary: "Get a change: diff, risk, approvals and outcome.",
      params: ofChange,
      handle: ({ params, actor }) => {
        const found = changes.find(params.number);
        access.require(actor, "view", found.spec.environment, found.spec.app);
        return view(found);
      },
    }),
    ...decisionRoutes(changes, view),
    ...windowRoutes(deps, control),
  ];
}

function decisionRoutes(changes: ChangeOperations, view: (change: Change) => ChangeView): Route[] {
  return [
    route({
      method: "POST",
      path: "/v1/changes/{number}/approve",
      summary: "Approve a change in its current state; nobody approves their own change.",
      params: ofChange,
      body: z
        .object({
          digest: z
            .string()
            .min(8)
            .max(128)
            .optional()
            .describe("Of the content that was seen: of any other nothing is approved."),
        })
        .default({}),
      handle: ({ params, body, actor }) => view(changes.approve(params.number, actor, body.digest)),
    }),
    route({
      method: "POST",
      path: "/v1/changes/{number}/reject",
      summary: "Reject a change with a reason.",
      params: ofChange,
      body: z.object({ reason: words }),
      handle: ({ params, body, actor }) => view(changes.reject(params.number, body.reason, actor)),
    }),
    route({
      method: "POST",
      path: "/v1/changes/{number}/withdraw",
      summary: "Withdraw a change that the caller requested.",
      params: ofChange,
      handle: ({ params, actor }) => view(changes.withdraw(params.number, actor)),
    }),
    route({
      method: "POST",
      path: "/v1/changes/{number}/review",
      summary: "Record the review of an emergency change.",
      params: ofChange,
      body: z.object({ text: words }),
      handle: ({ params, body, actor }) => view(changes.review(params.number, body.text, actor)),
    }),
  ];
}

function windowRoutes(
  deps: OperationDeps,
  { controls, declarations }: Pick<ChangeControl, "controls" | "declarations">,
): Route[] {
  const ofWindow = z.object({ environment: z.string().max(30), window: appName });
  return [
    route({
      method: "GET",
      path: "/v1/windows",
      summary: "List change windows and freezes with their next occurrence.",
      handle: () => {
        const now = deps.clock.now();
        return {
          windows: deps.store.list(WINDOW).map(({ name, spec }) => {
            const stretch = nextStretch(spec, now);
            const isOn = stretch !== undefined && stretch.from <= now;
            return { name, ...spec, on: isOn, next: stretch };
          }),
        };
      },
    }),
    route({
      method: "PUT",
      path: "/v1/windows/{environment}/{window}",
      summary: "Create or update a freeze or a change window.",
      params: ofWindow,
      query: z.object({ emergency: z.stringbool().default(false) }),
      body: windowSchema,
      handle: async ({ params, query, body, actor }) => {
        const name = `${params.environment}/${params.window}`;
        const { durationMs, ...rest } = body;
        const spec = {
          ...rest,
          ...(durationMs !== undefined && { duration: durationText(durationMs) }),
        };
        const options = { ...query, reason: body.reason };
        const wanted = { kind: WINDOW.name, name, spec };
        const { outcome } = await declarations.write(wanted, actor, options);
        return { name, ...body, next: nextStretch(body, deps.clock.now()), ...waitingOf(outcome) };
      },
    }),
    route({
      method: "DELETE",
      path: "/v1/windows/{environment}/{window}",
      summary: "Remove a change window or a freeze.",
      params: ofWindow,
      query: z.object({ reason: words.optional(), emergency: z.stringbool().default(false) }),
      handle: ({ params, query, actor }) => {
        const window = `${params.environment}/${params.window}`;
        const outcome = controls.submit({ action: "freeze", window, spec: null }, actor, query);
        const waiting = waitingOf(outcome);
        return waiting.pending === undefined ? { removed: window, ...waiting } : waiting;
      },
    }),
  ];
}
