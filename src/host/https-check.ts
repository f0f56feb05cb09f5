// Whether an app answers where users would ask: over HTTPS, through the edge, with a certificate
// that the local CA vouches for.

import { readFileSync } from "node:fs";
import { request } from "node:https";

const TIMEOUT_MS = 5_000;

/** The status of `GET /`, or undefined where nothing answered in time. */
export function askOverHttps(
  host: string,
  port: number,
  caFile: string,
): Promise<number | undefined> {
  const options = {
    host: "127.0.0.1",
    port,
    servername: host,
    ca: readFileSync(caFile),
    headers: { host },
    timeout: TIMEOUT_MS,
  };
  return new Promise((resolve) => {
    const asked = request(options, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
    asked.on("error", () => resolve(undefined));
    asked.end();
  });
}
