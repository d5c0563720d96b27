/**
 * Files in the state folder, opened so that nothing another user put there is believed or followed. Who can write to the
 * folder (a service that shares it, the user that an earlier daemon ran as) could plant a link to a file of ours
 * elsewhere, a FIFO that blocks whoever opens it, or a second name of a file. So: the folder is opened once and named by
 * its descriptor; links are not followed; only regular files with one name, of the expected owner, are read; new files
 * are made with O_EXCL and take their place by rename.
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

/** Largest file that is read: 64 MiB. */
export const MAX_STATE_BYTES = 64 * 1024 * 1024;

const { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = constants;
// Systems without these (Windows) have none of what they guard against.
const O_NOFOLLOW = constants.O_NOFOLLOW ?? 0;
const O_NONBLOCK = constants.O_NONBLOCK ?? 0;
const O_DIRECTORY = constants.O_DIRECTORY ?? 0;
const PRIVATE = 0o600;
const OTHERS_WRITE = 0o022;

/** A file as it was read. */
export interface StateFile {
  readonly bytes: Buffer;
  /** Time of the last change, in milliseconds. */
  readonly changedMs: number;
}

/** One folder. Every method throws the system's error. */
export class StateFiles {
  /** As the operator named it; for messages. */
  readonly folder: string;
  private readonly fd: number | undefined;
  private readonly base: string;
  private readonly ownerUid: number;
  private isClosed = false;

  /**
   * Opens `folder`, making it where it is not there (the last part of the path alone); or uses `opened`, a descriptor
   * of it, which stays the caller's. Throws where others than its owner can write to it, or where its owner is neither this user nor, for root,
   * whoever root lets own it.
   */
  constructor(folder: string, opened?: number) {
    this.folder = folder;
    if (opened === undefined && lstatSync(folder, { throwIfNoEntry: false }) === undefined)
      // One level alone: Node's recursive mkdir never ends where a parent takes no folders (/proc).
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
    // By descriptor, so that no other folder can take its place; and short, whatever the length of its path.
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

  /** The whole file; undefined where there is none. Throws where it is not a plain file of ours, or too large. */
  read(file: string): StateFile | undefined {
    const fd = this.openOurs(file, O_RDONLY);
    if (fd === undefined) return undefined;
    try {
      const { size, mtimeMs } = fstatSync(fd);
      if (size > MAX_STATE_BYTES) throw new Error(`${size} bytes, where ${MAX_STATE_BYTES} are read`);
      return { bytes: readFileSync(fd), changedMs: mtimeMs };
    } finally {
      closeSync(fd);
    }
  }

  /** A descriptor to append to a file that is there; undefined where there is none. */
  append(file: string): number | undefined {
    return this.openOurs(file, O_WRONLY | O_APPEND);
  }

  /**
   * A new file in the place of an old one: there is never half of it. Returns its descriptor, open to append to: to open
   * it once it is in place might fail, with the old one gone.
   */
  replace(file: string, bytes: Uint8Array): number {
    const fresh = this.pathOf(`${file}.new`);
    // What a daemon that was killed left there; the name, not what it may point to.
    remove(fresh);
    const fd = openSync(fresh, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, PRIVATE);
    try {
      writeAll(fd, bytes);
      renameSync(fresh, this.pathOf(file));
      return fd;
    } catch (error) {
      closeSync(fd);
      // What is there of it takes up room, on a disk that may have none.
      remove(fresh);
      throw error;
    }
  }

  /** Gives a file another name, whatever it is. Returns the new name, for messages. */
  setAside(file: string, mark: string): string {
    const aside = `${file}.${mark}-${Date.now()}`;
    renameSync(this.pathOf(file), this.pathOf(aside));
    return this.nameOf(aside);
  }

  /** Closes the folder. May be called twice. */
  close(): void {
    if (this.fd !== undefined && !this.isClosed) closeSync(this.fd);
    this.isClosed = true;
  }

  private openOurs(file: string, flags: number): number | undefined {
    let fd: number;
    try {
      // Non-blocking: to open a FIFO waits for its other end, for ever.
      fd = openSync(this.pathOf(file), flags | O_NOFOLLOW | O_NONBLOCK);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT') return undefined;
      if (code === 'ELOOP' || code === 'ENXIO') throw new Error('it is no regular file', { cause: error });
      throw error;
    }
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw new Error('it is no regular file');
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

/** Removes a name, whatever it stands for but a folder; nothing where there is none. */
function remove(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** Writes all of it: the system may take a part at a time. */
export function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
