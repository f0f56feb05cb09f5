// The user an app runs as, and how a command becomes that user's. Everything before the drop of
// rights runs as root: it gets a fixed environment and fixed programs, nothing that an app, its
// dependencies or its variables could have a say in.

import { createHash } from "node:crypto";
import type { Argv } from "../exec.ts";
import { keepJson, readJson } from "../files.ts";

/** No app's name has this in it. */
const BUILDER = "#build";

export const isBuilder = (user: string): boolean => user.endsWith(BUILDER);

export const FIRST_APP_UID = 100_000_000;
export const APP_UIDS = 1_000_000_000;

/**
 * The last step of a start, with the rights of the app already: its variables get their names. Not a
 * file: an app's user need not be able to read this checkout.
 */
const BECOME = `
for _holdfast in $HOLDFAST_CARRIED; do
  eval "export $_holdfast=\\"\\$HOLDFAST_CARRIED_$_holdfast\\""
  unset "HOLDFAST_CARRIED_$_holdfast"
done
cd "$HOLDFAST_DIR" || exit 126
unset HOLDFAST_CARRIED HOLDFAST_DIR _holdfast
exec "$@"`;
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** For what runs with our own rights. */
export const CLEAN_ENV: NodeJS.ProcessEnv = {
  PATH: SYSTEM_PATH,
  LANG: "C.UTF-8",
};

/** Tells what installations have on one machine apart: control groups, packet filter tables. */
export const installationId = (root: string): string =>
  createHash("sha256").update(root).digest("hex").slice(0, 8);

/** Each app of each installation has a user id of its own, for as long as the installation lives. */
export class AppUsers {
  readonly #file: string;
  #users: Readonly<Record<string, number>> | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  /** Every app and builder that was ever given a user, with it. */
  all(): readonly (readonly [user: string, uid: number])[] {
    this.#users ??= readJson<Record<string, number>>(this.#file) ?? {};
    return Object.entries(this.#users);
  }

  /** Who builds an app: not who runs it, so that neither can touch what is the other's. */
  builderOf(appName: string): number | undefined {
    return this.uidOf(appName + BUILDER);
  }

  /** Undefined where we are not root and everything runs as ourselves. */
  uidOf(appName: string): number | undefined {
    if (process.getuid?.() !== 0) return undefined;
    this.#users ??= readJson<Record<string, number>>(this.#file) ?? {};
    const known = this.#users[appName];
    if (known !== undefined) return known;
    const taken = new Set(Object.values(this.#users));
    const digest = createHash("sha256").update(`${this.#file}\0${appName}`).digest();
    let offset = digest.readUInt32BE(0) % APP_UIDS;
    while (taken.has(FIRST_APP_UID + offset)) offset = (offset + 1) % APP_UIDS;
    const users = { ...this.#users, [appName]: FIRST_APP_UID + offset };
    keepJson(this.#file, users);
    this.#users = users;
    return FIRST_APP_UID + offset;
  }
}

/** Prefix of a command that gives up every right but those of this user, for good. */
export function dropTo(uid: number | undefined): readonly string[] {
  if (uid === undefined) return [];
  const user = ["--reuid", String(uid), "--regid", String(uid), "--clear-groups"];
  return ["setpriv", ...user, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--"];
}

export interface AppCommand {
  readonly argv: Argv;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * The command behind a prefix that needs our rights (namespaces, control groups, dropping to the
 * user), in a folder as it is called behind that prefix. Variables are carried under other names up
 * to the last step: `LD_PRELOAD`, `PATH` and the like mean nothing before it.
 */
export function appCommand(
  prefix: readonly string[],
  dir: string,
  command: readonly string[],
  env: NodeJS.ProcessEnv,
): AppCommand {
  const carried = Object.entries(env).filter(([, value]) => value !== undefined);
  return {
    argv: [...prefix, "/bin/sh", "-c", BECOME, "become", ...command] as unknown as Argv,
    env: {
      ...CLEAN_ENV,
      HOLDFAST_DIR: dir,
      HOLDFAST_CARRIED: carried.map(([key]) => key).join(" "),
      ...Object.fromEntries(carried.map(([key, value]) => [`HOLDFAST_CARRIED_${key}`, value])),
    },
  };
}
