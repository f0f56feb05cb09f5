// Runbooks as they are told: the first thing to do in a message, and the whole as a page that the edge
// serves, so that whoever is woken can open it from a phone.

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { marked } from "marked";
import { readText } from "./files.ts";

const FOLDER = join(import.meta.dirname, "..", "..", "docs", "runbooks");

/** `docs/runbooks/high-error-rate.md` → `high-error-rate` */
export const runbookName = (path: string): string => basename(path, ".md");

/**
 * Its "First.", which holds whatever the trouble is; undefined where there is no such runbook.
 *
 * @param app stands for `<app>`, where it is known
 */
export function firstStepOf(path: string, app?: string): string | undefined {
  if (!/^[a-z-]+$/.test(runbookName(path))) return undefined;
  const text = readText(join(FOLDER, `${runbookName(path)}.md`));
  const step = /^\*\*First\.\*\* (.+)$/m.exec(text ?? "")?.[1];
  return step?.replaceAll("`", "").replaceAll("<app>", app || "<app>");
}

export const runbookNames = (): readonly string[] =>
  readdirSync(FOLDER)
    .filter((file) => file.endsWith(".md"))
    .map(runbookName)
    .sort();

/** Name → page. They are ours, so they are shown as they are. */
export function runbookPages(): ReadonlyMap<string, string> {
  return new Map(
    runbookNames().map((name) => {
      const text = readFileSync(join(FOLDER, `${name}.md`), "utf8");
      const linked = text.replaceAll(/\]\(([a-z-]+)\.md\)/g, "]($1)");
      return [name, page(name, marked.parse(linked, { async: false }))];
    }),
  );
}

const page = (title: string, body: string): string => `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>${title}</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:1rem auto;padding:0 1rem}code{background:#8883;padding:.1em .3em;border-radius:.2em;overflow-wrap:anywhere}:root{color-scheme:light dark}</style>
${body}</html>
`;
