// The environment, read once, as typed values. Nothing else looks at process.env for Holdfast's own
// settings.

import { homedir, userInfo } from "node:os";
import { join, resolve } from "node:path";
import { invalid } from "./kernel/error.ts";

export interface Config {
  /** Where all state is. */
  readonly home: string;
  readonly isDefaultHome: boolean;
  readonly isRoot: boolean;
  /** Address on which the edge listens; undefined: all of them. */
  readonly bind: string | undefined;
  readonly ports: { readonly http?: number; readonly https?: number; readonly api?: number };
  /** base64, 32 bytes; otherwise a key file is made. */
  readonly secretKey: string | undefined;
  /** For a client that is not on the machine, or not its owner. */
  readonly apiUrl: string | undefined;
  /** Name under which the edge shows the API to the world; undefined: only this machine reaches it. */
  readonly apiHost: string | undefined;
  readonly token: string | undefined;
}

export function readConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const isRoot = userInfo().uid === 0;
  const given = env["HOLDFAST_HOME"];
  const home = given
    ? resolve(given)
    : isRoot
      ? "/var/lib/holdfast"
      : join(env["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "holdfast");
  return {
    home,
    isDefaultHome: !given,
    isRoot,
    bind: env["HOLDFAST_BIND"] || undefined,
    ports: {
      ...port("http", env["HOLDFAST_HTTP_PORT"]),
      ...port("https", env["HOLDFAST_HTTPS_PORT"]),
      ...port("api", env["HOLDFAST_API_PORT"]),
    },
    secretKey: env["HOLDFAST_SECRET_KEY"] || undefined,
    apiUrl: env["HOLDFAST_API"] || undefined,
    token: env["HOLDFAST_TOKEN"] || undefined,
    apiHost: apiHost(env["HOLDFAST_API_HOST"]),
  };
}

const HOST =
  /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$/;

function apiHost(text: string | undefined): string | undefined {
  if (!text) return undefined;
  if (HOST.test(text)) return text;
  throw invalid("config.bad_host", `HOLDFAST_API_HOST=${text} is not the name of a host`, {
    hint: "lowercase, without port and scheme, such as holdfast.example.com",
  });
}

function port(name: string, text: string | undefined): Record<string, number> {
  if (!text) return {};
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value < 65_536) return { [name]: value };
  throw invalid("config.bad_port", `HOLDFAST_${name.toUpperCase()}_PORT=${text} is not a port`, {
    hint: "a whole number from 1 to 65535",
  });
}
