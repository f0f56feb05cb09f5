// The Docker Engine API over its Unix socket (Podman's compatible one works too). Fifteen calls,
// JSON in and out: the HTTP client is all the library it needs.

import { existsSync } from "node:fs";
import type { Duplex, Readable } from "node:stream";
import { Agent, request, upgrade } from "undici";
import { type HoldfastError, stuck, transient } from "../../kernel/error.ts";

const SOCKETS = ["/var/run/docker.sock", "/run/podman/podman.sock"];
const API = "/v1.41";
const CALL_TIMEOUT_MS = 120_000;

export interface DockerAnswer {
  readonly status: number;
  readonly body: unknown;
}

const HINT = "it is tried again; what the engine itself says: docker info, journalctl -u docker";

export class DockerEngine {
  #agent: Agent | undefined;

  /** Version of the engine, or undefined where none answers. */
  async findVersion(): Promise<string | undefined> {
    if (!this.#socket) return undefined;
    try {
      const { body } = await this.call("GET", "/version", { timeoutMs: 3_000 });
      return (body as { Version?: string }).Version;
    } catch {
      return undefined;
    }
  }

  get isPresent(): boolean {
    return this.#socket !== undefined;
  }

  async call(
    method: "GET" | "POST" | "DELETE",
    path: string,
    options: {
      readonly body?: unknown;
      readonly timeoutMs?: number;
      readonly accept?: readonly number[];
    } = {},
  ): Promise<DockerAnswer> {
    const { statusCode, body } = await this.#send(method, path, {
      ...(options.body !== undefined && {
        body: JSON.stringify(options.body),
        headers: { "content-type": "application/json" },
      }),
      timeoutMs: options.timeoutMs ?? CALL_TIMEOUT_MS,
    });
    const text = await body.text();
    const parsed = parseJson(text);
    if (statusCode < 300 || options.accept?.includes(statusCode))
      return { status: statusCode, body: parsed };
    const message = (parsed as { message?: string } | undefined)?.message ?? text.slice(0, 300);
    throw transient(
      "docker.refused",
      `Docker refused ${method} ${path.split("?")[0]}: ${message}`,
      {
        hint: HINT,
      },
    );
  }

  /** The body as it comes: logs, events, the output of a build. */
  async stream(
    method: "GET" | "POST",
    path: string,
    options: { body?: Readable; signal?: AbortSignal } = {},
  ): Promise<Readable> {
    const { statusCode, body } = await this.#send(method, path, {
      ...(options.body && { body: options.body, headers: { "content-type": "application/x-tar" } }),
      ...(options.signal && { signal: options.signal }),
      timeoutMs: 0,
    });
    if (statusCode < 300) return body;
    const message = (parseJson(await body.text()) as { message?: string } | undefined)?.message;
    throw transient(
      "docker.refused",
      `Docker refused ${method} ${path.split("?")[0]}: ${message ?? statusCode}`,
      { hint: HINT },
    );
  }

  /** A connection of its own: what is written to it is what a container reads. */
  async attach(container: string): Promise<Duplex> {
    const socketPath = this.#socket;
    if (socketPath === undefined) throw absent();
    this.#agent ??= new Agent({ connect: { socketPath } });
    const path = `${API}/containers/${container}/attach?stream=1&stdin=1`;
    const { socket } = await upgrade(`http://docker${path}`, {
      dispatcher: this.#agent,
      method: "POST",
      protocol: "tcp",
    });
    return socket;
  }

  get #socket(): string | undefined {
    return SOCKETS.find((path) => existsSync(path));
  }

  async #send(
    method: "GET" | "POST" | "DELETE",
    path: string,
    options: {
      body?: string | Readable;
      headers?: Record<string, string>;
      signal?: AbortSignal;
      timeoutMs: number;
    },
  ) {
    const socketPath = this.#socket;
    if (socketPath === undefined) throw absent();
    this.#agent ??= new Agent({ connect: { socketPath } });
    const { timeoutMs, ...rest } = options;
    try {
      return await request(`http://docker${API}${path}`, {
        method,
        dispatcher: this.#agent,
        headersTimeout: timeoutMs,
        bodyTimeout: timeoutMs,
        ...rest,
      });
    } catch (cause) {
      throw transient("docker.unreachable", "the container engine does not answer", {
        hint: "start it (systemctl start docker), then: holdfast doctor",
        cause,
      });
    }
  }
}

const absent = (): HoldfastError =>
  stuck("docker.absent", "no container engine runs on this machine", {
    hint: "apt-get install docker.io and start it, or deploy with compute: process",
  });

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
