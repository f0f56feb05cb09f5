/** A busy machine builds, starts and checks in its own time; one that is not never waits for this. */
const SLOW_MS = 100_000;

export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  timeoutMs = SLOW_MS,
): Promise<void> {
  const began = Date.now();
  while (!(await check())) {
    const waited = Date.now() - began;
    if (waited > timeoutMs) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    // What takes longer is not asked for all the time: asking costs what it waits for its turn.
    const pauseMs = waited < 1_000 ? 50 : 200;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
