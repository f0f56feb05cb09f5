// Log lines of our own processes: JSON, one per line, on standard output, which goes to a file that
// the log collector reads.

export function writeProcessLog(
  level: "info" | "warn" | "error",
  message: string,
  fields: Record<string, unknown> = {},
): void {
  process.stdout.write(
    `${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`,
  );
}
