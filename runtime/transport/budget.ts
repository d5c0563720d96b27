/**
 * Memory that peers can make us hold, counted over all connections: input that is not a whole call yet, and
 * replies that were not taken. Each connection has limits of its own; a stranger who opens thousands of
 * connections and stays under them would still take gigabytes. When a budget is exceeded, what the source
 * that holds most holds is given up first: who sends a large call among many who hold little is not cut off for it.
 */

/** One connection, as far as budgets know it. */
export interface BudgetHolder {
  /** The source that it is counted for; see source.ts. */
  readonly caller: string;
  /** Gives up everything held, at once. */
  cutOff(): void;
}

/** Default for input of unfinished calls, all connections of a process together: 64 MiB. */
export const DEFAULT_MAX_UNFINISHED_BYTES = 64 * 1024 * 1024;
/** Default for replies that peers have not taken, all connections of a process together: 256 MiB. */
export const DEFAULT_MAX_UNSENT_BYTES = 256 * 1024 * 1024;

/** Bytes held by connections, at most `maxBytes` after each change. Its tables have one entry a holder. */
export class ByteBudget {
  readonly maxBytes: number;
  /** In the order they began to hold something. */
  private readonly held = new Map<BudgetHolder, number>();
  private readonly bySource = new Map<string, number>();
  private sum = 0;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** Bytes held now. */
  get bytes(): number {
    return this.sum;
  }

  /**
   * Notes what a holder holds now. Over the budget, holders are cut off until it is kept: of the source that holds
   * most, the one that holds most, and of several the one that began first. It may be the caller itself.
   */
  update(holder: BudgetHolder, bytes: number): void {
    const before = this.held.get(holder) ?? 0;
    if (before === bytes) return;
    if (bytes === 0) this.held.delete(holder);
    else this.held.set(holder, bytes);
    this.sum += bytes - before;
    const ofSource = (this.bySource.get(holder.caller) ?? 0) + bytes - before;
    if (ofSource === 0) this.bySource.delete(holder.caller);
    else this.bySource.set(holder.caller, ofSource);
    while (this.sum > this.maxBytes) {
      const victim = this.largest();
      if (victim === undefined) return;
      this.update(victim, 0);
      victim.cutOff();
    }
  }

  private largest(): BudgetHolder | undefined {
    let source: string | undefined;
    let most = 0;
    for (const [one, bytes] of this.bySource)
      if (bytes > most) {
        most = bytes;
        source = one;
      }
    let found: BudgetHolder | undefined;
    most = 0;
    for (const [holder, bytes] of this.held)
      if (bytes > most && holder.caller === source) {
        most = bytes;
        found = holder;
      }
    return found;
  }
}

/** What all servers of this process share that were given no budgets of their own. */
export const processInput = new ByteBudget(DEFAULT_MAX_UNFINISHED_BYTES);
/** See {@link processInput}. */
export const processOutput = new ByteBudget(DEFAULT_MAX_UNSENT_BYTES);
