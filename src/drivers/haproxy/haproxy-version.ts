import { run } from "../exec.ts";
import { CLEAN_ENV } from "../process/app-user.ts";

let version: Promise<string | undefined> | undefined;

/** Of the one that is started, `2.6.12-1+deb12u2`; undefined where it is not installed, and asked again then. */
export function haproxyVersion(): Promise<string | undefined> {
  version ??= run(["haproxy", "-v"], { env: CLEAN_ENV }).then(
    ({ stdout }) => /version (\S+)/.exec(stdout)?.[1],
    () => {
      version = undefined;
      return undefined;
    },
  );
  return version;
}
