// What the control plane tells telemetry of how everything is, again and again: what it saw of instances,
// engines, certificates and jobs, and where exports go.

import type { Clock } from "../kernel/clock.ts";
import { asHoldfastError, messageOf } from "../kernel/error.ts";
import type { ExportTarget, InstanceUsage, PlatformReport } from "../kernel/signal.ts";
import { APP, type App, type InstanceView } from "../resources/app/app.ts";
import type { ComputeDriver, ComputeTechnology } from "../resources/app/app-driver.ts";
import { technologyOf } from "../resources/app/app-reconciler.ts";
import { CACHE, DATABASE, EDGE } from "../resources/engine/engine.ts";
import { EXPORT } from "../resources/export/export.ts";
import { RELEASE, releaseName } from "../resources/release/release.ts";
import type { TelemetryReader } from "../resources/telemetry/telemetry-driver.ts";
import { openTargetOf, targetOf } from "./export-target.ts";
import type { OperationDeps } from "./operation-deps.ts";

const REPORT_EVERY_MS = 5_000;

export interface ReportDeps extends Pick<OperationDeps, "store" | "sealed"> {
  readonly clock: Clock;
  readonly compute: (technology: ComputeTechnology) => Pick<ComputeDriver, "usage">;
  readonly certificates: () => PlatformReport["certificates"];
  /** CPU cores of the machine: what an instance without a limit may use. */
  readonly cores: number;
  readonly telemetry: Pick<TelemetryReader, "ask">;
  readonly onProblem: (problem: string) => void;
}

/** Tells telemetry how everything is, again and again. Returns what ends that. */
export function startReporting(deps: ReportDeps): () => void {
  const { clock, telemetry, onProblem } = deps;
  let isTelling = false;
  let said = "";
  const problem = (text: string): void => {
    if (text !== said && text !== "") onProblem(text);
    said = text;
  };
  const tell = async (): Promise<void> => {
    const { exports, problems } = readExports(deps);
    problem(problems.join("; "));
    const report = await platformReport(deps);
    // While telemetry is away there is an alert for that; it is told again in a moment.
    await telemetry.ask("/platform", { ...report, exports }).catch((error: unknown) => {
      if (asHoldfastError(error).code !== "telemetry.away") throw error;
    });
  };
  // One after the other: a late report must not undo a newer one.
  const report = (): void => {
    if (isTelling) return;
    isTelling = true;
    void tell()
      .catch((error: unknown) => problem(messageOf(error)))
      .finally(() => {
        isTelling = false;
      });
  };
  let cancel = (): void => undefined;
  const again = (): void => {
    report();
    cancel = clock.after(REPORT_EVERY_MS, again);
  };
  cancel = clock.after(REPORT_EVERY_MS, again);
  return () => cancel();
}

/** One whose headers can't be read keeps what waits, and keeps nothing else from telemetry. */
function readExports(deps: ReportDeps) {
  const exports: ExportTarget[] = [];
  const problems: string[] = [];
  for (const one of deps.store.list(EXPORT)) {
    try {
      exports.push(targetOf(deps, one));
    } catch (error) {
      exports.push(openTargetOf(one));
      problems.push(`nothing is sent to the export ${one.name}: ${messageOf(error)}`);
    }
  }
  return { exports, problems };
}

async function platformReport(deps: ReportDeps): Promise<Omit<PlatformReport, "exports">> {
  const { store } = deps;
  const instances = store
    .list(APP)
    .flatMap((app) =>
      (app.status?.instances ?? [])
        .filter(({ role }) => role !== "task")
        .map((instance) => usageOf(app, instance, deps)),
    );
  return {
    instances: await Promise.all(instances),
    engines: [EDGE, DATABASE, CACHE].flatMap((kind) =>
      store.list(kind).map(({ name, status }) => ({
        kind: kind.name,
        name,
        isReady: status?.state === "ready",
      })),
    ),
    certificates: deps.certificates(),
    jobs: store.list(APP).flatMap(({ name, status }) => {
      const [environment = "", app = ""] = name.split("/");
      return Object.entries(status?.jobs ?? {}).map(([job, { lastRun, lastEnded }]) => ({
        ...{ environment, app, job },
        isFailed: lastRun?.outcome !== "skipped" && lastEnded === "failed",
        isMissed: lastRun?.outcome === "skipped",
      }));
    }),
  };
}

const PASSING = ["draining", "warm", "stopping", "finished"];

async function usageOf(
  { name: appName, uid, status }: App,
  { name, component, release, state, restarts, memoryKill }: InstanceView,
  { store, compute: computeOf, cores }: ReportDeps,
): Promise<InstanceUsage> {
  const [environment = "", app = ""] = appName.split("/");
  const serving = status?.serving?.set.release;
  const made = store.find(RELEASE, releaseName(appName, release));
  const compute = computeOf(technologyOf(made));
  const { services = {}, workers = {} } = made?.spec.manifest ?? {};
  const cpuLimit = (services[component] ?? workers[component])?.resources?.cpu ?? cores;
  return {
    environment,
    app,
    service: component,
    release,
    instance: name,
    ...(await compute.usage(uid, name).catch(() => undefined)),
    cpuLimit,
    restarts,
    isReady: state === "ready",
    isWanted: release === serving && !PASSING.includes(state),
    isLooping: state === "crash-loop",
    ...(memoryKill && { memoryKilledAt: memoryKill.at }),
  };
}
