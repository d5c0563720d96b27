/**
 * What outlives the daemon. The journal has every change before it is acknowledged, one line each, so
 * that SIGKILL loses nothing. The snapshot is what the C rpcbind reads and writes: `rpcbind.xdr`, the
 * list of version 4, and `portmap.xdr`, that of version 2, in XDR; so one can take over from the other.
 *
 *   rpcbind-ts journal 1
 *   <16 hex digits of SHA-256> {"set":[{"program":...}]}
 *   <16 hex digits of SHA-256> {"unset":[[program,version,"netid"]]}
 *
 * A last line without its end was never acknowledged and is left out. Any other line that is not as it
 * was written means that the file cannot be believed: it is set aside whole.
 */

import { createHash } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  futimesSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { type Codec, decode, encode } from '../xdr/index.js';
import type { Keeper } from './binder.js';
import { RpcbindError } from './errors.js';
import type { AddressRegistration, Entry } from './registry.js';
import {
  PMAP_IPPROTO_TCP,
  PMAP_IPPROTO_UDP,
  type pmaplist,
  pmaplistCodec,
  type rpcblist_ptr,
  rpcblist_ptrCodec,
} from './rpcbind.gen.js';
import { formatUaddr } from './uaddr.js';

/** Where Debian's rpcbind keeps its files. */
export const STATE_FOLDER = '/run/rpcbind';
export const JOURNAL_FILE = 'rpcbind.journal';
export const SNAPSHOT_FILE = 'rpcbind.xdr';
export const PORTMAP_FILE = 'portmap.xdr';
/** Lines that say nothing any more, before the journal is written anew. */
export const MAX_DEAD_LINES = 4_096;
/** Largest file that is read: 64 MiB. */
export const MAX_STATE_BYTES = 64 * 1024 * 1024;

const HEADER = 'rpcbind-ts journal 1\n';
const SUM_DIGITS = 16;
const PRIVATE = 0o600;

/** A registration, and whether a listener was seen at its address. */
export interface Kept extends AddressRegistration {
  readonly wasAlive: boolean;
}

type Change =
  | { readonly set: readonly Kept[] }
  | { readonly unset: readonly (readonly [program: number, version: number, netid: string])[] };

/** The files of one daemon in one folder. No other process may use the folder at the same time. */
export class WarmStart implements Keeper {
  private readonly folder: string;
  private readonly table: () => Iterable<Entry>;
  private readonly warn: (text: string) => void;
  private fd: number | undefined;
  /** Bytes of whole lines in the journal that was recovered from; undefined where it was not. */
  private recoveredBytes: number | undefined;
  private deadLines = 0;

  /**
   * `table` is what there is to keep; `warn` is told of what went wrong without a loss. Throws RpcbindError
   * `RPCBIND_STATE` where the folder cannot be made.
   */
  constructor(folder: string, table: () => Iterable<Entry>, warn: (text: string) => void) {
    this.folder = folder;
    this.table = table;
    this.warn = warn;
    try {
      // One level alone: Node's recursive mkdir never ends where a parent takes no folders (/proc).
      if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) mkdirSync(folder);
    } catch (cause) {
      throw stateError(folder, cause);
    }
  }

  /**
   * What was registered when the last daemon ended, ours or the C one: of journal and snapshot the one
   * written later. A file that is damaged is renamed and never used in part.
   */
  recover(): Kept[] {
    const journalAt = this.writtenAt(JOURNAL_FILE);
    const snapshotAt = this.writtenAt(SNAPSHOT_FILE);
    const journalFirst = journalAt !== undefined && (snapshotAt === undefined || journalAt >= snapshotAt);
    const sources = [
      { file: JOURNAL_FILE, read: (bytes: Buffer) => this.readJournal(bytes) },
      { file: SNAPSHOT_FILE, read: readSnapshot },
      { file: PORTMAP_FILE, read: readPortmap },
    ];
    if (!journalFirst) sources.push(sources.shift() as (typeof sources)[number]);
    for (const { file, read } of sources) {
      try {
        const bytes = this.readWhole(file);
        if (bytes !== undefined) return read(bytes);
      } catch (error) {
        this.warn(`${path.join(this.folder, file)} is damaged (${reasonOf(error)}): ${this.setAside(file)}`);
      }
    }
    return [];
  }

  /**
   * Starts the journal with what the table holds now; where there is no room for that, goes on with the one that was
   * recovered from. Throws RpcbindError `RPCBIND_STATE`.
   */
  open(): void {
    try {
      if (this.recoveredBytes === undefined) this.rewrite();
      else {
        this.fd = openSync(path.join(this.folder, JOURNAL_FILE), 'a', PRIVATE);
        ftruncateSync(this.fd, this.recoveredBytes);
        this.shorten();
      }
    } catch (cause) {
      throw stateError(this.folder, cause);
    }
  }

  /** On disk, or the call throws and the file is as before. */
  added(entry: Entry): void {
    this.append({ set: [kept(entry)] });
  }

  /** All of them in one line: on disk together, or not at all. */
  removed(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.append({ unset: entries.map(({ program, version, netid }) => [program, version, netid]) });
    this.deadLines += 1 + entries.length;
    if (this.deadLines < MAX_DEAD_LINES) return;
    this.shorten(new Set(entries));
  }

  /** Writes the snapshot in the C daemon's format, and ends the journal. Throws RpcbindError `RPCBIND_STATE`. */
  close(): void {
    if (this.fd === undefined) return;
    try {
      const entries = [...this.table()];
      closeSync(this.replace(SNAPSHOT_FILE, encode(rpcblist_ptrCodec, rowsOf(entries))));
      closeSync(this.replace(PORTMAP_FILE, encode(pmaplistCodec, mappingsOf(entries))));
      // Last, so that it is the later one: it knows more than the snapshot.
      this.shorten();
      if (this.fd !== undefined) futimesSync(this.fd, new Date(), new Date());
    } catch (cause) {
      throw stateError(this.folder, cause);
    } finally {
      if (this.fd !== undefined) closeSync(this.fd);
      this.fd = undefined;
    }
  }

  private append(change: Change): void {
    if (this.fd === undefined) return;
    const before = fstatSync(this.fd).size;
    try {
      writeAll(this.fd, Buffer.from(lineOf(change)));
    } catch (cause) {
      ftruncateSync(this.fd, before);
      throw stateError(this.folder, cause);
    }
  }

  private rewrite(without: ReadonlySet<Entry> = new Set()): void {
    const lines = [HEADER];
    for (const entry of this.table())
      if (!entry.isPermanent && !without.has(entry)) lines.push(lineOf({ set: [kept(entry)] }));
    const fd = this.replace(JOURNAL_FILE, Buffer.from(lines.join('')));
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = fd;
    this.deadLines = 0;
  }

  /**
   * A new file in the place of an old one: there is never half of it. Its descriptor, open to append to: to open it
   * once it is in place might fail, with the old one gone.
   */
  private replace(file: string, bytes: Uint8Array): number {
    const target = path.join(this.folder, file);
    const fd = openSync(`${target}.new`, 'a', PRIVATE);
    try {
      ftruncateSync(fd, 0);
      writeAll(fd, bytes);
      renameSync(`${target}.new`, target);
      return fd;
    } catch (error) {
      closeSync(fd);
      // What is there of it takes up room, on a disk that may have none.
      rmSync(`${target}.new`, { force: true });
      throw error;
    }
  }

  private readJournal(bytes: Buffer): Kept[] {
    const text = bytes.toString('utf8');
    if (!text.startsWith(HEADER)) throw new Error('it does not begin as a journal does');
    const end = text.lastIndexOf('\n') + 1;
    if (end !== text.length)
      this.warn(
        `${path.join(this.folder, JOURNAL_FILE)} ends within a line, which was never acknowledged and is left out`,
      );
    const found = new Map<string, Kept>();
    const lines = text.slice(HEADER.length, end).split('\n').slice(0, -1);
    lines.forEach((line, i) => {
      const change = changeOf(line);
      if (change === undefined) throw new Error(`line ${i + 2} is not as it was written`);
      if ('set' in change)
        for (const one of change.set) found.set(keyOf(one.program, one.version, one.netid), one);
      else for (const key of change.unset) found.delete(keyOf(...key));
    });
    this.recoveredBytes = Buffer.byteLength(text.slice(0, end));
    return [...found.values()];
  }

  private readWhole(file: string): Buffer | undefined {
    const name = path.join(this.folder, file);
    const size = statSync(name, { throwIfNoEntry: false })?.size;
    if (size === undefined) return undefined;
    if (size > MAX_STATE_BYTES) throw new Error(`${size} bytes, where ${MAX_STATE_BYTES} are read`);
    return readFileSync(name);
  }

  private writtenAt(file: string): number | undefined {
    return statSync(path.join(this.folder, file), { throwIfNoEntry: false })?.mtimeMs;
  }

  /** Writes the journal anew, where that can be done: the long one says the same. */
  private shorten(without?: ReadonlySet<Entry>): void {
    try {
      this.rewrite(without);
    } catch (error) {
      this.deadLines = 0;
      this.warn(`${path.join(this.folder, JOURNAL_FILE)} stays long for now: ${reasonOf(error)}`);
    }
  }

  private setAside(file: string): string {
    const aside = `${path.join(this.folder, file)}.damaged-${Date.now()}`;
    try {
      renameSync(path.join(this.folder, file), aside);
      return `set aside as ${aside}`;
    } catch (error) {
      return `it cannot be set aside either: ${reasonOf(error)}`;
    }
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

function lineOf(change: Change): string {
  const text = JSON.stringify(change);
  return `${sumOf(text)} ${text}\n`;
}

function changeOf(line: string): Change | undefined {
  const text = line.slice(SUM_DIGITS + 1);
  return line.slice(0, SUM_DIGITS) === sumOf(text) ? (JSON.parse(text) as Change) : undefined;
}

function sumOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, SUM_DIGITS);
}

function keyOf(program: number, version: number, netid: string): string {
  return `${program} ${version} ${netid}`;
}

function kept({ program, version, netid, address, owner, wasAlive }: Entry): Kept {
  return { program, version, netid, address, owner, wasAlive };
}

function rowsOf(entries: readonly Entry[]): rpcblist_ptr {
  return entries.map(({ program, version, netid, address, owner }) => ({
    rpcb_map: { r_prog: program, r_vers: version, r_netid: netid, r_addr: address, r_owner: owner },
  }));
}

function mappingsOf(entries: readonly Entry[]): pmaplist {
  return entries.flatMap(({ program, version, netid, port }) => {
    const prot = netid === 'udp' ? PMAP_IPPROTO_UDP : netid === 'tcp' ? PMAP_IPPROTO_TCP : 0;
    return prot === 0 ? [] : [{ map: { prog: program, vers: version, prot, port } }];
  });
}

/** Whether their listeners were ever there the C daemon does not say. */
function readSnapshot(bytes: Buffer): Kept[] {
  return whole(rpcblist_ptrCodec, bytes).map(({ rpcb_map: row }) => ({
    program: row.r_prog,
    version: row.r_vers,
    netid: row.r_netid,
    address: row.r_addr,
    owner: row.r_owner,
    wasAlive: false,
  }));
}

function readPortmap(bytes: Buffer): Kept[] {
  return whole(pmaplistCodec, bytes).flatMap(({ map }) => {
    const netid = map.prot === PMAP_IPPROTO_UDP ? 'udp' : map.prot === PMAP_IPPROTO_TCP ? 'tcp' : undefined;
    if (netid === undefined || map.port > 65_535) return [];
    const address = formatUaddr('0.0.0.0', map.port);
    return [{ program: map.prog, version: map.vers, netid, address, owner: 'unknown', wasAlive: false }];
  });
}

function whole<T>(codec: Codec<T>, bytes: Buffer): T {
  return decode(codec, bytes);
}

function stateError(folder: string, cause: unknown): RpcbindError {
  return new RpcbindError(
    'RPCBIND_STATE',
    `registrations cannot be kept in ${folder}: ${reasonOf(cause)}`,
    cause,
  );
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
