/**
 * Uploads under way: pieces into a hidden file, the checksum of what is there without a gap, and at
 * the end the name. An upload is known by what was offered (name, size, SHA-256), so that the same
 * offer finds it again after a cut, and after a restart of the server too.
 */

import { createHash, type Hash } from 'node:crypto';
import {
  constants,
  type FileHandle,
  link,
  open,
  readdir,
  rename,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises';
import path from 'node:path';
import { limit } from '../support/limits.js';
import { FILES_ID, type files_offer, files_status } from './files.gen.js';
import { codeOf, FilesRefusal, type Folder, PART_PREFIX, refusalOf, stateOf, within } from './folder.js';

/** Bounds of uploads. */
export interface UploadLimits {
  /** Most bytes of one file. Default {@link DEFAULT_MAX_FILE_BYTES}. */
  readonly maxFileBytes?: number;
  /** Most bytes of all files together, uploads under way included. Default {@link DEFAULT_MAX_TOTAL_BYTES}. */
  readonly maxTotalBytes?: number;
  /** Most files. Default {@link DEFAULT_MAX_FILES}. */
  readonly maxFiles?: number;
  /** Most uploads under way. Where there is one more, one that has been idle for a minute makes room. Default {@link DEFAULT_MAX_UPLOADS}. */
  readonly maxUploads?: number;
  /** Most bytes of pieces that wait for the disk. Default {@link DEFAULT_MAX_PENDING_BYTES}. */
  readonly maxPendingBytes?: number;
  /** An upload nobody went on with for so many milliseconds is given up. Default {@link DEFAULT_STALE_MS}. */
  readonly staleMs?: number;
}

/** Default for the bytes of one file: 4 GiB. */
export const DEFAULT_MAX_FILE_BYTES = 4 * 1024 ** 3;
/** Default for the bytes of all files: 16 GiB. */
export const DEFAULT_MAX_TOTAL_BYTES = 16 * 1024 ** 3;
/** Default for the number of files. */
export const DEFAULT_MAX_FILES = 10_000;
/** Default for the uploads under way. */
export const DEFAULT_MAX_UPLOADS = 32;
/** Default for the bytes that wait for the disk: 32 MiB. */
export const DEFAULT_MAX_PENDING_BYTES = 32 * 1024 * 1024;
/** Default for the time an upload is kept: a day. */
export const DEFAULT_STALE_MS = 86_400_000;
/** How far pieces may be ahead of the first one missing: 4 MiB. */
export const WINDOW_BYTES = 4 * 1024 * 1024;
/**
 * Most stretches of pieces beyond the first one missing that are remembered of one upload. A client with 16 pieces under
 * way leaves 16; one byte sent at every other place would leave two million.
 */
export const MAX_STRETCHES = 1_024;
/** An upload without a call for so long may be given up for another: a minute. */
export const IDLE_MS = 60_000;

/** Finished uploads that are remembered, for those who did not hear that they were. */
const MAX_FINISHED = 1_024;
const READ_BYTES = 256 * 1024;
/** How long one FILES_COMMIT waits for the checksum. */
const COMMIT_WAIT_MS = 5_000;

interface Upload {
  readonly id: string;
  /** As it was last made: whether a file may be replaced can change. */
  offer: files_offer;
  readonly size: number;
  readonly part: string;
  readonly handle: FileHandle;
  readonly hash: Hash;
  /** Everything before this is in the file. */
  contiguous: number;
  /** Everything before this is in the hash. */
  hashed: number;
  /** What is in the file beyond `contiguous`: from, to; in order, neither touching nor overlapping each other. */
  readonly ahead: [number, number][];
  lastAt: number;
  /** One step after the other: pieces of the same place cannot overtake each other. */
  tail: Promise<unknown>;
  hashing: Promise<void> | undefined;
  isGone: boolean;
}

/** All uploads of one folder. */
export class Uploads {
  private readonly folder: Folder;
  private readonly uploads = new Map<string, Upload>();
  private readonly finished = new Set<string>();
  private readonly maxFileBytes: number;
  private readonly maxTotalBytes: number;
  private readonly maxFiles: number;
  private readonly maxUploads: number;
  private readonly maxPendingBytes: number;
  private readonly staleMs: number;
  private readonly sweeper: NodeJS.Timeout;
  private beginning: Promise<unknown> = Promise.resolve();
  private pendingBytes = 0;

  constructor(folder: Folder, limits: UploadLimits) {
    this.folder = folder;
    const most = Number.MAX_SAFE_INTEGER;
    this.maxFileBytes = limit('maxFileBytes', limits.maxFileBytes, DEFAULT_MAX_FILE_BYTES, 0, most);
    this.maxTotalBytes = limit('maxTotalBytes', limits.maxTotalBytes, DEFAULT_MAX_TOTAL_BYTES, 0, most);
    this.maxFiles = limit('maxFiles', limits.maxFiles, DEFAULT_MAX_FILES, 1, 1_000_000);
    this.maxUploads = limit('maxUploads', limits.maxUploads, DEFAULT_MAX_UPLOADS, 1, 10_000);
    this.maxPendingBytes = limit(
      'maxPendingBytes',
      limits.maxPendingBytes,
      DEFAULT_MAX_PENDING_BYTES,
      1,
      most,
    );
    this.staleMs = limit('staleMs', limits.staleMs, DEFAULT_STALE_MS, 1_000, most);
    this.sweeper = setInterval(() => void this.sweep(), Math.min(this.staleMs, 60_000));
    this.sweeper.unref();
  }

  /** Gives up what nobody went on with, in memory and on disk. */
  async sweep(): Promise<void> {
    const tooOld = Date.now() - this.staleMs;
    for (const upload of [...this.uploads.values()]) if (upload.lastAt < tooOld) await this.discard(upload);
    const names = await readdir(this.folder.path).catch(() => []);
    for (const name of names) {
      if (!name.startsWith(PART_PREFIX) || this.uploads.has(name.slice(PART_PREFIX.length))) continue;
      const part = path.join(this.folder.path, name);
      const stats = await stat(part).catch(() => undefined);
      if (stats !== undefined && stats.mtimeMs < tooOld) await unlink(part).catch(() => undefined);
    }
  }

  /** Begins an upload or goes on with it. Throws {@link FilesRefusal}. */
  begin(offer: files_offer): Promise<{ id: Buffer; offset: number }> {
    // One after the other, so that two of them cannot both take the last place.
    const work = this.beginning.then(() => this.beginNow(offer));
    this.beginning = work.catch(() => undefined);
    return work;
  }

  /** One piece. Throws {@link FilesRefusal}; FILES_NO_SPACE and FILES_FAILED end the upload. */
  async write(id: Uint8Array, offset: number, data: Uint8Array): Promise<void> {
    const upload = this.find(id);
    if (this.pendingBytes + data.length > this.maxPendingBytes)
      throw new FilesRefusal(files_status.FILES_BUSY);
    this.pendingBytes += data.length;
    try {
      await this.inTurn(upload, () => this.writeNow(upload, offset, data));
    } finally {
      this.pendingBytes -= data.length;
    }
  }

  /** Checks the whole and names it; true where it was done already. Throws {@link FilesRefusal}. */
  async commit(id: Uint8Array): Promise<{ offer: files_offer } | undefined> {
    if (this.finished.has(hex(id))) return undefined;
    const upload = this.find(id);
    return this.inTurn(upload, () => this.commitNow(upload));
  }

  /** Gives an upload up. */
  async abort(id: Uint8Array): Promise<void> {
    await this.discard(this.find(id));
  }

  /** Closes the files; uploads can be gone on with in another life. */
  async close(): Promise<void> {
    clearInterval(this.sweeper);
    for (const upload of this.uploads.values()) {
      await upload.tail.catch(() => undefined);
      upload.isGone = true;
      await upload.hashing;
      await upload.handle.close();
    }
    this.uploads.clear();
  }

  private async beginNow(offer: files_offer): Promise<{ id: Buffer; offset: number }> {
    const { folder } = this;
    const target = folder.pathOf(offer.name);
    if (offer.size > BigInt(this.maxFileBytes)) throw new FilesRefusal(files_status.FILES_TOO_BIG);
    if ((await folder.has(offer.name)) && !offer.replace) throw new FilesRefusal(files_status.FILES_EXISTS);
    const id = idOf(offer);
    const known = this.uploads.get(id);
    if (known !== undefined) {
      await known.tail.catch(() => undefined);
      known.lastAt = Date.now();
      known.offer = offer;
      if (!known.isGone) return { id: Buffer.from(id, 'hex'), offset: known.contiguous };
    }
    const size = Number(offer.size);
    await this.checkRoom(path.dirname(target), size, id);
    if (this.uploads.size >= this.maxUploads) await this.makeRoom();
    const part = path.join(folder.path, PART_PREFIX + id);
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
    const handle = await open(part, flags, 0o644).catch((error: unknown) => {
      throw refusalOf(error);
    });
    const stats = await handle.stat();
    if (!stats.isFile()) {
      await handle.close();
      throw new FilesRefusal(files_status.FILES_FAILED);
    }
    // Of an earlier life: what lies further back than the window has no gaps.
    const contiguous = Math.max(0, Math.min(stats.size, size) - WINDOW_BYTES);
    const upload: Upload = {
      id,
      offer,
      size,
      part,
      handle,
      hash: createHash('sha256'),
      contiguous,
      hashed: 0,
      ahead: [],
      lastAt: Date.now(),
      tail: Promise.resolve(),
      hashing: undefined,
      isGone: false,
    };
    this.finished.delete(id);
    this.uploads.set(id, upload);
    this.hashOn(upload);
    return { id: Buffer.from(id, 'hex'), offset: contiguous };
  }

  private async writeNow(upload: Upload, offset: number, data: Uint8Array): Promise<void> {
    if (upload.isGone) throw new FilesRefusal(files_status.FILES_NO_UPLOAD);
    upload.lastAt = Date.now();
    const end = offset + data.length;
    if (end > upload.size || end > upload.contiguous + WINDOW_BYTES)
      throw new FilesRefusal(files_status.FILES_BAD_OFFSET);
    // What is there without a gap may be in the hash already, and stays as it is.
    const from = Math.max(offset, upload.contiguous);
    if (end <= from) return;
    const { ahead } = upload;
    const [first, count] = touching(ahead, from, end);
    if (ahead.length - count >= MAX_STRETCHES && from > upload.contiguous)
      throw new FilesRefusal(files_status.FILES_BAD_OFFSET);
    try {
      for (let at = from; at < end; ) {
        const { bytesWritten } = await upload.handle.write(data, at - offset, end - at, at);
        at += bytesWritten;
      }
    } catch (error) {
      await this.discard(upload);
      throw refusalOf(error);
    }
    const last = ahead[first + count - 1];
    const merged: [number, number] =
      last === undefined || count === 0
        ? [from, end]
        : [Math.min(from, (ahead[first] as [number, number])[0]), Math.max(end, last[1])];
    // What touches the part without a gap is one with it: it can only be the first.
    if (merged[0] <= upload.contiguous) {
      ahead.splice(0, count);
      upload.contiguous = merged[1];
    } else ahead.splice(first, count, merged);
    this.hashOn(upload);
  }

  private async commitNow(upload: Upload): Promise<{ offer: files_offer } | undefined> {
    if (this.finished.has(upload.id)) return undefined;
    if (upload.isGone) throw new FilesRefusal(files_status.FILES_NO_UPLOAD);
    upload.lastAt = Date.now();
    if (upload.contiguous < upload.size) throw new FilesRefusal(files_status.FILES_INCOMPLETE);
    const done = await within(
      this.hashOn(upload).then(() => true),
      COMMIT_WAIT_MS,
    );
    if (done === undefined) throw new FilesRefusal(files_status.FILES_WAIT);
    const { offer, part, handle } = upload;
    // A failure while hashing has ended the upload.
    if (upload.isGone) throw new FilesRefusal(files_status.FILES_FAILED);
    const sha256 = upload.hash.copy().digest();
    if (!sha256.equals(offer.sha256)) {
      await this.discard(upload);
      throw new FilesRefusal(files_status.FILES_BAD_CHECKSUM);
    }
    const target = this.folder.pathOf(offer.name);
    try {
      await handle.truncate(upload.size);
      await handle.sync();
      if (offer.replace) await rename(part, target);
      else {
        // Unlike a rename, a link does not replace what came to be there meanwhile.
        await link(part, target);
        await unlink(part);
      }
      await syncFolder(this.folder.path);
    } catch (error) {
      await this.discard(upload);
      throw refusalOf(error);
    }
    this.folder.remember(stateOf(await handle.stat({ bigint: true })), sha256);
    this.forget(upload);
    await handle.close();
    const [oldest] = this.finished;
    if (this.finished.size >= MAX_FINISHED && oldest !== undefined) this.finished.delete(oldest);
    this.finished.add(upload.id);
    return { offer };
  }

  /** Reads on from where the hash is to where the file has no gap: what is checked is what is on disk. */
  private hashOn(upload: Upload): Promise<void> {
    upload.hashing ??= this.hashNow(upload)
      .catch(() => this.discard(upload))
      .finally(() => {
        upload.hashing = undefined;
        if (!upload.isGone && upload.hashed < upload.contiguous) void this.hashOn(upload);
      });
    return upload.hashing;
  }

  private async hashNow(upload: Upload): Promise<void> {
    const buffer = Buffer.allocUnsafe(READ_BYTES);
    while (upload.hashed < upload.contiguous && !upload.isGone) {
      const size = Math.min(READ_BYTES, upload.contiguous - upload.hashed);
      const { bytesRead } = await upload.handle.read(buffer, 0, size, upload.hashed);
      if (bytesRead === 0) throw new Error('the file became shorter');
      upload.hash.update(buffer.subarray(0, bytesRead));
      upload.hashed += bytesRead;
    }
  }

  private find(id: Uint8Array): Upload {
    const upload = this.uploads.get(hex(id));
    if (upload === undefined) throw new FilesRefusal(files_status.FILES_NO_UPLOAD);
    return upload;
  }

  private inTurn<T>(upload: Upload, step: () => Promise<T>): Promise<T> {
    const work = upload.tail.then(step);
    upload.tail = work.catch(() => undefined);
    return work;
  }

  /** Leaves nothing behind. */
  private async discard(upload: Upload): Promise<void> {
    if (upload.isGone) return;
    this.forget(upload);
    await unlink(upload.part).catch(() => undefined);
    await upload.handle.close().catch(() => undefined);
  }

  private forget(upload: Upload): void {
    upload.isGone = true;
    this.uploads.delete(upload.id);
  }

  /** Throws {@link FilesRefusal} where the disk, or what of it we may use, cannot hold so much more. */
  private async checkRoom(folder: string, size: number, id: string): Promise<void> {
    let used = 0;
    let count = this.uploads.size;
    for (const name of await readdir(folder)) {
      const part = name.startsWith(PART_PREFIX) ? name.slice(PART_PREFIX.length) : undefined;
      if (part === id || (part !== undefined && this.uploads.has(part))) continue;
      used += (await stat(path.join(folder, name)).catch(() => undefined))?.size ?? 0;
      count += 1;
    }
    for (const upload of this.uploads.values()) used += upload.size;
    if (count >= this.maxFiles || used + size > this.maxTotalBytes)
      throw new FilesRefusal(files_status.FILES_NO_SPACE);
    const { bavail, bsize } = await statfs(folder);
    const there = (await stat(path.join(folder, PART_PREFIX + id)).catch(() => undefined))?.size ?? 0;
    if (size - there > bavail * bsize) throw new FilesRefusal(files_status.FILES_NO_SPACE);
  }

  private async makeRoom(): Promise<void> {
    const [idlest] = [...this.uploads.values()].sort((a, b) => a.lastAt - b.lastAt);
    if (idlest === undefined || idlest.lastAt > Date.now() - IDLE_MS)
      throw new FilesRefusal(files_status.FILES_BUSY);
    await this.discard(idlest);
  }
}

/** Where the stretches that touch or overlap `from` to `to` begin, and how many they are. */
function touching(stretches: readonly [number, number][], from: number, to: number): [number, number] {
  let low = 0;
  let high = stretches.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((stretches[middle] as [number, number])[1] < from) low = middle + 1;
    else high = middle;
  }
  let count = 0;
  while (low + count < stretches.length && (stretches[low + count] as [number, number])[0] <= to) count += 1;
  return [low, count];
}

/** The same offer is the same upload, whether or not it may replace a file. */
function idOf({ name, size, sha256 }: files_offer): string {
  return createHash('sha256')
    .update(sha256)
    .update(`${size} ${name}`)
    .digest('hex')
    .slice(0, FILES_ID * 2);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** Makes a new name last through a loss of power; where a system cannot flush a folder, it does so by itself. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } catch (error) {
    if (!['EINVAL', 'EPERM', 'EISDIR', 'ENOTSUP'].includes(codeOf(error))) throw error;
  } finally {
    await handle.close();
  }
}
