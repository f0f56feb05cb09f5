// What can be done to an environment, in the words that permissions, policies and changes share.

/** Changes of an app: in a protected environment each is a record. */
export const CHANGE_ACTIONS = [
  "deploy",
  "promote",
  "rollback",
  "restart",
  "scale",
  "config",
  "secret",
  "destroy",
] as const;
export type ChangeAction = (typeof CHANGE_ACTIONS)[number];

/** What decides who may change what, where that is loosened; and what may do anything: a change, too. */
export const CONTROL_ACTIONS = [
  "policy",
  "environment",
  "freeze",
  "account",
  "run",
  /** Any other kind of resource that a person declares. */
  "apply",
] as const;
export const isControlAction = (action: string): action is ControlAction =>
  (CONTROL_ACTIONS as readonly string[]).includes(action);
export type ControlAction = (typeof CONTROL_ACTIONS)[number];

export const ACTIONS = [
  "view",
  /** What everybody did. */
  "audit",
  /** A change that somebody with the right to it then approves and runs. */
  "ask",
  ...CHANGE_ACTIONS,
  /** A rollout under way: pause, resume, promote, abort. */
  "steer",
  /** One-off commands, which see the app's data. */
  "run",
  "approve",
  /** Windows and freezes. */
  "freeze",
  /** Past approvals, windows and freezes. */
  "emergency",
  "silence",
  /** Retention, privacy, channels, exports. */
  "telemetry",
  "environment",
  "policy",
  "account",
] as const;
export type Action = (typeof ACTIONS)[number];
