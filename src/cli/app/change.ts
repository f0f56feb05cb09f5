// Commands that change what is deployed: each is one write, followed to its end.

import { invalid } from "../../kernel/error.ts";
import type { Command, CommandContext } from "../command.ts";
import { CHANGE_OPTIONS, changeFacts } from "./change-options.ts";
import { followRollout } from "./rollout-progress.ts";

const pathOf = <Rest extends string>({ environment }: CommandContext, app: string, rest: Rest) =>
  `/v1/apps/${environment}/${appName(app)}/${rest}` as const;

/** Commands that are about a whole app do not take app/service. */
export function appName(app: string): string {
  const [name = "", service] = app.split("/");
  if (service === undefined) return app;
  throw invalid("cli.not_an_app", `${app} is a part of an app`, { hint: `the app is: ${name}` });
}

export const rollback: Command = {
  usage: "rollback [app]",
  summary: "Roll back to an earlier release, with its code, settings and secrets.",
  details: "Instant if the previous release's instances are still warm.",
  examples: ["holdfast rollback", "holdfast rollback storefront --to 12"],
  options: [
    { flags: "--to <release>", description: "release to return to; default: the previous one" },
    ...CHANGE_OPTIONS,
  ],
  run: async (context, [app], options) => {
    const { to } = options;
    const name = await chooseApp(context, app);
    const number = to === undefined ? undefined : wholeNumber(String(to), "--to", 1);
    const accepted = await context.client.post(pathOf(context, name, "rollback"), {
      ...(number !== undefined && { to: number }),
      ...changeFacts(options),
    });
    return followRollout(context, accepted, options);
  },
};

export const restart: Command = {
  usage: "restart [app]",
  summary: "Replace all instances with new ones of the same release.",
  examples: ["holdfast restart storefront"],
  options: CHANGE_OPTIONS,
  run: async (context, [app], options) => {
    const name = await chooseApp(context, app);
    return followRollout(
      context,
      await context.client.post(pathOf(context, name, "restart"), changeFacts(options)),
      options,
    );
  },
};

export const scale: Command = {
  usage: "scale <app> <counts...>",
  summary: "Set the number of instances of services and workers.",
  examples: ["holdfast scale storefront web=3", "holdfast scale storefront web=2 worker=1"],
  options: CHANGE_OPTIONS,
  run: async (context, [app, pairs], options) => {
    const counts = Object.fromEntries(
      splitPairs(pairs, "web=3").map(([component, count]) => [
        component,
        wholeNumber(count, component),
      ]),
    );
    for (const [component, count] of Object.entries(counts)) {
      if (count === 0)
        context.output.progress(
          `${component} will have no instance: its routes answer 503, its work waits`,
        );
    }
    return followRollout(
      context,
      await context.client.post(pathOf(context, String(app), "scale"), {
        counts,
        ...changeFacts(options),
      }),
      options,
    );
  },
};

export const configSet: Command = {
  usage: "config set <app> <pairs...>",
  summary: "Set settings; a deployed app gets a new release.",
  examples: ["holdfast config set storefront BANNER='Free shipping' PAGE_SIZE=24"],
  options: CHANGE_OPTIONS,
  run: async (context, [app, pairs], options) => {
    const changes = Object.fromEntries(splitPairs(pairs, "BANNER='Free shipping'"));
    return followRollout(
      context,
      await context.client.patch(pathOf(context, String(app), "config"), {
        changes,
        ...changeFacts(options),
      }),
      options,
    );
  },
};

export const configUnset: Command = {
  usage: "config unset <app> <keys...>",
  summary: "Remove settings; defaults from holdfast.yaml apply again.",
  examples: ["holdfast config unset storefront BANNER"],
  options: CHANGE_OPTIONS,
  run: async (context, [app, keys], options) => {
    const changes = Object.fromEntries(listOf(keys).map((key) => [key, null]));
    return followRollout(
      context,
      await context.client.patch(pathOf(context, String(app), "config"), {
        changes,
        ...changeFacts(options),
      }),
      options,
    );
  },
};

export const configList: Command = {
  usage: "config list <app>",
  summary: "Show configured settings and those of the live release.",
  examples: ["holdfast config list storefront"],
  run: async (context, [app]) => {
    const { output } = context;
    const settings = await context.client.get(pathOf(context, String(app), "config"));
    const all = { ...settings.serving, ...settings.values };
    output.result(settings, () => {
      const rows = Object.keys(all)
        .sort()
        .map((key) => [key, all[key] ?? "", key in settings.values ? "set" : "holdfast.yaml"]);
      return rows.length === 0 ? "no settings" : output.table(rows, ["key", "value", "from"]);
    });
    return 0;
  },
};

export const configDiff: Command = {
  usage: "config diff <app>",
  summary: "Compare settings with those of the live release.",
  examples: ["holdfast config diff storefront"],
  run: async (context, [app]) => {
    const { output } = context;
    const {
      values,
      serving = {},
      release,
    } = await context.client.get(pathOf(context, String(app), "config"));
    const changes = Object.keys(values)
      .sort()
      .filter((key) => values[key] !== serving[key])
      .map((key) => ({ key, serving: serving[key], set: values[key] }));
    output.result({ release, changes }, () => {
      if (changes.length === 0)
        return release === undefined
          ? "nothing is deployed yet"
          : `release ${release} has all settings as they are set`;
      return changes
        .map(
          ({ key, serving: before, set }) =>
            `${before === undefined ? "" : `- ${key}=${before}\n`}+ ${key}=${set}`,
        )
        .join("\n");
    });
    return 0;
  },
};

/** The app that was named, or the only one there is. */
export async function chooseApp(context: CommandContext, app: unknown): Promise<string> {
  if (typeof app === "string") return appName(app);
  const { apps } = await context.client.get("/v1/status", {
    environment: context.environment,
  });
  const [only] = apps;
  if (apps.length === 1 && only) return only.name;
  const names = apps.map(({ name }) => name);
  throw invalid(
    "app.not_named",
    names.length === 0 ? `${context.environment} has no apps` : "which app?",
    {
      hint: names.length === 0 ? "holdfast deploy <folder>" : `name one of: ${names.join(", ")}`,
    },
  );
}

export const listOf = (value: unknown): readonly string[] =>
  Array.isArray(value) ? (value as string[]) : value === undefined ? [] : [String(value)];

function splitPairs(pairs: unknown, example: string): [string, string][] {
  const seen = new Set<string>();
  return listOf(pairs).map((pair) => {
    const at = pair.indexOf("=");
    if (at <= 0)
      throw invalid("cli.bad_pair", `"${pair}" is not name=value`, {
        hint: `for example: ${example}`,
      });
    const name = pair.slice(0, at);
    if (seen.has(name))
      throw invalid("cli.bad_pair", `${name} is given twice`, { hint: `for example: ${example}` });
    seen.add(name);
    return [name, pair.slice(at + 1)];
  });
}

export function wholeNumber(text: string, where: string, min = 0): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= min) return Number(text);
  throw invalid("cli.bad_number", `${where}: "${text}" is not a whole number from ${min} up`, {
    hint: `for example: ${Math.max(min, 3)}`,
  });
}
