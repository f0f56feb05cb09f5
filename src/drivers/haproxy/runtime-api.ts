// HAProxy's runtime API over its Unix socket: one connection per command, text in, text out.

import { connect } from "node:net";
import { transient } from "../../kernel/error.ts";

const TIMEOUT_MS = 5_000;
const ANSWER_MAX_BYTES = 64 * 1024 * 1024;

export class RuntimeApi {
  readonly #socket: string;

  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Sends the commands as one line and gives the whole answer. */
  ask(...commands: readonly string[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#socket);
      const chunks: Buffer[] = [];
      let bytes = 0;
      socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error("no answer in time")));
      socket.on("connect", () => socket.end(`${commands.join(";")}\n`));
      socket.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > ANSWER_MAX_BYTES) socket.destroy(new Error("the answer is too long"));
        else chunks.push(chunk);
      });
      socket.on("error", (cause) =>
        reject(transient("edge.unreachable", "the edge does not answer", { cause })),
      );
      socket.on("close", (failed) => failed || resolve(Buffer.concat(chunks).toString("utf8")));
    });
  }

  /** For commands whose answer must be one of the expected ones. */
  async expect(pattern: RegExp, ...commands: readonly string[]): Promise<string> {
    const answer = await this.ask(...commands);
    if (pattern.test(answer)) return answer;
    throw transient("edge.refused", `the edge refused "${commands[0]}": ${answer.trim()}`, {
      hint: "it is tried again; holdfast logs --engine edge",
    });
  }

  async isUp(): Promise<boolean> {
    return this.ask("show info").then(
      (answer) => answer.includes("Uptime_sec"),
      () => false,
    );
  }

  /** Replaces a map's entries in one go: a request sees all of the old or all of the new ones. */
  async replaceMap(path: string, entries: readonly (readonly [string, string])[]): Promise<void> {
    const answer = await this.expect(/New version created: \d+/, `prepare map ${path}`);
    const version = /created: (\d+)/.exec(answer)?.[1];
    const payload = entries.map(([key, value]) => `${key} ${value}`);
    for (let at = 0; at < payload.length; at += MAP_ENTRIES_PER_COMMAND) {
      const part = payload.slice(at, at + MAP_ENTRIES_PER_COMMAND).join("\n");
      await this.expect(/^\s*$/, `add map @${version} ${path} <<\n${part}\n`);
    }
    await this.expect(/^\s*$/, `commit map @${version} ${path}`);
  }
}

/** A command must fit HAProxy's buffer of 16 KB. */
const MAP_ENTRIES_PER_COMMAND = 50;
