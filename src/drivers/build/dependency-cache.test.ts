import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";
import { defaultBuildResources } from "../../resources/app/manifest.ts";
import { BuildSandbox } from "./build-sandbox.ts";
import { DependencyCache, type Recipe } from "./dependency-cache.ts";

describe("kept dependencies", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-dependencies-"));
  after(() => rmSync(dir, { recursive: true }));
  const scratch = join(dir, "scratch");
  const source = join(dir, "source");
  for (const one of [scratch, source]) mkdirSync(one);
  const cache = new DependencyCache({ dir: join(dir, "kept"), scratch, nodeVersion: "26" });
  const open = () =>
    BuildSandbox.open({
      ...{ dir: scratch, home: dir, app: "staging/shop", uid: undefined },
      nodeDir: dirname(dirname(process.execPath)),
      resources: defaultBuildResources,
      timeoutMs: 20_000,
      logFile: join(dir, "log"),
      signal: AbortSignal.timeout(120_000),
    });
  const ensure = (recipe: Recipe) =>
    cache.ensure("staging/shop", source, recipe, undefined, async () => open());
  const recipe = (folder: Recipe["folder"], file: string): Recipe => ({
    folder,
    files: [file],
    commands: [`mkdir ${folder}`, `cp ${file} ${folder}/made`],
    inPlace: false,
  });

  it("of one language stay while those of the other change with every build", async () => {
    writeFileSync(join(source, "package.json"), "{}");
    for (let i = 0; i < 6; i += 1) {
      writeFileSync(join(source, "requirements.txt"), `flask==${i}`);
      const node = await ensure(recipe("node_modules", "package.json"));
      const python = await ensure(recipe(".venv", "requirements.txt"));
      for (const { path } of [node, python])
        assert.ok(existsSync(join(path, "made")), `build ${i}`);
    }
  });

  it("are made anew where they are wanted while the old ones are removed", async () => {
    const many: Recipe = {
      ...recipe("node_modules", "package.json"),
      commands: ["mkdir node_modules && cd node_modules && seq 3000 | xargs touch"],
    };
    await ensure(many);
    const forgotten = cache.forget("staging/shop");
    const { path } = await ensure(many);
    await forgotten;
    assert.equal(readdirSync(path).length, 3000);
  });
});
