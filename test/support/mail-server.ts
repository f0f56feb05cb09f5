// A mail server that keeps what it gets: as much SMTP as a sender needs.

import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:net";

export class MailServer {
  readonly mails: string[] = [];
  readonly #server: Server;

  constructor() {
    this.#server = createServer((socket) => {
      let rest = "";
      let mail: string[] | undefined;
      const say = (text: string): void => void socket.write(`${text}\r\n`);
      const command = (line: string): void => {
        const verb = line.slice(0, 4).toUpperCase();
        if (verb === "DATA") mail = [];
        say(verb === "DATA" ? "354 go on" : verb === "QUIT" ? "221 bye" : "250 ok");
        if (verb === "QUIT") socket.end();
      };
      const content = (line: string): void => {
        if (line !== ".") {
          mail?.push(line);
        } else {
          this.mails.push((mail ?? []).join("\n"));
          mail = undefined;
          say("250 kept");
        }
      };
      socket.setEncoding("utf8").on("error", () => undefined);
      socket.on("data", (text: string) => {
        const lines = (rest + text).split("\r\n");
        rest = lines.pop() ?? "";
        for (const line of lines) (mail ? content : command)(line);
      });
      say("220 test");
    });
  }

  listen(): Promise<number> {
    return new Promise((resolve) => {
      this.#server.listen(0, "127.0.0.1", () =>
        resolve((this.#server.address() as AddressInfo).port),
      );
    });
  }

  close(): void {
    this.#server.close();
  }
}
