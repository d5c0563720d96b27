/**
 * Files in the state folder, opened so that nothing is trusted that another user may have put there.
 *
 * Threat: who can write to the folder (a service that shares it, the user of an earlier daemon) puts a link to one of the
 * daemon's files elsewhere there, a FIFO that blocks whoever opens it, or a second name of a file. So the folder is opened
 * once and named by its descriptor; links are not followed; only regular files with one name, of the expected owner, are
 * read; new files are made with O_EXCL and renamed.
 */

import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';

/** Maximum size of a file that is read: 64 MiB. */
export const MAX_STATE_BYTES = 64 * 1024 * 1024;

const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = constants;
// Windows has none of these flags, and none of the files that they protect from.
const O_NOFOLLOW = constants.O_NOFOLLOW ?? 0;
const O_NONBLOCK = constants.O_NONBLOCK ?? 0;
const O_DIRECTORY = constants.O_DIRECTORY ?? 0;
const PRIVATE = 0o600;
const OTHERS_WRITE = 0o022;

/** The contents of a file. */
export interface StateFile {
  readonly bytes: Buffer;
  /** Time of the last change, in milliseconds. */
  readonly changedMs: number;
}

/** One folder. Every method throws the system's error. */
export class StateFiles {
  /** The path that the operator gave, for messages. */
  readonly folder: string;
  private readonly fd: number | undefined;
  private readonly base: string;
  private readonly ownerUid: number;
  private isClosed = false;

  /**
   * Opens `folder`, and makes it if it does not exist (the last part of the path alone); or uses `opened`, a descriptor
   * of it, which remains the caller's. Throws if others than its owner can write to it, and if its owner is not this user
   * (root accepts every owner).
   */
  constructor(folder: string, opened?: number) {
    this.folder = folder;
    if (opened === undefined && lstatSync(folder, { throwIfNoEntry: false }) === undefined)
      // One level alone: Node's recursive mkdir never ends if a parent accepts no folders (/proc).
      mkdirSync(folder, 0o755);
    if (O_DIRECTORY === 0) {
      this.base = folder;
      this.ownerUid = 0;
      return;
    }
    const fd = opened ?? openSync(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    this.fd = fd;
    this.isClosed = opened !== undefined;
    const { uid, mode } = fstatSync(fd);
    const me = process.geteuid?.() ?? uid;
    this.ownerUid = uid;
    const problem =
      (mode & OTHERS_WRITE) !== 0
        ? 'other users can write to it (chmod go-w)'
        : uid !== me && me !== 0
          ? `it belongs to uid ${uid}, and this daemon runs as uid ${me}`
          : undefined;
    if (problem !== undefined) {
      this.close();
      throw new Error(problem);
    }
    // By descriptor, so that it cannot be replaced by another folder; and short, however long its path is.
    const byDescriptor = `/proc/self/fd/${fd}`;
    this.base = lstatSync(byDescriptor, { throwIfNoEntry: false }) === undefined ? folder : byDescriptor;
  }

  /** A path by which the system finds a file of the folder. */
  pathOf(file: string): string {
    return path.join(this.base, file);
  }

  /** A path for messages. */
  nameOf(file: string): string {
    return path.join(this.folder, file);
  }

  /** The whole file; undefined if there is none. Throws if it is not a regular file of the expected owner, or too large. */
  read(file: string): StateFile | undefined {
    const fd = this.openRegular(file, O_RDONLY);
    if (fd === undefined) return undefined;
    try {
      const { size, mtimeMs } = fstatSync(fd);
      if (size > MAX_STATE_BYTES) throw new Error(`it has ${size} bytes, more than ${MAX_STATE_BYTES}`);
      return { bytes: readFileSync(fd), changedMs: mtimeMs };
    } finally {
      closeSync(fd);
    }
  }

  /** A descriptor to append to an existing file; undefined if there is none. */
  append(file: string): number | undefined {
    return this.openRegular(file, O_WRONLY | O_APPEND);
  }

  /**
   * Replaces a file by a new one, atomically. Returns the new file's descriptor, open for appending: to open it after the
   * rename could fail, and the old file would be gone.
   */
  replace(file: string, bytes: Uint8Array): number {
    const fresh = this.pathOf(`${file}.new`);
    // A daemon that was killed may have left one. This removes the name, not what it may link to.
    remove(fresh);
    const fd = openSync(fresh, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, PRIVATE);
    try {
      writeAll(fd, bytes);
      renameSync(fresh, this.pathOf(file));
      return fd;
    } catch (error) {
      closeSync(fd);
      // An incomplete file takes up space, perhaps on a full disk.
      remove(fresh);
      throw error;
    }
  }

  /** Renames a file of any kind to `FILE.SUFFIX-TIME`. Returns the new name, for messages. */
  setAside(file: string, suffix: string): string {
    const aside = `${file}.${suffix}-${Date.now()}`;
    renameSync(this.pathOf(file), this.pathOf(aside));
    return this.nameOf(aside);
  }

  /** Closes the folder. May be called twice. */
  close(): void {
    if (this.fd !== undefined && !this.isClosed) closeSync(this.fd);
    this.isClosed = true;
  }

  private openRegular(file: string, flags: number): number | undefined {
    let fd: number;
    try {
      // Non-blocking: otherwise opening a FIFO waits for its other end, without a limit.
      fd = openSync(this.pathOf(file), flags | O_NOFOLLOW | O_NONBLOCK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return undefined;
      if (code === 'ELOOP' || code === 'ENXIO') throw new Error('it is not a regular file', { cause: error });
      throw error;
    }
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new Error('it is not a regular file');
      if (this.fd !== undefined) {
        if (stat.nlink !== 1) throw new Error(`it has ${stat.nlink} names`);
        const me = process.geteuid?.();
        if (stat.uid !== me && stat.uid !== this.ownerUid) throw new Error(`it belongs to uid ${stat.uid}`);
      }
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
}

/** Removes a name of anything but a folder, if it exists. */
function remove(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Writes all bytes: the system may accept a part at a time. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
