/**
 * A feed: what happened lately, numbered, and who waits for more. It is how a server here calls
 * back: the client keeps one call open, and the server answers it when there is something to say.
 * Nothing is sent to an address that somebody merely named, no door is opened on the client's side,
 * and a client that is gone takes its place with it.
 */

import type { CallContext } from '../../runtime/index.js';
import { limit } from './limits.js';

/** Bounds of a {@link Feed}. */
export interface FeedOptions {
  /** Most entries that are remembered; who asks for older ones hears that they are gone. Default {@link DEFAULT_MAX_KEPT}. */
  readonly maxKept?: number;
  /** Most that wait at a time. Default {@link DEFAULT_MAX_WAITING}. */
  readonly maxWaiting?: number;
  /** Longest wait in milliseconds. Default {@link DEFAULT_MAX_WAIT_MS}. */
  readonly maxWaitMs?: number;
}

/** Default for what a feed remembers. */
export const DEFAULT_MAX_KEPT = 1_024;
/** Default for those who wait. */
export const DEFAULT_MAX_WAITING = 1_024;
/** Default for one wait: 20 s, below the 25 s after which a client gives up. */
export const DEFAULT_MAX_WAIT_MS = 20_000;

/** What one question brings. */
export interface News<T> {
  readonly entries: readonly T[];
  /** The number to ask after the next time. */
  readonly next: bigint;
  readonly missed: boolean;
}

/** What one asks a feed. */
export interface Question<T> {
  readonly after: bigint;
  readonly waitMs: number;
  /** Most entries of the answer. */
  readonly most: number;
  readonly wants?: (entry: T) => boolean;
}

interface Waiter<T> {
  readonly question: Question<T>;
  settle(): void;
}

/** Numbered entries and those who wait for them. */
export class Feed<T> {
  private readonly kept: { readonly number: bigint; readonly entry: T }[] = [];
  private readonly waiters = new Set<Waiter<T>>();
  private readonly maxKept: number;
  private readonly maxWaiting: number;
  private readonly maxWaitMs: number;
  private last: bigint;
  /** Everything after this number is kept. */
  private forgotten: bigint;
  private isClosed = false;

  /** A feed whose last entry, forgotten already, had the number `last`. Throws RangeError for a bound out of range. */
  constructor(last: bigint, options: FeedOptions = {}) {
    this.last = last;
    this.forgotten = last;
    this.maxKept = limit('maxKept', options.maxKept, DEFAULT_MAX_KEPT, 1, 1_000_000);
    this.maxWaiting = limit('maxWaiting', options.maxWaiting, DEFAULT_MAX_WAITING, 0, 1_000_000);
    this.maxWaitMs = limit('maxWaitMs', options.maxWaitMs, DEFAULT_MAX_WAIT_MS, 0, 3_600_000);
  }

  /** Number of the last entry. */
  get latest(): bigint {
    return this.last;
  }

  /** How many wait now. */
  get waiting(): number {
    return this.waiters.size;
  }

  /** Adds an entry under the next number, or a higher one of the caller's, and answers those who wait for it. */
  add(entry: T, number: bigint = this.last + 1n): void {
    this.last = number;
    this.kept.push({ number, entry });
    // In lumps, so that forgetting costs little a piece.
    if (this.kept.length >= this.maxKept * 2) {
      const gone = this.kept.splice(0, this.kept.length - this.maxKept);
      this.forgotten = gone.at(-1)?.number ?? this.forgotten;
    }
    for (const waiter of [...this.waiters]) if (waiter.question.wants?.(entry) !== false) waiter.settle();
  }

  /**
   * What came after a number: at once where there is something, else when it comes, the wait is over or
   * the caller gone. Undefined where too many wait. Over UDP nobody waits: there a caller that is
   * gone cannot be told from one that listens.
   */
  ask(question: Question<T>, context: CallContext): News<T> | undefined | Promise<News<T>> {
    const now = this.answer(question);
    const waitMs = Math.min(question.waitMs, this.maxWaitMs);
    if (now.entries.length > 0 || now.missed || waitMs === 0 || this.isClosed || question.after > this.last)
      return now;
    if (context.peer.transport === 'udp') return now;
    if (this.waiters.size >= this.maxWaiting) return undefined;
    const { signal } = context;
    return new Promise((resolve) => {
      const waiter: Waiter<T> = {
        question,
        settle: () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', waiter.settle);
          this.waiters.delete(waiter);
          resolve(this.answer(question));
        },
      };
      const timer = setTimeout(waiter.settle, waitMs);
      signal.addEventListener('abort', waiter.settle);
      this.waiters.add(waiter);
      if (signal.aborted) waiter.settle();
    });
  }

  /** Answers everybody; from now on nobody waits. */
  close(): void {
    this.isClosed = true;
    for (const waiter of [...this.waiters]) waiter.settle();
  }

  private answer({ after, most, wants }: Question<T>): News<T> {
    // A number that was never given comes from another life of the server, or from one who wants the last.
    if (after > this.last) return { entries: [], next: this.last, missed: false };
    const missed = after < this.forgotten;
    const entries: T[] = [];
    let next = this.last;
    for (let at = this.firstAfter(after); at < this.kept.length; at++) {
      const { number, entry } = this.kept[at]!;
      if (wants?.(entry) === false) continue;
      if (entries.length === most) break;
      entries.push(entry);
      next = number;
    }
    return { entries, next: entries.length === most ? next : this.last, missed };
  }

  private firstAfter(after: bigint): number {
    let low = 0;
    let high = this.kept.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.kept[middle]!.number > after) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
