// Resources of every kind, alike: made from the catalog. What a person may set is written through its
// declaration, so that files, commands and these routes mean the same.

import { Readable } from "node:stream";
import { z } from "zod";
import { sleep } from "../kernel/clock.ts";
import { type AnyKind, environmentOf } from "../kernel/kind.ts";
import type { Resource } from "../kernel/resource.ts";
import type { Access, Principal } from "../operations/access.ts";
import type { ChangeControl } from "../operations/change-control.ts";
import type { Declarations } from "../operations/declared/declarations.ts";
import type { DeclaredKind } from "../operations/declared/declared-kind.ts";
import { DECLARED_KINDS, notThere } from "../operations/declared/declared-kinds.ts";
import type { OperationDeps } from "../operations/operation-deps.ts";
import { CATALOG } from "../resources/catalog.ts";
import { breakGlass, waitingOf } from "./environment-routes.ts";
import { type Lines, type Route, route } from "./route.ts";

const DOCUMENTS_MAX = 2_000;
const SPEC_DEPTH = "As docs/reference/resources.md has it.";

export interface ResourceView {
  readonly kind: string;
  readonly name: string;
  readonly generation: number;
  /** ms since the epoch */
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deleting?: true;
  /** As a file would have it, where one could. */
  readonly spec: unknown;
  readonly status?: unknown;
}

const viewSchema = (kind: AnyKind, of: DeclaredKind | undefined) =>
  z
    .object({
      kind: z.literal(kind.name),
      name: z.string(),
      generation: z.number().int().describe("+1 with each change of its spec."),
      createdAt: z.number().describe("ms since the epoch."),
      updatedAt: z.number().describe("ms since the epoch."),
      deleting: z.literal(true).optional(),
      spec: of ? of.input : kind.spec,
      status: z.unknown().optional().describe("What was last seen of it."),
    })
    .meta({ id: `Resource_${kind.name}` });

const declaration = z.strictObject({
  kind: z.string().max(100),
  name: z.string().max(200),
  spec: z.unknown().describe(SPEC_DEPTH),
  source: z.string().max(1_000).optional().describe("Where it stands, for messages."),
});
const setName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,39}$/, "must be lowercase letters, digits and hyphens")
  .optional()
  .describe("The name that these files are known by.");
const files = {
  resources: z.array(declaration).max(DOCUMENTS_MAX),
  set: setName,
  prune: z
    .boolean()
    .default(false)
    .describe("Remove what the set applied before, and does not declare any more."),
};

export function resourceRoutes(
  deps: OperationDeps,
  { access, declarations }: Pick<ChangeControl, "access" | "declarations">,
): Route[] {
  return [
    route({
      method: "GET",
      path: "/v1/kinds",
      summary: "List kinds of resources.",
      answers: z.object({
        kinds: z.array(
          z.object({
            name: z.string(),
            summary: z.string(),
            scope: z.enum(["installation", "environment", "app"]),
            declared: z.boolean().describe("Files may declare it."),
          }),
        ),
      }),
      handle: () => ({
        kinds: CATALOG.map(({ name, summary, scope }) => ({
          ...{ name, summary, scope },
          declared: declarationOf(name) !== undefined,
        })),
      }),
    }),
    ...CATALOG.flatMap((kind) => kindRoutes(deps, kind, access)),
    ...DECLARED_KINDS.flatMap((of) => declaredRoutes(of, declarations)),
    ...fileRoutes(declarations),
  ];
}

const declarationOf = (name: string): DeclaredKind | undefined =>
  DECLARED_KINDS.find(({ kind }) => kind.name === name);

function kindRoutes(deps: OperationDeps, kind: AnyKind, access: Access): Route[] {
  const path = `/v1/resources/${kind.name}`;
  const of = declarationOf(kind.name);
  const view = viewSchema(kind, of);
  const maySee = (actor: Principal, one: Resource<unknown, unknown>): boolean =>
    access.decide(actor, "view", environmentOf(kind, one.name, one.spec)).allowed;
  const listed = (actor: Principal, environment: string | undefined): ResourceView[] =>
    deps.store
      .list(kind)
      .filter(
        (one) =>
          environment === undefined || environmentOf(kind, one.name, one.spec) === environment,
      )
      .filter((one) => maySee(actor, one))
      .map((one) => viewOf(one, of));
  const query = z.object({
    environment: z.string().max(30).optional().describe("Only those of this environment."),
  });
  return [
    route({
      method: "GET",
      path,
      summary: `List resources of kind ${kind.name}: ${kind.summary}`,
      query,
      answers: z.object({ resources: z.array(view) }),
      handle: ({ query: { environment }, actor }) => ({ resources: listed(actor, environment) }),
    }),
    route({
      method: "GET",
      path: `/v1/watch/${kind.name}`,
      summary: `Watch resources of kind ${kind.name}: the list again at each change, as NDJSON.`,
      query,
      answers: "stream",
      handle: ({ query: { environment }, current, signal }) =>
        watch(deps, kind, signal, () => listed(current(), environment)),
    }),
    route({
      method: "GET",
      path: `${path}/{name}`,
      summary: `Show one ${kind.name}.`,
      params: z.object({ name: z.string().max(200).describe("With / written as %2F.") }),
      answers: view,
      handle: ({ params: { name }, actor }) => {
        const found = deps.store.find(kind, name);
        // Who may not see it does not learn that it is there.
        if (found && maySee(actor, found)) return viewOf(found, of);
        throw notThere(kind, name);
      },
    }),
  ];
}

function declaredRoutes(of: DeclaredKind, declarations: Declarations): Route[] {
  const { kind, names } = of;
  const params = z.object({
    name: z.string().max(200).describe(`${names.form}, with / written as %2F.`),
  });
  const path = `/v1/resources/${kind.name}/{name}`;
  const done = z.object({
    change: z.number().int().optional().describe("The change that it became."),
    pending: z.string().optional().describe("What it waits for."),
  });
  return [
    route({
      method: "PUT",
      path,
      summary: `Create or update one ${kind.name}.`,
      params,
      body: z.object({ spec: of.input, ...breakGlass }),
      answers: done,
      handle: async ({ params: { name }, request, body, actor, signal }) => {
        // As it came: the declaration reads it, like one of a file.
        const { spec } = request.body as { spec: unknown };
        const { reason, emergency } = body;
        const options = { reason, emergency, signal };
        const { outcome } = await declarations.write(
          { kind: kind.name, name, spec },
          actor,
          options,
        );
        return waitingOf(outcome);
      },
    }),
    route({
      method: "DELETE",
      path,
      summary: `Remove one ${kind.name}.`,
      params,
      query: z.object({
        reason: breakGlass.reason,
        emergency: z.stringbool().default(false),
      }),
      answers: done,
      handle: async ({ params: { name }, query, actor }) =>
        waitingOf(await declarations.remove({ kind: kind.name, name }, actor, query)),
    }),
  ];
}

function fileRoutes(declarations: Declarations): Route[] {
  return [
    route({
      method: "POST",
      path: "/v1/plan",
      summary: "Show what applying these resources would change, field by field.",
      body: z.object(files),
      handle: ({ body: { resources, ...options }, actor }) => ({
        changes: declarations.plan(resources as Parsed[], options, actor),
      }),
    }),
    route({
      method: "POST",
      path: "/v1/apply",
      summary: "Apply resources; all are validated in a dry run before the first is written.",
      body: z.object({ ...files, ...breakGlass }),
      handle: async ({ body: { resources, ...options }, actor }) => ({
        changes: await declarations.apply(resources as Parsed[], options, actor),
      }),
    }),
  ];
}

type Parsed = z.output<typeof declaration> & { readonly spec: unknown };

function viewOf(one: Resource<unknown, unknown>, of: DeclaredKind | undefined): ResourceView {
  const { kind, name, generation, createdAt, updatedAt, deleting, spec, status } = one;
  return {
    ...{ kind, name, generation, createdAt, updatedAt },
    ...(deleting && { deleting }),
    spec: of ? of.show(spec) : spec,
    ...(status !== undefined && { status }),
  };
}

const WATCH_PAUSE_MS = 200;

/** The first answer at once; then another whenever one of the kind was written, at most a few a second. */
function watch(
  { store, clock }: Pick<OperationDeps, "store" | "clock">,
  kind: AnyKind,
  signal: AbortSignal,
  look: () => readonly ResourceView[],
): Lines<{ readonly resources: readonly ResourceView[] }> {
  let isStale = true;
  let wake = (): void => undefined;
  const unsubscribe = store.subscribe((ref) => {
    if (ref.kind !== kind.name) return;
    isStale = true;
    wake();
  });
  signal.addEventListener("abort", () => wake(), { once: true });
  const changed = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      if (isStale || signal.aborted) resolve();
    });
  return Readable.from(
    (async function* () {
      try {
        while (!signal.aborted) {
          isStale = false;
          yield `${JSON.stringify({ resources: look() })}\n`;
          await changed();
          await sleep(clock, WATCH_PAUSE_MS, signal);
        }
      } finally {
        unsubscribe();
      }
    })(),
  );
}
