// How well the house keeps its promises, counted in a checkout: `scripts/house.ts [folder]`, so that two
// can be compared. What docs/decisions/0017 shows.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = process.argv[2] ?? join(import.meta.dirname, "..");
const src = join(root, "src");
const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter(
  (file) => file.endsWith(".ts") && !file.endsWith(".test.ts"),
);
const textOf = (file: string): string => readFileSync(join(src, file), "utf8");
const code = (file: string): string => textOf(file).replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, "");
const naming = (engine: RegExp, folder: string): number =>
  files.filter((file) => !file.startsWith(folder) && engine.test(code(file))).length;
const linesOf = (all: readonly string[]): number =>
  all.reduce((sum, file) => sum + textOf(file).split("\n").length - 1, 0);

interface OpenApi {
  readonly paths: Readonly<
    Record<
      string,
      Readonly<
        Record<
          string,
          {
            readonly responses: Readonly<
              Record<string, { readonly content: Readonly<Record<string, { schema: object }>> }>
            >;
          }
        >
      >
    >
  >;
}

function withoutSchema(): string {
  const file = join(root, "docs", "reference", "openapi.json");
  if (!existsSync(file)) return "no document";
  const { paths } = JSON.parse(readFileSync(file, "utf8")) as OpenApi;
  const operations = Object.values(paths).flatMap((path) => Object.values(path));
  const silent = operations.filter(({ responses }) =>
    Object.values(responses["200"]?.content ?? {}).some(
      ({ schema }) => Object.keys(schema).length === 0,
    ),
  );
  return `${silent.length} of ${operations.length}`;
}

const compose = files.filter((file) => /^compose[^/]*\.ts$/.test(file));
const untyped = files
  .map(
    (file) =>
      (code(file).match(/store\.(find|list|get)<|\.(find|list)\([^)]*\) as /g) ?? []).length,
  )
  .reduce((sum, count) => sum + count, 0);
const rows: readonly (readonly [string, string | number])[] = [
  ["source files", files.length],
  ["files that name Redis outside its driver", naming(/redis/i, join("drivers", "redis"))],
  ["files that name Docker outside its driver", naming(/docker/i, join("drivers", "docker"))],
  ["answers without a schema", withoutSchema()],
  ["casts where the state is read", untyped],
  ["lines in compose*.ts", linesOf(compose)],
  ["lines in src/api", linesOf(files.filter((file) => file.startsWith("api/")))],
];
for (const [what, count] of rows) console.log(`| ${what} | ${count} |`);
