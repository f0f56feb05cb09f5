// Redis as an engine: one per environment, on loopback, every user with a password, append-only
// file on. The default user is off.

import { createHash } from "node:crypto";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "@redis/client";
import type { Clock } from "../../kernel/clock.ts";
import type { Redacted } from "../../kernel/redacted.ts";
import type { EngineDriver, EngineView } from "../../resources/engine/engine-driver.ts";
import { LOOK_TIMEOUT_MS, lookAt, within } from "../engine-look.ts";
import { type Argv, run } from "../exec.ts";
import { readText, writeWhole } from "../files.ts";
import { SupervisedEngine } from "../process/supervised-engine.ts";
import { asUser, findSystemUser, giveTo } from "../process/system-user.ts";

export interface RedisOptions {
  readonly clock: Clock;
  readonly dirOf: (environment: string) => string;
  readonly logFileOf: (environment: string) => string;
  readonly portOf: (environment: string) => Promise<number>;
  /** For its start: another one where a program of somebody else's has it. */
  readonly portToStart: (environment: string) => Promise<number>;
  readonly adminPassword: (environment: string) => Redacted;
}

const ADMIN = "holdfast";
const HOST = "127.0.0.1";
const STOP_TIMEOUT_MS = 30_000;
const CONNECT_TIMEOUT_MS = 2_000;
const WORK_TIMEOUT_MS = 60_000;

export class RedisEngineDriver implements EngineDriver {
  readonly #options: RedisOptions;
  readonly #engines = new Map<string, SupervisedEngine>();

  constructor(options: RedisOptions) {
    this.#options = options;
  }

  async observe(environment: string): Promise<EngineView> {
    const { dirOf, portOf } = this.#options;
    const process = this.#engine(environment).observe();
    const look = process.running
      ? await lookAt(() => this.asAdmin(environment, (client) => client.ping(), LOOK_TIMEOUT_MS))
      : undefined;
    return {
      version: await redisVersion(),
      packages: "redis-server",
      hasData: existsSync(join(dirOf(environment), "data")),
      process: look?.process ?? "absent",
      startedAt: process.startedAt,
      endedAt: process.endedAt,
      recentEnds: process.recentEnds,
      detail: process.detail ?? look?.refusal,
      address: `${HOST}:${await portOf(environment)}`,
    };
  }

  async create(environment: string): Promise<void> {
    const dir = this.#options.dirOf(environment);
    mkdirSync(dir, { recursive: true, mode: 0o711 });
    mkdirSync(join(dir, "data"), { recursive: true, mode: 0o700 });
    giveTo(findSystemUser("redis"), dir, join(dir, "data"));
  }

  async start(environment: string): Promise<void> {
    await this.#options.portToStart(environment);
    const dir = this.#options.dirOf(environment);
    const user = findSystemUser("redis");
    const usersFile = join(dir, "users.acl");
    const hash = passwordHash(this.#options.adminPassword(environment));
    // The apps' users are in this file too, written by ACL SAVE: only what is ours is replaced.
    const others = (readText(usersFile) ?? "")
      .split("\n")
      .filter((line) => line && !/^user (default|holdfast) /.test(line));
    const users = [
      "user default off nopass nocommands",
      `user ${ADMIN} on #${hash} ~* &* +@all`,
      ...others,
    ];
    writeWhole(usersFile, `${users.join("\n")}\n`);
    const configFile = join(dir, "redis.conf");
    writeWhole(configFile, await this.#renderConfig(environment));
    giveTo(user, usersFile, configFile);
    const argv = [...asUser(user), "redis-server", configFile];
    this.#engine(environment).start(argv as unknown as Argv);
  }

  async stop(environment: string): Promise<void> {
    await this.#engine(environment).stop("SIGTERM", STOP_TIMEOUT_MS);
  }

  /** @throws engine.silent where it takes longer than it may */
  async asAdmin<Result>(
    environment: string,
    work: (client: RedisAdmin) => Promise<Result>,
    timeoutMs = WORK_TIMEOUT_MS,
  ): Promise<Result> {
    const client = adminClient(
      this.#adminSocket(environment),
      this.#options.adminPassword(environment),
    );
    client.on("error", () => undefined);
    const close = (): void => {
      if (client.isOpen) client.destroy();
    };
    try {
      return await within(timeoutMs, close, async () => {
        await client.connect();
        return work(client);
      });
    } finally {
      close();
    }
  }

  async #renderConfig(environment: string): Promise<string> {
    const dir = this.#options.dirOf(environment);
    return [
      "# Written by Holdfast: every change here is overwritten.",
      `bind ${HOST}`,
      `port ${await this.#options.portOf(environment)}`,
      `unixsocket ${this.#adminSocket(environment)}`,
      "unixsocketperm 700",
      "daemonize no",
      `dir ${join(dir, "data")}`,
      `aclfile ${join(dir, "users.acl")}`,
      "appendonly yes",
      "appendfsync everysec",
      "maxmemory-policy noeviction",
      "",
    ].join("\n");
  }

  // Whoever listens on the port, this folder is the engine's: the password goes to nobody else.
  #adminSocket(environment: string): string {
    return join(this.#options.dirOf(environment), "admin.sock");
  }

  #engine(environment: string): SupervisedEngine {
    let engine = this.#engines.get(environment);
    if (!engine) {
      const { clock, dirOf, logFileOf } = this.#options;
      engine = new SupervisedEngine({
        clock,
        dir: join(dirOf(environment), "run"),
        logFile: logFileOf(environment),
      });
      this.#engines.set(environment, engine);
    }
    return engine;
  }
}

export type RedisAdmin = ReturnType<typeof adminClient>;

const adminClient = (path: string, password: Redacted) =>
  createClient({
    username: ADMIN,
    password: password.reveal(),
    socket: { path, tls: false, connectTimeout: CONNECT_TIMEOUT_MS, reconnectStrategy: false },
  });

export const passwordHash = (password: Redacted): string =>
  createHash("sha256").update(password.reveal()).digest("hex");

let version: Promise<string | undefined> | undefined;
function redisVersion(): Promise<string | undefined> {
  version ??= run(["redis-server", "--version"]).then(
    ({ stdout }) => /v=(\S+)/.exec(stdout)?.[1],
    () => {
      version = undefined;
      return undefined;
    },
  );
  return version;
}
