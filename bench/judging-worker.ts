// One kind of traffic, or of fault, judged many times over: on a thread of its own.

import { parentPort, workerData } from "node:worker_threads";
import { SeededRandom } from "../test/support/virtual-clock.ts";
import { argoAborts, kayentaAborts } from "./judging-peers.ts";
import {
  draw,
  FAULTS,
  LATE,
  LATE_S,
  LONG_STAGE,
  play,
  SCENARIOS,
  STAGES,
  USUAL_TRAFFIC,
} from "./judging-scenarios.ts";
import { AS_GOOD, type Fault } from "./judging-traffic.ts";

export interface Task {
  readonly kind: "as good" | "worse" | "late";
  readonly name: string;
  readonly count: number;
}

export interface Result extends Task {
  readonly aborted: number;
  /** Rollouts in which a person was asked. */
  readonly asked: number;
  readonly kayenta: number;
  readonly argo: number;
  /** Seconds from the fault's beginning, of those that were aborted. */
  readonly after: readonly number[];
}

const { kind, name, count } = workerData as Task;
const traffic = kind === "as good" ? SCENARIOS[name] : USUAL_TRAFFIC;
const faults: Record<Task["kind"], Fault | undefined> = {
  "as good": AS_GOOD,
  worse: FAULTS[name],
  late: LATE,
};
const fault = faults[kind];
if (!traffic || !fault) throw new Error(`there is no ${kind} called ${name}`);
const stages = kind === "late" ? LONG_STAGE : STAGES;
const result = { aborted: 0, asked: 0, kayenta: 0, argo: 0, after: [] as number[] };
for (let seed = 1; seed <= count; seed += 1) {
  const { aborted, asked } = play(traffic, fault, new SeededRandom(seed), stages);
  if (aborted !== undefined) {
    result.aborted += 1;
    result.after.push(aborted - (kind === "late" ? LATE_S : 0));
  } else if (asked > 0) result.asked += 1;
  const drawn = draw(traffic, fault, new SeededRandom(seed), stages);
  if (kayentaAborts(drawn)) result.kayenta += 1;
  if (argoAborts(drawn)) result.argo += 1;
}
parentPort?.postMessage({ kind, name, count, ...result } satisfies Result);
