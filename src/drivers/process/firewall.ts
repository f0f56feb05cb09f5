// What an app may reach on this machine, and by whom it may be reached, also when it listens on all
// addresses. Rules by user id, in a table of the kernel's packet filter per installation, which is
// always replaced as a whole: what somebody took away comes back with the next start of an instance.
//
// An answer is what is filtered: only when a program answers does the kernel say whose it is. So an
// app gets an answer from itself, and from the ports that are its doors; nothing else on this
// machine answers it, whoever listens there: another app, a store, another installation.

import { run } from "../exec.ts";
import { APP_UIDS, CLEAN_ENV, FIRST_APP_UID, installationId } from "./app-user.ts";

const ANY_APP = `${FIRST_APP_UID}-${FIRST_APP_UID + APP_UIDS - 1}`;
const DNS = 53;

/** Where clouds tell their machines who they are, with credentials for it. */
const METADATA = {
  ip: ["169.254.0.0/16", "168.63.129.16", "100.100.100.200", "192.0.0.192"],
  ip6: ["fe80::/10", "fd00:ec2::254"],
} as const;
/** Networks of containers on this machine. */
const CONTAINER_LINKS = ["docker*", "br-*", "veth*", "podman*", "cni*", "virbr*", "lxc*"];

export interface Reach {
  /** Ports of this machine. */
  readonly doors: readonly number[];
  /** The cloud's metadata service. */
  readonly asksMetadata: boolean;
}

/** A user id of an app, or of the builder of one. */
export interface Admitted extends Reach {
  readonly uid: number;
  /** Given to its instances: whoever is no app gets an answer from there. */
  readonly ports: readonly number[];
}

export function renderFirewall(
  installation: string,
  admitted: readonly Admitted[],
  guarded: readonly number[] = [],
): string {
  const table = tableOf(installation);
  return [
    `table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    ...renderSets(admitted),
    "  chain output {",
    "    type filter hook output priority 0; policy accept;",
    ...renderRequests(guarded),
    // Who asks is written on the connection, and read when the answer leaves.
    "    ct state new ct mark set meta skuid map @marks",
    ...renderAnswers(),
    "  }",
    "}",
    "",
  ].join("\n");
}

function renderSets(admitted: readonly Admitted[]): string[] {
  const set = (name: string, type: string, elements: readonly string[]): string => {
    const unique = [...new Set(elements)].sort();
    const listed = unique.length > 0 ? `elements = { ${unique.join(", ")} }; ` : "";
    return `  ${name} { type ${type}; ${listed}}`;
  };
  const each = (text: (uid: number) => string): string[] => admitted.map(({ uid }) => text(uid));
  const pairs = (of: (one: Admitted) => readonly number[]): string[] =>
    admitted.flatMap((one) => of(one).map((port) => `${one.uid} . ${port}`));
  const asking = admitted.filter(({ asksMetadata }) => asksMetadata);
  return [
    set("set apps", "uid", each(String)),
    set("set asked_by", "mark", each(String)),
    set(
      "set ask_metadata",
      "uid",
      asking.map(({ uid }) => String(uid)),
    ),
    set(
      "map marks",
      "uid : mark",
      each((uid) => `${uid} : ${uid}`),
    ),
    set(
      "set same_app",
      "uid . mark",
      each((uid) => `${uid} . ${uid}`),
    ),
    set(
      "set own_ports",
      "uid . inet_service",
      pairs(({ ports }) => ports),
    ),
    set(
      "set own_doors",
      "uid . inet_service",
      pairs(({ doors }) => doors),
    ),
    set(
      "set doors_of",
      "mark . inet_service",
      pairs(({ doors }) => doors),
    ),
  ];
}

function renderRequests(guarded: readonly number[]): string[] {
  const ports = [...new Set(guarded)].sort((a, b) => a - b).join(", ");
  return [
    // At once where we know that it is not for them: otherwise they would wait for an answer.
    ...(guarded.length > 0
      ? [
          `    meta skuid @apps oifname "lo" tcp dport { ${ports} } meta skuid . tcp dport != @own_doors reject with tcp reset`,
        ]
      : []),
    ...(["ip", "ip6"] as const).map(
      (family) =>
        `    meta skuid @apps meta skuid != @ask_metadata ${family} daddr { ${METADATA[family].join(", ")} } meta l4proto { tcp, udp } th dport != ${DNS} reject`,
    ),
    ...CONTAINER_LINKS.map((link) => `    meta skuid @apps oifname "${link}" reject`),
  ];
}

function renderAnswers(): string[] {
  const answers = "ct direction reply meta skuid @apps";
  const answered = 'ct direction reply oifname "lo" ct mark @asked_by';
  return [
    `    ${answers} oifname != "lo" drop`,
    `    ${answers} meta skuid . ct mark @same_app accept`,
    `    ${answers} ct mark ${ANY_APP} drop`,
    // Otherwise an app could sit down where a store or another app's instance has just gone.
    `    ${answers} meta skuid . tcp sport @own_ports accept`,
    `    ${answers} drop`,
    // That nobody listens is nobody's secret.
    `    ${answered} tcp flags & rst == rst accept`,
    `    ${answered} ct mark . tcp sport @doors_of accept`,
    `    ${answered} meta l4proto { tcp, udp } th sport ${DNS} accept`,
    `    ${answered} meta l4proto { tcp, udp } drop`,
  ];
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
