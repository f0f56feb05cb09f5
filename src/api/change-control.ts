// The parts of change control, put together: for the routes, and for the control plane that runs what
// was approved.

import { Access } from "./access.ts";
import type { ApiDeps } from "./api-deps.ts";
import { AppOperations } from "./app-operations.ts";
import { ChangeOperations } from "./change-operations.ts";
import { ChangeRunner } from "./change-runner.ts";
import { Promotion } from "./promotion.ts";

export interface ChangeControl {
  readonly operations: AppOperations;
  readonly access: Access;
  readonly changes: ChangeOperations;
}

export function composeChangeControl(deps: ApiDeps): ChangeControl {
  const operations = new AppOperations(deps);
  const access = new Access(deps);
  const runner = new ChangeRunner(deps, operations, new Promotion(deps));
  return { operations, access, changes: new ChangeOperations(deps, runner, access) };
}
