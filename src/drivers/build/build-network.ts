// How this machine reaches package registries (proxies, authorities): builds need to know it too, and
// of this machine's own ports they may reach those that it names, and no other.

/** Also names that pip and npm read in any case of letters. */
const NETWORK_VARIABLE =
  /^(https?_proxy|no_proxy|node_extra_ca_certs|ssl_cert_(file|dir)|npm_config_(registry|cafile|proxy|https_proxy)|pip_.+)$/i;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;
const DEFAULT_PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

export function networkVariables(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([key]) => NETWORK_VARIABLE.test(key)));
}

/** Ports of this machine on which a registry or a proxy to one listens. */
export function registryPorts(env: NodeJS.ProcessEnv): readonly number[] {
  return Object.values(networkVariables(env)).flatMap((value) => {
    if (value === undefined || !URL.canParse(value)) return [];
    const { protocol, hostname, port } = new URL(value);
    if (!LOOPBACK.test(hostname)) return [];
    const number = Number(port) || DEFAULT_PORTS[protocol];
    return number === undefined ? [] : [number];
  });
}
