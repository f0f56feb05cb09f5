import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { RemoteRepositories } from "./remote-repositories.ts";

describe("a repository that can't be read", () => {
  const dir = mkdtempSync(join(tmpdir(), "holdfast-test-remote-"));
  let server: Server;
  before(async () => {
    // Answers with the status that the first part of the path asks for.
    server = createServer((request, response) => {
      response.writeHead(Number(request.url?.split("/")[1])).end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  after(() => {
    server.close();
    rmSync(dir, { recursive: true, force: true });
  });

  for (const [status, code] of [
    [401, "repository.refused"],
    [403, "repository.refused"],
    [404, "repository.not_found"],
    [500, "repository.away"],
  ] as const)
    it(`is reported by the answer ${status}, whatever numbers its address has`, async () => {
      for (const name of ["shop", "401", "403", "404-not-found", "access-denied"]) {
        const port = (server.address() as AddressInfo).port;
        const url = `http://127.0.0.1:${port}/${status}/${name}.git`;
        const remote = { url, branch: "main", provider: "gitea", token: undefined } as const;
        await assert.rejects(new RemoteRepositories(dir).head(remote), { code });
      }
    });
});
