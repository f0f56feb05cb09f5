/** A busy machine builds, starts and checks in its own time; one that is not never waits for this. */
const SLOW_MS = 100_000;

export async function until(
  what: string,
  check: () => boolean | Promise<boolean>,
  timeoutMs = SLOW_MS,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
