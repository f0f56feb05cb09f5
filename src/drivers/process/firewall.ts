// What an instance may be reached by, also when it listens on all addresses: the edge and its own
// app. And what it may reach: stores of its own environment, and services of its own app. Rules by user id, in a table of the kernel's packet filter per installation, which is always
// replaced as a whole: what somebody took away comes back with the next start of an instance.

import { run } from "../exec.ts";
import { APP_UIDS, CLEAN_ENV, FIRST_APP_UID, installationId } from "./app-user.ts";

const ANY_APP = `${FIRST_APP_UID}-${FIRST_APP_UID + APP_UIDS - 1}`;

/** An app's user id, a port that was given to one of its instances, and guarded ones it may reach. */
export interface Admitted {
  readonly uid: number;
  readonly port: number | undefined;
  readonly doors: readonly number[];
}

/** An answer leaves an app's port only for the same app, or from its own port to one who is no app. */
export function renderFirewall(
  installation: string,
  admitted: readonly Admitted[],
  guarded: readonly number[] = [],
): string {
  const table = tableOf(installation);
  const uids = [...new Set(admitted.map(({ uid }) => uid))].sort();
  const ports = admitted.flatMap(({ uid, port }) => (port === undefined ? [] : `${uid} . ${port}`));
  const doors = admitted.flatMap((one) => one.doors.map((port) => `${one.uid} . ${port}`));
  const set = (name: string, type: string, elements: readonly string[]): string =>
    `  ${name} { type ${type}; ${elements.length > 0 ? `elements = { ${[...new Set(elements)].join(", ")} }; ` : ""}}`;
  const answers = "ct direction reply meta skuid @apps";
  return [
    `table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    set("set apps", "uid", uids.map(String)),
    set(
      "map marks",
      "uid : mark",
      uids.map((uid) => `${uid} : ${uid}`),
    ),
    set(
      "set same_app",
      "uid . mark",
      uids.map((uid) => `${uid} . ${uid}`),
    ),
    set("set own_ports", "uid . inet_service", ports),
    set("set own_doors", "uid . inet_service", doors),
    "  chain output {",
    "    type filter hook output priority 0; policy accept;",
    // Ports that ask nobody who they are, and those that are not every app's business.
    ...(guarded.length > 0
      ? [
          `    meta skuid @apps tcp dport { ${[...new Set(guarded)].join(", ")} } meta skuid . tcp dport != @own_doors reject`,
        ]
      : []),
    // Who asks is written on the connection, and read when the answer leaves.
    "    ct state new ct mark set meta skuid map @marks",
    `    ${answers} oifname != "lo" drop`,
    `    ${answers} meta skuid . ct mark @same_app accept`,
    `    ${answers} ct mark ${ANY_APP} drop`,
    // Otherwise an app could sit down where a store or another app's instance has just gone.
    `    ${answers} meta skuid . tcp sport @own_ports accept`,
    `    ${answers} drop`,
    "  }",
    "}",
    "",
  ].join("\n");
}

/** False where this machine can't keep instances to themselves. */
export const keepApart = (
  installation: string,
  admitted: readonly Admitted[],
  guarded: readonly number[],
): Promise<boolean> => nft(renderFirewall(installation, admitted, guarded));

/** For `doctor`: whether it could; changes nothing. */
export const canKeepApart = (installation: string): Promise<boolean> =>
  nft(renderFirewall(installation, []), ["--check"]);

export async function removeFirewall(installation: string): Promise<void> {
  await nft(`table ${tableOf(installation)}\ndelete table ${tableOf(installation)}\n`);
}

const tableOf = (installation: string): string => `inet holdfast_${installationId(installation)}`;

const nft = (rules: string, flags: readonly string[] = []): Promise<boolean> =>
  run(["nft", ...flags, "-f", "-"], { input: rules, env: CLEAN_ENV }).then(
    ({ code }) => code === 0,
    () => false,
  );
