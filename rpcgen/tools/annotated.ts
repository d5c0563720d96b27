/** What annotations of a `.x` (`@rpc:idempotent`, `@rpc:deadline 2s`, `@rpc:uuid ...`) say of a program's parts. */

/** Of a procedure what holds for it, its version's and its program's included; of a version and a program their own. */
export interface Said {
  /** To run it twice is the same as to run it once. */
  readonly idempotent?: true;
  /** How long one call may take, in milliseconds. */
  readonly deadlineMs?: number;
  readonly uuid?: string;
}

/** What is said of a part of the model; nothing where it has no annotations. */
export function said(part: object): Said {
  return 'annotations' in part ? (part.annotations as Said) : {};
}
