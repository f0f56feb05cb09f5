// PostgreSQL as an engine: one cluster per environment, on loopback and a Unix socket only, SCRAM
// for everybody. A new cluster is made beside its place and renamed into it, so there is never half
// of one.

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import pg from "pg";
import type { Clock } from "../../kernel/clock.ts";
import { stuck } from "../../kernel/error.ts";
import type { Redacted } from "../../kernel/redacted.ts";
import type { EngineDriver, EngineView } from "../../resources/engine/engine-driver.ts";
import { LOOK_TIMEOUT_MS, lookAt, within } from "../engine-look.ts";
import { type Argv, runOrThrow } from "../exec.ts";
import { readText, writeWhole } from "../files.ts";
import { SupervisedEngine } from "../process/supervised-engine.ts";
import { asUser, findSystemUser, giveTo } from "../process/system-user.ts";

export interface PostgresOptions {
  readonly clock: Clock;
  /** Folder of the environment's cluster. */
  readonly dirOf: (environment: string) => string;
  readonly logFileOf: (environment: string) => string;
  readonly portOf: (environment: string) => Promise<number>;
  /** For its start: another one where a program of somebody else's has it. */
  readonly portToStart: (environment: string) => Promise<number>;
  readonly adminPassword: (environment: string) => Redacted;
}

export const ADMIN = "holdfast";
const HOST = "127.0.0.1";
const DEBIAN_BINARIES = "/usr/lib/postgresql";
const INITDB_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 60_000;
/** A stalled disk must not hold a pass for ever; CREATE DATABASE copies a few megabytes. */
const QUERY_TIMEOUT_MS = 60_000;
const WORK_TIMEOUT_MS = 120_000;
const MAX_CONNECTIONS = 200;

const HBA = `# Written by Holdfast. Nobody without a password, nothing from outside.
local all all scram-sha-256
host  all all 127.0.0.1/32 scram-sha-256
`;

export class PostgresEngineDriver implements EngineDriver {
  readonly #options: PostgresOptions;
  readonly #engines = new Map<string, SupervisedEngine>();

  constructor(options: PostgresOptions) {
    this.#options = options;
  }

  async observe(environment: string): Promise<EngineView> {
    const { dirOf, portOf } = this.#options;
    const process = this.#engine(environment).observe();
    const look = process.running
      ? await lookAt(() =>
          this.asAdmin(environment, "postgres", (one) => one.query("SELECT 1"), LOOK_TIMEOUT_MS),
        )
      : undefined;
    return {
      version: findVersion(),
      packages: "postgresql",
      hasData: existsSync(join(dirOf(environment), "data", "PG_VERSION")),
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
    const user = findSystemUser("postgres");
    const fresh = join(dir, "data.new");
    mkdirSync(dir, { recursive: true, mode: 0o711 });
    rmSync(fresh, { recursive: true, force: true });
    mkdirSync(fresh, { mode: 0o700 });
    mkdirSync(join(dir, "socket"), { recursive: true, mode: 0o700 });
    const passwordFile = join(dir, "initdb-password");
    writeWhole(passwordFile, this.#options.adminPassword(environment).reveal());
    giveTo(user, fresh, join(dir, "socket"), passwordFile);
    try {
      const initdb = [
        ...asUser(user),
        postgresProgram("initdb", findVersion()),
        "--pgdata",
        fresh,
        "--username",
        ADMIN,
        "--pwfile",
        passwordFile,
      ];
      const how = [
        "--auth",
        "scram-sha-256",
        "--encoding",
        "UTF8",
        "--locale",
        "C.UTF-8",
        "--data-checksums",
      ];
      await runOrThrow([...initdb, ...how] as unknown as Argv, {
        timeoutMs: INITDB_TIMEOUT_MS,
        cwd: "/",
      });
      writeWhole(join(fresh, "pg_hba.conf"), HBA, 0o600);
      giveTo(user, join(fresh, "pg_hba.conf"));
      renameSync(fresh, join(dir, "data"));
    } finally {
      rmSync(passwordFile, { force: true });
    }
  }

  async start(environment: string): Promise<void> {
    const dir = this.#options.dirOf(environment);
    const port = await this.#options.portToStart(environment);
    const settings = {
      listen_addresses: HOST,
      port: String(port),
      unix_socket_directories: join(dir, "socket"),
      max_connections: String(MAX_CONNECTIONS),
      password_encryption: "scram-sha-256",
      timezone: "UTC",
      log_timezone: "UTC",
      log_line_prefix: "%m [%p] %q%u@%d ",
      log_lock_waits: "on",
      log_min_duration_statement: "1s",
    };
    const flags = Object.entries(settings).flatMap(([key, value]) => ["-c", `${key}=${value}`]);
    const argv = [
      ...asUser(findSystemUser("postgres")),
      postgresProgram("postgres", this.#dataVersion(environment)),
      "-D",
      join(dir, "data"),
      ...flags,
    ];
    this.#engine(environment).start(argv as unknown as Argv);
  }

  async stop(environment: string): Promise<void> {
    // SIGINT is PostgreSQL's fast shutdown: sessions end, everything is written.
    await this.#engine(environment).stop("SIGINT", STOP_TIMEOUT_MS);
  }

  /**
   * Runs statements as the administrator; the connection is closed afterwards.
   *
   * @throws engine.silent where it takes longer than it may
   */
  async asAdmin<Result>(
    environment: string,
    database: string,
    work: (client: pg.Client) => Promise<Result>,
    timeoutMs = WORK_TIMEOUT_MS,
  ): Promise<Result> {
    const client = new pg.Client({
      // Whoever listens on the port, this folder is the engine's: the password goes to nobody else.
      host: join(this.#options.dirOf(environment), "socket"),
      port: await this.#options.portOf(environment),
      user: ADMIN,
      password: this.#options.adminPassword(environment).reveal(),
      database,
      query_timeout: QUERY_TIMEOUT_MS,
      // In an app's database, its owner's functions must not be taken for PostgreSQL's own.
      // What a migration set for the database must not keep its administrator out.
      options: "-c search_path=pg_catalog -c default_transaction_read_only=off",
      application_name: "holdfast",
    });
    client.on("error", () => undefined);
    const { stream } = (client as unknown as { connection: { stream: Socket } }).connection;
    return within(
      timeoutMs,
      () => stream.destroy(),
      async () => {
        await client.connect();
        try {
          return await work(client);
        } finally {
          await client.end();
        }
      },
    );
  }

  /** Where its programs find the cluster. */
  async place(environment: string) {
    const dir = this.#options.dirOf(environment);
    const version = this.#dataVersion(environment);
    const port = await this.#options.portOf(environment);
    return { dir, host: join(dir, "socket"), port, version };
  }

  // Data belongs to the major version that made it, whatever else was installed since.
  #dataVersion(environment: string): string | undefined {
    return readText(join(this.#options.dirOf(environment), "data", "PG_VERSION"))?.trim();
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

// Debian keeps every major version in a folder of its own; the newest is taken for new clusters.
function findVersion(): string | undefined {
  if (!existsSync(DEBIAN_BINARIES)) return undefined;
  return readdirSync(DEBIAN_BINARIES)
    .filter((version) => existsSync(join(DEBIAN_BINARIES, version, "bin", "postgres")))
    .sort((a, b) => Number(b) - Number(a))[0];
}

/**
 * One of PostgreSQL's own programs, of that major version.
 *
 * @throws engine.not_installed
 */
export function postgresProgram(name: string, version: string | undefined): string {
  const path = join(DEBIAN_BINARIES, version ?? "", "bin", name);
  if (version !== undefined && existsSync(path)) return path;
  const which = version === undefined ? "postgresql" : `postgresql-${version}`;
  throw stuck("engine.not_installed", `PostgreSQL ${version ?? ""} is not installed`, {
    hint: `apt-get install ${which}`,
  });
}
