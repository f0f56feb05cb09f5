// What an app is when it does not say so itself: from a Procfile, a Dockerfile or a package.json.
// Whatever was concluded is said, and `holdfast init` writes it down.

import { invalid } from "../../kernel/error.ts";
import { type Manifest, type ManifestInput, manifestSchema } from "./manifest.ts";
import { checkManifest, MANIFEST_FILE, parseManifest } from "./manifest-file.ts";

export interface SourceFiles {
  /** Name of the folder, the last resort for the app's name. */
  readonly folder: string;
  /** Text of the files in INFERENCE_FILES that are there. */
  readonly files: Readonly<Record<string, string>>;
}

/** The files that inference reads, all in the top folder. */
export const INFERENCE_FILES = [
  MANIFEST_FILE,
  "Procfile",
  "Dockerfile",
  "package.json",
  "package-lock.json",
  "requirements.txt",
  "app.json",
] as const;

export interface Inference {
  readonly manifest: Manifest;
  /** The same as a person would write it. */
  readonly input: ManifestInput;
  /** One sentence for each conclusion; empty where holdfast.yaml says everything. */
  readonly inferred: readonly string[];
}

interface PackageJson {
  readonly name?: string;
  readonly main?: string;
  readonly scripts?: Record<string, string>;
  readonly dependencies?: Record<string, string>;
}

export function inferManifest(source: SourceFiles): Inference {
  const text = source.files[MANIFEST_FILE];
  if (text !== undefined) {
    const manifest = parseManifest(text);
    const commands = fillCommands(manifest, source);
    return {
      manifest: commands.manifest,
      input: { name: manifest.name },
      inferred: commands.inferred,
    };
  }
  const pkg = parsePackageJson(source.files["package.json"]);
  const { input, inferred } = inferInput(source, pkg);
  const stores = inferStores(pkg, source);
  const whole: ManifestInput = {
    ...input,
    ...(Object.keys(stores).length > 0 && { stores }),
  };
  const storeNotes = Object.keys(stores).map(
    (store) => `needs ${store}, a client of it is among the dependencies`,
  );
  return {
    manifest: checkInferred(whole, source),
    input: whole,
    inferred: [...inferred, ...storeNotes],
  };
}

// The same rules as for what a person wrote.
function checkInferred(input: ManifestInput, { files }: SourceFiles): Manifest {
  const parsed = manifestSchema.safeParse(input);
  const mistakes = parsed.success
    ? checkManifest(parsed.data).map(({ path, message }) => `${path.join(".")} ${message}`)
    : parsed.error.issues.map(({ path, message, ...issue }) => {
        const inner = issue.code === "invalid_key" ? issue.issues[0]?.message : undefined;
        return `${path.join(".")} ${inner ?? message}`;
      });
  if (parsed.success && mistakes.length === 0) return parsed.data;
  const file = files["Procfile"] === undefined ? "package.json" : "Procfile";
  throw invalid(
    `${file === "Procfile" ? "procfile" : "package_json"}.invalid`,
    `${file}: ${mistakes.join("; ").trim()}`,
    { hint: "change it there, or say it in a holdfast.yaml" },
  );
}

function inferInput(source: SourceFiles, pkg: PackageJson | undefined) {
  const name = appNameFrom(pkg?.name ?? source.folder);
  const routes = [{ host: `${name}.localhost` }];
  const where = `reached at ${name}.localhost`;
  const procfile = source.files["Procfile"];
  if (procfile !== undefined) return fromProcfile(name, procfile);
  if (source.files["Dockerfile"] !== undefined) {
    const input: ManifestInput = { name, services: { web: { routes } } };
    return { input, inferred: ["Dockerfile: one service, web, started as the image says", where] };
  }
  const command = startCommand(pkg);
  if (command !== undefined) {
    const input: ManifestInput = { name, services: { web: { command, routes } } };
    return { input, inferred: [`package.json: one service, web: ${command}`, where] };
  }
  throw noStartCommand(source, pkg);
}

function noStartCommand(source: SourceFiles, pkg: PackageJson | undefined) {
  const what = pkg
    ? `${source.folder} has a package.json without a start script`
    : `${source.folder} has no holdfast.yaml, Procfile, Dockerfile or package.json with a start script`;
  return invalid("app.no_start_command", `${what}: nothing says how to start it`, {
    hint: 'add a line such as "web: node server.js" to a file named Procfile, or write a holdfast.yaml',
  });
}

function startCommand(pkg: PackageJson | undefined): string | undefined {
  const script = pkg?.scripts?.["start"];
  if (script) return script;
  return pkg?.main ? `node ${pkg.main}` : undefined;
}

/** Of a line that is wrong, in its message. */
const LINE_SHOWN = 60;

// Procfile: `name: command` per line; web gets requests, release runs once, others are workers.
function fromProcfile(name: string, text: string) {
  const input: ManifestInput = { name };
  const workers: NonNullable<ManifestInput["workers"]> = {};
  const inferred: string[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (!line || line.startsWith("#")) continue;
    const match = /^([A-Za-z0-9_-]+):\s*(\S.*)$/.exec(line);
    if (!match?.[1] || !match[2]) {
      throw invalid(
        "procfile.invalid",
        `Procfile:${index + 1}: "${line.slice(0, LINE_SHOWN)}" is not "name: command"`,
        {
          hint: "for example: web: node server.js",
        },
      );
    }
    const [, process, command] = match;
    if (process === "web") {
      input.services = { web: { command, routes: [{ host: `${name}.localhost` }] } };
      inferred.push(`Procfile: service web: ${command}`, `reached at ${name}.localhost`);
    } else if (process === "release") {
      input.release = { command };
      inferred.push(`Procfile: release command: ${command}`);
    } else {
      workers[process.toLowerCase().replaceAll("_", "-")] = { command };
      inferred.push(`Procfile: worker ${process}: ${command}`);
    }
  }
  if (Object.keys(workers).length > 0) input.workers = workers;
  return { input, inferred };
}

// A holdfast.yaml may leave a service's command to the image or to package.json.
function fillCommands(manifest: Manifest, source: SourceFiles) {
  const missing = Object.entries(manifest.services).filter(([, { command }]) => !command);
  if (missing.length === 0 || usesDockerfile(manifest, source)) return { manifest, inferred: [] };
  const command = startCommand(parsePackageJson(source.files["package.json"]));
  const [[service = ""] = []] = missing;
  if (missing.length > 1 || command === undefined) {
    throw invalid("app.no_start_command", `${MANIFEST_FILE}: services.${service} has no command`, {
      hint: `add "command: …" to it; a Dockerfile or a start script in package.json would do for a single service`,
    });
  }
  const services = { ...manifest.services, [service]: { ...manifest.services[service], command } };
  return {
    manifest: { ...manifest, services: services as Manifest["services"] },
    inferred: [`package.json: service ${service}: ${command}`],
  };
}

export const usesDockerfile = (manifest: Manifest, source: SourceFiles): boolean =>
  manifest.build?.dockerfile !== undefined ||
  (source.files["Dockerfile"] !== undefined && manifest.compute !== "process");

function inferStores(pkg: PackageJson | undefined, source: SourceFiles) {
  const names = new Set([
    ...Object.keys(pkg?.dependencies ?? {}),
    ...(source.files["requirements.txt"] ?? "")
      .split("\n")
      .map((line) => line.split(/[=<>[;\s]/)[0] ?? ""),
  ]);
  const has = (...candidates: string[]): boolean => candidates.some((one) => names.has(one));
  return {
    ...(has("pg", "postgres", "psycopg", "psycopg2", "psycopg2-binary", "asyncpg") && {
      postgres: {},
    }),
    ...(has("redis", "ioredis") && { redis: {} }),
  };
}

function parsePackageJson(text: string | undefined): PackageJson | undefined {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as PackageJson;
  } catch (cause) {
    throw invalid("package_json.invalid", "package.json is not valid JSON", {
      hint: "npm pkg get name says where",
      cause,
    });
  }
}

/** `@acme/My_Shop` → `my-shop`. */
export function appNameFrom(text: string): string {
  const plain = (text.split("/").at(-1) ?? "")
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .replace(/^[^a-z]+/, "")
    .slice(0, 30)
    .replace(/-+$/, "");
  return plain || "app";
}
