// The parts of change control, put together: for the routes, and for the control plane that runs what
// was approved.

import { Access } from "./access.ts";
import type { ApiDeps } from "./api-deps.ts";
import { AppOperations } from "./app-operations.ts";
import { ChangeAssessor } from "./change-assessment.ts";
import { ChangeOperations } from "./change-operations.ts";
import { ChangeRunner } from "./change-runner.ts";
import { Promotion } from "./promotion.ts";
import { PushOperations } from "./push-operations.ts";
import { TrainOperations } from "./train-operations.ts";

export interface ChangeControl {
  readonly operations: AppOperations;
  readonly access: Access;
  readonly changes: ChangeOperations;
  readonly trains: TrainOperations;
  readonly pushes: PushOperations;
}

export function composeChangeControl(deps: ApiDeps): ChangeControl {
  const operations = new AppOperations(deps);
  const access = new Access(deps);
  const promotion = new Promotion(deps);
  const trains = new TrainOperations(deps, operations, promotion);
  const runner = new ChangeRunner(deps, operations, promotion, trains);
  const assessor = new ChangeAssessor(deps, runner, access);
  const changes = new ChangeOperations(deps, runner, access, assessor);
  return { operations, access, trains, changes, pushes: new PushOperations(deps, changes) };
}
