// Cedar, as WebAssembly: decides, and checks policies before they are kept.

import { createRequire } from "node:module";
import { assert, invalid } from "../../kernel/error.ts";
import type {
  AccessAnswer,
  AccessQuestion,
  Authorizer,
} from "../../resources/account/permissions.ts";

type Cedar = typeof import("@cedar-policy/cedar-wasm/nodejs");
const INSTALLATION = { type: "Installation", id: "holdfast" };
const HINT = "docs/reference/policy.md says what policies may speak of";

let loaded: Cedar | undefined;
// 25 ms and some memory: at the first question, not for every command line.
const cedar = (): Cedar => {
  loaded ??= createRequire(import.meta.url)("@cedar-policy/cedar-wasm/nodejs") as Cedar;
  return loaded;
};

export interface CedarOptions {
  /** What policies may speak of. */
  readonly schema: string;
  /** Policy id → Cedar: what the roles of an environment, or of the installation, may. */
  readonly rolePolicies: (environment: AccessQuestion["environment"]) => Record<string, string>;
}

export class CedarAuthorizer implements Authorizer {
  readonly #options: CedarOptions;

  constructor(options: CedarOptions) {
    this.#options = options;
  }

  decide({ user, action, environment, app, context, cedar: own }: AccessQuestion): AccessAnswer {
    const uid = (type: string, id: string) => ({ type, id });
    const place = environment ? uid("Environment", environment.name) : INSTALLATION;
    const thing =
      environment && app !== undefined ? uid("App", `${environment.name}/${app}`) : place;
    const answer = cedar().isAuthorized({
      principal: uid("User", user.name),
      action: uid("Action", action),
      resource: thing,
      context: { ...context },
      policies: { staticPolicies: { ...this.#options.rolePolicies(environment), ...partsOf(own) } },
      entities: [
        {
          uid: uid("User", user.name),
          attrs: { kind: user.kind },
          parents: user.grants.map((grant) => uid("Role", grant)),
        },
        { uid: INSTALLATION, attrs: {}, parents: [] },
        ...(environment
          ? [{ uid: place, attrs: { class: environment.class }, parents: [INSTALLATION] }]
          : []),
        ...(thing === place ? [] : [{ uid: thing, attrs: { name: app ?? "" }, parents: [place] }]),
      ],
    });
    if (answer.type === "failure")
      return { allowed: false, rules: [], problem: answer.errors.map(textOf).join("; ") };
    const { decision, diagnostics } = answer.response;
    // Cedar leaves out a policy that fails; one that was to forbid must not open the door by it.
    const [broken] = diagnostics.errors;
    if (broken)
      return {
        allowed: false,
        rules: [broken.policyId],
        problem: `the policy ${broken.policyId} could not be evaluated: ${textOf(broken.error)}`,
      };
    return { allowed: decision === "allow", rules: [...diagnostics.reason].sort() };
  }

  check(text: string): void {
    if (text.trim() === "") return;
    const policies = { staticPolicies: partsOf(text) };
    const answer = cedar().validate({ schema: this.#options.schema, policies });
    const errors =
      answer.type === "failure"
        ? answer.errors.map(textOf)
        : answer.validationErrors.map(({ policyId, error }) => `${policyId}: ${textOf(error)}`);
    if (errors.length > 0) throw refused(errors);
  }
}

/** Policies by the ids that their annotations give them; others are numbered. */
function partsOf(text: string): Record<string, string> {
  if (text.trim() === "") return {};
  const answer = cedar().policySetTextToParts(text);
  if (answer.type === "failure") throw refused(answer.errors.map((error) => locate(error, text)));
  assert(answer.type === "success", "Cedar gave neither policies nor errors");
  const entries = answer.policies.map((policy, index): [string, string] => [
    /^\s*@id\("([^"]+)"\)/m.exec(policy)?.[1] ?? `policy ${index + 1}`,
    policy,
  ]);
  const twice = entries.find(([id], index) => entries.findIndex(([one]) => one === id) !== index);
  if (twice) throw refused([`two policies have the id "${twice[0]}"`]);
  return Object.fromEntries(entries);
}

const refused = (mistakes: readonly string[]) =>
  invalid("policy.invalid", `cedar: ${mistakes.join("; ")}`, { hint: HINT });

interface CedarError {
  readonly message: string;
  readonly help: string | null;
  readonly sourceLocations?: readonly { readonly start: number; readonly label?: string | null }[];
}

const textOf = ({ message, help }: CedarError): string => (help ? `${message} (${help})` : message);

function locate(error: CedarError, text: string): string {
  const at = error.sourceLocations?.[0];
  if (!at) return textOf(error);
  const before = text.slice(0, at.start).split("\n");
  const label = at.label ? `, ${at.label}` : "";
  return `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}: ${textOf(error)}${label}`;
}
