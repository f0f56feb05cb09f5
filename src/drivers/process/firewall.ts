// What an instance may be reached by, also when it listens on all addresses: the edge and its own
// app. Rules by user id need neither ports nor addresses, and touch nothing that Holdfast did not
// start. They go into the kernel over `nft`, all at once, and are the same for every installation.

import { run } from "../exec.ts";

export const FIRST_APP_UID = 100_000_000;
export const APP_UIDS = 1_000_000_000;

const TABLE = "inet holdfast";
const APPS = `${FIRST_APP_UID}-${FIRST_APP_UID + APP_UIDS - 1}`;

/** An answer from an app's port leaves for the same app, or for somebody on this machine who is none. */
export function renderFirewall(uid: number | undefined): string {
  return [
    `add table ${TABLE}`,
    `add map ${TABLE} apps { type uid : mark; }`,
    `add set ${TABLE} same_app { type uid . mark; }`,
    ...(uid === undefined ? [] : [`add element ${TABLE} apps { ${uid} : ${uid} }`]),
    ...(uid === undefined ? [] : [`add element ${TABLE} same_app { ${uid} . ${uid} }`]),
    `add chain ${TABLE} output { type filter hook output priority 0; policy accept; }`,
    `flush chain ${TABLE} output`,
    // Who asks is written on the connection, and read when the answer leaves.
    `add rule ${TABLE} output ct state new ct mark set meta skuid map @apps`,
    `add rule ${TABLE} output ct direction reply meta skuid ${APPS} oifname != lo drop`,
    `add rule ${TABLE} output ct direction reply meta skuid ${APPS} ct mark ${APPS} meta skuid . ct mark != @same_app drop`,
    "",
  ].join("\n");
}

/** Puts the rules in place, for this app too, or back where somebody took them away. */
export const admitApp = (uid: number): Promise<boolean> => apply(renderFirewall(uid));

/** Whether this machine can keep instances to themselves; for `doctor`. */
export const canKeepApart = (): Promise<boolean> => apply(renderFirewall(undefined));

// False where there is no nft, or no right to use it: doctor says so.
const apply = (rules: string): Promise<boolean> =>
  run(["nft", "-f", "-"], { input: rules }).then(
    ({ code }) => code === 0,
    () => false,
  );
