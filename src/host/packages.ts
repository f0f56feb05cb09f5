// The engines' Debian packages: what is missing, and installing it without starting the services
// that come with them (Holdfast runs its own).

import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { run } from "../drivers/exec.ts";
import { readText } from "../drivers/files.ts";
import { stuck } from "../kernel/error.ts";

interface EnginePackage {
  readonly name: string;
  readonly isThere: () => boolean;
}

const anyOf = (...paths: readonly string[]): boolean => paths.some((path) => existsSync(path));

export const ENGINE_PACKAGES: readonly EnginePackage[] = [
  {
    name: "haproxy",
    isThere: () => anyOf("/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"),
  },
  {
    name: "postgresql",
    isThere: () =>
      anyOf("/usr/lib/postgresql") &&
      anyOf(
        ...["13", "14", "15", "16", "17", "18"].map((v) => `/usr/lib/postgresql/${v}/bin/postgres`),
      ),
  },
  {
    name: "redis-server",
    isThere: () => anyOf("/usr/bin/redis-server", "/usr/local/bin/redis-server"),
  },
  { name: "prometheus", isThere: () => anyOf("/usr/bin/prometheus", "/usr/local/bin/prometheus") },
  {
    name: "prometheus-alertmanager",
    isThere: () => anyOf("/usr/bin/prometheus-alertmanager"),
  },
  {
    name: "prometheus-node-exporter",
    isThere: () => anyOf("/usr/bin/prometheus-node-exporter"),
  },
  // Only root may use it, and only root's apps have users of their own.
  {
    name: "prometheus-postgres-exporter",
    isThere: () => anyOf("/usr/bin/prometheus-postgres-exporter"),
  },
  {
    name: "prometheus-redis-exporter",
    isThere: () => anyOf("/usr/bin/prometheus-redis-exporter"),
  },
  {
    name: "nftables",
    isThere: () => process.getuid?.() !== 0 || anyOf("/usr/sbin/nft", "/sbin/nft"),
  },
  { name: "openssl", isThere: () => anyOf("/usr/bin/openssl", "/usr/local/bin/openssl") },
];

const POLICY = "/usr/sbin/policy-rc.d";
const CREATE_CLUSTER = "/etc/postgresql-common/createcluster.conf";
const APT_TIMEOUT_MS = 15 * 60_000;

export const missingPackages = (): readonly string[] =>
  ENGINE_PACKAGES.filter(({ isThere }) => !isThere()).map(({ name }) => name);

/** Throws with the command to run where we may not install anything. */
export async function installPackages(packages: readonly string[], isRoot: boolean): Promise<void> {
  const asRoot = isRoot ? [] : (await maySudo()) ? ["sudo", "-n"] : undefined;
  const command = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  if (!asRoot || !existsSync("/usr/bin/apt-get")) {
    throw stuck(
      "packages.missing",
      `these programs are not on this machine: ${packages.join(", ")}`,
      {
        hint: `run as root: ${command}`,
      },
    );
  }
  const withoutServices = isRoot ? quietServices() : () => undefined;
  try {
    await apt([...asRoot, "apt-get", "update"], command);
    await apt(
      [
        ...asRoot,
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        ...packages,
      ],
      command,
    );
  } finally {
    withoutServices();
  }
}

async function apt(argv: readonly string[], command: string): Promise<void> {
  const { code, stdout, stderr } = await run(argv as [string, ...string[]], {
    timeoutMs: APT_TIMEOUT_MS,
  });
  if (code === 0) return;
  const said = (stderr || stdout).trim().split("\n").slice(-3).join(" | ");
  throw stuck("packages.failed", `${argv.slice(0, 4).join(" ")} failed: ${said}`, {
    hint: `run it by hand: ${command}`,
  });
}

const maySudo = async (): Promise<boolean> =>
  existsSync("/usr/bin/sudo") && (await run(["sudo", "-n", "true"])).code === 0;

// The packages would start services of their own on the usual ports: not asked for, so not done.
function quietServices(): () => void {
  const hadPolicy = existsSync(POLICY);
  if (!hadPolicy) writeFileSync(POLICY, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  if (!existsSync(CREATE_CLUSTER)) {
    mkdirSync("/etc/postgresql-common", { recursive: true });
    writeFileSync(
      CREATE_CLUSTER,
      "# Written by Holdfast: it runs clusters of its own.\ncreate_main_cluster = false\n",
    );
  }
  return () => {
    if (!hadPolicy && (readText(POLICY) ?? "").includes("exit 101"))
      rmSync(POLICY, { force: true });
  };
}
