// Accounts that somebody made for themselves: their approval is no second pair of eyes, nor is that of
// who made the account that asks, and may speak in its name. Read from the audit, which nobody can edit
// unseen, so it also holds for accounts that are gone and came back.

import { OWNER } from "../resources/account/account.ts";
import type { OperationDeps } from "./operation-deps.ts";

const HOUR_MS = 3_600_000;
const EVENTS_MAX = 10_000;

/** The owner of the installation has two doors. */
const personOf = (name: string): string => (name === "admin" ? OWNER : name);

/**
 * Accounts that somebody made, changed or made a token for within so many hours, and those that such
 * accounts made in turn; and those that did so for the asker. The owner of the installation is none of
 * these: whoever is root needs no token.
 */
export function tiedAccounts(
  { audit, clock }: Pick<OperationDeps, "audit" | "clock">,
  asker: string,
  hours: number,
): ReadonlySet<string> {
  if (hours === 0) return new Set();
  const from = clock.now() - hours * HOUR_MS;
  const made = [
    ...audit
      .search({ kind: "account", from, limit: EVENTS_MAX })
      .map(({ actor, name }) => ({ by: personOf(actor), account: name })),
    ...audit.search({ kind: "token", from, limit: EVENTS_MAX }).flatMap(({ actor, change }) => {
      const [{ to } = {}] = change;
      const account = (to as { account?: string } | undefined)?.account;
      return account === undefined ? [] : [{ by: personOf(actor), account: personOf(account) }];
    }),
  ].filter(({ by, account }) => by !== account);
  const own = personOf(asker);
  const makers = made
    .filter(({ by }) => by !== OWNER)
    .map(({ by, account }) => ({ by: account, account: by }));
  const tied = new Set([...reachedFrom(own, made), ...reachedFrom(own, makers)]);
  tied.delete(own);
  return tied;
}

interface Tie {
  readonly by: string;
  readonly account: string;
}

function reachedFrom(asker: string, ties: readonly Tie[]): ReadonlySet<string> {
  const found = new Set<string>();
  const open = [asker];
  for (let one = open.pop(); one !== undefined; one = open.pop())
    for (const { by, account } of ties)
      if (by === one && !found.has(account)) {
        found.add(account);
        open.push(account);
      }
  return found;
}
