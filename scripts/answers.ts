// The shape of each route's answer, read from the type of what handles it: nobody writes it down a second
// time, and it can't be otherwise. Part of the reference pages; src/api/answers.json is what the
// OpenAPI document is made with.

import { join, relative } from "node:path";
import ts from "typescript-api";

export type Schema = { readonly [key: string]: unknown };

export interface Answers {
  readonly routes: readonly RouteAnswer[];
  readonly components: Readonly<Record<string, Schema>>;
}

/** A route as its source has it; what is not a literal there is undefined. */
export interface RouteAnswer {
  readonly method: string | undefined;
  readonly summary: string | undefined;
  readonly path: RegExp | undefined;
  readonly schema: Schema;
}

const ROOT = join(import.meta.dirname, "..");
const SRC = join(ROOT, "src");
const COMPONENTS = "#/components/schemas/";
const DEPTH_MAX = 24;

export function readAnswers(): Answers {
  const { options } = ts.parseJsonConfigFileContent(
    ts.readConfigFile(join(ROOT, "tsconfig.json"), ts.sys.readFile).config,
    ts.sys,
    ROOT,
  );
  const program = ts.createProgram([join(SRC, "api", "routes.ts")], options);
  const reader = new TypeReader(program.getTypeChecker());
  const routes = program
    .getSourceFiles()
    .filter(({ fileName }) => relative(join(SRC, "api"), fileName).split("/").length === 1)
    .filter(({ fileName }) => fileName.startsWith(SRC))
    .flatMap((file) => routesIn(file, reader));
  return { routes, components: reader.components() };
}

function routesIn(file: ts.SourceFile, reader: TypeReader): Answers["routes"] {
  const found: RouteAnswer[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && node.expression.getText(file) === "route") {
      const [given] = node.arguments;
      if (given && ts.isObjectLiteralExpression(given)) {
        const handle = initializerOf(given, "handle");
        if (handle)
          found.push({
            method: textOf(initializerOf(given, "method")),
            summary: textOf(initializerOf(given, "summary")),
            path: patternOf(initializerOf(given, "path")),
            schema: reader.answerOf(handle),
          });
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

function initializerOf(of: ts.ObjectLiteralExpression, name: string): ts.Expression | undefined {
  const found = of.properties.find((one) => one.name?.getText() === name);
  return found && ts.isPropertyAssignment(found) ? found.initializer : undefined;
}

const textOf = (node: ts.Expression | undefined): string | undefined =>
  node && ts.isStringLiteralLike(node) ? node.text : undefined;

/** Of a template: its parts, with anything between. */
function patternOf(node: ts.Expression | undefined): RegExp | undefined {
  if (!node || !ts.isTemplateExpression(node)) return undefined;
  const parts = [node.head.text, ...node.templateSpans.map(({ literal }) => literal.text)];
  const quoted = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return parts.some((part) => part.length > 1) ? new RegExp(`^${quoted.join(".+")}$`) : undefined;
}

class TypeReader {
  readonly #checker: ts.TypeChecker;
  readonly #named = new Map<ts.Symbol, string>();
  readonly #components = new Map<string, Schema>();

  constructor(checker: ts.TypeChecker) {
    this.#checker = checker;
  }

  components(): Readonly<Record<string, Schema>> {
    return Object.fromEntries([...this.#components].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Of what a function gives, once it is there. */
  answerOf(handle: ts.Expression): Schema {
    const [signature] = this.#checker.getTypeAtLocation(handle).getCallSignatures();
    if (!signature) return {};
    const given = this.#checker.getReturnTypeOfSignature(signature);
    return this.#schemaOf(this.#checker.getAwaitedType(given) ?? given, 0);
  }

  #schemaOf(type: ts.Type, depth: number): Schema {
    if (depth > DEPTH_MAX) return {};
    const { flags } = type;
    if (flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) return {};
    if (type.isStringLiteral() || type.isNumberLiteral()) return { const: type.value };
    if (flags & ts.TypeFlags.BooleanLiteral)
      return { const: this.#checker.typeToString(type) === "true" };
    if (flags & ts.TypeFlags.StringLike) return { type: "string" };
    if (flags & ts.TypeFlags.NumberLike) return { type: "number" };
    if (flags & ts.TypeFlags.BooleanLike) return { type: "boolean" };
    if (flags & ts.TypeFlags.Null) return { type: "null" };
    if (type.isUnion()) return this.#unionOf(type, depth);
    if (flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection))
      return this.#objectOf(type, depth);
    return {};
  }

  #unionOf(type: ts.UnionType, depth: number): Schema {
    const members = type.types.filter(
      (one) =>
        !(one.flags & (ts.TypeFlags.Undefined | ts.TypeFlags.Void)) && !isOutside(one, "Reply"),
    );
    const literals = members.filter((one) => one.isStringLiteral() || one.isNumberLiteral());
    if (literals.length === members.length && members.length > 0)
      return { enum: literals.map((one) => (one as ts.LiteralType).value) };
    const schemas = members.map((one) => this.#schemaOf(one, depth + 1));
    const isBoolean = (one: Schema): boolean => typeof one["const"] === "boolean";
    const rest = schemas.filter((one) => !isBoolean(one));
    const booleans = schemas.filter(isBoolean);
    const all = [...rest, ...(booleans.length === 2 ? [{ type: "boolean" }] : booleans)];
    // What may be anything is anything.
    if (all.some((one) => Object.keys(one).length === 0)) return {};
    const different = [...new Map(all.map((one) => [JSON.stringify(one), one])).values()];
    const [only] = different;
    return different.length === 1 && only ? only : { anyOf: different };
  }

  #objectOf(type: ts.Type, depth: number): Schema {
    const checker = this.#checker;
    if (checker.isArrayType(type) || isNamed(type, "ReadonlyArray")) {
      const [item] = checker.getTypeArguments(type as ts.TypeReference);
      return { type: "array", items: item ? this.#schemaOf(item, depth + 1) : {} };
    }
    if (checker.isTupleType(type)) {
      const items = checker.getTypeArguments(type as ts.TypeReference);
      return { type: "array", prefixItems: items.map((one) => this.#schemaOf(one, depth + 1)) };
    }
    if (isNamed(type, "Redacted")) return { type: "string" };
    if (isNamed(type, "Lines")) {
      const [event] = checker.getTypeArguments(type as ts.TypeReference);
      return event ? this.#schemaOf(event, depth + 1) : {};
    }
    if (isOutside(type, "")) return {};
    if (type.getCallSignatures().length > 0) return {};
    const symbol = type.aliasSymbol ?? type.symbol;
    const isGeneric =
      (type.aliasTypeArguments?.length ?? 0) > 0 ||
      checker.getTypeArguments(type as ts.TypeReference).length > 0;
    const isNoun = /^[A-Z]\w+$/.test(symbol?.name ?? "") && !isGeneric && isOurs(symbol);
    return isNoun && symbol
      ? this.#componentOf(symbol, type, depth)
      : this.#propertiesOf(type, depth);
  }

  #componentOf(symbol: ts.Symbol, type: ts.Type, depth: number): Schema {
    const known = this.#named.get(symbol);
    if (known !== undefined) return { $ref: COMPONENTS + known };
    let name = symbol.name;
    for (let n = 2; this.#components.has(name); n += 1) name = `${symbol.name}${n}`;
    this.#named.set(symbol, name);
    this.#components.set(name, {});
    this.#components.set(name, this.#propertiesOf(type, depth));
    return { $ref: COMPONENTS + name };
  }

  #propertiesOf(type: ts.Type, depth: number): Schema {
    const checker = this.#checker;
    const properties: Record<string, Schema> = {};
    const required: string[] = [];
    for (const property of checker.getPropertiesOfType(type)) {
      const of = checker.getTypeOfSymbol(property);
      if (of.getCallSignatures().length > 0) continue;
      const text = ts.displayPartsToString(property.getDocumentationComment(checker));
      const schema = this.#schemaOf(of, depth + 1);
      properties[property.name] =
        text === "" ? schema : { ...schema, description: text.replaceAll(/\s+/g, " ").trim() };
      const mayBeAbsent =
        property.flags & ts.SymbolFlags.Optional ||
        (of.isUnion() && of.types.some((one) => one.flags & ts.TypeFlags.Undefined));
      if (!mayBeAbsent) required.push(property.name);
    }
    const index = checker.getIndexInfoOfType(type, ts.IndexKind.String);
    return {
      type: "object",
      ...(Object.keys(properties).length > 0 && { properties }),
      ...(required.length > 0 && { required }),
      ...(index && { additionalProperties: this.#schemaOf(index.type, depth + 1) }),
    };
  }
}

const isNamed = (type: ts.Type, name: string): boolean => type.symbol?.name === name;

const isOurs = (symbol: ts.Symbol | undefined): boolean =>
  symbol?.declarations?.some((one) => one.getSourceFile().fileName.startsWith(SRC)) === true;

/** Something of a library: a reply, a stream. */
const isOutside = (type: ts.Type, part: string): boolean =>
  /^[A-Z]/.test(type.symbol?.name ?? "") &&
  type.symbol.name.includes(part) &&
  type.symbol.declarations?.every((one) =>
    /\/node_modules\/(?!zod)/.test(one.getSourceFile().fileName),
  ) === true;
