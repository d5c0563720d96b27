/**
 * The store of one host: files in a folder. The journal has every change before it is acknowledged, so that SIGKILL loses
 * nothing (journaltext.ts). The snapshot, in the formats of Debian's rpcbind, is written when the daemon ends
 * (snapshot.ts).
 *
 * The journal names the snapshot that it continues by its digest. If `rpcbind.xdr` is another one, Debian's rpcbind has
 * written it since, and it is read; otherwise the journal is. Clocks are not used: they can be set back. A journal of
 * version 1, which has no digest, is read if its file is the later one.
 */

import { closeSync, fstatSync, ftruncateSync } from 'node:fs';
import { RpcbindError } from '../errors.js';
import { StateFiles, writeAll } from './files.js';
import {
  digestOf,
  headerLine,
  JOURNAL_VERSION,
  type Journal,
  NewerVersionError,
  NO_SNAPSHOT,
  parseJournal,
  setLine,
  unsetLine,
} from './journaltext.js';
import { type StateLock, takeLock } from './lock.js';
import {
  decodePortmap,
  decodeSnapshot,
  encodePortmap,
  encodeSnapshot,
  PORTMAP_FILE,
  SNAPSHOT_FILE,
} from './snapshot.js';
import {
  type CurrentTable,
  type RegistrationStore,
  type StoredRegistration,
  type StoredTable,
  type StoreStats,
  storeKey,
} from './store.js';

/** The folder of Debian's rpcbind. */
export const STATE_FOLDER = '/run/rpcbind';
export const JOURNAL_FILE = 'rpcbind.journal';
/** The journal is written anew once so many of its lines are obsolete. */
export const MAX_OBSOLETE_LINES = 4_096;

/** A folder, by its path, and by its descriptor if it is open already; the descriptor remains the caller's. */
export interface StateFolder {
  readonly path: string;
  readonly fd?: number | undefined;
}

/** The files of one daemon in one folder. Every method is synchronous except {@link load}. */
export class JournalStore implements RegistrationStore {
  private readonly files: StateFiles;
  private readonly isColdStart: boolean;
  private readonly warn: (text: string) => void;
  private current: CurrentTable | undefined;
  private lock: StateLock | undefined;
  private fd: number | undefined;
  /** Bytes of whole lines in the journal that was read; undefined if none was. */
  private readBytes: number | undefined;
  /** The digest of `rpcbind.xdr` as it is now. */
  private snapshot = NO_SNAPSHOT;
  private obsoleteLines = 0;
  private rewrites = 0;

  /**
   * `isColdStart` ignores what the folder has; `warn` is told of problems without a loss. Throws RpcbindError
   * `RPCBIND_STATE` if the folder cannot be made, or if other users can write to it.
   */
  constructor(folder: StateFolder, isColdStart: boolean, warn: (text: string) => void) {
    this.isColdStart = isColdStart;
    this.warn = warn;
    try {
      this.files = new StateFiles(folder.path, folder.fd);
    } catch (cause) {
      throw stateError(folder.path, cause);
    }
  }

  /**
   * What was registered when the last daemon ended, this one or Debian's. A damaged file is renamed and never used in
   * part. Rejects with RpcbindError `RPCBIND_STATE`, which names the other daemon if one uses the folder.
   */
  async load(current: CurrentTable): Promise<StoredTable> {
    this.current = current;
    try {
      this.lock = await takeLock(this.files);
    } catch (cause) {
      this.files.close();
      throw stateError(this.files.folder, cause);
    }
    return this.isColdStart ? { registrations: [], held: [] } : this.read();
  }

  private read(): StoredTable {
    const snapshot = this.readFile(SNAPSHOT_FILE, (bytes) => ({
      digest: digestOf(bytes),
      registrations: decodeSnapshot(bytes),
    }));
    this.snapshot = snapshot?.value.digest ?? NO_SNAPSHOT;
    const journal = this.readFile(JOURNAL_FILE, parseJournal);
    if (journal?.value.isCut === true)
      this.warn(
        `${this.files.nameOf(JOURNAL_FILE)} ends within a line, which was never acknowledged and is left out`,
      );
    if (journal !== undefined && this.continuesSnapshot(journal, snapshot?.changedMs)) {
      this.readBytes = journal.value.version === JOURNAL_VERSION ? journal.value.bytes : undefined;
      return journal.value;
    }
    const registrations =
      snapshot?.value.registrations ?? this.readFile(PORTMAP_FILE, decodePortmap)?.value ?? [];
    return { registrations, held: [] };
  }

  private continuesSnapshot(journal: ReadFile<Journal>, snapshotMs: number | undefined): boolean {
    if (snapshotMs === undefined) return true;
    if (journal.value.snapshot === undefined) return journal.changedMs >= snapshotMs;
    return journal.value.snapshot === this.snapshot;
  }

  /** Reads a file; one that is damaged is renamed, with a warning. */
  private readFile<T>(file: string, parse: (bytes: Buffer) => T): ReadFile<T> | undefined {
    try {
      const found = this.files.read(file);
      return found === undefined ? undefined : { value: parse(found.bytes), changedMs: found.changedMs };
    } catch (error) {
      const isNewer = error instanceof NewerVersionError;
      const what = isNewer ? 'was written by a newer rpcbind-ts' : `is damaged (${reasonOf(error)})`;
      this.warn(`${this.files.nameOf(file)} ${what}: ${this.setAside(file, isNewer ? 'newer' : 'damaged')}`);
      return undefined;
    }
  }

  /**
   * Writes the journal with what the table has now. If there is no room for that, continues the one that was read. Throws
   * RpcbindError `RPCBIND_STATE`.
   */
  start(): void {
    try {
      if (this.readBytes === undefined) this.rewrite([]);
      else {
        this.fd = this.files.append(JOURNAL_FILE);
        if (this.fd === undefined) throw new Error(`${JOURNAL_FILE} was removed`);
        ftruncateSync(this.fd, this.readBytes);
        this.tryRewrite([]);
      }
    } catch (cause) {
      this.abandon();
      throw stateError(this.files.folder, cause);
    }
  }

  /** Throws RpcbindError `RPCBIND_STATE`; the file is then as before. */
  put(registration: StoredRegistration): void {
    this.append(setLine(registration));
  }

  /** All of them in one line: all are in the file, or none. Throws as {@link put}. */
  delete(registrations: readonly StoredRegistration[]): void {
    if (registrations.length === 0) return;
    this.append(unsetLine(registrations));
    this.obsoleteLines += 1 + registrations.length;
    if (this.obsoleteLines >= MAX_OBSOLETE_LINES) this.tryRewrite(registrations);
  }

  stats(): StoreStats {
    const { obsoleteLines, rewrites } = this;
    return { journalBytes: this.fd === undefined ? 0 : fstatSync(this.fd).size, obsoleteLines, rewrites };
  }

  /**
   * Writes the snapshot, ends the journal, and gives up the folder. May be called twice. Throws RpcbindError
   * `RPCBIND_STATE`.
   */
  close(): void {
    try {
      if (this.fd === undefined) return;
      const registrations = [...this.registrations()];
      const snapshot = encodeSnapshot(registrations);
      closeSync(this.files.replace(SNAPSHOT_FILE, snapshot));
      this.snapshot = digestOf(snapshot);
      closeSync(this.files.replace(PORTMAP_FILE, encodePortmap(registrations)));
      // The journal says more than the snapshot: what was alive, what is held. If it cannot be written, the snapshot is read.
      this.tryRewrite([]);
    } catch (cause) {
      throw stateError(this.files.folder, cause);
    } finally {
      this.abandon();
    }
  }

  /** Closes everything and writes nothing: the files stay as they are. May be called twice. */
  abandon(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
    this.lock?.release();
    this.lock = undefined;
    this.files.close();
  }

  private append(line: string): void {
    if (this.fd === undefined) throw stateError(this.files.folder, new Error('the journal is not open'));
    const before = fstatSync(this.fd).size;
    try {
      writeAll(this.fd, Buffer.from(line));
    } catch (cause) {
      ftruncateSync(this.fd, before);
      throw stateError(this.files.folder, cause);
    }
  }

  private registrations(): Iterable<StoredRegistration> {
    return this.current?.registrations() ?? [];
  }

  /** Writes the journal anew; without `deleted`, which the table has until they are deleted. */
  private rewrite(deleted: readonly StoredRegistration[]): void {
    const without = new Set(deleted.map(storeKey));
    const lines = [headerLine(this.snapshot)];
    for (const registration of this.registrations())
      if (!without.has(storeKey(registration))) lines.push(setLine(registration));
    const held = [...(this.current?.held() ?? []), ...deleted];
    if (held.length > 0) lines.push(unsetLine(held));
    const fd = this.files.replace(JOURNAL_FILE, Buffer.from(lines.join('')));
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = fd;
    this.obsoleteLines = 0;
    this.rewrites += 1;
  }

  /** Writes the journal anew if that is possible: the long one has the same contents. */
  private tryRewrite(deleted: readonly StoredRegistration[]): void {
    try {
      this.rewrite(deleted);
    } catch (error) {
      this.obsoleteLines = 0;
      this.warn(`${this.files.nameOf(JOURNAL_FILE)} stays long for now: ${reasonOf(error)}`);
    }
  }

  private setAside(file: string, suffix: string): string {
    try {
      return `set aside as ${this.files.setAside(file, suffix)}`;
    } catch (error) {
      return `it cannot be set aside either: ${reasonOf(error)}`;
    }
  }
}

/** The contents of a file, and the time of its last change. */
interface ReadFile<T> {
  readonly value: T;
  readonly changedMs: number;
}

function stateError(folder: string, cause: unknown): RpcbindError {
  const message = `registrations cannot be kept in ${folder}: ${reasonOf(cause)}`;
  return new RpcbindError('RPCBIND_STATE', message, cause);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
