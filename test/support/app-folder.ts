// Small apps for tests, written into a folder of their own.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/** A server that says what it was asked, with its environment's names. */
export const ECHO_SERVER = `
const http = require("node:http");
const server = http.createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    if (request.url === "/moved") { response.writeHead(301, { location: "https://elsewhere/" }); return response.end(); }
    if (request.url.startsWith("/slow")) return setTimeout(() => response.end("slow"), 1500);
    const body = JSON.stringify({ url: request.url, headers: request.headers, bytes: Buffer.concat(chunks).length, release: process.env.HOLDFAST_RELEASE, secret: process.env.API_KEY ? process.env.API_KEY.length : 0, setting: process.env.SETTING, padding: "x".repeat(2000) });
    response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
    response.end(body);
  });
});
server.on("upgrade", (request, socket) => {
  const accept = require("node:crypto").createHash("sha1").update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nconnection: Upgrade\\r\\nupgrade: websocket\\r\\nsec-websocket-accept: " + accept + "\\r\\n\\r\\n");
  socket.pipe(socket);
});
server.keepAliveTimeout = 90000;
server.listen(process.env.PORT, process.env.HOST);
process.on("SIGTERM", () => server.close(() => process.exit(0)));
`;

export class AppFolder {
  readonly dir: string;

  constructor(files: Readonly<Record<string, string>>, name = "app") {
    this.dir = join(mkdtempSync(join(tmpdir(), "holdfast-app-")), name);
    mkdirSync(this.dir);
    this.write(files);
  }

  write(files: Readonly<Record<string, string>>): void {
    for (const [file, text] of Object.entries(files)) writeFileSync(join(this.dir, file), text);
  }

  remove(): void {
    rmSync(dirname(this.dir), { recursive: true, force: true });
  }
}
