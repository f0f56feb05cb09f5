// The environment, read once, as typed values. Nothing else looks at process.env for Holdfast's own
// settings.

import { isIP } from "node:net";
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
  /** Addresses and networks of proxies in front of the edge, whose word on a client's address counts. */
  readonly trustedProxies: readonly string[];
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
    apiUrl: apiUrl(env["HOLDFAST_API"]),
    token: env["HOLDFAST_TOKEN"] || undefined,
    apiHost: apiHost(env["HOLDFAST_API_HOST"]),
    trustedProxies: networks(env["HOLDFAST_TRUSTED_PROXIES"]),
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

function apiUrl(text: string | undefined): string | undefined {
  if (!text) return undefined;
  const url = URL.parse(text);
  if ((url?.protocol === "https:" || url?.protocol === "http:") && url.hostname !== "") return text;
  throw invalid("config.bad_url", `HOLDFAST_API=${text} is not the URL of an API`, {
    hint: "with its scheme, such as https://holdfast.example.com or http://127.0.0.1:7070",
  });
}

function networks(text: string | undefined): string[] {
  return (text ?? "")
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "")
    .map((one) => {
      if (isNetwork(one)) return one;
      throw invalid("config.bad_network", `HOLDFAST_TRUSTED_PROXIES: ${one} is not a network`, {
        hint: "addresses or networks, separated by commas, such as 10.0.0.0/8,192.0.2.7",
      });
    });
}

function isNetwork(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  if (prefix === undefined) return true;
  // Everybody is no proxy.
  return (
    /^[0-9]{1,3}$/.test(prefix) && Number(prefix) > 0 && Number(prefix) <= (family === 4 ? 32 : 128)
  );
}

function port(name: string, text: string | undefined): Record<string, number> {
  if (!text) return {};
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value < 65_536) return { [name]: value };
  throw invalid("config.bad_port", `HOLDFAST_${name.toUpperCase()}_PORT=${text} is not a port`, {
    hint: "a whole number from 1 to 65535",
  });
}
