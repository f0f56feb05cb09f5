// What the migrations of a release would do to the release that still runs, as far as it can be read
// before they run.

import { componentsOf } from "../resources/app/manifest.ts";
import {
  migrationAt,
  runsMigrations,
  upPart,
  wayUpOf,
  writerOf,
} from "../resources/release/migration-layout.ts";
import type { ReleaseSpec } from "../resources/release/release.ts";
import type { MigrationFinding } from "../resources/release/release-driver.ts";
import type { OperationDeps, SourceDifference } from "./operation-deps.ts";

/** They say which tools an app uses, and what its commands stand for. */
const TOOL_FILES = [
  "package.json",
  "Procfile",
  "Makefile",
  "go.mod",
  "Gemfile",
  "requirements.txt",
  "pyproject.toml",
  "Dockerfile",
];

const DEPENDENCIES =
  /(^|\/)(package(-lock)?\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|requirements[\w-]*\.txt|pyproject\.toml|poetry\.lock|uv\.lock|Pipfile(\.lock)?|go\.(mod|sum)|Gemfile(\.lock)?|Cargo\.(toml|lock)|composer\.(json|lock))$/;

type Deps = Pick<OperationDeps, "sources" | "checkMigrations">;

export async function sourceDifference(
  deps: Deps,
  before: ReleaseSpec,
  release: ReleaseSpec,
): Promise<SourceDifference> {
  const { changed, removed } = await deps.sources.compare(
    before.source.digest,
    release.source.digest,
  );
  const commands = commandText(deps, release);
  return {
    files: changed.length + removed.length,
    dependencies: [...changed, ...removed].filter((name) => DEPENDENCIES.test(name)).sort(),
    // What is gone changes no schema any more.
    migrations: changed.filter(
      (name) => migrationAt(name) !== undefined || isNamedIn(commands, name),
    ),
  };
}

// A folder whose files it runs is named by its path, a single file often without it.
const isNamedIn = (commands: string, name: string): boolean =>
  name.endsWith(".sql") &&
  [name, dirname(name), basename(name)].some((part) => part !== "." && commands.includes(part));

/** Text that names what the release runs, and by which tools. */
function commandText({ sources }: Deps, release: ReleaseSpec): string {
  const commands = componentsOf(release.manifest).map(({ command }) => command);
  const files = sources.readFiles(release.source.digest, TOOL_FILES);
  return [release.manifest.release?.command ?? "", ...commands, ...Object.values(files)].join("\n");
}

export async function findingsOf(
  deps: Deps,
  appName: string,
  release: ReleaseSpec,
  difference: SourceDifference,
): Promise<readonly MigrationFinding[]> {
  // Where no release command runs them, SQL that lies anywhere may be a query of the app's.
  const filed = release.manifest.release
    ? difference.migrations
    : difference.migrations.filter((name) => migrationAt(name)?.isFiled !== false);
  const migrations = withoutWaysDown(deps, release, filed);
  if (migrations.length === 0) return [];
  const files = deps.sources.readFiles(release.source.digest, migrations);
  const scripts = deps.sources.readFiles(release.source.digest, ["package.json"]);
  const tools = scriptOf(release.manifest.release?.command ?? "", scripts["package.json"]);
  const isProgram = (name: string): boolean => migrationAt(name)?.form === "program";
  const sql = migrations.flatMap((name) => {
    const text = files[name];
    return isProgram(name) || text === undefined ? [] : [{ name, text: upPart(text, tools) }];
  });
  const others = migrations.filter((name) => isProgram(name) || files[name] === undefined);
  return [
    ...(await deps.checkMigrations(appName, sql)),
    ...others.map((file) => ({
      file,
      line: 1,
      kind: "unread" as const,
      text: whatOf(files[file]),
    })),
    ...startFindings(deps, release),
  ];
}

// Whatever it is called: without a way up beside it, a file is a migration like others.
function withoutWaysDown(
  { sources }: Deps,
  { source }: ReleaseSpec,
  names: readonly string[],
): readonly string[] {
  const ups = names.flatMap((name) => wayUpOf(name) ?? []);
  const there = sources.readFiles(source.digest, ups);
  return names.filter((name) => there[wayUpOf(name) ?? ""] === undefined);
}

function whatOf(text: string | undefined): string {
  if (text === undefined) return "too large or no regular file: it can't be read";
  const writer = writerOf(text);
  return `${writer === undefined ? "a program" : `a program for ${writer}`}: its effect on the schema cannot be read`;
}

// Without a release command, something else runs them: as it starts, once per instance, with nobody
// who could stop it before it reaches the data.
function startFindings({ sources }: Deps, { manifest, source }: ReleaseSpec): MigrationFinding[] {
  if (manifest.release) return [];
  const scripts = sources.readFiles(source.digest, ["package.json", "Dockerfile"]);
  const starting = componentsOf(manifest).filter(({ command }) =>
    runsMigrations(`${command}\n${scriptOf(command, scripts["package.json"])}`),
  );
  const inImage = runsMigrations(startOf(scripts["Dockerfile"]));
  const who = starting.map(({ name, command }) => `${name} (${command})`);
  if (inImage) who.push("the image's own start");
  const text =
    who.length > 0
      ? `${who.join(", ")} runs migrations as it starts, once for each instance: a release command runs them once, before anything starts`
      : "there is no release command: what runs them can't be held back";
  return [{ file: "holdfast.yaml", line: 1, kind: "start", text }];
}

/** `npm run serve` → what that script says, with what it calls. */
function scriptOf(command: string, manifest: string | undefined): string {
  let scripts: Record<string, unknown> = {};
  try {
    scripts = (JSON.parse(manifest ?? "{}") as { scripts?: Record<string, unknown> }).scripts ?? {};
  } catch {
    return "";
  }
  const seen = new Set<string>();
  const follow = (text: string): string => {
    const called = [
      ...text.matchAll(/\b(?:npm|pnpm|yarn|bun)\s+(?:run(?:-script)?\s+)?([\w:.-]+)/g),
    ].flatMap(([, name = ""]) => [`pre${name}`, name, `post${name}`]);
    const fresh = called.filter((name) => typeof scripts[name] === "string" && !seen.has(name));
    for (const name of fresh) seen.add(name);
    return [text, ...fresh.map((name) => follow(String(scripts[name])))].join("\n");
  };
  return follow(command);
}

const startOf = (dockerfile = ""): string =>
  [...dockerfile.matchAll(/^[ \t]*(?:CMD|ENTRYPOINT)\b.*(?:\\\n.*)*/gim)].join("\n");

const dirname = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/"))) || ".";
const basename = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
