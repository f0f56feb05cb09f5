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
  /(^|\/)(migrations?|migrate|alembic\/versions|alembic\/versions\/.+|change-?logs?)\//i;
const ELSEWHERE =
  /(^|\/)(node_modules|vendor|fixtures?|__fixtures__|testdata|tests?|__tests__|specs?)\//i;
const FILLING = /(^|\/)(seeds?|seeders|examples?|docs?)\/|(^|\/)seeds?\.sql$/i;
/** What a tool writes down of the schema as it is: Rails, dbmate. */
const DUMP = /(^|\/)db\/(structure|schema)\.sql$/;
/** golang-migrate, sqlx, Diesel, Flyway's undo, Sqitch's revert and verify. */
const DOWN =
  /([._-](down|undo|rollback|revert)\.sql|(^|\/)(down|undo|revert)\.sql)$|(^|\/)U\d[\w.]*__[^/]+\.sql$|(^|\/)(revert|verify)\/[^/]+\.sql$/i;
const PROGRAM =
  /\.([cm]?[jt]s|py|rb|php|cs|fs|java|kt|kts|scala|groovy|exs?|go|rs|clj|sh|pl|xml|ya?ml)$/i;
const CHANGELOG =
  /(^|\/)change-?logs?\/.+\.(json|xml|ya?ml)$|(^|\/)[\w.-]*change-?log[\w.-]*\.(xml|ya?ml)$/i;
/** Kept beside migrations, run by nobody: Django, EF, TypeScript, Alembic. */
const BOOKS =
  /(^|\/)__init__\.py$|\.designer\.cs$|ModelSnapshot\.cs$|\.d\.[cm]?ts$|\.(test|spec)\.\w+$|_test\.(go|py)$/i;

export function migrationAt(path: string): MigrationPath | undefined {
  if (ELSEWHERE.test(path) || BOOKS.test(path) || DOWN.test(path)) return undefined;
  if (/\.sql$/i.test(path)) {
    const isFiled = FOLDER.test(path);
    const isOther = !isFiled && (FILLING.test(path) || DUMP.test(path));
    return isOther ? undefined : { form: "sql", isFiled };
  }
  const isProgram = CHANGELOG.test(path) || (FOLDER.test(path) && PROGRAM.test(path));
  return isProgram ? { form: "program", isFiled: true } : undefined;
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
 * @param tools text that names what the app uses: a mark means something to its own tool alone, to
 *   everybody else it is a comment
 */
export function upPart(text: string, tools: string): string {
  const marks = PARTS.filter(({ tool }) => tool.test(tools)).map(({ mark }) => mark);
  let isDown = false;
  const lines = text.split("\n").map((line) => {
    for (const mark of marks) {
      const [, way] = mark.exec(line.trim()) ?? [];
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
  /\bmigrat(e|ions?)\b|\bprisma\s+db\s+push\b|\balembic\s+upgrade\b|\bflyway\b|\bliquibase\b|\bgoose\b|\bdbmate\b|\bdrizzle-kit\s+push\b|\bdb:migrate\b|\bdatabase\s+update\b|\bsqitch\s+deploy\b|\bdiesel\s+setup\b/i;

export const runsMigrations = (command: string): boolean => RUNS.test(command);
