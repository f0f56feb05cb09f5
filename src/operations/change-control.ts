// The parts of change control, put together: for the routes, and for the control plane that runs what
// was approved.

import { Access } from "./access.ts";
import { AppOperations } from "./app-operations.ts";
import { ChangeApprovers } from "./change-approvers.ts";
import { ChangeAssessor } from "./change-assessment.ts";
import { ChangeOperations } from "./change-operations.ts";
import { ChangeRunner } from "./change-runner.ts";
import { ControlOperations } from "./control-operations.ts";
import { ControlWrites } from "./control-writes.ts";
import { Declarations } from "./declared/declarations.ts";
import type { OperationDeps } from "./operation-deps.ts";
import { Promotion } from "./promotion.ts";
import { PushOperations } from "./push-operations.ts";
import { TrainOperations } from "./train-operations.ts";

export interface ChangeControl {
  readonly operations: AppOperations;
  readonly access: Access;
  readonly approvers: ChangeApprovers;
  readonly changes: ChangeOperations;
  readonly controls: ControlOperations;
  readonly trains: TrainOperations;
  readonly pushes: PushOperations;
  readonly declarations: Declarations;
}

export function composeChangeControl(deps: OperationDeps): ChangeControl {
  const operations = new AppOperations(deps);
  const access = new Access(deps);
  const promotion = new Promotion(deps);
  const trains = new TrainOperations(deps, operations, promotion);
  const control = new ControlWrites(deps);
  const runner = new ChangeRunner(deps, operations, promotion, trains, control);
  const assessor = new ChangeAssessor(deps, runner, access);
  const approvers = new ChangeApprovers(deps, access);
  const changes = new ChangeOperations(deps, { runner, access, assessor, approvers });
  const controls = new ControlOperations(deps, { changes, runner, access, approvers, control });
  return {
    operations,
    access,
    approvers,
    trains,
    changes,
    controls,
    declarations: new Declarations(deps, { access, changes, controls, runner }),
    pushes: new PushOperations(deps, changes),
  };
}
