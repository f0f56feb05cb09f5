// Where an export sends to, as telemetry is told.

import { refTo } from "../kernel/kind.ts";
import type { ExportTarget } from "../kernel/signal.ts";
import { EXPORT, type ExportSpec } from "../resources/export/export.ts";
import type { OperationDeps } from "./operation-deps.ts";

/**
 * With its headers, for telemetry.
 *
 * @throws secret.missing and others, where they can't be opened
 */
export function targetOf(
  { sealed }: Pick<OperationDeps, "sealed">,
  { name, spec }: { readonly name: string; readonly spec: ExportSpec },
): ExportTarget {
  const headers = sealed.read(refTo(EXPORT, name), "headers", spec.headers.version).reveal();
  return {
    ...openTargetOf({ name, spec }),
    headers: JSON.parse(headers) as Record<string, string>,
  };
}

/** Without what is secret. */
export const openTargetOf = ({
  name,
  spec: { endpoint, signals },
}: {
  readonly name: string;
  readonly spec: ExportSpec;
}): ExportTarget => ({ name, environment: name.split("/")[0] ?? "", endpoint, signals });
