// A value that must never be seen by accident. Every way in which a value usually leaks (template
// string, JSON, inspector, error message) prints `[redacted]`; only `reveal` gives it out, and a
// search for `.reveal(` lists every place that does.

const PLACEHOLDER = "[redacted]";

export class Redacted {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return PLACEHOLDER;
  }

  toJSON(): string {
    return PLACEHOLDER;
  }

  [Symbol.toPrimitive](): string {
    return PLACEHOLDER;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return PLACEHOLDER;
  }
}
