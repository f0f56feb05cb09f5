// A schema that takes what another one gives. What a person wrote is read once: `30s` becomes 30000, and
// that is what is kept. The schema that read it would refuse it; this one reads it again, fills in what
// was not there when it was kept, and refuses what can't be.

import { z } from "zod";
import { assert } from "./error.ts";

const GIVEN = new WeakMap<z.core.$ZodType, z.ZodType>();

/** A schema that transforms, with one of what it gives. */
export function gives<Schema extends z.ZodType>(
  given: z.ZodType<z.output<Schema>>,
  schema: Schema,
): Schema {
  GIVEN.set(schema, given);
  return schema;
}

type Def = z.core.$ZodTypes["_zod"]["def"];

export function storedForm<Output>(schema: z.ZodType<Output>): z.ZodType<Output, Output> {
  return formOf(schema) as z.ZodType<Output, Output>;
}

function formOf(schema: z.core.$ZodType): z.ZodType {
  const def = schema._zod.def as Def;
  switch (def.type) {
    case "object": {
      const shape = Object.entries(def.shape).map(([key, inner]) => [key, formOf(inner)]);
      return described(schema, z.strictObject(Object.fromEntries(shape)));
    }
    case "array":
      return withChecks(schema, z.array(formOf(def.element)));
    case "record":
      return described(schema, z.record(def.keyType as z.ZodString, formOf(def.valueType)));
    case "union":
      return described(schema, z.union(def.options.map(formOf)));
    case "optional":
      return formOf(def.innerType).optional();
    case "nullable":
      return formOf(def.innerType).nullable();
    case "default":
      return formOf(def.innerType).default(() => def.defaultValue);
    case "prefault": {
      const whole = schema as z.ZodType;
      return formOf(def.innerType).default(() => whole.parse(undefined));
    }
    case "pipe": {
      const given = GIVEN.get(schema);
      if (given) return described(schema, given);
      // What comes before it is only another way to write the same.
      assert(
        (def.in._zod.def as Def).type === "transform",
        "a schema that transforms has to register what it gives",
      );
      return formOf(def.out);
    }
    default:
      return schema as z.ZodType;
  }
}

function described<Schema extends z.ZodType>(from: z.core.$ZodType, to: Schema): Schema {
  const text = (from as z.ZodType).description;
  return text === undefined ? to : to.describe(text);
}

function withChecks(from: z.core.$ZodType, to: z.ZodType): z.ZodType {
  const checks = (from._zod.def.checks ?? []) as unknown as z.core.$ZodCheck<unknown>[];
  return described(from, to.check(...checks));
}
