/**
 * The duplicate request cache. Over UDP a call may arrive twice: because the network doubled it,
 * or because its reply was lost and the caller sent it again. A call that is under way is dropped,
 * one that was answered gets the same bytes once more: so a procedure runs once as long as its
 * entry lives. The key is who sent it, xid, program, version, procedure and a hash of the
 * arguments, lest an xid that comes round again gets an old answer. Bounded by count, bytes and age;
 * pure but for the clock it is told.
 */

import { randomInt } from 'node:crypto';
import type { CallHeader } from './message.js';

/** Bounds of a duplicate request cache. */
export interface DupCacheOptions {
  /** Most calls remembered, finished and under way together. Default {@link DEFAULT_DUP_CACHE_ENTRIES}. */
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
  /** Calls not taken because all room was held by calls under way. */
  readonly refused: number;
}

const SLAB_BYTES = 65_536;

/** One call remembered. */
export class DupEntry {
  readonly hash: number;
  readonly source: number | string;
  readonly xid: number;
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly argsHash: number;
  readonly argsBytes: number;
  isFinished = false;
  finishedAt = 0;
  slab: Uint8Array | undefined;
  start = 0;
  size = 0;
  /** The next entry of the same hash. */
  next: DupEntry | undefined;
  /** The entry that finished after this one. */
  newer: DupEntry | undefined;

  constructor(
    hash: number,
    source: number | string,
    header: CallHeader,
    argsHash: number,
    argsBytes: number,
  ) {
    this.hash = hash;
    this.source = source;
    this.xid = header.xid;
    this.program = header.program;
    this.version = header.version;
    this.procedure = header.procedure;
    this.argsHash = argsHash;
    this.argsBytes = argsBytes;
  }

  /** The bytes of the answer; none where the call was met with silence. */
  get reply(): Uint8Array | undefined {
    return this.slab?.subarray(this.start, this.start + this.size);
  }
}

/** See the head of this file. Times are milliseconds of any clock that does not go back. */
export class DupCache {
  private readonly maxEntries: number;
  private readonly maxBytes: number;
  private readonly maxAgeMs: number;
  /** Differs from cache to cache, so that nobody can choose calls of one hash. */
  private readonly seed = randomInt(0x7fff_ffff);
  private readonly buckets = new Map<number, DupEntry>();
  /** Finished entries in the order they finished, which is the order they go in. */
  private oldest: DupEntry | undefined;
  private newest: DupEntry | undefined;
  private slab = new Uint8Array(0);
  private slabAt = 0;
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
    for (const [name, value] of Object.entries({ maxEntries: this.maxEntries, maxAgeMs: this.maxAgeMs }))
      if (!(value >= 1)) throw new RangeError(`${name} is ${value}; it must be at least 1`);
  }

  stats(): DupCacheStats {
    const { entries, bytes, inProgress, misses, replayed, dropped, evicted, refused } = this;
    return { entries, bytes, inProgress, misses, replayed, dropped, evicted, refused };
  }

  /**
   * A call came: `args` are the bytes of `message` from `argsAt` on. Its new entry where it is the
   * first of its kind; the entry of the first where it is a duplicate, counted as replayed or dropped;
   * undefined where there is no room, and the call is better not run.
   */
  begin(
    source: number | string,
    header: CallHeader,
    message: Uint8Array,
    argsAt: number,
    nowMs: number,
  ): { readonly entry: DupEntry; readonly isNew: boolean } | undefined {
    this.expire(nowMs);
    const argsHash = hashBytes(message, argsAt, this.seed);
    const argsBytes = message.length - argsAt;
    const hash = this.hashOf(source, header.xid ^ argsHash);
    const first = this.buckets.get(hash);
    for (let entry = first; entry !== undefined; entry = entry.next) {
      if (
        entry.xid === header.xid &&
        entry.source === source &&
        entry.argsHash === argsHash &&
        entry.argsBytes === argsBytes &&
        entry.procedure === header.procedure &&
        entry.program === header.program &&
        entry.version === header.version
      ) {
        if (entry.isFinished) this.replayed += 1;
        else this.dropped += 1;
        return { entry, isNew: false };
      }
    }
    if (this.entries >= this.maxEntries && !this.evictOldest()) {
      this.refused += 1;
      return undefined;
    }
    const entry = new DupEntry(hash, source, header, argsHash, argsBytes);
    // Looked up anew: making room may have taken the first of this bucket.
    entry.next = this.buckets.get(hash);
    this.buckets.set(hash, entry);
    this.entries += 1;
    this.inProgress += 1;
    this.misses += 1;
    return { entry, isNew: true };
  }

  /** The call was answered with these bytes, which are copied; undefined for silence. */
  finish(entry: DupEntry, reply: Uint8Array | undefined, nowMs: number): void {
    if (entry.isFinished) return;
    entry.isFinished = true;
    entry.finishedAt = nowMs;
    this.inProgress -= 1;
    if (this.newest === undefined) this.oldest = entry;
    else this.newest.newer = entry;
    this.newest = entry;
    if (reply === undefined) return;
    const size = reply.length;
    while (this.bytes + size > this.maxBytes && this.oldest !== entry) this.evictOldest();
    if (this.bytes + size > this.maxBytes) {
      // A reply larger than all room there is: not remembered, so the call may be run again.
      this.evictOldest();
      return;
    }
    if (this.slabAt + size > this.slab.length) {
      this.slab = new Uint8Array(Math.max(SLAB_BYTES, size));
      this.slabAt = 0;
    }
    this.slab.set(reply, this.slabAt);
    entry.slab = this.slab;
    entry.start = this.slabAt;
    entry.size = size;
    this.slabAt += size;
    this.bytes += size;
  }

  /** Forgets what is past its age. Called by each {@link begin}; others call it to give memory back while idle. */
  expire(nowMs: number): void {
    const before = nowMs - this.maxAgeMs;
    while (this.oldest !== undefined && this.oldest.finishedAt <= before) this.removeOldest(this.oldest);
  }

  private evictOldest(): boolean {
    if (this.oldest === undefined) return false;
    this.evicted += 1;
    this.removeOldest(this.oldest);
    return true;
  }

  private removeOldest(entry: DupEntry): void {
    this.oldest = entry.newer;
    if (this.oldest === undefined) this.newest = undefined;
    this.entries -= 1;
    this.bytes -= entry.size;
    const first = this.buckets.get(entry.hash);
    if (first === entry) {
      if (entry.next === undefined) this.buckets.delete(entry.hash);
      else this.buckets.set(entry.hash, entry.next);
      return;
    }
    for (let before = first; before !== undefined; before = before.next) {
      if (before.next === entry) {
        before.next = entry.next;
        return;
      }
    }
  }

  /** A small integer, which a Map finds fastest. */
  private hashOf(source: number | string, rest: number): number {
    let hash = this.seed ^ rest;
    if (typeof source === 'number') {
      hash = mix(hash ^ ((source % 0x1_0000_0000) | 0));
      hash = mix(hash ^ (source / 0x1_0000_0000));
    } else {
      for (let i = 0; i < source.length; i++) hash = mix(hash ^ source.charCodeAt(i));
    }
    return hash & 0x3fff_ffff;
  }
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
