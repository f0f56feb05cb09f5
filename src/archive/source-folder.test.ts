import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { after, describe, it } from "node:test";
import { list } from "tar";
import { archiveOf } from "../drivers/git/git.ts";
import { dockerIgnore } from "./docker-ignore.ts";
import { packFiles } from "./pack.ts";
import { listSource, openSource, packSource } from "./source-folder.ts";

const root = mkdtempSync(join(tmpdir(), "holdfast-source-"));
after(() => rmSync(root, { recursive: true, force: true }));
let count = 0;

function folderOf(files: Readonly<Record<string, string>>): string {
  count += 1;
  const dir = join(root, `app-${count}`);
  mkdirSync(dir);
  write(dir, files);
  return dir;
}
function write(dir: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), text);
  }
}
const git = (dir: string, ...args: string[]): string =>
  execFileSync("git", ["-c", "user.name=t", "-c", "user.email=t@example.test", ...args], {
    cwd: dir,
    encoding: "utf8",
  }).trim();

async function namesIn(stream: Readable): Promise<string[]> {
  const names: string[] = [];
  const parser = list({
    onReadEntry: (entry) => void (entry.type !== "Directory" && names.push(entry.path)),
  });
  for await (const chunk of stream) parser.write(chunk as Buffer);
  parser.end();
  return names.sort();
}
const packed = async (dir: string): Promise<string[]> =>
  namesIn(packSource(dir, await listSource(dir), () => undefined));

describe("what of a folder is deployed", () => {
  it("is what a push of the same commit brings: tracked though ignored, ignored by any .gitignore not", async () => {
    const dir = folderOf({
      ".gitignore": "*.secret\ndist/\n",
      "sub/.gitignore": "private.txt\n",
      "server.js": "1",
      ".env.production": "A=1",
      "tracked.secret": "s",
      "sub/kept.txt": "k",
      "assets/logo.bin": "b",
      "docs/only-here.md": "d",
      ".gitattributes": "docs export-ignore\ndocs/** export-ignore\n",
    });
    git(dir, "init", "-q");
    git(dir, "add", "-A");
    git(dir, "add", "-f", "tracked.secret");
    git(dir, "commit", "-qm", "one");
    write(dir, {
      "sub/private.txt": "p",
      "dist/out.js": "o",
      ".env": "B=2",
      "node_modules/x/y.js": "",
    });
    const commit = git(dir, "rev-parse", "HEAD");
    const pushed = await namesIn(archiveOf({ repository: dir, commit }));
    assert.deepEqual(await packed(dir), pushed);
    assert.ok(pushed.includes(".env.production") && pushed.includes("tracked.secret"));
    const { leftOut } = await listSource(dir);
    assert.deepEqual(leftOut, [".env"], "what git does not know of and we do not send is named");
  });

  it("has the commit of its own worktree, with its time", async () => {
    const main = folderOf({ a: "1" });
    git(main, "init", "-q");
    git(main, "add", "-A");
    git(main, "commit", "-qm", "main");
    git(main, "worktree", "add", "-q", ".worktrees/feature", "-b", "feature");
    const tree = join(main, ".worktrees", "feature");
    write(tree, { b: "2" });
    git(tree, "add", "-A");
    git(tree, "commit", "-qm", "feature");
    const source = await openSource(tree);
    assert.equal(source.commit, git(tree, "rev-parse", "HEAD"));
    assert.notEqual(source.commit, git(main, "rev-parse", "HEAD"));
    assert.ok(Math.abs((source.committedAt ?? 0) - Date.now()) < 60_000);
    assert.deepEqual(await packed(tree), ["a", "b"]);
    assert.equal(source.uncommitted, false);
    assert.equal(source.author, git(tree, "show", "--no-patch", "--format=%ae"));
    write(tree, { b: "3" });
    assert.equal((await openSource(tree)).uncommitted, true, "what is there is not that commit");
    write(tree, { b: "2" });
    assert.equal((await openSource(tree)).uncommitted, false);
    const sub = join(tree, "inner");
    write(sub, { c: "3" });
    assert.equal((await openSource(sub)).commit, source.commit);
    assert.deepEqual(await packed(sub), ["c"]);
  });

  it("follows .gitignore without git too, in every folder, and names what else is left out", async () => {
    const dir = folderOf({
      ".gitignore": "*.log\n/top\n!keep.log\n",
      "a.log": "",
      "keep.log": "",
      top: "",
      "sub/top": "",
      "sub/.gitignore": "private\n!b.log\n",
      "sub/private": "",
      "sub/b.log": "",
      ".env": "",
      ".env.example": "",
      "node_modules/x": "",
    });
    assert.deepEqual(await packed(dir), [
      ".env.example",
      ".gitignore",
      "keep.log",
      "sub/.gitignore",
      "sub/b.log",
      "sub/top",
    ]);
    assert.deepEqual((await listSource(dir)).leftOut, [".env"]);
  });

  it("follows .holdfastignore everywhere, and .dockerignore nowhere", async () => {
    const dir = folderOf({
      ".dockerignore": "*\n",
      ".holdfastignore": "big/\n*.psd\n",
      "big/x": "",
      "a.psd": "",
      "a.js": "",
    });
    assert.deepEqual(await packed(dir), [".dockerignore", ".holdfastignore", "a.js"]);
  });

  it("is all of a folder that git ignores as a whole: somebody asked for it", async () => {
    const dir = folderOf({ ".gitignore": "dist\n", "dist/index.js": "" });
    git(dir, "init", "-q");
    assert.deepEqual(await packed(join(dir, "dist")), ["index.js"]);
  });

  it("runs nothing that a repository says", async () => {
    const dir = folderOf({ a: "" });
    git(dir, "init", "-q");
    const proof = join(root, "proof");
    write(dir, { "evil.sh": `#!/bin/sh\ntouch ${proof}\n` });
    for (const key of ["core.fsmonitor", "core.pager", "core.sshCommand", "core.editor"])
      git(dir, "config", key, `sh ${dir}/evil.sh`);
    await listSource(dir);
    await openSource(dir);
    assert.throws(() => execFileSync("ls", [proof], { stdio: "ignore" }));
  });
});

describe("packing", () => {
  it("ends with hard links, pipes, links that lead nowhere, odd names and files that change", async () => {
    const dir = folderOf({ "bin/x": "x", "ü ö/😀 'name' *": "odd" });
    for (let n = 1; n <= 40; n += 1) {
      write(dir, { [`a${n}.txt`]: String(n) });
      linkSync(join(dir, `a${n}.txt`), join(dir, `b${n}.txt`));
    }
    execFileSync("mkfifo", [join(dir, "pipe")]);
    symlinkSync("/nowhere/at/all", join(dir, "dangling"));
    symlinkSync("bin", join(dir, "to-folder"));
    writeFileSync(join(dir, "grows"), Buffer.alloc(3_000_000));
    const timer = setInterval(() => appendFileSync(join(dir, "grows"), "more"), 1);
    const left: string[] = [];
    const stream = packSource(dir, await listSource(dir), (path, why) =>
      left.push(`${path}: ${why}`),
    );
    const names = await namesIn(stream);
    clearInterval(timer);
    assert.equal(names.length, 80 + 5);
    assert.ok(names.includes("ü ö/😀 'name' *"));
    assert.deepEqual(left, ["pipe: it is no file"]);
  });

  it("refuses a name that can't be kept as it is", async () => {
    for (const name of ["with\nline", "with\u0001control"])
      await assert.rejects(listSource(folderOf({ [name]: "" })), { code: "source.bad_name" });
    const dir = folderOf({ a: "" });
    execFileSync("/bin/sh", ["-c", `touch "$(printf 'a\\377b')"`], { cwd: dir });
    await assert.rejects(listSource(dir), { code: "source.bad_name" });
  });

  it("fails where a file becomes shorter or can't be read, and does not wait for ever", async () => {
    const dir = folderOf({ a: "1" });
    writeFileSync(join(dir, "shrinks"), Buffer.alloc(30_000_000));
    const read = async (): Promise<void> => {
      let chunks = 0;
      for await (const _ of packFiles(dir, ["a", "shrinks"])) {
        chunks += 1;
        if (chunks === 5) writeFileSync(join(dir, "shrinks"), "");
      }
    };
    await assert.rejects(read(), /became shorter/);
  });
});

describe("dockerIgnore", () => {
  const cases: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ["*\n!src\n", ["package.json", "public/index.html"], ["src", "src/server.js"]],
    ["docs\n", ["docs", "docs/a.md"], ["lib/docs/a.js"]],
    ["**/docs\n", ["docs/a", "lib/docs/a"], ["docsy"]],
    [
      "*.md\n!README*.md\nREADME-secret.md\n",
      ["a.md", "README-secret.md"],
      ["README.md", "sub/a.md"],
    ],
    [
      "*/temp*\n*/*/temp*\ntemp?\n",
      ["a/temporary.txt", "a/b/temp", "tempa"],
      ["temp", "a/b/c/temp"],
    ],
    ["# comment\n\n/slash/\n./dot\n", ["slash/a", "dot"], ["# comment"]],
    ["**\n!a/**/keep.txt\n", ["a/x", "b"], ["a/keep.txt", "a/b/c/keep.txt"]],
    ["a[0-9].txt\n", ["a1.txt"], ["ab.txt"]],
    ["node_modules\n**/*.log\n", ["node_modules/x", "x.log", "a/b/c.log"], ["src/node_modules/x"]],
    ["*\n", ["server.js"], ["Dockerfile", ".dockerignore"]],
  ];
  for (const [text, out, kept] of cases)
    it(`reads ${JSON.stringify(text)} as Docker does`, () => {
      const isOut = dockerIgnore(text, ["Dockerfile", ".dockerignore"]);
      for (const path of out) assert.ok(isOut(path), `${path} is left out`);
      for (const path of kept) assert.ok(!isOut(path), `${path} is sent`);
    });
});
