import type { DeployView } from "../../api/monitoring-routes.ts";
import { invalid } from "../../kernel/error.ts";
import type { LogLine } from "../../kernel/signal.ts";
import { wholeNumber } from "../app/change.ts";
import type { Command, CommandContext, Options } from "../command.ts";
import type { Output, Style } from "../output.ts";
import { deploysSince, deployText, momentOf } from "./deploys.ts";
import { sinceMsOf } from "./since.ts";

const ENGINES = [
  "edge",
  "postgres",
  "redis",
  "control-plane",
  "telemetry",
  "prometheus",
  "alertmanager",
  "node-exporter",
  "postgres-exporter",
  "redis-exporter",
];

export const logs: Command = {
  usage: "logs [target]",
  summary:
    "Show log lines of an app, one of its services, or an engine; across releases and restarts.",
  details:
    "target is app or app/service; services include build and release. Default: all apps and engines. JSON lines can be filtered by field. holdfast trace shows the trace of a trace id.",
  examples: [
    "holdfast logs storefront",
    "holdfast logs storefront/web -f --since 5m",
    "holdfast logs storefront --level warn --text timeout",
    "holdfast logs storefront --text TypeError --context 20",
    "holdfast logs storefront --field path=/cart --release 12",
    "holdfast logs storefront/build",
    "holdfast logs --engine edge",
  ],
  options: [
    { flags: "-f, --follow", description: "follow new lines" },
    {
      flags: "--since <time>",
      description: "only the last 30s, 5m, 2h, 1d, or since 14:30, 2026-11-26T14:30Z",
    },
    { flags: "--until <time>", description: "only what is older than 5m, or before 14:30Z" },
    {
      flags: "-n, --lines <count>",
      description: "at most this many lines from the past",
      default: "200",
    },
    { flags: "--text <text>", description: "lines that contain this text, in any case" },
    { flags: "--field <key=value>", description: "JSON lines in which this field has this value" },
    {
      flags: "--level <level>",
      description: "minimum level: trace, debug, info, warn, error, fatal",
    },
    { flags: "--release <number>", description: "only of this release" },
    { flags: "--instance <name>", description: "only of this instance, such as web.1" },
    {
      flags: "--context <lines>",
      description: "lines of the same instance to show before and after each match",
    },
    { flags: "--trace <id>", description: "only lines with this trace id" },
    {
      flags: "--engine <name>",
      description: "edge, postgres, redis, telemetry and others; an unknown name lists them",
    },
  ],
  run: async (context, [target], options) => {
    const { client, output, environment, signal } = context;
    const whose = whoseLogs(target, options);
    const query = { environment, ...whose, ...filterOf(options) };
    const deploys =
      output.isJson || whose.engine !== undefined
        ? []
        : [...(await deploysSince(context, 0, whose.app))];
    let count = 0;
    for await (const line of client.events("/v1/logs", query, signal)) {
      count += 1;
      // Those before the first line are of another time.
      while (deploys[0] && momentOf(deploys[0]) <= line.time) {
        const [deploy] = deploys.splice(0, 1);
        if (deploy && count > 1) output.line(deploy, deployLine(deploy, output));
      }
      output.line(line, lineText(line, output));
    }
    if (count === 0) output.progress("no log line matches");
    return 0;
  },
};

function whoseLogs(target: unknown, options: Options) {
  const [app, service] = String(target ?? "").split("/");
  const engine = engineName(options["engine"]);
  if (app && engine)
    throw invalid("cli.conflict", "an app and --engine exclude each other", {
      hint: `holdfast logs ${app}, or: holdfast logs --engine ${engine}`,
    });
  return { app: app || undefined, service: service || undefined, engine };
}

function filterOf(options: Options): Record<string, string | number | boolean | undefined> {
  const text = (key: string): string | undefined =>
    options[key] === undefined ? undefined : String(options[key]);
  const release = text("release");
  return {
    sinceMs: sinceMsOf(options["since"]),
    untilMs: sinceMsOf(options["until"], "--until"),
    limit: wholeNumber(String(options["lines"] ?? "200"), "-n", 1),
    follow: options["follow"] === true,
    text: text("text"),
    fields: fieldsOf(options["field"]),
    level: text("level"),
    release: release === undefined ? undefined : wholeNumber(release, "--release"),
    instance: text("instance"),
    trace: text("trace"),
    context: contextOf(options),
  };
}

function contextOf({ context, follow }: Options): number | undefined {
  if (context === undefined) return undefined;
  if (follow === true)
    throw invalid("cli.conflict", "--context needs lines that are there: it excludes --follow", {
      hint: "holdfast logs <app> --since 5m --level error --context 20",
    });
  return wholeNumber(String(context), "--context", 0);
}

function fieldsOf(given: unknown): string | undefined {
  if (given === undefined) return undefined;
  const at = String(given).indexOf("=");
  if (at > 0) return JSON.stringify({ [String(given).slice(0, at)]: String(given).slice(at + 1) });
  throw invalid("cli.bad_field", `--field: "${String(given)}" is not key=value`, {
    hint: "for example: --field path=/cart",
  });
}

function engineName(given: unknown): string | undefined {
  if (given === undefined) return undefined;
  const name = String(given);
  if (ENGINES.includes(name)) return name;
  throw invalid("cli.unknown_engine", `there is no engine ${name}`, {
    hint: `engines are: ${ENGINES.join(", ")}`,
  });
}

const deployLine = (deploy: DeployView, output: Output): string =>
  `${output.paint("dim", new Date(momentOf(deploy)).toISOString())} ▲ ${deployText(deploy, output)}`;

const LEVEL_STYLE: Readonly<Record<string, Style>> = {
  debug: "dim",
  trace: "dim",
  warn: "yellow",
  error: "red",
  fatal: "red",
};

export function lineText(line: LogLine, output: Output): string {
  const where = line.release > 0 ? `${shortName(line)} r${line.release}` : line.service;
  const style = line.isContext ? "dim" : LEVEL_STYLE[line.level];
  const time = output.paint("dim", new Date(line.time).toISOString());
  const said = output.quoted(line.text);
  const text = style === undefined ? said : output.paint(style, said);
  return `${time} ${output.paint("cyan", where)} ${text}`;
}

const shortName = ({ instance, service }: LogLine): string => {
  const index = instance.split(".").at(-1);
  return index && /^\d{1,3}$/.test(index) ? `${service}.${index}` : service;
};

/** Lines that name a trace, below its waterfall. */
export async function logsOfTrace(
  { client, environment, signal }: CommandContext,
  trace: string,
  limit: number,
): Promise<readonly LogLine[]> {
  const lines: LogLine[] = [];
  for await (const line of client.events("/v1/logs", { environment, trace, limit }, signal))
    lines.push(line);
  return lines;
}
