// Installed dependencies, kept per app of an environment by everything that decides them (lockfile,
// manifest, Node version): a change of code alone installs nothing.
//
// What is kept was made by the package manager from those files alone, in a sandbox that holds
// nothing of the app's source; where an installation reads source, it happens in the build's own
// folder and is not kept. Downloads are kept only while they are checked against a lockfile, and are
// out of reach while scripts of packages run.

import { createHash } from "node:crypto";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { readJson, readText, removeTree, setAside, writeJson } from "../files.ts";
import type { BuildSandbox } from "./build-sandbox.ts";
import { digestEntry } from "./tree.ts";

interface PackageJson {
  readonly scripts?: Record<string, string>;
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
  readonly workspaces?: unknown;
}

interface Lockfile {
  readonly lockfileVersion?: number;
  readonly packages?: Readonly<Record<string, { readonly hasInstallScript?: boolean }>>;
}

/** What one kind of project needs installed, and into which folder. */
export interface Recipe {
  readonly folder: "node_modules" | ".venv";
  readonly files: readonly string[];
  /** What only downloads and unpacks, checked against a lockfile; runs nothing of a package. */
  readonly fetch?: string;
  readonly commands: readonly string[];
  /** Source that the installation itself may read: then it happens in place and is not kept. */
  readonly inPlace: boolean;
}

export interface Dependencies {
  readonly folder: Recipe["folder"];
  /** Sealed; nobody writes to it. */
  readonly path: string;
  readonly digest: string;
}

export interface DependencyCacheOptions {
  readonly dir: string;
  /** Where what is on its way out lies; emptied by whoever owns it. */
  readonly scratch: string;
  readonly nodeVersion: string;
}

const NPM_FILES = ["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"];
const ROOT_SCRIPTS = [
  "preinstall",
  "install",
  "postinstall",
  "prepublish",
  "preprepare",
  "prepare",
  "postprepare",
];
const KEPT_PER_APP = 4;
const DOWNLOADS = "downloads";
/** Beyond this they are all dropped: what is needed comes again. */
const DOWNLOADS_MAX_FILES = 20_000;

export class DependencyCache {
  readonly #options: DependencyCacheOptions;

  constructor(options: DependencyCacheOptions) {
    this.#options = options;
    mkdirSync(options.dir, { recursive: true, mode: 0o711 });
  }

  /** Not while it builds. */
  async forget(app: string): Promise<void> {
    await setAside(this.#homeOf(app), this.#options.scratch)?.();
  }

  /** The dependencies by a recipe, installed in a sandbox that is opened for it where they are not there yet. */
  async ensure(
    app: string,
    source: string,
    recipe: Recipe,
    uid: number | undefined,
    open: () => Promise<BuildSandbox>,
  ): Promise<Dependencies> {
    const key = this.#keyOf(source, recipe);
    const home = this.#homeOf(app);
    const kept = join(home, key);
    const seal = readJson<{ digest: string }>(`${kept}.json`);
    const path = join(kept, recipe.folder);
    if (seal && existsSync(path)) {
      utimesSync(`${kept}.json`, new Date(), new Date());
      return { folder: recipe.folder, path, digest: seal.digest };
    }
    mkdirSync(home, { recursive: true, mode: 0o711 });
    // Half of one, of a control plane that was killed.
    await removeTree(kept);
    const sandbox = await open();
    try {
      for (const file of recipe.files)
        if (existsSync(join(source, file))) await sandbox.copy(join(source, file), file);
      if (recipe.fetch !== undefined) await this.#fetch(recipe.fetch, home, uid, sandbox);
      await sandbox.run([...recipe.commands, `mkdir -p ${recipe.folder}`]);
      await sandbox.takeOver(kept);
    } finally {
      await sandbox.close();
    }
    const digest = await digestEntry(path);
    writeJson(`${kept}.json`, { digest });
    await this.#prune(home);
    return { folder: recipe.folder, path, digest };
  }

  async #fetch(
    command: string,
    home: string,
    uid: number | undefined,
    sandbox: BuildSandbox,
  ): Promise<void> {
    const downloads = join(home, DOWNLOADS);
    mkdirSync(downloads, { recursive: true, mode: 0o700 });
    if (uid !== undefined) chownSync(downloads, uid, uid);
    await sandbox.run([command], downloads);
    const files = readdirSync(downloads, { recursive: true, encoding: "buffer" }).length;
    if (files > DOWNLOADS_MAX_FILES) await removeTree(downloads);
  }

  #homeOf(app: string): string {
    return join(this.#options.dir, app.replace("/", "."));
  }

  #keyOf(source: string, recipe: Recipe): string {
    const hash = createHash("sha256").update(`${this.#options.nodeVersion}\0${FORMAT}\0`);
    for (const command of [recipe.fetch ?? "", ...recipe.commands]) hash.update(`${command}\0`);
    for (const file of recipe.files)
      hash.update(`${file}\0${readText(join(source, file)) ?? ""}\0`);
    return hash.digest("hex").slice(0, 32);
  }

  // What was used longest ago goes first: one build may need several.
  async #prune(home: string): Promise<void> {
    const usedAt = (name: string): number =>
      statSync(join(home, `${name}.json`), { throwIfNoEntry: false })?.mtimeMs ?? 0;
    const kept = readdirSync(home)
      .filter((name) => name !== DOWNLOADS && !name.endsWith(".json"))
      .sort((one, other) => usedAt(other) - usedAt(one));
    for (const name of kept.slice(KEPT_PER_APP)) {
      rmSync(join(home, `${name}.json`), { force: true });
      await removeTree(join(home, name));
    }
  }
}

/** Of what is kept: what an earlier build of Holdfast kept was made otherwise. */
const FORMAT = "2";

/** What the source in a folder that nobody can change needs installed. */
export function recipesOf(source: string, needsDev: boolean): readonly Recipe[] {
  return [nodeRecipe(source, needsDev), pythonRecipe(source)].filter((one) => one !== undefined);
}

function nodeRecipe(dir: string, needsDev: boolean): Recipe | undefined {
  const pkg = readJson<PackageJson>(join(dir, "package.json"));
  if (!pkg) return undefined;
  const wanted = {
    ...pkg.dependencies,
    ...pkg.optionalDependencies,
    ...(needsDev && pkg.devDependencies),
  };
  if (Object.keys(wanted).length === 0 && !pkg.workspaces) return undefined;
  const flags = `--no-fund --no-audit --no-update-notifier ${needsDev ? "--include=dev" : "--omit=dev"}`;
  const inPlace =
    pkg.workspaces !== undefined ||
    ROOT_SCRIPTS.some((script) => pkg.scripts?.[script] !== undefined) ||
    Object.values(wanted).some(
      (version) => version.startsWith("file:") || version.startsWith("link:"),
    );
  const base = { folder: "node_modules", files: NPM_FILES, inPlace } as const;
  const lock = ["npm-shrinkwrap.json", "package-lock.json"]
    .map((file) => readJson<Lockfile>(join(dir, file)))
    .find((one) => one !== undefined);
  if (!lock) return { ...base, commands: [`npm install ${flags}`] };
  if (inPlace) return { ...base, commands: [`npm ci ${flags}`] };
  return {
    ...base,
    fetch: `npm ci --ignore-scripts ${flags}`,
    commands: runsScripts(lock) ? [`npm rebuild ${flags}`] : [],
  };
}

// Lockfiles of npm 6 do not say it.
const runsScripts = ({ lockfileVersion = 1, packages = {} }: Lockfile): boolean =>
  lockfileVersion < 2 || Object.values(packages).some((one) => one.hasInstallScript);

function pythonRecipe(dir: string): Recipe | undefined {
  const requirements = readText(join(dir, "requirements.txt"));
  const lines = (requirements ?? "")
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter(Boolean);
  if (lines.length === 0) return undefined;
  const inPlace = lines.some((line) => /^(-r|-e|-c|\.|\/)/.test(line));
  const command =
    "python3 -m venv --copies .venv && .venv/bin/pip install --disable-pip-version-check --no-input --no-cache-dir -r requirements.txt";
  return { folder: ".venv", files: ["requirements.txt"], commands: [command], inPlace };
}
