/**
 * Work that must not happen twice: a call that comes again, since its reply was lost, joins the work
 * under way or gets what came of it. Bounded by number, bytes and age.
 */

/** Bounds of a {@link Once}. */
export interface OnceLimits {
  readonly maxKept: number;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

interface Kept<T> {
  readonly result: Promise<T>;
  bytes: number;
  /** When it was finished; undefined while it is under way. */
  doneAt: number | undefined;
}

/** Results by key, forgotten oldest first. */
export class Once<T> {
  private readonly kept = new Map<string, Kept<T>>();
  private readonly limits: OnceLimits;
  private readonly sizeOf: (result: T) => number | undefined;
  private bytes = 0;

  /** `sizeOf` gives the bytes of a result, or undefined for one that is not to be kept. */
  constructor(limits: OnceLimits, sizeOf: (result: T) => number | undefined) {
    this.limits = limits;
    this.sizeOf = sizeOf;
  }

  /** The result of the work that has this key; done now where it was not yet. */
  do(key: string, work: () => Promise<T>): Promise<T> {
    this.forget();
    const known = this.kept.get(key);
    if (known !== undefined) return known.result;
    const result = work();
    const entry: Kept<T> = { result, bytes: 0, doneAt: undefined };
    this.kept.set(key, entry);
    result.then(
      (value) => {
        const bytes = this.sizeOf(value);
        if (bytes === undefined) {
          this.kept.delete(key);
          return;
        }
        entry.doneAt = performance.now();
        entry.bytes = bytes;
        this.bytes += bytes;
        this.forget();
      },
      () => this.kept.delete(key),
    );
    return result;
  }

  private forget(): void {
    const { maxKept, maxBytes, maxAgeMs } = this.limits;
    const tooOld = performance.now() - maxAgeMs;
    for (const [key, { doneAt, bytes }] of this.kept) {
      if (doneAt === undefined) continue;
      if (doneAt > tooOld && this.kept.size <= maxKept && this.bytes <= maxBytes) continue;
      this.kept.delete(key);
      this.bytes -= bytes;
    }
  }
}
