// Commands that look.

import { invalid } from "../../kernel/error.ts";
import type { Command } from "../command.ts";
import { durationText } from "../output.ts";
import { chooseApp } from "./change.ts";

export const releases: Command = {
  usage: "releases [app]",
  summary: "List the releases of an app, newest first.",
  examples: ["holdfast releases storefront"],
  run: async (context, [app]) => {
    const { client, output, environment } = context;
    const name = await chooseApp(context, app);
    const facts = await client.get(`/v1/apps/${environment}/${name}/releases`);
    output.result(facts, () =>
      output.table(
        facts.releases.map((one) => [
          String(one.number),
          one.state === "serving"
            ? output.paint("green", one.state)
            : one.state === "failed"
              ? output.paint("red", one.state)
              : one.state,
          one.reason,
          one.commit ? `${one.commit.slice(0, 10)}${one.uncommitted ? " and changes" : ""}` : "-",
          one.artifact?.replace("sha256:", "").slice(0, 12) ?? "-",
          `${durationText(Date.now() - one.createdAt)} ago by ${one.createdBy}${one.failure ? `: ${one.failure}` : ""}`,
        ]),
        ["release", "state", "reason", "commit", "artifact", "made"],
      ),
    );
    return 0;
  },
};

export const open: Command = {
  usage: "open [app]",
  summary: "Print the URL of an app.",
  examples: ["holdfast open storefront"],
  run: async (context, [app]) => {
    const name = await chooseApp(context, app);
    const { apps, installation } = await context.client.get("/v1/status", {
      environment: context.environment,
    });
    const found = apps.find((one) => one.name === name);
    if (!found)
      throw invalid("app.not_found", `${context.environment} has no app ${name}`, {
        hint: "holdfast status",
      });
    context.output.result(
      { app: name, urls: found.urls, ca: installation.ca },
      () => found.urls.join("\n") || `${name} has no route`,
    );
    return 0;
  },
};
