/**
 * The duplicate request cache. Over UDP a call may arrive twice: because the network doubled it,
 * or because its reply was lost and the caller sent it again. A call that is under way is dropped,
 * one that was answered gets the same bytes once more: so a procedure runs once as long as its
 * entry lives. The key is who sent it, xid, program, version, procedure and a hash of the
 * arguments, lest an xid that comes round again gets an old answer. Bounded by count, bytes and age;
 * pure but for the clock it is told.
 *
 * Anybody who can send a datagram can fill it, and what is forgotten may run twice. So room is shared between
 * hosts: whoever holds most makes room, the oldest of its finished calls first. A call under way is never forgotten.
 */

import { createHash, randomInt } from 'node:crypto';
import type { CallHeader } from './message.js';
import { Shares } from './shares.js';
import { hostOf } from './source.js';

/** Bounds of a duplicate request cache. */
export interface DupCacheOptions {
  /**
   * Most calls remembered, finished and under way together; half of them may be under way for one host. Default
   * {@link DEFAULT_DUP_CACHE_ENTRIES}, most 16777216.
   */
  readonly maxEntries?: number;
  /** Most bytes of replies remembered. Default {@link DEFAULT_DUP_CACHE_BYTES}. */
  readonly maxBytes?: number;
  /** Milliseconds a finished call is remembered. Default {@link DEFAULT_DUP_CACHE_AGE_MS}. */
  readonly maxAgeMs?: number;
}

/** Default for the calls remembered. */
export const DEFAULT_DUP_CACHE_ENTRIES = 65_536;
/** Default for the bytes of replies remembered: 32 MiB. */
export const DEFAULT_DUP_CACHE_BYTES = 32 * 1024 * 1024;
/** Default for the time a finished call is remembered: 60 s, over twice what a caller waits by default. */
export const DEFAULT_DUP_CACHE_AGE_MS = 60_000;

/** What a duplicate request cache has seen and holds. */
export interface DupCacheStats {
  readonly entries: number;
  /** Bytes of replies held. */
  readonly bytes: number;
  /** Calls under way. */
  readonly inProgress: number;
  /** Calls seen for the first time. */
  readonly misses: number;
  /** Duplicates answered with the bytes of the first answer. */
  readonly replayed: number;
  /** Duplicates of calls under way, met with silence. */
  readonly dropped: number;
  /** Finished calls forgotten for want of room, before their time. */
  readonly evicted: number;
  /** Calls not taken because all room, or half of it by their own host, was held by calls under way. */
  readonly refused: number;
  /** Hosts that hold entries, as far as they are told apart: see {@link MAX_SHARE_SOURCES}. */
  readonly sources: number;
}

/**
 * Each entry has a place for a reply of up to so many bytes; a longer one is a piece of memory of its own. Not
 * packed one behind the other: a piece of memory that many share lives as long as the last of them.
 */
const CELL_BYTES = 64;
/** Entries whose places are one piece of memory. */
const CELLS = 1_024;
const FIRST_ENTRIES = 1_024;
const NONE = -1;

/** What {@link DupCache.begin} says instead of an entry: a duplicate of a call under way. */
export const DUPLICATE_DROPPED = -1;
/** A duplicate of a finished call, whose answer is in {@link DupCache.reply}. */
export const DUPLICATE_REPLAYED = -2;
/** No room: all of it, or half of it by this host, is held by calls under way, and the call is better not run. */
export const DUPLICATE_REFUSED = -3;

/**
 * See the head of this file. Times are milliseconds of any clock that does not go back. An entry is
 * a number, and its parts lie in arrays of numbers: a hundred thousand objects that live for a
 * minute would keep the garbage collector busy.
 */
export class DupCache {
  /** The answer of the duplicate that {@link begin} found last; undefined where it was silence. */
  reply: Uint8Array | undefined;
  private readonly maxEntries: number;
  private readonly maxBytes: number;
  private readonly maxAgeMs: number;
  /** Differs from cache to cache, so that nobody can choose calls of one hash. */
  private readonly seed = randomInt(0x7fff_ffff);
  private capacity = 0;
  /** Entries by hash: the first of each chain. */
  private buckets: Int32Array = new Int32Array(0);
  /** Of each entry: the next in its chain, or the next that is free. */
  private next: Int32Array = new Int32Array(0);
  private hash: Int32Array = new Int32Array(0);
  private xid: Uint32Array = new Uint32Array(0);
  private program: Uint32Array = new Uint32Array(0);
  private version: Uint32Array = new Uint32Array(0);
  private procedure: Uint32Array = new Uint32Array(0);
  private argsHash: Int32Array = new Int32Array(0);
  private argsBytes: Uint32Array = new Uint32Array(0);
  /** The sender where it is a number; where it is a text, that is in {@link text}. */
  private source: Float64Array = new Float64Array(0);
  private finishedAt: Float64Array = new Float64Array(0);
  private isFinished: Uint8Array = new Uint8Array(0);
  /** The entries that finished after and before this one. */
  private newer: Int32Array = new Int32Array(0);
  private older: Int32Array = new Int32Array(0);
  /** Its host's account, and the entry of the same account that finished after this one. */
  private account: Int32Array = new Int32Array(0);
  private accountNewer: Int32Array = new Int32Array(0);
  private size: Uint32Array = new Uint32Array(0);
  private readonly text: (string | undefined)[] = [];
  /** Replies: the places of {@link CELLS} entries in each, and those that are too long for their place. */
  private readonly cells: Uint8Array[] = [];
  private readonly large: (Uint8Array | undefined)[] = [];
  private free = NONE;
  /** Finished entries in the order they finished, which is the order in which they come of age. */
  private oldest = NONE;
  private newest = NONE;
  private readonly shares = new Shares();
  /** Of each account: its finished entries in the order they finished, and how many are under way. */
  private readonly accountOldest: number[] = [];
  private readonly accountNewest: number[] = [];
  private readonly accountInProgress: number[] = [];
  private readonly maxInProgress: number;
  private entries = 0;
  private bytes = 0;
  private inProgress = 0;
  private misses = 0;
  private replayed = 0;
  private dropped = 0;
  private evicted = 0;
  private refused = 0;

  constructor(options: DupCacheOptions = {}) {
    this.maxEntries = options.maxEntries ?? DEFAULT_DUP_CACHE_ENTRIES;
    this.maxBytes = options.maxBytes ?? DEFAULT_DUP_CACHE_BYTES;
    this.maxAgeMs = options.maxAgeMs ?? DEFAULT_DUP_CACHE_AGE_MS;
    if (!(Number.isInteger(this.maxEntries) && this.maxEntries >= 1 && this.maxEntries <= MOST_ENTRIES))
      throw new RangeError(`maxEntries is ${this.maxEntries}; it must be from 1 to ${MOST_ENTRIES}`);
    if (!(this.maxBytes >= 0)) throw new RangeError(`maxBytes is ${this.maxBytes}; it must be at least 0`);
    if (!(this.maxAgeMs >= 1)) throw new RangeError(`maxAgeMs is ${this.maxAgeMs}; it must be at least 1`);
    this.maxInProgress = Math.max(1, Math.floor(this.maxEntries / 2));
  }

  stats(): DupCacheStats {
    const { entries, bytes, inProgress, misses, replayed, dropped, evicted, refused } = this;
    const sources = this.shares.size;
    return { entries, bytes, inProgress, misses, replayed, dropped, evicted, refused, sources };
  }

  /**
   * A call came: its arguments are the bytes of `message` from `argsAt` on. `caller` is whom a security mechanism takes for
   * the caller; undefined without one. Returns the call's new entry, to be given to {@link finish}, or one of the
   * `DUPLICATE_` numbers where the call is a duplicate or is not taken.
   */
  begin(
    source: number | string,
    header: CallHeader,
    message: Uint8Array,
    argsAt: number,
    nowMs: number,
    caller?: string,
  ): number {
    this.expire(nowMs);
    const sender = caller === undefined ? source : securedSender(source, caller);
    const argsHash = hashBytes(message, argsAt, this.seed);
    const hash = this.hashOf(sender, header.xid, argsHash);
    const found = this.find(hash, sender, header, argsHash, message.length - argsAt);
    if (found !== NONE) {
      if (this.isFinished[found] === 0) {
        this.dropped += 1;
        return DUPLICATE_DROPPED;
      }
      this.replayed += 1;
      this.reply = this.replyOf(found);
      return DUPLICATE_REPLAYED;
    }
    const account = this.shares.take(hostOf(source));
    const underWay = this.accountInProgress[account] ?? 0;
    if (underWay >= this.maxInProgress || (this.entries >= this.maxEntries && !this.evict(account))) {
      this.shares.release(account);
      this.refused += 1;
      return DUPLICATE_REFUSED;
    }
    this.accountInProgress[account] = underWay + 1;
    if (this.free === NONE) this.grow();
    const entry = this.free;
    this.free = this.next[entry] as number;
    this.hash[entry] = hash;
    this.xid[entry] = header.xid;
    this.program[entry] = header.program;
    this.version[entry] = header.version;
    this.procedure[entry] = header.procedure;
    this.argsHash[entry] = argsHash;
    this.argsBytes[entry] = message.length - argsAt;
    this.isFinished[entry] = 0;
    this.size[entry] = NO_REPLY;
    this.account[entry] = account;
    if (typeof sender === 'number') this.source[entry] = sender;
    else this.text[entry] = sender;
    this.link(entry);
    this.entries += 1;
    this.inProgress += 1;
    this.misses += 1;
    return entry;
  }

  /** The call was answered with these bytes, which are copied; undefined for silence. Once an entry. */
  finish(entry: number, reply: Uint8Array | undefined, nowMs: number): void {
    const account = this.account[entry] as number;
    this.inProgress -= 1;
    this.accountInProgress[account]! -= 1;
    if (reply !== undefined && reply.length > this.maxBytes) {
      // A reply larger than all room there is: not remembered, so the call may be run again.
      this.evicted += 1;
      this.remove(entry);
      return;
    }
    this.isFinished[entry] = 1;
    this.finishedAt[entry] = nowMs;
    this.newer[entry] = NONE;
    this.older[entry] = this.newest;
    if (this.newest === NONE) this.oldest = entry;
    else this.newer[this.newest] = entry;
    this.newest = entry;
    this.accountNewer[entry] = NONE;
    if ((this.accountOldest[account] ?? NONE) === NONE) this.accountOldest[account] = entry;
    else this.accountNewer[this.accountNewest[account] as number] = entry;
    this.accountNewest[account] = entry;
    if (reply !== undefined) this.keep(entry, reply);
    this.shares.add(account, this.weightOf(entry));
    while (this.bytes > this.maxBytes) this.evict(account);
  }

  /** Forgets what is past its age. Called by each {@link begin}. */
  expire(nowMs: number): void {
    const before = nowMs - this.maxAgeMs;
    while (this.oldest !== NONE && (this.finishedAt[this.oldest] as number) <= before)
      this.removeFinished(this.oldest);
  }

  private keep(entry: number, reply: Uint8Array): void {
    const size = reply.length;
    this.size[entry] = size;
    this.bytes += size;
    if (size > CELL_BYTES) {
      this.large[entry] = reply.slice();
      return;
    }
    const group = Math.floor(entry / CELLS);
    let cells = this.cells[group];
    if (cells === undefined) {
      cells = new Uint8Array(CELLS * CELL_BYTES);
      this.cells[group] = cells;
    }
    cells.set(reply, (entry % CELLS) * CELL_BYTES);
  }

  private replyOf(entry: number): Uint8Array | undefined {
    const size = this.size[entry] as number;
    if (size === NO_REPLY) return undefined;
    if (size > CELL_BYTES) return this.large[entry];
    const at = (entry % CELLS) * CELL_BYTES;
    return this.cells[Math.floor(entry / CELLS)]?.subarray(at, at + size);
  }

  /** What an entry counts for where room is short: 1, and its share of the bytes as if that were entries. */
  private weightOf(entry: number): number {
    const size = this.size[entry] as number;
    if (size === NO_REPLY || size === 0) return 1;
    return 1 + Math.floor((size * this.maxEntries) / this.maxBytes);
  }

  private find(
    hash: number,
    sender: number | string,
    header: CallHeader,
    argsHash: number,
    argsBytes: number,
  ): number {
    if (this.capacity === 0) return NONE;
    let entry = this.buckets[hash & (this.buckets.length - 1)] as number;
    while (entry !== NONE) {
      if (
        this.xid[entry] === header.xid &&
        this.hash[entry] === hash &&
        this.argsHash[entry] === argsHash &&
        this.argsBytes[entry] === argsBytes &&
        this.procedure[entry] === header.procedure &&
        this.program[entry] === header.program &&
        this.version[entry] === header.version &&
        (typeof sender === 'number'
          ? this.source[entry] === sender && this.text[entry] === undefined
          : this.text[entry] === sender)
      )
        return entry;
      entry = this.next[entry] as number;
    }
    return NONE;
  }

  /** Forgets the oldest finished call of the host that holds most; false where no call is finished. */
  private evict(wanting: number): boolean {
    const account = this.shares.heaviest(wanting);
    if (account < 0) return false;
    this.evicted += 1;
    this.removeFinished(this.accountOldest[account] as number);
    return true;
  }

  /** The entry is the oldest finished one of its account. */
  private removeFinished(entry: number): void {
    const account = this.account[entry] as number;
    const newer = this.newer[entry] as number;
    const older = this.older[entry] as number;
    if (older === NONE) this.oldest = newer;
    else this.newer[older] = newer;
    if (newer === NONE) this.newest = older;
    else this.older[newer] = older;
    this.accountOldest[account] = this.accountNewer[entry] as number;
    this.shares.add(account, -this.weightOf(entry));
    if (this.size[entry] !== NO_REPLY) this.bytes -= this.size[entry] as number;
    this.remove(entry);
  }

  private remove(entry: number): void {
    this.entries -= 1;
    this.large[entry] = undefined;
    this.text[entry] = undefined;
    this.shares.release(this.account[entry] as number);
    const bucket = (this.hash[entry] as number) & (this.buckets.length - 1);
    const after = this.next[entry] as number;
    let before = this.buckets[bucket] as number;
    if (before === entry) this.buckets[bucket] = after;
    else {
      while (this.next[before] !== entry) before = this.next[before] as number;
      this.next[before] = after;
    }
    this.next[entry] = this.free;
    this.free = entry;
  }

  private link(entry: number): void {
    const bucket = (this.hash[entry] as number) & (this.buckets.length - 1);
    this.next[entry] = this.buckets[bucket] as number;
    this.buckets[bucket] = entry;
  }

  /** Twice the room, up to the power of two that holds maxEntries. Nothing is free when it is called. */
  private grow(): void {
    const before = this.capacity;
    const capacity = Math.max(FIRST_ENTRIES, before * 2);
    this.capacity = capacity;
    const ints = (old: Int32Array): Int32Array => copyInto(new Int32Array(capacity), old);
    const uints = (old: Uint32Array): Uint32Array => copyInto(new Uint32Array(capacity), old);
    const doubles = (old: Float64Array): Float64Array => copyInto(new Float64Array(capacity), old);
    for (const name of ['next', 'hash', 'argsHash', 'newer', 'older', 'account', 'accountNewer'] as const)
      this[name] = ints(this[name]);
    for (const name of ['xid', 'program', 'version', 'procedure', 'argsBytes', 'size'] as const)
      this[name] = uints(this[name]);
    for (const name of ['source', 'finishedAt'] as const) this[name] = doubles(this[name]);
    this.isFinished = copyInto(new Uint8Array(capacity), this.isFinished);
    this.buckets = new Int32Array(capacity * 2).fill(NONE);
    for (let entry = 0; entry < before; entry++) this.link(entry);
    for (let entry = before; entry < capacity; entry++) {
      this.next[entry] = entry + 1 < capacity ? entry + 1 : NONE;
      this.text[entry] = undefined;
      this.large[entry] = undefined;
    }
    this.free = before;
  }

  /** Mixed after each part: parts that are only joined by XOR cancel each other out, as a sender may choose them. */
  private hashOf(source: number | string, xid: number, argsHash: number): number {
    let hash = mix(mix(this.seed ^ xid) ^ argsHash);
    if (typeof source === 'number') {
      hash = mix(hash ^ ((source % 0x1_0000_0000) | 0));
      return mix(hash ^ (source / 0x1_0000_0000));
    }
    for (let i = 0; i < source.length; i++) hash = mix(hash ^ source.charCodeAt(i));
    return hash;
  }
}

/** A bound on the bound: 16 million entries take two gigabytes. */
const MOST_ENTRIES = 16_777_216;
/** The size of an answer that was silence. */
const NO_REPLY = 0xffff_ffff;

/** Longest name of a caller that is stored as it is; of a longer one its SHA-256 is stored. */
const MAX_CALLER_LENGTH = 64;

/**
 * A sender whose messages a security mechanism accepted. It differs from every address alone (those have characters up to
 * 0xff): whoever forges the address, without the mechanism, must not be sent the reply, which is stored in the clear.
 */
function securedSender(source: number | string, caller: string): string {
  const name =
    caller.length > MAX_CALLER_LENGTH ? createHash('sha256').update(caller).digest('base64') : caller;
  return `\uffff${name}\uffff${source}`;
}

function copyInto<T extends Int32Array | Uint32Array | Float64Array | Uint8Array>(larger: T, old: T): T {
  larger.set(old);
  return larger;
}

function hashBytes(bytes: Uint8Array, from: number, seed: number): number {
  let hash = seed;
  const end = bytes.length;
  let at = from;
  for (; at + 4 <= end; at += 4)
    hash = mix(hash ^ ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!));
  for (; at < end; at++) hash = mix(hash ^ bytes[at]!);
  return hash;
}

function mix(value: number): number {
  const first = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d);
  return Math.imul(first ^ (first >>> 13), 0x297a2d39) ^ (first >>> 16);
}
