// What a folder of files declared, under the name that it was given: only that may be removed when it is
// not in the files any more.

import { z } from "zod";
import { defineKind, type SpecOf } from "../../kernel/kind.ts";

const fileSetSpec = z.strictObject({
  resources: z
    .array(z.strictObject({ kind: z.string(), name: z.string() }))
    .describe("What was applied from it last."),
});

export type FileSetSpec = SpecOf<typeof fileSetSpec>;

export const FILE_SET = defineKind<FileSetSpec>({
  name: "file-set",
  summary: "The resources that a set of files owns.",
  scope: "installation",
  spec: fileSetSpec,
});
