// Commands about the installation itself.

import { transient } from "../../kernel/error.ts";
import { deploy } from "../app/deploy.ts";
import type { Command, CommandContext, UpResult } from "../command.ts";
import { durationText } from "../output.ts";

const SHOP_HOST = "storefront.localhost";

async function bringUp(
  context: CommandContext,
  install: boolean,
  restoreState: boolean,
): Promise<UpResult> {
  const onProgress = (text: string): void => context.output.progress(text);
  return (await context.lifecycle()).up({ install, restoreState, onProgress });
}

const ANSWER_WITHIN_MS = 90_000;
const LOOK_EVERY_MS = 500;

/** The shop's answer; after a stop or a reboot the same release starts again, which takes a while. */
async function answerOf(
  ask: () => Promise<number | undefined>,
  { output }: CommandContext,
): Promise<number | undefined> {
  const until = Date.now() + ANSWER_WITHIN_MS;
  let status = await ask();
  if (status !== 200) output.progress("… the shop starts again");
  while (status !== 200 && Date.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    status = await ask();
  }
  return status;
}

export const up: Command = {
  usage: "up",
  summary: "Start the control plane, the edge, the stores and all apps that ran before.",
  examples: ["holdfast up"],
  options: [
    { flags: "--install", description: "install missing engines through apt" },
    {
      flags: "--restore-state",
      description: "put back the last good copy of a damaged state file",
    },
  ],
  run: async (context, _args, options) => {
    const result = await bringUp(
      context,
      options["install"] === true,
      options["restoreState"] === true,
    );
    context.output.result(
      result,
      () => `${context.output.paint("green", "✓")} Holdfast is up (${result.home})`,
    );
    return 0;
  },
};

export const start: Command = {
  usage: "start",
  summary: "Install the engines, start the control plane and deploy the example shop.",
  details: "npm start runs this. Running it again is safe and takes seconds.",
  examples: ["holdfast start"],
  run: async (context) => {
    const began = Date.now();
    const { output } = context;
    const lifecycle = await context.lifecycle();
    const result = await bringUp(context, true, false);
    const code = await deploy.run(context, [`${lifecycle.examplesDir}/storefront`], {
      ifChanged: true,
      adopt: true,
    });
    if (code !== 0) return code;
    const status = await answerOf(() => lifecycle.askOverHttps(SHOP_HOST), context);
    if (status !== 200) {
      throw transient("shop.no_answer", `the shop answers ${status ?? "nothing"} over HTTPS`, {
        hint: "holdfast status, holdfast logs storefront",
      });
    }
    const url = `https://${SHOP_HOST}${result.httpsPort === 443 ? "" : `:${result.httpsPort}`}/`;
    output.progress(
      [
        "",
        `the shop answers at ${output.paint("cyan", url)} (ready after ${durationText(Date.now() - began)})`,
        "",
        `its certificate is signed by a CA of this installation: ${result.ca}`,
        `  curl --cacert ${result.ca} ${url}`,
        `  browsers: import that file as an authority; the whole machine:`,
        `  cp ${result.ca} /usr/local/share/ca-certificates/holdfast.crt && update-ca-certificates`,
        "",
        "try next:",
        "  ./holdfast status",
        "  ./holdfast logs storefront -f",
        "  ./holdfast config set storefront BANNER='Hello' && ./holdfast rollback storefront",
      ].join("\n"),
    );
    return 0;
  },
};

export const down: Command = {
  usage: "down",
  summary: "Stop the control plane; apps, edge and stores keep serving.",
  examples: ["holdfast down", "holdfast down --all"],
  options: [
    {
      flags: "--all",
      description: "also stop all apps, the edge and the stores; their data is kept",
    },
  ],
  run: async ({ lifecycle, output }, _args, options) => {
    const all = options["all"] === true;
    await (await lifecycle()).down({ all, onProgress: (text) => output.progress(text) });
    output.result({ stopped: all ? "all" : "control-plane" }, () =>
      all
        ? "everything is stopped; holdfast up brings it back"
        : "the control plane is stopped; what runs serves on",
    );
    return 0;
  },
};

export const doctor: Command = {
  usage: "doctor",
  summary: "Check the machine and the installation, and report how to fix each problem.",
  examples: ["holdfast doctor"],
  run: async ({ lifecycle, output }) => {
    const findings = await (await lifecycle()).doctor();
    output.result({ findings }, () =>
      findings
        .map(({ what, ok, detail, hint }) => {
          const mark = ok ? output.paint("green", "✓") : output.paint("red", "✗");
          return `${mark} ${what}: ${detail}${!ok && hint ? `\n  ${output.paint("cyan", "→")} ${hint}` : ""}`;
        })
        .join("\n"),
    );
    return findings.every(({ ok }) => ok) ? 0 : 3;
  },
};
