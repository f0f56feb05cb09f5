// Installed dependencies, kept per app by everything that decides them (lockfile, manifest, Node
// version): a change of code alone installs nothing.

import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { runOrThrow } from "../exec.ts";
import { chownTree, readJson, readText, sealTree } from "../files.ts";

/** Runs one build command in a folder; throws `BuildError` where it fails. */
export type RunBuild = (dir: string, commandLine: string) => Promise<void>;

export interface Dependencies {
  /** What decided them. */
  readonly key: string;
  readonly folders: readonly string[];
  /** Those that share their files with the cache, where no build may write to them. */
  readonly linked: readonly string[];
}

export interface DependencyCacheOptions {
  readonly dir: string;
  readonly nodeVersion: string;
}

interface PackageJson {
  readonly scripts?: Record<string, string>;
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
  readonly workspaces?: unknown;
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
const KEPT_PER_APP = 3;
const COPY_TIMEOUT_MS = 10 * 60_000;

/** What one kind of project needs installed, and into which folder. */
interface Recipe {
  readonly folder: "node_modules" | ".venv";
  readonly files: readonly string[];
  readonly command: string;
  /** Source that the installation itself may read: then it happens in place and is not kept. */
  readonly inPlace: boolean;
}

export class DependencyCache {
  readonly #options: DependencyCacheOptions;

  constructor(options: DependencyCacheOptions) {
    this.#options = options;
    mkdirSync(options.dir, { recursive: true, mode: 0o711 });
    // Of installations that a killed control plane had begun.
    for (const app of readdirSync(options.dir))
      for (const left of readdirSync(join(options.dir, app)))
        if (left.startsWith("install-"))
          rmSync(join(options.dir, app, left), { recursive: true, force: true });
  }

  forget(app: string): void {
    rmSync(join(this.#options.dir, app.replace("/", ".")), { recursive: true, force: true });
  }

  /** Puts the dependencies of the project in `dir` in place. */
  async install(
    app: string,
    dir: string,
    needsDev: boolean,
    run: RunBuild,
    uid: number | undefined,
  ): Promise<Dependencies> {
    // All is read before anything runs: a command may put links where files were.
    const recipes = [nodeRecipe(dir, needsDev), pythonRecipe(dir)]
      .filter((one) => one !== undefined)
      .map((recipe) => ({ recipe, key: this.#keyOf(dir, recipe) }));
    for (const { recipe, key } of recipes) {
      rmSync(join(dir, recipe.folder), { recursive: true, force: true });
      if (recipe.inPlace) await run(dir, recipe.command);
      else await this.#installCached(app, dir, recipe, key, run, uid, needsDev);
    }
    return {
      key: recipes.map(({ key }) => key).join("+"),
      folders: recipes.map(({ recipe }) => recipe.folder),
      linked: recipes.flatMap(({ recipe }) => (recipe.inPlace ? [] : [recipe.folder])),
    };
  }

  async #installCached(
    app: string,
    dir: string,
    recipe: Recipe,
    key: string,
    run: RunBuild,
    uid: number | undefined,
    writable: boolean,
  ): Promise<void> {
    const home = join(this.#options.dir, app.replace("/", "."));
    const kept = join(home, key);
    if (!existsSync(kept)) {
      mkdirSync(home, { recursive: true, mode: 0o711 });
      const scratch = mkdtempSync(join(home, "install-"));
      try {
        for (const file of recipe.files)
          if (existsSync(join(dir, file))) cpSync(join(dir, file), join(scratch, file));
        chmodSync(scratch, 0o755);
        if (uid !== undefined) chownSync(scratch, uid, uid);
        await run(scratch, recipe.command);
        mkdirSync(join(scratch, recipe.folder), { recursive: true });
        sealTree(scratch);
        renameSync(scratch, kept);
      } finally {
        rmSync(scratch, { recursive: true, force: true });
      }
      this.#prune(home, key);
    }
    await this.#putInPlace(
      join(kept, recipe.folder),
      join(dir, recipe.folder),
      writable ? uid : undefined,
      writable,
    );
  }

  // Hard links where nobody writes to them: the same files, no copy. A build may write: it copies.
  async #putInPlace(
    from: string,
    to: string,
    uid: number | undefined,
    writable: boolean,
  ): Promise<void> {
    await runOrThrow(["cp", writable ? "-aT" : "-alT", from, to], { timeoutMs: COPY_TIMEOUT_MS });
    if (uid !== undefined) chownTree(to, uid);
  }

  #keyOf(dir: string, recipe: Recipe): string {
    const hash = createHash("sha256").update(`${this.#options.nodeVersion}\0${recipe.command}\0`);
    for (const file of recipe.files) hash.update(`${file}\0${readText(join(dir, file)) ?? ""}\0`);
    return hash.digest("hex").slice(0, 32);
  }

  #prune(home: string, newest: string): void {
    const others = readdirSync(home).filter(
      (name) => name !== newest && !name.startsWith("install-"),
    );
    for (const name of others.slice(0, Math.max(0, others.length - KEPT_PER_APP))) {
      rmSync(join(home, name), { recursive: true, force: true });
    }
  }
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
  const isLocked = ["package-lock.json", "npm-shrinkwrap.json"].some((file) =>
    existsSync(join(dir, file)),
  );
  const flags = `--no-fund --no-audit --no-update-notifier ${needsDev ? "--include=dev" : "--omit=dev"}`;
  const readsSource =
    pkg.workspaces !== undefined ||
    ROOT_SCRIPTS.some((script) => pkg.scripts?.[script] !== undefined) ||
    Object.values(wanted).some(
      (version) => version.startsWith("file:") || version.startsWith("link:"),
    );
  return {
    folder: "node_modules",
    files: NPM_FILES,
    command: `npm ${isLocked ? "ci" : "install"} ${flags}`,
    inPlace: readsSource,
  };
}

function pythonRecipe(dir: string): Recipe | undefined {
  const requirements = readText(join(dir, "requirements.txt"));
  const lines = (requirements ?? "")
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter(Boolean);
  if (lines.length === 0) return undefined;
  const readsSource = lines.some((line) => /^(-r|-e|-c|\.|\/)/.test(line));
  const command =
    "python3 -m venv --copies .venv && .venv/bin/pip install --disable-pip-version-check --no-input -r requirements.txt";
  return { folder: ".venv", files: ["requirements.txt"], command, inPlace: readsSource };
}
