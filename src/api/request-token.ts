// The token that a request shows: as a bearer, or as the password that git asks for.

import type { FastifyRequest } from "fastify";
import { Redacted } from "../kernel/redacted.ts";

export function tokenOf({ headers }: Pick<FastifyRequest, "headers">): Redacted | undefined {
  const [, scheme = "", given = ""] =
    /^(Bearer|Basic) (\S+)$/i.exec(headers.authorization ?? "") ?? [];
  if (given === "") return undefined;
  if (scheme.toLowerCase() === "bearer") return new Redacted(given);
  const [user = "", ...password] = Buffer.from(given, "base64").toString("utf8").split(":");
  // Some tools have room for a name only.
  return new Redacted(password.join(":") || user);
}
