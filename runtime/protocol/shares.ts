/**
 * Who holds how much of something bounded, one account a source, so that room is taken from the source
 * that holds most. Weights and accounts only: what is held, and for how long, is its owner's business.
 *
 * The number of accounts is bounded as well, since the sources of datagrams can be forged: sources beyond
 * {@link MAX_SHARE_SOURCES} share one account, which is then likely to be the heaviest and pays first.
 */

/** Most sources with an account of their own at a time; further ones share one account. */
export const MAX_SHARE_SOURCES = 4_096;

const NONE = -1;
/** The account of the sources beyond {@link MAX_SHARE_SOURCES}. */
const REST = 0;
/** Up to this weight each has a level of its own; above, there are eight levels an octave. */
const EXACT = 16;
const LEVELS = EXACT + 27 * 8;

/** See the head of this file. Each operation takes constant time. */
export class Shares {
  private readonly accounts = new Map<number | string, number>();
  private readonly sources: (number | string | undefined)[] = [undefined];
  /** How often each account was taken and not released. */
  private readonly users = new Int32Array(MAX_SHARE_SOURCES + 1);
  private readonly weights = new Int32Array(MAX_SHARE_SOURCES + 1);
  /** Accounts of one level are in a ring, in the order in which they came to that level. */
  private readonly next = new Int32Array(MAX_SHARE_SOURCES + 1);
  private readonly previous = new Int32Array(MAX_SHARE_SOURCES + 1);
  private readonly first = new Int32Array(LEVELS).fill(NONE);
  private top = 0;
  private readonly free: number[] = [];

  /** Accounts in use, the shared one not counted. */
  get size(): number {
    return this.accounts.size;
  }

  /** The account of a source, to be given to {@link release} once. */
  take(source: number | string): number {
    let account = this.accounts.get(source);
    if (account === undefined) {
      if (this.accounts.size >= MAX_SHARE_SOURCES) account = REST;
      else {
        account = this.free.pop() ?? this.sources.length;
        this.sources[account] = source;
        this.accounts.set(source, account);
      }
    }
    this.users[account]! += 1;
    return account;
  }

  /** One holding fewer; an account without any is given to the next source. Its weight is 0 by then. */
  release(account: number): void {
    this.users[account]! -= 1;
    if (account === REST || this.users[account] !== 0) return;
    this.accounts.delete(this.sources[account] as number | string);
    this.sources[account] = undefined;
    this.free.push(account);
  }

  /** Changes what an account weighs. */
  add(account: number, weight: number): void {
    const before = this.weights[account] as number;
    const after = before + weight;
    this.weights[account] = after;
    const from = levelOf(before);
    const to = levelOf(after);
    if (from === to) return;
    if (from > 0) this.unlink(account, from);
    if (to > 0) this.append(account, to);
    if (to > this.top) this.top = to;
    while (this.top > 0 && this.first[this.top] === NONE) this.top -= 1;
  }

  /**
   * The account that weighs most, to within an eighth: of several `preferred`, which wants more, if it is one of
   * them, else the one that has weighed so much for longest. Negative where nobody holds anything.
   */
  heaviest(preferred: number): number {
    if (this.top === 0) return NONE;
    return levelOf(this.weights[preferred] as number) === this.top
      ? preferred
      : (this.first[this.top] as number);
  }

  private append(account: number, level: number): void {
    const first = this.first[level] as number;
    if (first === NONE) {
      this.first[level] = account;
      this.next[account] = account;
      this.previous[account] = account;
      return;
    }
    const last = this.previous[first] as number;
    this.next[last] = account;
    this.previous[account] = last;
    this.next[account] = first;
    this.previous[first] = account;
  }

  private unlink(account: number, level: number): void {
    const next = this.next[account] as number;
    if (next === account) {
      this.first[level] = NONE;
      return;
    }
    const previous = this.previous[account] as number;
    this.next[previous] = next;
    this.previous[next] = previous;
    if (this.first[level] === account) this.first[level] = next;
  }
}

function levelOf(weight: number): number {
  if (weight < EXACT) return weight;
  const octave = 31 - Math.clz32(weight);
  return EXACT + (octave - 4) * 8 + ((weight >>> (octave - 3)) & 7);
}
