// The story of a rollout, as a person reads it.

import { type Rollout, TIMELINE_MAX } from "./app.ts";

export const note = (rollout: Rollout, at: number, text: string): Rollout => ({
  ...rollout,
  timeline: [...rollout.timeline, { at, text }].slice(-TIMELINE_MAX),
});
