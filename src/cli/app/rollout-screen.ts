// A rollout on a screen.

import type { ArmSummary, RolloutView } from "../../api/rollout-view.ts";
import { durationText, type Output } from "../output.ts";

const BAR_WIDTH = 40;
const TIMELINE_SHOWN = 8;

export function renderRollout(view: RolloutView, output: Output): string {
  return [
    head(view, output),
    bar(view, output),
    stages(view, output),
    arms(view, output),
    metrics(view, output),
    verdict(view, output),
    timeline(view, output),
    hints(view, output),
  ]
    .filter(Boolean)
    .join("\n\n");
}

function head(view: RolloutView, output: Output): string {
  const { app, environment, release, from, strategy, phase, outcome } = view;
  const against = from === undefined ? "" : ` against release ${from}`;
  const now = Date.now();
  const took = durationText((view.endedAt ?? now) - view.startedAt);
  const state =
    outcome === undefined
      ? output.paint("yellow", view.paused ? "paused" : view.asked ? "asks" : phase)
      : output.paint(outcome === "succeeded" ? "green" : "red", outcome);
  const left = view.leftMs === undefined ? "" : `, ${durationText(view.leftMs)} left at least`;
  const watched =
    view.watchedUntil === undefined
      ? ""
      : `, watched for ${durationText(view.watchedUntil - now)} more`;
  return `${output.paint("bold", app)} (${environment})  ${view.reason} of release ${release}${against}, ${strategy}: ${state} after ${took}${left}${watched}`;
}

function bar({ perMille, release, from }: RolloutView, output: Output): string {
  if (from === undefined) return "";
  const own = Math.round((perMille / 1_000) * BAR_WIDTH);
  const filled = output.paint("cyan", "█".repeat(own)) + "░".repeat(BAR_WIDTH - own);
  return `${filled}  ${perMille / 10} % to release ${release}, ${(1_000 - perMille) / 10} % to release ${from}`;
}

const MARKS = { done: "✓", now: "▶", ahead: "·" } as const;

function stages(view: RolloutView, output: Output): string {
  if (view.stages.length === 0) return "";
  return view.stages
    .map(({ perMille, forMs, state, result }) => {
      const left =
        state === "now" && view.stageLeftMs !== undefined
          ? `${durationText(view.stageLeftMs)} left`
          : "";
      const text = result ? `${result.verdict}: ${result.reason}` : left;
      const color = result?.verdict === "fail" ? "red" : state === "now" ? "yellow" : "dim";
      return `  ${output.paint(color, MARKS[state])} ${`${perMille / 10} %`.padEnd(7)} ${forMs > 0 ? `for ${durationText(forMs)}` : ""}  ${text}`.trimEnd();
    })
    .join("\n");
}

function arms(view: RolloutView, output: Output): string {
  const rows = Object.entries(view.arms).flatMap(([service, { serving, candidate }]) => [
    armRow(service, `r${view.from ?? "-"}`, serving),
    armRow("", output.paint("cyan", `r${view.release}`), candidate),
  ]);
  if (rows.length === 0) return "";
  return output.table(rows, ["service", "", "requests", "errors", "p50 ms", "p95 ms", "p99 ms"]);
}

function armRow(service: string, release: string, arm: ArmSummary): string[] {
  const { low, high } = arm.errorRate;
  const share = (value: number): string => (value * 100).toFixed(2);
  const errors =
    arm.requests === 0
      ? "-"
      : `${share(arm.errors / arm.requests)} % (${share(low)} to ${share(high)})`;
  const latency = (["p50", "p95", "p99"] as const).map((key) => {
    const one = arm.latency?.[key];
    return one ? `${ms(one.ms)} (${ms(one.low)} to ${ms(one.high)})` : "-";
  });
  return [service, release, String(arm.requests), errors, ...latency];
}

const ms = (value: number): string => value.toFixed(value < 10 ? 1 : 0);

function metrics({ metrics: all }: RolloutView, output: Output): string {
  return Object.values(all)
    .map(({ text, strikes }) => `  ${output.paint(strikes > 0 ? "red" : "dim", text)}`)
    .join("\n");
}

function verdict({ verdict: { verdict, reason } }: RolloutView, output: Output): string {
  const color = verdict === "fail" ? "red" : verdict === "pass" ? "green" : "yellow";
  return `${output.paint(color, verdict)}: ${reason}`;
}

function timeline(view: RolloutView, output: Output): string {
  return view.timeline
    .slice(-TIMELINE_SHOWN)
    .map(
      ({ at, text }) =>
        `  ${output.paint("dim", `+${durationText(at - view.startedAt)}`.padEnd(10))} ${text}`,
    )
    .join("\n");
}

function hints(view: RolloutView, output: Output): string {
  const arrow = output.paint("cyan", "→");
  if (view.failure?.hint) return `  ${arrow} ${view.failure.hint}`;
  if (view.outcome !== undefined) return "";
  const { app, key } = view;
  const go = view.asked || view.paused ? "resume" : "pause";
  return [
    `  ${arrow} holdfast ${go} ${app}, holdfast promote ${app} --now, holdfast abort ${app}`,
    key === undefined
      ? ""
      : `  ${arrow} to try it yourself: curl -H 'x-holdfast-candidate: ${key}' …`,
  ]
    .filter(Boolean)
    .join("\n");
}
