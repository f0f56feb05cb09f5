import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { invalid } from "../../kernel/error.ts";
import type { Command } from "../command.ts";
import { load } from "../loading.ts";

const FILES = [
  "Procfile",
  "Dockerfile",
  "package.json",
  "package-lock.json",
  "requirements.txt",
  "app.json",
];
const FILE = "holdfast.yaml";

export const init: Command = {
  usage: "init [dir]",
  summary: "Detect the app in a folder and write its holdfast.yaml.",
  examples: ["holdfast init", "holdfast init ../shop"],
  run: async ({ client, output }, [dir]) => {
    const { openSource } = await load(() => import("../../archive/source-folder.ts"));
    const { stringify } = await load(() => import("yaml"));
    const source = await openSource(String(dir ?? "."));
    const target = join(resolve(source.dir), FILE);
    if (existsSync(target))
      throw invalid("init.exists", `${target} is there already`, {
        hint: "edit it, or move it away first",
      });
    const present = FILES.filter((name) => existsSync(join(source.dir, name)));
    const files = Object.fromEntries(
      present.map((name) => [name, readFileSync(join(source.dir, name), "utf8")]),
    );
    const { input, inferred } = await client.post("/v1/inference", {
      folder: source.folder,
      files,
    });
    const text = `# yaml-language-server: $schema=./holdfast.schema.json\n${stringify(input)}`;
    writeFileSync(target, text);
    const schema = await client.get("/v1/schema/manifest");
    writeFileSync(join(source.dir, "holdfast.schema.json"), `${JSON.stringify(schema, null, 2)}\n`);
    output.result({ file: target, manifest: input, inferred }, () =>
      [...inferred.map((note) => `  ${note}`), `wrote ${target}, and its schema for editors`].join(
        "\n",
      ),
    );
    return 0;
  },
};
