// A look at a program that runs: it has seconds, and one that gets no answer says so.

import { messageOf, transient } from "../kernel/error.ts";
import type { EngineView } from "../resources/engine/engine-driver.ts";

export const LOOK_TIMEOUT_MS = 3_000;
const CODE = "engine.silent";

export const silent = (ms: number): Error =>
  transient(CODE, `it runs and has not answered for ${ms / 1_000} s`, {
    hint: "if that goes on: is it stopped, or its disk gone?",
  });

/** What a look came to. */
export async function lookAt(
  look: () => Promise<unknown>,
): Promise<Pick<EngineView, "process"> & { readonly refusal: string | undefined }> {
  try {
    await look();
    return { process: "ready", refusal: undefined };
  } catch (error) {
    const isSilent = (error as { code?: unknown }).code === CODE;
    return { process: isSilent ? "silent" : "starting", refusal: messageOf(error) };
  }
}

/**
 * Work over a connection that is cut after so long.
 *
 * @throws engine.silent
 */
export async function within<Result>(
  ms: number,
  cut: () => void,
  work: () => Promise<Result>,
): Promise<Result> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(silent(ms));
      cut();
    }, ms);
  });
  const own = work();
  // It ends some time after it was cut, and nobody waits for how.
  own.catch(() => undefined);
  try {
    return await Promise.race([own, late]);
  } finally {
    clearTimeout(timer);
  }
}
