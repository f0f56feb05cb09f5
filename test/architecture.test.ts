// The architecture, held by a test: which room may import which, and what is banned where, each with
// what to use instead.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { describe, it } from "node:test";

const ROOT = join(import.meta.dirname, "..");
const SRC = join(ROOT, "src");

// "noun": of a sibling kind only its noun file (`<kind>/<kind>.ts`) and types.
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  kernel: [],
  resources: [
    "kernel",
    "type resources",
    "noun resources",
    // What the specs of releases and policies are made of.
    "resources/app/manifest.ts",
    "resources/environment/environment-rules.ts",
  ],
  // How a folder becomes an archive: for who sends one, and for who hands one on.
  archive: ["kernel", "drivers/exec.ts"],
  drivers: ["kernel", "archive", "type resources", "noun resources", "resources/app/manifest.ts"],
  store: ["kernel"],
  telemetry: ["kernel"],
  operations: ["kernel", "resources"],
  api: ["kernel", "resources", "operations"],
  client: ["kernel", "type resources", "type api", "type operations"],
  cli: ["client", "archive", "kernel", "type api", "type operations"],
  host: ["kernel", "drivers", "client", "store", "config.ts", "type cli"],
  bin: ["kernel", "host", "drivers", "cli", "telemetry", "config.ts", "compose.ts"],
};

// Files at the root belong to no room: composition wires all of them, configuration knows none.
const ROOT_FILES: Readonly<Record<string, readonly string[]>> = {
  "config.ts": ["kernel"],
  compose: ["kernel", "resources", "operations", "drivers", "store", "telemetry", "api", "host"],
};

const IMPORT =
  /\b(?:import|export)( type)?\s+(?:([^;"]*?)\s*from\s+)?"(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gms;

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(
    (file) => /\.(ts|sh)$/.test(file) && !file.endsWith(".test.ts"),
  );
}

function isAllowed(file: string, isType: boolean, target: string): boolean {
  const [room = "", part = ""] = file.split(sep);
  if (part === "") return isAllowedAtRoot(file, target);
  const [toRoom = "", toPart = "", toFile = ""] = target.split(sep);
  const allowed = MAY_IMPORT[room] ?? [];
  if (toRoom === room && (room !== "resources" || toPart === part)) return true;
  if (allowed.includes(toRoom) || allowed.includes(target)) return true;
  if (isType && allowed.includes(`type ${toRoom}`)) return true;
  return allowed.includes(`noun ${toRoom}`) && toFile === `${toPart}.ts`;
}

function isAllowedAtRoot(file: string, target: string): boolean {
  const isWiring = (name: string): boolean => /^compose(-[a-z]+)?\.ts$/.test(name);
  const allowed = isWiring(file) ? ROOT_FILES["compose"] : ROOT_FILES[file];
  if (isWiring(file) && (isWiring(target) || target === "config.ts")) return true;
  return allowed?.includes(target.split(sep)[0] ?? "") === true;
}

function importsOf(file: string): readonly { readonly target: string; readonly isType: boolean }[] {
  const text = readFileSync(join(SRC, file), "utf8");
  return [...text.matchAll(IMPORT)].map(([, type, names = "", given, dynamic]) => ({
    target: relative(SRC, join(SRC, dirname(file), given ?? dynamic ?? "")),
    isType: type !== undefined || onlyTypes(names),
  }));
}

/** Files that import each other, also by way of others; types count as well. */
function circlesOf(imports: ReadonlyMap<string, readonly string[]>): string[] {
  const reached = (from: string): Set<string> => {
    const seen = new Set<string>();
    const ahead = [...(imports.get(from) ?? [])];
    for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
      if (seen.has(next)) continue;
      seen.add(next);
      ahead.push(...(imports.get(next) ?? []));
    }
    return seen;
  };
  const after = new Map([...imports.keys()].map((file) => [file, reached(file)]));
  return [...imports].flatMap(([file, targets]) =>
    targets
      .filter((target) => after.get(target)?.has(file))
      .map((target) => `${file} imports ${target}, which leads back to it`),
  );
}

interface Ban {
  readonly pattern: RegExp;
  readonly outside: readonly string[];
  readonly instead: string;
  readonly only?: readonly string[];
}

const BANS: readonly Ban[] = [
  {
    pattern: /\b(Date\.now\(|new Date\(\)|setTimeout\(|setInterval\(|Math\.random\(|randomUUID\()/,
    outside: ["kernel/clock.ts", "kernel/id.ts"],
    only: ["kernel", "resources", "operations", "api", "store"],
    instead: "the injected clock and random",
  },
  {
    pattern: /from "(node:|fastify)/,
    outside: [],
    only: ["kernel", "resources", "operations"],
    instead: "a port, implemented by a driver",
  },
  {
    pattern: /node:child_process/,
    // Telemetry imports no drivers, and a question runs in a process that talks with it.
    outside: ["drivers/exec.ts", "telemetry/store/question.ts"],
    instead: "drivers/exec.ts",
  },
  {
    pattern: /\bas any\b|: any\b|@ts-ignore|@ts-nocheck/,
    outside: [],
    instead: "a type, or a parse",
  },
  { pattern: /export default|export \*/, outside: [], instead: "a named export" },
  { pattern: /\b(TODO|FIXME|XXX)\b/, outside: [], instead: "doing it" },
];

const VAGUE_NAMES =
  /(^|-)(util|utils|helper|helpers|manager|common|misc|handler|data|info)(-|\.|$)/;
const MAX_FILE_LINES = 480;
const MAX_FUNCTION_LINES = 70;

describe("architecture", () => {
  const files = filesIn(SRC);

  it("has imports that point inward", () => {
    const violations = files.flatMap((file) =>
      importsOf(file)
        .filter(({ isType, target }) => !isAllowed(file, isType, target))
        .map(({ target }) => `${file} may not import ${target}`),
    );
    assert.deepEqual(violations, []);
  });

  it("has no imports in a circle", () => {
    const known = new Set(files);
    const imports = files.map((file) => {
      const targets = importsOf(file).map(({ target }) => target);
      return [file, targets.filter((target) => known.has(target))] as const;
    });
    assert.deepEqual(circlesOf(new Map(imports)), []);
  });

  it("uses nothing that is banned", () => {
    const violations = files.flatMap((file) => {
      const lines = readFileSync(join(SRC, file), "utf8").split("\n");
      const [room = ""] = file.split(sep);
      return BANS.filter(
        ({ outside, only }) => !outside.includes(file) && (!only || only.includes(room)),
      ).flatMap(({ pattern, instead }) =>
        lines.flatMap((line, i) =>
          pattern.test(line) && !line.trim().startsWith("//")
            ? [`${file}:${i + 1}: use ${instead}: ${line.trim()}`]
            : [],
        ),
      );
    });
    assert.deepEqual(violations, []);
  });

  it("has files that are one idea, by name and by size", () => {
    const violations = files.flatMap((file) => {
      const name = file.split(sep).at(-1) ?? "";
      const lines = readFileSync(join(SRC, file), "utf8").split("\n").length;
      return [
        ...(VAGUE_NAMES.test(name.replace(/\.test\.ts$|\.ts$|\.sh$/, ""))
          ? [`${file}: say which noun it is`]
          : []),
        ...(/[A-Z_]/.test(name) ? [`${file}: names are kebab-case`] : []),
        ...(lines > MAX_FILE_LINES ? [`${file}: ${lines} lines, more than ${MAX_FILE_LINES}`] : []),
      ];
    });
    assert.deepEqual(violations, []);
  });

  it("has functions that fit on a screen", () => {
    const violations = files
      .filter((file) => file.endsWith(".ts"))
      .flatMap((file) =>
        longFunctions(readFileSync(join(SRC, file), "utf8")).map((one) => `${file}: ${one}`),
      );
    assert.deepEqual(violations, []);
  });

  it("has documents with exactly one title", () => {
    const documents = readdirSync(ROOT, { recursive: true, encoding: "utf8" }).filter(
      (file) =>
        file.endsWith(".md") &&
        !file.includes("node_modules") &&
        !file.startsWith(".git") &&
        statSync(join(ROOT, file)).isFile(),
    );
    const violations = documents.filter((file) => {
      const text = readFileSync(join(ROOT, file), "utf8").replaceAll(/```[\s\S]*?```/g, "");
      return (text.match(/^# /gm) ?? []).length !== 1;
    });
    assert.deepEqual(violations, []);
  });

  it("has links in documents that lead somewhere", () => {
    const documents = readdirSync(ROOT, { recursive: true, encoding: "utf8" }).filter(
      (file) => file.endsWith(".md") && !file.includes("node_modules") && !file.startsWith(".git"),
    );
    const violations = documents.flatMap((file) =>
      [
        ...readFileSync(join(ROOT, file), "utf8").matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g),
      ].flatMap(([, target = ""]) => {
        try {
          statSync(join(ROOT, dirname(file), target));
          return [];
        } catch {
          return [`${file} links to ${target}, which is not there`];
        }
      }),
    );
    assert.deepEqual(violations, []);
  });
});

// `import { type A, type B } from` runs nothing either.
function onlyTypes(names: string): boolean {
  const inside = /^\{(.*)\}$/s.exec(names.trim())?.[1] ?? "";
  const parts = inside.split(",").map((one) => one.trim());
  return (
    parts.filter(Boolean).length > 0 && parts.every((one) => one === "" || one.startsWith("type "))
  );
}

/** Functions and methods by indentation: a head that ends in `{`, up to its closing brace. */
function longFunctions(text: string): string[] {
  const lines = text.split("\n");
  return lines.flatMap((line, i) => {
    if (
      !/^( *)(export )?(async )?(function\*? |static |private |#?\w+\(|async #?\w+\(|const \w+ = (async )?\()/.test(
        line,
      ) ||
      !/[{(]$/.test(line)
    )
      return [];
    if (/^ *(if|for|while|switch|return|describe|it)\b/.test(line)) return [];
    const indent = /^ */.exec(line)?.[0] ?? "";
    const length = lines
      .slice(i + 1)
      // A head over several lines goes on behind its parentheses; a call ends with them.
      .findIndex(
        (other) =>
          other.startsWith(`${indent}}`) ||
          (other.startsWith(`${indent})`) && !other.endsWith("{")),
      );
    return length > MAX_FUNCTION_LINES ? [`${line.trim()} has ${length} lines`] : [];
  });
}
