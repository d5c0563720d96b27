/**
 * The store of kv: entries, counters and the tokens of late changes in one LevelDB. Changes that
 * wait together are written together, flushed to the disk, and only then reported. It knows no
 * calls.
 *
 *   d KEY    revision (8 bytes), value
 *   m        entries, bytes, revision (8 bytes each)
 *   t SLOT   token (16 bytes), revision (8 bytes), kind (1 byte), key
 */

import type { BatchOperation, ClassicLevel } from 'classic-level';
import { importOptional } from '../../runtime/protocol.js';
import { limit } from '../support/limits.js';

/** What a change does. */
export type Kind = 'put' | 'update' | 'delete';

/** One change that is asked for. */
export interface Change {
  readonly kind: Kind;
  readonly key: string;
  /** Nothing for a deletion. */
  readonly value: Uint8Array;
  /** 16 bytes; all zero for none. */
  readonly token: Uint8Array;
}

/** What came of a change. */
export type Changed = { readonly revision: bigint } | 'exists' | 'not found' | 'full' | 'busy';

/** One entry as stored. */
export interface Entry {
  readonly key: string;
  readonly value: Uint8Array;
  readonly revision: bigint;
}

/** Bounds of a {@link Store}. */
export interface StoreLimits {
  /** Most entries. Default {@link DEFAULT_MAX_STORED}. */
  readonly maxEntries?: number;
  /** Most bytes of all keys and values. Default {@link DEFAULT_MAX_STORED_BYTES}. */
  readonly maxBytes?: number;
  /** Most changes that wait for the disk. Default {@link DEFAULT_MAX_QUEUED}. */
  readonly maxQueued?: number;
}

/** Default for the entries of a store: a million. */
export const DEFAULT_MAX_STORED = 1_000_000;
/** Default for the bytes of all keys and values: 1 GiB. */
export const DEFAULT_MAX_STORED_BYTES = 1024 ** 3;
/** Default for the changes that wait for the disk. */
export const DEFAULT_MAX_QUEUED = 1_024;
/** How many late changes are known by their tokens, also after a restart. */
export const REMEMBERED_TOKENS = 4_096;

/** Most changes, and most bytes of values, that are written at once. */
const MAX_LUMP = 256;
const MAX_LUMP_BYTES = 4 * 1024 * 1024;
const TOKEN_BYTES = 16;
const KINDS: readonly Kind[] = ['put', 'update', 'delete'];

type Database = ClassicLevel<Buffer, Buffer>;
type Operation = BatchOperation<Database, Buffer, Buffer>;

interface Counters {
  entries: bigint;
  bytes: bigint;
  revision: bigint;
}

interface Remembered {
  readonly revision: bigint;
  readonly kind: Kind;
  readonly key: string;
  readonly slot: number;
}

interface Queued {
  readonly change: Change;
  readonly resolve: (changed: Changed) => void;
  readonly reject: (error: unknown) => void;
}

/** Entries on disk. Made by {@link openStore}. */
export class Store {
  private readonly db: Database;
  private readonly maxEntries: bigint;
  private readonly maxBytes: bigint;
  private readonly maxQueued: number;
  private readonly onChange: (kind: Kind, key: string, revision: bigint) => void;
  private readonly tokens = new Map<string, Remembered>();
  private readonly slots: (string | undefined)[] = [];
  private readonly queue: Queued[] = [];
  private counters: Counters = { entries: 0n, bytes: 0n, revision: 0n };
  private writing: Promise<void> | undefined;

  constructor(db: Database, limits: StoreLimits, onChange: Store['onChange']) {
    this.db = db;
    this.maxEntries = BigInt(limit('maxEntries', limits.maxEntries, DEFAULT_MAX_STORED, 1, 1e12));
    this.maxBytes = BigInt(limit('maxBytes', limits.maxBytes, DEFAULT_MAX_STORED_BYTES, 1, 1e15));
    this.maxQueued = limit('maxQueued', limits.maxQueued, DEFAULT_MAX_QUEUED, 1, 1_000_000);
    this.onChange = onChange;
  }

  /** Reads the counters and the tokens. */
  async load(): Promise<void> {
    const counters = await this.db.get(Buffer.from('m'));
    if (counters !== undefined)
      this.counters = {
        entries: counters.readBigUInt64BE(0),
        bytes: counters.readBigUInt64BE(8),
        revision: counters.readBigUInt64BE(16),
      };
    for await (const [slot, row] of this.db.iterator({ gte: Buffer.from('t'), lt: Buffer.from('u') })) {
      this.remember(row.toString('hex', 0, TOKEN_BYTES), {
        slot: slot.readUInt16BE(1),
        revision: row.readBigUInt64BE(TOKEN_BYTES),
        kind: KINDS[row[TOKEN_BYTES + 8] ?? 0] ?? 'put',
        key: row.toString('utf8', TOKEN_BYTES + 9),
      });
    }
  }

  /** Entries, bytes of all keys and values, and the revision of the last change. */
  get statistics(): Readonly<Counters> {
    return this.counters;
  }

  /** The entry under a key, as it is on disk. */
  async get(key: string): Promise<Entry | undefined> {
    const row = await this.db.get(keyOf(key));
    return row === undefined ? undefined : entryOf(key, row);
  }

  /**
   * Entries after `after` whose keys begin with `prefix`, in the order of the keys' bytes, read as
   * they are wanted from one state of the store.
   */
  async *list(prefix: string, after: string): AsyncGenerator<Entry> {
    const start = keyOf(prefix);
    const behind = keyOf(after);
    const from = Buffer.compare(behind, start) >= 0 && after !== '' ? { gt: behind } : { gte: start };
    for await (const [key, row] of this.db.iterator({ ...from, lt: Buffer.from('e') })) {
      if (!key.subarray(0, start.length).equals(start)) return;
      yield entryOf(key.toString('utf8', 1), row);
    }
  }

  /** Makes a change; resolves when it is on disk, or is not to be. Rejects with the database's error. */
  change(change: Change): Promise<Changed> {
    if (this.queue.length >= this.maxQueued) return Promise.resolve('busy');
    return new Promise((resolve, reject) => {
      this.queue.push({ change, resolve, reject });
      this.writing ??= this.writeAll().finally(() => {
        this.writing = undefined;
      });
    });
  }

  /** Finishes what waits and closes the files. */
  async close(): Promise<void> {
    await this.writing;
    await this.db.close();
  }

  private async writeAll(): Promise<void> {
    while (this.queue.length > 0) await this.writeLump(this.takeLump());
  }

  private takeLump(): Queued[] {
    let bytes = 0;
    let count = 0;
    for (const { change } of this.queue) {
      bytes += change.value.length;
      if (count === MAX_LUMP || (count > 0 && bytes > MAX_LUMP_BYTES)) break;
      count += 1;
    }
    return this.queue.splice(0, count);
  }

  /** Decides about each change in turn, as if those before it were written already, and writes all at once. */
  private async writeLump(lump: readonly Queued[]): Promise<void> {
    const staged = new Lump(this.db, { ...this.counters });
    const outcomes: { changed: Changed; isNew: boolean }[] = [];
    try {
      for (const { change } of lump) {
        const token = Buffer.from(change.token).toString('hex');
        const before = this.tokens.get(token) ?? staged.tokens.get(token);
        // The same change again: its reply was lost, or the server died between disk and reply.
        if (before !== undefined && before.kind === change.kind && before.key === change.key)
          outcomes.push({ changed: { revision: before.revision }, isNew: false });
        else outcomes.push({ changed: await this.stage(staged, change, token), isNew: true });
      }
      if (staged.operations.length > 0) {
        staged.operations.push({
          type: 'put',
          key: Buffer.from('m'),
          value: numbers(staged.counters.entries, staged.counters.bytes, staged.counters.revision),
        });
        await this.db.batch(staged.operations, { sync: true });
      }
    } catch (error) {
      for (const { reject } of lump) reject(error);
      return;
    }
    this.counters = staged.counters;
    for (const [token, remembered] of staged.tokens) this.remember(token, remembered);
    lump.forEach(({ change, resolve }, i) => {
      const { changed, isNew } = outcomes[i]!;
      if (isNew && typeof changed === 'object') this.onChange(change.kind, change.key, changed.revision);
      resolve(changed);
    });
  }

  private async stage(staged: Lump, change: Change, token: string): Promise<Changed> {
    const { kind, value } = change;
    const { counters } = staged;
    const key = keyOf(change.key);
    const keyBytes = key.length - 1;
    const had = await staged.sizeOf(key);
    if (kind === 'put' && had !== undefined) return 'exists';
    if (kind !== 'put' && had === undefined) return 'not found';
    const has = kind === 'delete' ? undefined : keyBytes + value.length;
    const entries = counters.entries + BigInt(has === undefined ? 0 : 1) - BigInt(had === undefined ? 0 : 1);
    const bytes = counters.bytes + BigInt((has ?? 0) - (had ?? 0));
    const grows = bytes > counters.bytes || entries > counters.entries;
    if (grows && (entries > this.maxEntries || bytes > this.maxBytes)) return 'full';
    const revision = counters.revision + 1n;
    Object.assign(counters, { entries, bytes, revision });
    staged.set(key, has, kind === 'delete' ? undefined : Buffer.concat([numbers(revision), value]));
    if (!/^0*$/.test(token)) {
      const slot = Number(revision % BigInt(REMEMBERED_TOKENS));
      staged.tokens.set(token, { revision, kind, key: change.key, slot });
      const row = [change.token, numbers(revision), Uint8Array.of(KINDS.indexOf(kind)), key.subarray(1)];
      staged.operations.push({ type: 'put', key: slotKey(slot), value: Buffer.concat(row) });
    }
    return { revision };
  }

  /** Each slot holds one token: the newest of its revisions. */
  private remember(token: string, remembered: Remembered): void {
    const gone = this.slots[remembered.slot];
    if (gone !== undefined) this.tokens.delete(gone);
    this.slots[remembered.slot] = token;
    this.tokens.set(token, remembered);
  }
}

/** Changes that are decided and not yet written. */
class Lump {
  readonly operations: Operation[] = [];
  readonly tokens = new Map<string, Remembered>();
  readonly counters: Counters;
  private readonly db: Database;
  private readonly sizes = new Map<string, number | undefined>();

  constructor(db: Database, counters: Counters) {
    this.db = db;
    this.counters = counters;
  }

  /** Bytes of key and value, or undefined where there is no such key. */
  async sizeOf(key: Buffer): Promise<number | undefined> {
    const name = key.toString('latin1');
    if (this.sizes.has(name)) return this.sizes.get(name);
    const row = await this.db.get(key);
    return row === undefined ? undefined : key.length - 1 + row.length - 8;
  }

  set(key: Buffer, size: number | undefined, row: Buffer | undefined): void {
    this.sizes.set(key.toString('latin1'), size);
    this.operations.push(row === undefined ? { type: 'del', key } : { type: 'put', key, value: row });
  }
}

/**
 * Opens the store in a folder, which is made where it is not there. Rejects with an Error that says
 * why: in use by another process, no permission, not a store.
 */
export async function openStore(
  folder: string,
  limits: StoreLimits,
  onChange: (kind: Kind, key: string, revision: bigint) => void,
): Promise<Store> {
  const { ClassicLevel } = await importOptional('classic-level', 'kv', () => import('classic-level'));
  const db: Database = new ClassicLevel(folder, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  const store = new Store(db, limits, onChange);
  try {
    await db.open();
    await store.load();
  } catch (error) {
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    const isLocked = cause instanceof Error && 'code' in cause && cause.code === 'LEVEL_LOCKED';
    const why = isLocked ? 'another process has it open' : cause instanceof Error ? cause.message : '';
    throw new Error(`the store in ${folder} cannot be opened: ${why}`, { cause: error });
  }
  return store;
}

function keyOf(key: string): Buffer {
  return Buffer.from(`d${key}`);
}

function slotKey(slot: number): Buffer {
  return Buffer.from([0x74, slot >> 8, slot & 0xff]);
}

function numbers(...values: readonly bigint[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [i, value] of values.entries()) bytes.writeBigUInt64BE(value, i * 8);
  return bytes;
}

function entryOf(key: string, row: Buffer): Entry {
  return { key, revision: row.readBigUInt64BE(0), value: row.subarray(8) };
}
