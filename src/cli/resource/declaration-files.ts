// Files that declare resources: YAML, one document for each.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { text as readText } from "node:stream/consumers";
import { isMap, LineCounter, parseAllDocuments } from "yaml";
import { invalid } from "../../kernel/error.ts";

export interface DeclarationDocument {
  readonly kind: string;
  readonly name: string;
  readonly spec: unknown;
  /** `infra/policy.yaml:3` */
  readonly source: string;
}

const FILE_MAX_BYTES = 4 * 1024 ** 2;
const FILES_MAX = 1_000;
const KEYS: readonly string[] = ["kind", "name", "spec"];

/** Of a file, of all in a folder, or (`-`) of standard input. @throws what is wrong, and where */
export async function readDeclarations(path: string): Promise<readonly DeclarationDocument[]> {
  if (path === "-") return documentsOf(await readText(process.stdin), "standard input");
  return filesAt(path).flatMap((file) => {
    if (statSync(file).size > FILE_MAX_BYTES)
      throw invalid("apply.too_large", `${file} is larger than 4 MB`, {
        hint: "is it a file of declarations?",
      });
    return documentsOf(readFileSync(file, "utf8"), file);
  });
}

function filesAt(path: string): string[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found)
    throw invalid("apply.no_file", `there is no ${path}`, { hint: "-f takes a file or a folder" });
  if (!found.isDirectory()) return [path];
  const files = readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ya?ml|json)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
  if (files.length === 0)
    throw invalid("apply.no_file", `there is no .yaml or .json file in ${path}`, {
      hint: "each document of one has kind, name and spec",
    });
  if (files.length > FILES_MAX)
    throw invalid("apply.too_many", `there are ${files.length} files in ${path}`, {
      hint: "give a folder that holds declarations only",
    });
  return files;
}

function documentsOf(text: string, file: string): DeclarationDocument[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: true });
  if ("empty" in documents) return [];
  return documents.flatMap((document) => {
    const [problem] = document.errors;
    if (problem)
      throw invalid("apply.not_yaml", `${file}: ${problem.message.trim()}`, {
        hint: "between two documents stands a line with ---",
      });
    if (document.toJS() === null) return [];
    const line = lines.linePos(document.contents?.range?.[0] ?? 0).line;
    const source = `${file}:${line}`;
    const value = document.toJS() as Readonly<Record<string, unknown>>;
    if (!isMap(document.contents)) throw wrong(source, "a document must be a map");
    const unknown = Object.keys(value).filter((key) => !KEYS.includes(key));
    if (unknown.length > 0) throw wrong(source, `does not know ${unknown.join(", ")}`);
    const { kind, name, spec = {} } = value;
    if (typeof kind !== "string") throw wrong(source, "kind is missing");
    if (typeof name !== "string") throw wrong(source, "name is missing");
    return [{ kind, name, spec: withVariables(spec, source), source }];
  });
}

const wrong = (source: string, why: string) =>
  invalid("apply.bad_document", `${source}: ${why}`, {
    hint: "a document has kind, name and spec; holdfast get prints some",
  });

/** `{ $env: NAME }` stands for a variable of whoever applies: secrets are in no file. */
function withVariables(value: unknown, source: string): unknown {
  if (Array.isArray(value)) return value.map((one) => withVariables(one, source));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [only] = entries;
  if (entries.length === 1 && only?.[0] === "$env") {
    const given = process.env[String(only[1])];
    if (given !== undefined) return given;
    throw invalid("apply.no_variable", `${source}: the variable ${String(only[1])} is not set`, {
      hint: `${String(only[1])}=… holdfast apply …`,
    });
  }
  return Object.fromEntries(entries.map(([key, one]) => [key, withVariables(one, source)]));
}
