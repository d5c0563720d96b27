/**
 * What outlives the daemon. The journal has every change before it is acknowledged, one line each, so
 * that SIGKILL loses nothing. The snapshot is what the C rpcbind reads and writes: `rpcbind.xdr`, the
 * list of version 4, and `portmap.xdr`, that of version 2, in XDR; so one can take over from the other.
 *
 *   rpcbind-ts journal 2 <64 hex digits: SHA-256 of rpcbind.xdr, or "-">
 *   <16 hex digits of SHA-256> {"set":[{"program":...}]}
 *   <16 hex digits of SHA-256> {"unset":[[program,version,"netid","owner"]]}
 *
 * An "unset" keeps the place for its owner; one without an owner, for nobody.
 *
 * The digest says which snapshot the journal goes on from. Where `rpcbind.xdr` is another by now, the C daemon has run
 * since, and its snapshot counts; else the journal does. Clocks are not asked: they can be set back. Version 1, which had
 * no digest, is read where its file is the later one.
 *
 * A last line without its end was never acknowledged and is left out. Any other line that is not as it
 * was written means that the file cannot be believed: it is set aside whole.
 */

import { createHash } from 'node:crypto';
import { closeSync, fstatSync, ftruncateSync } from 'node:fs';
import { type Codec, decode, encode } from '../../xdr/index.js';
import { RpcbindError } from '../errors.js';
import {
  PMAP_IPPROTO_TCP,
  PMAP_IPPROTO_UDP,
  type pmaplist,
  pmaplistCodec,
  type rpcblist_ptr,
  rpcblist_ptrCodec,
} from '../rpcbind.gen.js';
import type { HeldRegistration } from '../table/holds.js';
import { UNKNOWN } from '../table/registry.js';
import { formatUaddr, parseUaddr } from '../uaddr.js';
import { StateFiles, writeAll } from './files.js';
import { type StateLock, takeLock } from './lock.js';
import {
  type CurrentTable,
  type RegistrationStore,
  type StoredRegistration,
  type StoredTable,
  storeKey,
  THIS_HOST,
} from './store.js';

/** Where Debian's rpcbind keeps its files. */
export const STATE_FOLDER = '/run/rpcbind';
export const JOURNAL_FILE = 'rpcbind.journal';
export const SNAPSHOT_FILE = 'rpcbind.xdr';
export const PORTMAP_FILE = 'portmap.xdr';
/** Lines that say nothing any more, before the journal is written anew. */
export const MAX_DEAD_LINES = 4_096;

const HEADER = /^rpcbind-ts journal (\d+)(?: ([0-9a-f]{64}|-))?\n/;
const VERSION = 2;
const NO_SNAPSHOT = '-';
const SUM_DIGITS = 16;

type FileForm = Omit<StoredRegistration, 'host'>;

type Change =
  | { readonly set: readonly FileForm[] }
  | {
      readonly unset: readonly (readonly [program: number, version: number, netid: string, owner?: string])[];
    };

/** A journal as it was found. */
interface Journal {
  readonly version: number;
  /** The digest of the snapshot that it goes on from; undefined in version 1. */
  readonly snapshot: string | undefined;
  readonly registrations: StoredRegistration[];
  readonly holds: HeldRegistration[];
  /** Bytes of whole lines. */
  readonly bytes: number;
}

/** The files of one daemon in one folder. */
export class JournalStore implements RegistrationStore {
  private readonly files: StateFiles;
  private current: CurrentTable | undefined;
  private readonly isColdStart: boolean;
  private readonly warn: (text: string) => void;
  private lock: StateLock | undefined;
  private fd: number | undefined;
  /** Bytes of whole lines in the journal that was recovered from; undefined where it was not. */
  private recoveredBytes: number | undefined;
  /** The digest of `rpcbind.xdr` as it is now. */
  private snapshot = NO_SNAPSHOT;
  private deadLines = 0;
  /**
   * `folder` by its path, and by its descriptor where it is open already; `isColdStart` ignores what it holds; `warn` is
   * told of what went wrong without a loss. Throws RpcbindError `RPCBIND_STATE` where the folder cannot be made, or
   * where others can write to it.
   */
  constructor(
    folder: { readonly path: string; readonly fd?: number | undefined },
    isColdStart: boolean,
    warn: (text: string) => void,
  ) {
    this.isColdStart = isColdStart;
    this.warn = warn;
    try {
      this.files = new StateFiles(folder.path, folder.fd);
    } catch (cause) {
      throw stateError(folder.path, cause);
    }
  }

  /** Rejects with RpcbindError `RPCBIND_STATE` that names who has the folder, where another daemon has it. */
  async load(current: CurrentTable): Promise<StoredTable> {
    this.current = current;
    await this.acquire();
    return this.isColdStart ? { registrations: [], holds: [] } : this.recover();
  }

  /** Makes the folder this daemon's alone. */
  private async acquire(): Promise<void> {
    try {
      this.lock = await takeLock(this.files);
    } catch (cause) {
      this.files.close();
      throw stateError(this.files.folder, cause);
    }
  }

  /**
   * What was registered when the last daemon ended, ours or the C one. A file that is damaged is renamed and never used
   * in part.
   */
  private recover(): StoredTable {
    const snapshot = this.readFile(SNAPSHOT_FILE, (bytes) => ({ bytes, rows: readSnapshot(bytes) }));
    this.snapshot = snapshot === undefined ? NO_SNAPSHOT : digestOf(snapshot.value.bytes);
    const journal = this.readFile(JOURNAL_FILE, (bytes) => this.readJournal(bytes));
    if (journal !== undefined && this.isLater(journal, snapshot?.changedMs)) {
      this.recoveredBytes = journal.value.version === VERSION ? journal.value.bytes : undefined;
      return journal.value;
    }
    const registrations = snapshot?.value.rows ?? this.readFile(PORTMAP_FILE, readPortmap)?.value ?? [];
    return { registrations, holds: [] };
  }

  /** Whether the journal knows more than the snapshot: where that one is what the journal goes on from. */
  private isLater(journal: Read<Journal>, snapshotMs: number | undefined): boolean {
    if (snapshotMs === undefined) return true;
    if (journal.value.snapshot === undefined) return journal.changedMs >= snapshotMs;
    return journal.value.snapshot === this.snapshot;
  }

  /** Reads a file; where it cannot be believed, sets it aside with a warning. */
  private readFile<T>(file: string, read: (bytes: Buffer) => T): Read<T> | undefined {
    try {
      const found = this.files.read(file);
      return found === undefined ? undefined : { value: read(found.bytes), changedMs: found.changedMs };
    } catch (error) {
      const mark = error instanceof NewerVersion ? 'newer' : 'damaged';
      const what = mark === 'newer' ? 'was written by a newer rpcbind-ts' : `is damaged (${reasonOf(error)})`;
      this.warn(`${this.files.nameOf(file)} ${what}: ${this.setAside(file, mark)}`);
      return undefined;
    }
  }

  /**
   * Starts the journal with what the table holds now; where there is no room for that, goes on with the one that was
   * recovered from. Throws RpcbindError `RPCBIND_STATE`.
   */
  start(): void {
    try {
      if (this.recoveredBytes === undefined) this.rewrite();
      else {
        this.fd = this.files.append(JOURNAL_FILE);
        if (this.fd === undefined) throw new Error(`${JOURNAL_FILE} went away`);
        ftruncateSync(this.fd, this.recoveredBytes);
        this.shorten();
      }
    } catch (cause) {
      this.abandon();
      throw stateError(this.files.folder, cause);
    }
  }

  /** On disk, or the call throws and the file is as before. */
  put(registration: StoredRegistration): void {
    this.append({ set: [fileForm(registration)] });
  }

  /** All of them in one line: on disk together, or not at all. */
  delete(registrations: readonly StoredRegistration[]): void {
    if (registrations.length === 0) return;
    this.append(unsetOf(registrations));
    this.deadLines += 1 + registrations.length;
    if (this.deadLines < MAX_DEAD_LINES) return;
    this.shorten(registrations);
  }

  /**
   * Writes the snapshot in the C daemon's format, ends the journal, and gives the folder back. May be called twice.
   * Throws RpcbindError `RPCBIND_STATE`.
   */
  close(): void {
    try {
      if (this.fd === undefined) return;
      const entries = [...this.registrations()];
      const snapshot = encode(rpcblist_ptrCodec, rowsOf(entries));
      closeSync(this.files.replace(SNAPSHOT_FILE, snapshot));
      this.snapshot = digestOf(snapshot);
      closeSync(this.files.replace(PORTMAP_FILE, encode(pmaplistCodec, mappingsOf(entries))));
      // It knows more than the snapshot: whether a listener was ever seen. Where it cannot be written, the snapshot counts.
      this.shorten();
    } catch (cause) {
      throw stateError(this.files.folder, cause);
    } finally {
      this.abandon();
    }
  }

  /** Closes everything and writes nothing: what is on disk stays as it is. May be called twice. */
  abandon(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
    this.lock?.release();
    this.lock = undefined;
    this.files.close();
  }

  private append(change: Change): void {
    if (this.fd === undefined) return;
    const before = fstatSync(this.fd).size;
    try {
      writeAll(this.fd, Buffer.from(lineOf(change)));
    } catch (cause) {
      ftruncateSync(this.fd, before);
      throw stateError(this.files.folder, cause);
    }
  }

  private registrations(): Iterable<StoredRegistration> {
    return this.current?.registrations() ?? [];
  }

  /** Without those that are being deleted: the table has them until that is done. */
  private rewrite(deleted: readonly StoredRegistration[] = []): void {
    const without = new Set(deleted.map(storeKey));
    const lines = [`rpcbind-ts journal ${VERSION} ${this.snapshot}\n`];
    for (const one of this.registrations())
      if (!without.has(storeKey(one))) lines.push(lineOf({ set: [fileForm(one)] }));
    const held = [...(this.current?.holds() ?? []), ...deleted];
    if (held.length > 0) lines.push(lineOf(unsetOf(held)));
    const fd = this.files.replace(JOURNAL_FILE, Buffer.from(lines.join('')));
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = fd;
    this.deadLines = 0;
  }

  private readJournal(bytes: Buffer): Journal {
    const text = bytes.toString('utf8');
    const [header, number, snapshot] = HEADER.exec(text) ?? [];
    if (header === undefined) throw new Error('it does not begin as a journal does');
    const version = Number(number);
    if (version > VERSION) throw new NewerVersion();
    if ((snapshot === undefined) !== (version === 1)) throw new Error('line 1 is not as it was written');
    const end = text.lastIndexOf('\n') + 1;
    if (end !== text.length)
      this.warn(
        `${this.files.nameOf(JOURNAL_FILE)} ends within a line, which was never acknowledged and is left out`,
      );
    const found = new Map<string, StoredRegistration>();
    const holds = new Map<string, HeldRegistration>();
    const lines = text.slice(header.length, end).split('\n').slice(0, -1);
    lines.forEach((line, i) => {
      const change = changeOf(line);
      if (change === undefined) throw new Error(`line ${i + 2} is not as it was written`);
      if ('set' in change)
        for (const one of change.set) {
          const key = keyOf(one.program, one.version, one.netid);
          found.set(key, { ...one, host: THIS_HOST });
          holds.delete(key);
        }
      else
        for (const [program, version, netid, owner] of change.unset) {
          const key = keyOf(program, version, netid);
          found.delete(key);
          if (owner !== undefined) holds.set(key, { program, version, netid, owner });
        }
    });
    return {
      version,
      snapshot,
      registrations: [...found.values()],
      holds: [...holds.values()],
      bytes: Buffer.byteLength(text.slice(0, end)),
    };
  }

  /** Writes the journal anew, where that can be done: the long one says the same. */
  private shorten(deleted?: readonly StoredRegistration[]): void {
    try {
      this.rewrite(deleted);
    } catch (error) {
      this.deadLines = 0;
      this.warn(`${this.files.nameOf(JOURNAL_FILE)} stays long for now: ${reasonOf(error)}`);
    }
  }

  private setAside(file: string, mark: string): string {
    try {
      return `set aside as ${this.files.setAside(file, mark)}`;
    } catch (error) {
      return `it cannot be set aside either: ${reasonOf(error)}`;
    }
  }
}

/** A file as it was read, and when it was changed. */
interface Read<T> {
  readonly value: T;
  readonly changedMs: number;
}

/** Of a journal whose version is above {@link VERSION}. */
class NewerVersion extends Error {}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
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

/** What `unknown` registered is kept for nobody. */
function unsetOf(places: readonly HeldRegistration[]): Change {
  return {
    unset: places.map(({ program, version, netid, owner }) =>
      owner === UNKNOWN ? [program, version, netid] : [program, version, netid, owner],
    ),
  };
}

function keyOf(program: number, version: number, netid: string): string {
  return `${program} ${version} ${netid}`;
}

/** As a line has it: without the host, which is this one. */
function fileForm({ program, version, netid, address, owner, wasAlive }: StoredRegistration): FileForm {
  return { program, version, netid, address, owner, wasAlive };
}

function rowsOf(entries: readonly StoredRegistration[]): rpcblist_ptr {
  return entries.map(({ program, version, netid, address, owner }) => ({
    rpcb_map: { r_prog: program, r_vers: version, r_netid: netid, r_addr: address, r_owner: owner },
  }));
}

function mappingsOf(entries: readonly StoredRegistration[]): pmaplist {
  return entries.flatMap(({ program, version, netid, address }) => {
    const port = parseUaddr(netid, address)?.port ?? 0;
    const prot = netid === 'udp' ? PMAP_IPPROTO_UDP : netid === 'tcp' ? PMAP_IPPROTO_TCP : 0;
    return prot === 0 ? [] : [{ map: { prog: program, vers: version, prot, port } }];
  });
}

/** Whether their listeners were ever there the C daemon does not say. */
function readSnapshot(bytes: Buffer): StoredRegistration[] {
  return whole(rpcblist_ptrCodec, bytes).map(({ rpcb_map: row }) => ({
    program: row.r_prog,
    version: row.r_vers,
    netid: row.r_netid,
    address: row.r_addr,
    owner: row.r_owner,
    host: THIS_HOST,
    wasAlive: false,
  }));
}

function readPortmap(bytes: Buffer): StoredRegistration[] {
  return whole(pmaplistCodec, bytes).flatMap(({ map }) => {
    const netid = map.prot === PMAP_IPPROTO_UDP ? 'udp' : map.prot === PMAP_IPPROTO_TCP ? 'tcp' : undefined;
    if (netid === undefined || map.port > 65_535) return [];
    const address = formatUaddr('0.0.0.0', map.port);
    return [
      {
        program: map.prog,
        version: map.vers,
        netid,
        address,
        owner: UNKNOWN,
        host: THIS_HOST,
        wasAlive: false,
      },
    ];
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
