// A plain reverse proxy in Node, as one would write it: what the edge is measured against.

import { Agent, createServer, request } from "node:http";

const [, , port, upstream] = process.argv;
const agent = new Agent({ keepAlive: true, maxSockets: 64 });

createServer((incoming, outgoing) => {
  const { method, url, headers } = incoming;
  const asked = request(
    { host: "127.0.0.1", port: Number(upstream), method, path: url, headers, agent },
    (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    },
  );
  asked.on("error", () => outgoing.writeHead(502).end());
  incoming.pipe(asked);
}).listen(Number(port), "127.0.0.1");
