// Accounts and the tokens that they have.

import { invalid } from "../kernel/error.ts";
import type { Actor } from "../kernel/resource-store.ts";
import { ACCOUNT, type Account } from "../resources/account/account.ts";
import { TOKEN } from "../resources/token/token.ts";
import type { OperationDeps } from "./operation-deps.ts";

type AccountDeps = Pick<OperationDeps, "store" | "tokens">;

/** @throws account.not_found */
export function getAccount({ store }: Pick<OperationDeps, "store">, name: string): Account {
  const found = store.find(ACCOUNT, name);
  if (found) return found;
  throw invalid("account.not_found", `there is no account ${name}`, {
    hint: `holdfast account set ${name} --role staging/developer makes it`,
  });
}

/** With its tokens. @throws account.not_found */
export function removeAccount(deps: AccountDeps, name: string, actor: Actor): void {
  const { store } = deps;
  const found = getAccount(deps, name);
  store.transaction(() => {
    for (const token of store.list(TOKEN))
      if (token.spec.account === name) revokeToken(deps, token.name, actor);
    store.markDeleting(found, { actor, action: "account-remove" });
    store.forget(found, found.uid);
  });
}

/** @throws token.not_found */
export function revokeToken({ store, tokens }: AccountDeps, id: string, actor: Actor): void {
  const found = store.find(TOKEN, id);
  if (!found)
    throw invalid("token.not_found", `there is no token ${id}`, { hint: "holdfast token list" });
  store.transaction(() => {
    tokens.remove(id);
    store.markDeleting(found, { actor, action: "token-revoke" });
    store.forget(found, found.uid);
  });
}
