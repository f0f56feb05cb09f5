// The command line, made of commands that are values.

import {
  Argument,
  Command as Commander,
  CommanderError,
  InvalidArgumentError,
  Option,
} from "commander";
import { Client, type ClientOptions } from "../client/client.ts";
import { asHoldfastError, invalid } from "../kernel/error.ts";
import {
  accountList,
  accountRemove,
  accountSet,
  tokenAccept,
  tokenCreate,
  tokenList,
  tokenRevoke,
  whoami,
} from "./access/accounts.ts";
import { audit } from "./access/audit.ts";
import { policySet, policyShow, policyTest } from "./access/policy.ts";
import {
  configDiff,
  configList,
  configSet,
  configUnset,
  restart,
  rollback,
  scale,
} from "./app/change.ts";
import { deploy } from "./app/deploy.ts";
import { destroy } from "./app/destroy.ts";
import { holdList, holdRelease } from "./app/hold.ts";
import { init } from "./app/init.ts";
import { open, releases } from "./app/observe.ts";
import { promote } from "./app/promote.ts";
import { abort, pause, resume, rollout } from "./app/rollout.ts";
import { runCommand } from "./app/run.ts";
import { secretList, secretRemove, secretSet } from "./app/secret.ts";
import { status } from "./app/status.ts";
import {
  approve,
  changeReview,
  changeShow,
  changes,
  changeWithdraw,
  reject,
} from "./change/changes.ts";
import { delivery } from "./change/delivery.ts";
import { trainList, trainShow, trainStart } from "./change/trains.ts";
import {
  freezeList,
  freezeRemove,
  freezeSet,
  windowList,
  windowRemove,
  windowSet,
} from "./change/windows.ts";
import type { Command, CommandContext, CommandOption, Lifecycle, Options } from "./command.ts";
import { Output } from "./output.ts";
import { diff, envCreate, envList, envShow } from "./platform/environments.ts";
import { doctor, down, start, up } from "./platform/installation.ts";
import {
  repositoryConnect,
  repositoryList,
  repositoryRemove,
  repositoryShow,
} from "./repository/repositories.ts";
import { apply, plan } from "./resource/apply.ts";
import { get, remove, set } from "./resource/resources.ts";
import { alerts, silenceAdd, silenceList, silenceRemove, slo } from "./telemetry/alerts.ts";
import { channelAdd, channelList, channelRemove, channelTest } from "./telemetry/channels.ts";
import { exportAdd, exportList, exportRemove, exportTest } from "./telemetry/exports.ts";
import { anomalies, forecast } from "./telemetry/insight.ts";
import { logs } from "./telemetry/logs.ts";
import { metrics } from "./telemetry/metrics.ts";
import { telemetrySet, telemetryShow } from "./telemetry/policy.ts";
import { query } from "./telemetry/query.ts";
import { top } from "./telemetry/top.ts";
import { trace, traces } from "./telemetry/traces.ts";
import { usage } from "./telemetry/usage.ts";

/** Every command there is, in the order in which help shows them. */
export const COMMANDS: readonly Command[] = [
  up,
  down,
  doctor,
  start,
  init,
  deploy,
  repositoryConnect,
  repositoryList,
  repositoryShow,
  repositoryRemove,
  status,
  envList,
  envCreate,
  envShow,
  diff,
  rollout,
  pause,
  resume,
  promote,
  abort,
  releases,
  rollback,
  holdList,
  holdRelease,
  scale,
  restart,
  logs,
  traces,
  trace,
  query,
  metrics,
  top,
  usage,
  anomalies,
  forecast,
  slo,
  alerts,
  silenceAdd,
  silenceList,
  silenceRemove,
  channelAdd,
  channelList,
  channelTest,
  channelRemove,
  telemetryShow,
  telemetrySet,
  exportAdd,
  exportList,
  exportTest,
  exportRemove,
  runCommand,
  configSet,
  configUnset,
  configList,
  configDiff,
  secretSet,
  secretList,
  secretRemove,
  open,
  changes,
  changeShow,
  approve,
  reject,
  changeWithdraw,
  changeReview,
  freezeSet,
  freezeList,
  freezeRemove,
  windowSet,
  windowList,
  windowRemove,
  trainStart,
  trainList,
  trainShow,
  accountList,
  accountSet,
  accountRemove,
  tokenAccept,
  tokenCreate,
  tokenList,
  tokenRevoke,
  whoami,
  policyShow,
  policySet,
  policyTest,
  delivery,
  audit,
  destroy,
  get,
  set,
  remove,
  plan,
  apply,
];

const GROUPS: Readonly<Record<string, string>> = {
  change: "A change in a protected environment.",
  train: "Releases of several apps together.",
  freeze: "Times in which changes are not allowed.",
  window: "Times in which changes are allowed.",
  hold: "Sources held from automatic deploys.",
  repository: "Connected repositories.",
  env: "Environments: production, staging and others.",
  account: "People and service accounts, and their roles.",
  token: "Access tokens.",
  policy: "Environment policies.",
  config: "Settings of an app, outside its code.",
  secret: "Secrets of an app.",
  channel: "Notification channels.",
  export: "Telemetry export over OTLP.",
  telemetry: "Retention and privacy of telemetry.",
  silence: "Muted notifications.",
};

const EXIT_USAGE = 2;

export interface MainOptions {
  readonly client: ClientOptions;
  readonly lifecycle: () => Promise<Lifecycle>;
  readonly version: string;
}

/** Runs the command line; resolves to the exit status. */
export async function main(argv: readonly string[], options: MainOptions): Promise<number> {
  let code = 0;
  const program = buildProgram(options, (result) => {
    code = result;
  });
  const isJson = argv.includes("--json");
  if (isJson) quiet(program);
  try {
    await program.parseAsync(argv as string[], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return 0;
    const message = error.message.replace(/^error: /, "");
    if (isJson)
      new Output(true).problem(invalid("cli.usage", message, { hint: "holdfast --help" }));
    return EXIT_USAGE;
  }
  return code;
}

// A script gets the mistake as JSON, and nothing beside it.
function quiet(program: Commander): void {
  for (const command of [program, ...program.commands.flatMap((one) => [one, ...one.commands])])
    command.configureOutput({ writeErr: () => undefined });
}

export function buildProgram(options: MainOptions, onEnd: (code: number) => void): Commander {
  const program = withGlobals(new Commander("holdfast"))
    .description("A production environment in one piece of software.")
    .version(options.version)
    .enablePositionalOptions()
    .showSuggestionAfterError()
    .exitOverride();
  const groups = new Map<string, Commander>();
  for (const command of COMMANDS) {
    const [noun = "", ...rest] = command.usage.split(" ");
    const summary = GROUPS[noun];
    if (summary === undefined) {
      addCommand(program, noun, rest, command, options, onEnd);
      continue;
    }
    const group = groups.get(noun) ?? program.command(noun).description(summary).exitOverride();
    groups.set(noun, group);
    const [verb = "", ...args] = rest;
    addCommand(group, verb, args, command, options, onEnd);
  }
  return program;
}

function addCommand(
  parent: Commander,
  name: string,
  args: readonly string[],
  command: Command,
  options: MainOptions,
  onEnd: (code: number) => void,
): void {
  const built = withGlobals(parent.command(name)).summary(command.summary).exitOverride();
  built.description([command.summary, command.details].filter(Boolean).join("\n"));
  for (const arg of args) built.addArgument(new Argument(arg));
  for (const option of command.options ?? []) built.addOption(optionOf(option));
  built.addHelpText(
    "after",
    `\nExamples:\n${command.examples.map((line) => `  ${line}`).join("\n")}`,
  );
  if (name === "run") built.passThroughOptions();
  built.action(async (...given: unknown[]) => {
    const positional = given.slice(0, args.length) as (string | string[] | undefined)[];
    const flags = built.optsWithGlobals() as Options;
    onEnd(await runOne(command, positional, flags, options));
  });
}

/** One that is given twice is refused: the first would silently not count. */
function optionOf({ flags, description, default: fallback }: CommandOption): Option {
  const option = new Option(flags, description).default(fallback);
  if (!/<[^.]*>/.test(flags)) return option;
  let isGiven = false;
  return option.argParser((value) => {
    if (isGiven) throw new InvalidArgumentError("It is given twice; a list has commas between.");
    isGiven = true;
    return value;
  });
}

async function runOne(
  command: Command,
  args: readonly (string | readonly string[] | undefined)[],
  flags: Options,
  options: MainOptions,
): Promise<number> {
  const output = new Output(flags["json"] === true);
  const client = new Client(options.client);
  const interrupted = new AbortController();
  process.once("SIGINT", () => interrupted.abort());
  const context: CommandContext = {
    client,
    output,
    environment: String(flags["env"] ?? "production"),
    lifecycle: options.lifecycle,
    signal: interrupted.signal,
  };
  try {
    return (await command.run(context, args, flags)) ?? 0;
  } catch (error) {
    if (interrupted.signal.aborted) {
      output.progress("interrupted; what was begun goes on: holdfast status");
      return 130;
    }
    return output.problem(asHoldfastError(error));
  } finally {
    for (const { level, text } of client.notices)
      output.progress(output.paint(level === "warning" ? "yellow" : "cyan", `notice: ${text}`));
    await client.close();
  }
}

function withGlobals(command: Commander): Commander {
  return command
    .addOption(new Option("--env <environment>", "which environment (default: production)"))
    .addOption(new Option("--json", "print facts for scripts"));
}
