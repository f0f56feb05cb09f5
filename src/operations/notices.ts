import { NOTICE, NOTICES_SHOWN, type NoticeSpec } from "../resources/notice/notice.ts";
import type { OperationDeps } from "./operation-deps.ts";

export type NoticeView = Pick<NoticeSpec, "text" | "level">;

/** Those that are to be shown now, warnings first. */
export function shownNotices({
  store,
  clock,
}: Pick<OperationDeps, "store" | "clock">): readonly NoticeView[] {
  const now = clock.now();
  return store
    .list(NOTICE)
    .filter(({ spec: { until } }) => until === undefined || Date.parse(until) > now)
    .map(({ spec: { text, level } }) => ({ text, level }))
    .toSorted((one, other) => Number(other.level === "warning") - Number(one.level === "warning"))
    .slice(0, NOTICES_SHOWN);
}
