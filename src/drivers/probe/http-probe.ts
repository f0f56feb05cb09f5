// A health check from outside the instance: nothing needs to be installed in it, and what it
// answered is part of the result.

import { request } from "node:http";
import { connect } from "node:net";
import type { Address, HealthProbe, ProbeResult } from "../../resources/app/app-driver.ts";
import type { Health } from "../../resources/app/manifest.ts";

const BODY_SHOWN_CHARS = 200;

export class NetworkProbe implements HealthProbe {
  probe(address: Address, health: Health, signal: AbortSignal): Promise<ProbeResult> {
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(health.timeout)]);
    return health.path === undefined
      ? probeTcp(address, health, bounded)
      : probeHttp(address, health, health.path, bounded);
  }
}

function probeTcp(
  { host, port }: Address,
  health: Health,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const what = `TCP ${host}:${port}`;
  return new Promise((resolve) => {
    const socket = connect({ host, port, signal });
    socket.on("connect", () => {
      socket.destroy();
      resolve({ ok: true, detail: `${what} → accepted` });
    });
    socket.on("error", (error) =>
      resolve({ ok: false, detail: `${what} → ${failureText(error, health)}` }),
    );
  });
}

function probeHttp(
  { host, port }: Address,
  health: Health,
  path: string,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const what = `GET ${path}`;
  const headers = {
    host: health.host ?? `${host}:${port}`,
    "user-agent": "holdfast-probe",
    "x-forwarded-proto": "https",
    connection: "close",
  };
  return new Promise((resolve) => {
    const asked = request({ host, port, path, headers, signal, agent: false }, (answer) => {
      const status = answer.statusCode ?? 0;
      let body = "";
      answer.setEncoding("utf8").on("data", (text: string) => {
        body = (body + text).slice(0, BODY_SHOWN_CHARS);
      });
      const finish = (): void => {
        const ok = isExpected(status, health.status);
        const to = answer.headers.location ? ` to ${answer.headers.location}` : "";
        const shown = ok || !body.trim() ? "" : `: ${body.trim().replaceAll(/\s+/g, " ")}`;
        resolve({ ok, detail: `${what} → ${status}${to}${shown} (expected ${health.status})` });
      };
      answer.on("end", finish).on("error", finish);
    });
    asked.on("error", (error) =>
      resolve({ ok: false, detail: `${what} → ${failureText(error, health)}` }),
    );
    asked.end();
  });
}

/** `200` or `200-299`. */
export function isExpected(status: number, range: string): boolean {
  const [from, to = from] = range.split("-").map(Number);
  return from !== undefined && to !== undefined && status >= from && status <= to;
}

function failureText(error: Error, health: Health): string {
  const { code } = error as NodeJS.ErrnoException;
  if (error.name === "TimeoutError" || error.name === "AbortError" || code === "ABORT_ERR") {
    return `no answer within ${health.timeout} ms`;
  }
  return code === "ECONNREFUSED" ? "connection refused" : (code ?? error.message);
}
