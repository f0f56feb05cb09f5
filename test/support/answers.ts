// What the API answers, held against its own document.

import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

interface Operation {
  readonly parameters: readonly {
    readonly name: string;
    readonly in: string;
    readonly required: boolean;
  }[];
  readonly responses: Readonly<
    Record<string, { readonly content: Readonly<Record<string, unknown>> }>
  >;
}

export interface OpenApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export class AnswerCheck {
  readonly #document: OpenApiDocument;
  readonly #ajv: Ajv2020;

  constructor(document: OpenApiDocument) {
    this.#document = document;
    this.#ajv = new Ajv2020({ strict: false, allErrors: true });
    (addFormats as unknown as (ajv: Ajv2020) => void)(this.#ajv);
    this.#ajv.addSchema(document, "openapi");
  }

  /** What does not fit; nothing where all does. */
  mistakes(method: string, path: string, answer: unknown): readonly string[] {
    const content = this.#document.paths[path]?.[method]?.responses["200"]?.content ?? {};
    const [type = ""] = Object.keys(content);
    const at = ["paths", path, method, "responses", "200", "content", type, "schema"]
      .map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")))
      .join("/");
    const check = this.#ajv.getSchema(`openapi#/${at}`);
    if (!check) return [`${method} ${path} is not in the document`];
    if (check(answer)) return [];
    return (check.errors ?? []).map((one) => `${one.instancePath}: ${one.message}`);
  }
}
