import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { migrationAt, runsMigrations, upPart, wayUpOf, writerOf } from "./migration-layout.ts";

describe("a path", () => {
  for (const [path, form] of [
    // Prisma, Drizzle, Supabase, Flyway, golang-migrate, dbmate, goose, Diesel, Sqitch
    ["prisma/migrations/20260101_init/migration.sql", "sql"],
    ["prisma/migrations/migration_lock.toml", undefined],
    ["drizzle/0001_shop.sql", "sql"],
    ["drizzle/meta/0001_snapshot.json", undefined],
    ["supabase/migrations/20260101_init.sql", "sql"],
    ["src/main/resources/db/migration/V2__orders.sql", "sql"],
    ["src/main/resources/db/migration/R__views.sql", "sql"],
    ["src/main/resources/db/migration/U2__orders.sql", "sql"],
    ["src/main/java/db/migration/V3__Move.java", "program"],
    ["migrations/001_init.up.sql", "sql"],
    ["migrations/001_init.down.sql", "sql"],
    ["migrations/2026_orders/up.sql", "sql"],
    ["migrations/2026_orders/down.sql", "sql"],
    ["db/migrations/20260101_orders.sql", "sql"],
    ["deploy/orders.sql", "sql"],
    ["revert/orders.sql", "sql"],
    ["verify/orders.sql", "sql"],
    // Knex, TypeORM, Sequelize, Django, Alembic, Rails, EF, Liquibase, Laravel, Ecto
    ["migrations/20260101_orders.js", "program"],
    ["src/migrations/1700000000-Orders.ts", "program"],
    ["src/migration/Orders.ts", "program"],
    ["src/migrations/orders.test.ts", undefined],
    ["dist/migrations/orders.d.ts", undefined],
    ["shop/migrations/0002_orders.py", "program"],
    ["shop/migrations/__init__.py", "program"],
    ["alembic/versions/1a2b_orders.py", "program"],
    ["db/migrate/20260101000000_orders.rb", "program"],
    ["db/structure.sql", undefined],
    ["db/schema.sql", undefined],
    ["Migrations/20260101_Orders.cs", "program"],
    ["Migrations/20260101_Orders.Designer.cs", undefined],
    ["Migrations/ShopContextModelSnapshot.cs", undefined],
    ["db/changelog/db.changelog-master.yaml", "program"],
    ["src/main/resources/changelog/orders.xml", "program"],
    ["database/migrations/2026_orders.php", "program"],
    ["priv/repo/migrations/2026_orders.exs", "program"],
    // of apps with any name, and of tools with any extension
    ["tests/migrations/0002_orders.py", "program"],
    ["vendor/migrations/0003_drop.py", "program"],
    ["apps/fixtures/migrations/0001.sql", "sql"],
    ["migrations/01_orders.json", "program"],
    ["Sources/App/Migrations/Orders.swift", "program"],
    ["db/post_migrate/2026_orders.rb", "program"],
    ["db/versions/1a2b_orders.py", "program"],
    ["db/changes/001.xml", "program"],
    ["migrations/001_users.test.sql", "sql"],
    // no migrations
    ["test/fixtures/orders.sql", undefined],
    ["fixtures/orders.sql", undefined],
    ["seeds/orders.sql", undefined],
    ["seed.sql", undefined],
    ["node_modules/x/migrations/1.js", undefined],
    ["migrations/README.md", undefined],
    ["schema.sql", "sql"],
  ] as const)
    it(`${path}: ${form ?? "none"}`, () => {
      assert.equal(migrationAt(path)?.form, form);
    });
});

describe("a way down", () => {
  for (const [path, up] of [
    ["migrations/001_init.down.sql", "migrations/001_init.up.sql"],
    ["migrations/2026_orders/down.sql", "migrations/2026_orders/up.sql"],
    ["db/migration/U2__orders.sql", "db/migration/V2__orders.sql"],
    ["revert/orders.sql", "deploy/orders.sql"],
    ["verify/orders.sql", "deploy/orders.sql"],
    ["db/migration/V5__scale_down.sql", "db/migration/V5__scale_up.sql"],
    ["migrations/001_init.sql", undefined],
  ] as const)
    it(`${path} has its way up beside it: ${up ?? "it is none"}`, () =>
      assert.equal(wayUpOf(path), up));
});

describe("the way up", () => {
  const DBMATE = "-- migrate:up\nCREATE TABLE a ();\n-- migrate:down\nDROP TABLE a;";
  it("is cut at its tool's marks, each line where it was", () => {
    assert.equal(upPart(DBMATE, "dbmate up"), "-- migrate:up\nCREATE TABLE a ();\n\n");
    assert.equal(
      upPart("-- +goose Up\nA\n-- +goose Down\nB\n-- +goose Up\nC", "goose up")
        .match(/[ABC]/g)
        ?.join(""),
      "AC",
    );
    assert.equal(
      upPart("-- Up Migration\nA\n-- Down Migration\nB", "node-pg-migrate up").includes("\nB"),
      false,
    );
  });
  it("is all of it to a tool that knows no such marks: there it is a comment", () => {
    assert.equal(upPart(DBMATE, "psql -f migrations/1.sql"), DBMATE);
    const indented = DBMATE.replaceAll("-- ", "  -- ");
    assert.equal(upPart(indented, "dbmate up"), indented, "a mark begins its line");
  });
});

describe("a program", () => {
  for (const [name, text] of [
    ["Django", "from django.db import migrations, models"],
    ["Alembic", 'revision = "1a"\ndown_revision = None'],
    ["Rails", "class Orders < ActiveRecord::Migration[7.1]"],
    ["Entity Framework", "using Microsoft.EntityFrameworkCore.Migrations;"],
    ["Liquibase", "databaseChangeLog:\n  - changeSet:"],
    ["TypeORM", "export class A implements MigrationInterface {}"],
    ["Sequelize", "up: (queryInterface) => queryInterface.removeColumn('a', 'b')"],
    ["Knex", "exports.up = (knex) => knex.schema.dropTable('a')"],
    ["Laravel", "use Illuminate\\Database\\Migrations\\Migration;"],
    ["Ecto", "defmodule A do\n  use Ecto.Migration"],
  ] as const)
    it(`for ${name} is known`, () => assert.equal(writerOf(text), name));
});

describe("a command", () => {
  for (const command of [
    "npx prisma migrate deploy && node server.js",
    "python manage.py migrate && gunicorn shop.wsgi",
    "alembic upgrade head; uvicorn app:app",
    "bundle exec rails db:migrate && puma",
    "dbmate up && ./server",
    "prisma db push",
    "dotnet ef database update",
  ])
    it(`that runs migrations: ${command}`, () => assert.ok(runsMigrations(command)));
  for (const command of ["node server.js", "gunicorn shop.wsgi", "npm start"])
    it(`that does not: ${command}`, () => assert.ok(!runsMigrations(command)));
});
