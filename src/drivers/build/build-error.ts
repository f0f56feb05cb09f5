/** A build that failed for a reason of its own: its output says which. */
export class BuildError extends Error {
  readonly hint: string;
  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}
