// Where the tools that change schemas keep their migrations, told by path: which file is one, whether
// it is SQL or a program, and which part of it is the way up. What only undoes a migration, keeps a
// tool's own books or fills a test's database is none.

export interface MigrationPath {
  readonly form: "sql" | "program";
  /** In a folder of migrations; SQL elsewhere may be for something else. */
  readonly isFiled: boolean;
}

/** Folders in which every program is a migration. */
const FOLDER =
  /(^|\/)(migrations?|post_migrate|data_migrations|migrate|(alembic|db|app)\/versions|change-?logs?|db\/changes)\//i;
/** Unless it is a folder of migrations: an app may have any of these names. */
const ELSEWHERE = /(^|\/)(vendor|fixtures?|__fixtures__|testdata|tests?|__tests__|specs?)\//i;
const INSTALLED = /(^|\/)node_modules\//;
const FILLING = /(^|\/)(seeds?|seeders|examples?|docs?)\/|(^|\/)seeds?\.sql$/i;
/** What a tool writes down of the schema as it is: Rails, dbmate. */
const DUMP = /(^|\/)db\/(structure|schema)\.sql$/;
const SQL = /\.(sql|psql|ddl|sql\.\w+)$/i;
const PROGRAM =
  /\.([cm]?[jt]sx?|py|rb|php|cs|fs|vb|java|kt|kts|scala|groovy|exs?|go|rs|clj|edn|swift|dart|lua|hs|sh|pl|xml|ya?ml|json)$/i;
const CHANGELOG = /(^|\/)[\w.-]*change-?log[\w.-]*\.(xml|ya?ml|json)$/i;
/** Kept beside migrations, run by nobody: Django, EF, TypeScript, Drizzle, Prisma. */
const BOOKS =
  /(^|\/)meta\/[\w-]+\.json$|\.designer\.cs$|ModelSnapshot\.cs$|\.d\.[cm]?ts$|\.(test|spec)\.[cm]?[jt]sx?$|_test\.(go|py)$|(^|\/)README\b/i;

export function migrationAt(path: string): MigrationPath | undefined {
  if (INSTALLED.test(path) || BOOKS.test(path)) return undefined;
  const isFiled = FOLDER.test(path);
  if (!isFiled && ELSEWHERE.test(path)) return undefined;
  if (SQL.test(path)) {
    const isOther = !isFiled && (FILLING.test(path) || DUMP.test(path));
    return isOther ? undefined : { form: "sql", isFiled };
  }
  const isProgram = CHANGELOG.test(path) || (isFiled && PROGRAM.test(path));
  return isProgram ? { form: "program", isFiled: true } : undefined;
}

/** A way down, and the way up that lies beside it: without that one, it is a name like others. */
const WAYS_DOWN: readonly (readonly [down: RegExp, up: string])[] = [
  // golang-migrate, sqlx; Diesel; Flyway; Sqitch.
  [/([._-])down\.sql$/i, "$1up.sql"],
  [/(^|\/)down\.sql$/i, "$1up.sql"],
  [/(^|\/)U(\d[\w.]*__[^/]+\.sql)$/, "$1V$2"],
  [/(^|\/)(?:revert|verify)(\/[^/]+\.sql)$/i, "$1deploy$2"],
];

/** The file whose presence makes this one a way down; undefined where its name says nothing of that. */
export function wayUpOf(path: string): string | undefined {
  const found = WAYS_DOWN.find(([down]) => down.test(path));
  return found && path.replace(found[0], found[1]);
}

/** Tools that keep the way down in the same file, and what begins each of its parts. */
const PARTS: readonly { readonly tool: RegExp; readonly mark: RegExp }[] = [
  { tool: /\bdbmate\b/, mark: /^--\s*migrate:(up|down)\b/i },
  { tool: /\bgoose\b/, mark: /^--\s*\+goose\s+(up|down)\b/i },
  { tool: /\bsql-migrate\b|\brubenv\b/, mark: /^--\s*\+migrate\s+(up|down)\b/i },
  { tool: /\bnode-pg-migrate\b/, mark: /^--\s*(up|down)\s+migration\b/i },
  { tool: /\brambler\b/, mark: /^--\s*rambler\s+(up|down)\b/i },
];

/**
 * The text without the way down, each line where it was.
 *
 * @param tools the command that runs it, with what that calls: a mark means something to its own tool
 *   alone, to everybody else it is a comment
 */
export function upPart(text: string, tools: string): string {
  const marks = PARTS.filter(({ tool }) => tool.test(tools)).map(({ mark }) => mark);
  let isDown = false;
  const lines = text.split("\n").map((line) => {
    for (const mark of marks) {
      const [, way] = mark.exec(line) ?? [];
      if (way) isDown = way.toLowerCase() === "down";
    }
    return isDown ? "" : line;
  });
  return lines.join("\n");
}

/** Whose migration a program is, told by what it says. */
const WRITERS: readonly (readonly [name: string, mark: RegExp])[] = [
  ["Django", /django\.db import migrations|django\.db\.migrations/],
  ["Alembic", /from alembic import|import alembic|^down_revision\b/m],
  ["Rails", /ActiveRecord::Migration/],
  ["Entity Framework", /Microsoft\.EntityFrameworkCore\.Migrations/],
  ["Liquibase", /databaseChangeLog/],
  ["Laravel", /Illuminate\\Database\\Migrations/],
  ["Ecto", /Ecto\.Migration/],
  ["TypeORM", /MigrationInterface|queryRunner/],
  ["Sequelize", /queryInterface/],
  ["MikroORM", /@mikro-orm\/migrations/],
  ["Knex", /\bknex\b|exports\.up\s*=|export (async )?function up\b/],
  ["Flyway", /BaseJavaMigration|org\.flywaydb/],
  ["goose", /pressly\/goose/],
];

export const writerOf = (text: string): string | undefined =>
  WRITERS.find(([, mark]) => mark.test(text))?.[0];

/** Commands that change a schema. */
const RUNS =
  /\bmigrat(e|ions?)\b|\bprisma\s+db\s+push\b|\balembic\s+upgrade\b|\bflyway\b|\bliquibase\b|\bgoose\b|\bdbmate\b|\bdrizzle-kit\s+push\b|\bdb:migrate\b|\bdatabase\s+update\b|\bsqitch\s+deploy\b|\bdiesel\s+setup\b|\batlas\s+schema\s+apply\b|\bdb:(prepare|schema:load|setup|sync)\b|\bdb\s+upgrade\b|\bpgroll\s+start\b|\becto\.setup\b|\bschema:sync\b|\bsyncdb\b|\bdatabase\s+setup\b|\bpsql\b[^;&|]*\s-f\b/i;

export const runsMigrations = (command: string): boolean => RUNS.test(command);
