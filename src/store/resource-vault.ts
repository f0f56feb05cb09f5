import { randomBytes } from "node:crypto";
import { stuck } from "../kernel/error.ts";
import type { Redacted } from "../kernel/redacted.ts";
import type { Ref } from "../kernel/resource.ts";
import type { SealedValues } from "../kernel/sealed-values.ts";
import type { SecretVault } from "./secret-vault.ts";

const SIGNING_KEY_BYTES = 24;

export class ResourceVault implements SealedValues {
  readonly #vault: SecretVault;

  constructor(vault: SecretVault) {
    this.#vault = vault;
  }

  add(of: Ref, key: string, value: Redacted): number {
    return this.#vault.add(boxOf(of, key), value);
  }

  read(of: Ref, key: string, version: number): Redacted {
    const value = this.#vault.find(boxOf(of, key), version);
    if (value) return value;
    throw stuck("sealed.missing", `version ${version} of ${key} of ${of.kind} ${of.name} is gone`, {
      hint: `give it again: holdfast ${of.kind} --help`,
    });
  }

  signingKey(of: Ref): string {
    const make = (): string => `whsec_${randomBytes(SIGNING_KEY_BYTES).toString("base64")}`;
    // As earlier builds named them.
    const key = of.kind === "channel" ? "key" : "webhook";
    return this.#vault.ensure(boxOf(of, key), make).reveal();
  }

  removeAll(of: Ref): void {
    this.#vault.retireAll(boxOf(of, ""));
  }
}

const boxOf = ({ kind, name }: Ref, key: string): string => `${kind}/${name}/${key}`;
