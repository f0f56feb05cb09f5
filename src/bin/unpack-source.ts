// Unpacks one upload, for SourceStore: `unpack-source ARCHIVE FOLDER`. What became of it is one line
// of JSON.

import { unpackSource } from "../drivers/build/unpack-source.ts";
import { asHoldfastError, problemOf } from "../kernel/error.ts";

if (import.meta.main) {
  const [archive = "", folder = ""] = process.argv.slice(2);
  const result = await unpackSource(archive, folder).then(
    (digest) => ({ digest }),
    (error: unknown) => ({ problem: problemOf(asHoldfastError(error)) }),
  );
  process.stdout.write(JSON.stringify(result));
}
