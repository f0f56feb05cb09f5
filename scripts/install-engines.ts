// Installs the engines that are missing, through apt.

import { readConfig } from "../src/config.ts";
import { installPackages, missingPackages } from "../src/host/packages.ts";
import { asHoldfastError } from "../src/kernel/error.ts";

const missing = missingPackages();
if (missing.length > 0) {
  console.log(`… installing ${missing.join(", ")}`);
  try {
    await installPackages(missing, readConfig().isRoot);
  } catch (error) {
    const { message, hint } = asHoldfastError(error);
    console.error(`error: ${message}\n  → ${hint}`);
    process.exitCode = 3;
  }
}
