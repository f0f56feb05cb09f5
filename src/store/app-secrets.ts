import { stuck } from "../kernel/error.ts";
import type { Redacted } from "../kernel/redacted.ts";
import type { SecretVault } from "./secret-vault.ts";

/** Values of apps' secrets. */
export class AppSecrets {
  readonly #vault: SecretVault;

  constructor(vault: SecretVault) {
    this.#vault = vault;
  }

  /** Stores the next version; returns its number. */
  add(app: string, name: string, value: Redacted): number {
    return this.#vault.add(boxOf(app, name), value);
  }

  removeAll(app: string): void {
    this.#vault.removeAll(boxOf(app, ""));
  }

  /** @throws secret.missing */
  read(app: string, name: string, version: number): Redacted {
    const value = this.#vault.find(boxOf(app, name), version);
    if (value) return value;
    throw stuck("secret.missing", `version ${version} of the secret ${name} is not there`, {
      hint: `holdfast secret set ${app.split("/")[1]} ${name}`,
    });
  }
}

const boxOf = (app: string, name: string): string => `secret/${app}/${name}`;
