// Takes request records from the edge as they come, and gives them to the journal a few times a
// second. The edge holds them in a ring in memory and waits for nobody: what it could not get rid
// of is lost there, what can't be written is counted here.

import { chmodSync, chownSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";

export interface RequestReceiverOptions {
  /** Its path; or one that is held for us, and listens already. */
  readonly socket: string | { readonly fd: number };
  /** Who runs the edge and must reach the socket. */
  readonly edgeUid: number | undefined;
  /** Resolves once the lines are on disk. */
  readonly append: (lines: string) => Promise<void>;
  /** Lines that are no record: the edge's own messages. */
  readonly onMessage: (line: string) => void;
  readonly onProblem: (error: unknown) => void;
}

const FLUSH_MS = 200;
const FLUSH_CHARS = 512 * 1024;
const LINE_MAX_CHARS = 64 * 1024;

export class RequestReceiver {
  readonly #options: RequestReceiverOptions;
  readonly #server: Server;
  #pending = "";
  #timer: NodeJS.Timeout | undefined;
  #lost = 0;

  constructor(options: RequestReceiverOptions) {
    this.#options = options;
    this.#server = createServer((socket) => {
      let rest = "";
      socket.setEncoding("utf8");
      socket.on("data", (text: string) => {
        const all = rest + text;
        const end = all.lastIndexOf("\n") + 1;
        rest = all.slice(end).slice(0, LINE_MAX_CHARS);
        this.#take(all.slice(0, end));
      });
      socket.on("error", () => undefined);
    });
  }

  /** Records that could not be written: the disk was full. */
  get lost(): number {
    return this.#lost;
  }

  async listen(): Promise<void> {
    const { socket, edgeUid } = this.#options;
    if (typeof socket === "string") rmSync(socket, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject).listen(socket, resolve);
    });
    if (typeof socket === "string") {
      chmodSync(socket, 0o600);
      if (edgeUid !== undefined) chownSync(socket, edgeUid, 0);
    }
    this.#timer = setInterval(() => void this.flush(), FLUSH_MS);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#server.close();
    await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#pending === "") return;
    const lines = this.#pending;
    this.#pending = "";
    try {
      await this.#options.append(lines);
    } catch (error) {
      this.#lost += lines.split("\n").length - 1;
      this.#options.onProblem(error);
    }
  }

  #take(lines: string): void {
    // A message has no tab; they are rare, so looking at every line is not worth it.
    if (/^[^\t\n]+$/m.test(lines)) {
      for (const line of lines.split("\n")) {
        if (line.includes("\t")) this.#pending += `${line}\n`;
        else if (line !== "") this.#options.onMessage(line);
      }
    } else {
      this.#pending += lines;
    }
    if (this.#pending.length > FLUSH_CHARS) void this.flush();
  }
}
