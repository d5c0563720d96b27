/**
 * The folder that files serves: which names it may have, what is in it, and the checksums of that. A
 * file is a name directly in the folder: no path, no link, no hidden file. Uploads under way are in it
 * too, under hidden names; they are uploads.ts's.
 */

import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { constants, type FileHandle, lstat, open, readdir, realpath, unlink } from 'node:fs/promises';
import path from 'node:path';
import { FILES_MAX_NAME, files_status } from './files.gen.js';

/** What a procedure says instead of doing it. */
export class FilesRefusal extends Error {
  override readonly name = 'FilesRefusal';
  readonly status: Exclude<files_status, 0>;

  constructor(status: Exclude<files_status, 0>) {
    super(`status ${status}`);
    this.status = status;
  }
}

/** One file as it is now. */
export interface FileState {
  readonly size: number;
  readonly modifiedMs: number;
  /** 16 bytes that are others as soon as the file is another or was written to. */
  readonly id: Buffer;
}

/** Begin of the names of uploads under way. */
export const PART_PREFIX = '.part-';
/** Bytes that are read at once for a checksum. */
const READ_BYTES = 256 * 1024;
/** Most checksums that are remembered. */
const MAX_CHECKSUMS = 4_096;
/** Most checksums that are computed at a time. */
const MAX_HASHING = 2;

/** Whether this can be the name of a file here: one name, not hidden, nothing that could steer a terminal. */
export function isFileName(name: string): boolean {
  if (name === '' || name.startsWith('.') || Buffer.byteLength(name) > FILES_MAX_NAME) return false;
  return !/[/\\\p{Cc}]/u.test(name);
}

/** A folder. Made by {@link openFolder}. */
export class Folder {
  /** Its path, without links. */
  readonly path: string;
  private readonly checksums = new Map<string, Buffer>();
  private readonly hashing = new Map<string, Promise<Buffer>>();

  constructor(real: string) {
    this.path = real;
  }

  /** The path of a name; throws {@link FilesRefusal} FILES_BAD_NAME for what is none. */
  pathOf(name: string): string {
    if (!isFileName(name)) throw new FilesRefusal(files_status.FILES_BAD_NAME);
    return path.join(this.path, name);
  }

  /** Whether there is a file of this name. Throws {@link FilesRefusal} where it is something else. */
  async has(name: string): Promise<boolean> {
    try {
      if ((await lstat(this.pathOf(name))).isFile()) return true;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return false;
      throw error;
    }
    throw new FilesRefusal(files_status.FILES_BAD_NAME);
  }

  /** Opens a file to be read; the caller closes it. Throws {@link FilesRefusal} FILES_NOT_FOUND, FILES_BAD_NAME. */
  async openFile(name: string): Promise<{ handle: FileHandle; state: FileState }> {
    // O_NONBLOCK: a pipe of that name would hold us up until somebody writes to it.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    let handle: FileHandle;
    try {
      handle = await open(this.pathOf(name), flags);
    } catch (error) {
      throw refusalOf(error);
    }
    const stats = await handle.stat({ bigint: true });
    if (stats.isFile()) return { handle, state: stateOf(stats) };
    await handle.close();
    throw new FilesRefusal(files_status.FILES_BAD_NAME);
  }

  /**
   * What a file is, with its SHA-256; without it where that takes longer than `waitMs`: it is then
   * computed on, and there when asked for later.
   */
  async describe(name: string, waitMs: number): Promise<{ state: FileState; sha256: Buffer | undefined }> {
    const { handle, state } = await this.openFile(name);
    const key = state.id.toString('hex');
    const known = this.checksums.get(key);
    if (known !== undefined) {
      await handle.close();
      return { state, sha256: known };
    }
    let work = this.hashing.get(key);
    if (work === undefined && this.hashing.size >= MAX_HASHING) {
      await handle.close();
      return { state, sha256: undefined };
    }
    if (work === undefined) {
      work = sha256Of(handle, state.size).finally(async () => {
        this.hashing.delete(key);
        await handle.close();
      });
      this.hashing.set(key, work);
      work.then(
        (sum) => this.remember(state, sum),
        () => undefined,
      );
    } else await handle.close();
    return { state, sha256: await within(work, waitMs) };
  }

  /** Keeps a checksum that is known already, so that it need not be computed. */
  remember(state: FileState, sha256: Buffer): void {
    const [oldest] = this.checksums.keys();
    if (this.checksums.size >= MAX_CHECKSUMS && oldest !== undefined) this.checksums.delete(oldest);
    this.checksums.set(state.id.toString('hex'), sha256);
  }

  /** Names of files, in the order of their bytes. */
  async names(): Promise<string[]> {
    const entries = await readdir(this.path, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && isFileName(entry.name))
      .map(({ name }) => Buffer.from(name))
      .sort(Buffer.compare)
      .map(String);
  }

  /** Size and date of a file, or undefined where it is gone. */
  async look(name: string): Promise<{ size: number; modifiedMs: number } | undefined> {
    const stats = await lstat(path.join(this.path, name)).catch(() => undefined);
    return stats === undefined ? undefined : { size: stats.size, modifiedMs: stats.mtimeMs };
  }

  /** Takes a file away. Throws {@link FilesRefusal} where there is none. */
  async remove(name: string): Promise<void> {
    if (!(await this.has(name))) throw new FilesRefusal(files_status.FILES_NOT_FOUND);
    try {
      await unlink(this.pathOf(name));
    } catch (error) {
      throw refusalOf(error);
    }
  }
}

/** The folder at a path; rejects with the system's error where there is none. */
export async function openFolder(given: string): Promise<Folder> {
  const real = await realpath(given);
  await readdir(real);
  return new Folder(real);
}

/** What an error of the file system is to the caller; what it must not know is FILES_FAILED. */
export function refusalOf(error: unknown): unknown {
  switch (codeOf(error)) {
    case 'ENOENT':
      return new FilesRefusal(files_status.FILES_NOT_FOUND);
    case 'ELOOP':
    case 'EISDIR':
    case 'ENXIO':
    case 'ENAMETOOLONG':
      return new FilesRefusal(files_status.FILES_BAD_NAME);
    case 'EEXIST':
      return new FilesRefusal(files_status.FILES_EXISTS);
    case 'ENOSPC':
    case 'EDQUOT':
      return new FilesRefusal(files_status.FILES_NO_SPACE);
    case 'EFBIG':
      return new FilesRefusal(files_status.FILES_TOO_BIG);
    default:
      return error;
  }
}

/** The system's code of an error, or nothing. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** What a file's status says of it. */
export function stateOf(stats: BigIntStats): FileState {
  const { dev, ino, size, mtimeNs, ctimeNs } = stats;
  const id = createHash('sha256').update([dev, ino, size, mtimeNs, ctimeNs].join()).digest();
  return { size: Number(size), modifiedMs: Number(mtimeNs / 1_000_000n), id: id.subarray(0, 16) };
}

const MAX_TIME = 2n ** 63n - 1n;

/**
 * Milliseconds since 1970 as the protocol says them: from 0 to 2^63-1, so that a reader with signed numbers can hold them
 * too. A file system may hold seconds of 64 bits, before 1970 as well; those beyond become the nearest end.
 */
export function wireTime(ms: number | bigint): bigint {
  if (typeof ms === 'number' && !Number.isFinite(ms)) return ms > 0 ? MAX_TIME : 0n;
  const whole = BigInt(typeof ms === 'number' ? Math.trunc(ms) : ms);
  return whole < 0n ? 0n : whole > MAX_TIME ? MAX_TIME : whole;
}

/** The value of a promise, or undefined where it takes longer. */
export async function within<T>(work: Promise<T>, waitMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), waitMs);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** SHA-256 of the first `size` bytes of an open file. */
export async function sha256Of(handle: FileHandle, size: number): Promise<Buffer> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(READ_BYTES);
  for (let at = 0; at < size; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(READ_BYTES, size - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest();
}
