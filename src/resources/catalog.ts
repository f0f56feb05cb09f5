// Every kind of resource that there is. A kind that is not listed here does not exist.

import { invalid, stuck } from "../kernel/error.ts";
import type { AnyKind } from "../kernel/kind.ts";
import { ACCOUNT } from "./account/account.ts";
import { APP } from "./app/app.ts";
import { CHANGE } from "./change/change.ts";
import { CHANNEL } from "./channel/channel.ts";
import {
  ALERTING,
  CACHE,
  CACHE_EXPORTER,
  DATABASE,
  DATABASE_EXPORTER,
  EDGE,
  HOST_EXPORTER,
  METRICS,
} from "./engine/engine.ts";
import { ENVIRONMENT } from "./environment/environment.ts";
import { EXPORT } from "./export/export.ts";
import { FILE_SET } from "./file-set/file-set.ts";
import { HOLD } from "./hold/hold.ts";
import { NOTICE } from "./notice/notice.ts";
import { POLICY } from "./policy/policy.ts";
import { PUSH } from "./push/push.ts";
import { RELEASE } from "./release/release.ts";
import { REPOSITORY } from "./repository/repository.ts";
import { ROLLOUT } from "./rollout/rollout.ts";
import { SECRET } from "./secret/secret.ts";
import { SETTINGS } from "./settings/settings.ts";
import { TASK } from "./task/task.ts";
import { TELEMETRY } from "./telemetry/telemetry.ts";
import { TOKEN } from "./token/token.ts";
import { TRAIN } from "./train/train.ts";
import { WINDOW } from "./window/window.ts";

export const CATALOG: readonly AnyKind[] = [
  ACCOUNT,
  TOKEN,
  CHANNEL,
  CHANGE,
  ENVIRONMENT,
  POLICY,
  EXPORT,
  FILE_SET,
  NOTICE,
  PUSH,
  RELEASE,
  REPOSITORY,
  SECRET,
  SETTINGS,
  TASK,
  TELEMETRY,
  TRAIN,
  WINDOW,
  APP,
  HOLD,
  ROLLOUT,
  DATABASE,
  CACHE,
  EDGE,
  METRICS,
  ALERTING,
  HOST_EXPORTER,
  DATABASE_EXPORTER,
  CACHE_EXPORTER,
];

/** @throws kind.unknown */
export function kindNamed(name: string): AnyKind {
  const found = CATALOG.find((kind) => kind.name === name);
  if (found) return found;
  throw invalid("kind.unknown", `there is no kind ${name}`, {
    hint: `there is: ${CATALOG.map((kind) => kind.name).join(", ")}`,
  });
}

/** Refuses a state (`state.unknown_kind`) that a build wrote which knows more kinds than this one. */
export function assertKnown(kinds: readonly string[]): void {
  const known = new Set(CATALOG.map(({ name }) => name));
  const unknown = kinds.filter((kind) => !known.has(kind));
  if (unknown.length === 0) return;
  throw stuck(
    "state.unknown_kind",
    `the state has resources of kinds that this build does not know: ${unknown.join(", ")}`,
    { hint: "start the newer build that wrote them; nothing was changed" },
  );
}
