/**
 * The calling end of files: whole files up and down, several pieces under way at a time, going on
 * where it was cut off. It reads and writes local files; on which connection it calls is its caller's.
 */

import { constants, type FileHandle, open, rename, stat, unlink } from 'node:fs/promises';
import path from 'node:path';
import { type Caller, RpcError } from '../../runtime/index.js';
import { callingProgram } from '../support/program.js';
import {
  FILES_MAX_CHUNK,
  FilesProgV1Client,
  files_status,
  type files_upload,
  type files_whole,
} from './files.gen.js';
import { codeOf, sha256Of } from './folder.js';

/** What may be said of one transfer. */
export interface TransferOptions {
  /** Bytes of one piece. Default 256 KiB, the most there may be; over UDP 8192 fits. */
  readonly chunkBytes?: number;
  /** Pieces under way at a time, 1 to 16; each holds its bytes in memory. Default 4. */
  readonly inFlight?: number;
  /** How often in a row it is tried again without a byte of progress before it is given up. Default 8. */
  readonly maxRetries?: number;
  /** Milliseconds before the first try again; each next one waits twice as long, up to 2 s. Default 50. */
  readonly retryMs?: number;
  readonly signal?: AbortSignal;
  /** Told how far it is, in bytes. */
  readonly onProgress?: (done: number, total: number) => void;
  /** The service's program number where it is not the usual one. */
  readonly program?: number;
}

/** A transfer that came to no end. The status is the server's; undefined where the fault is on this side. */
export class TransferError extends Error {
  override readonly name = 'TransferError';
  readonly status: files_status | undefined;

  constructor(message: string, status?: files_status, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
  }
}

const TEXTS: Readonly<Record<files_status, string>> = {
  [files_status.FILES_OK]: 'done',
  [files_status.FILES_NOT_FOUND]: 'no such file',
  [files_status.FILES_EXISTS]: 'a file of this name is there already (--replace replaces it)',
  [files_status.FILES_BAD_NAME]: 'this cannot be the name of a file there',
  [files_status.FILES_TOO_BIG]: 'it is larger than the server takes',
  [files_status.FILES_NO_SPACE]: 'the server has no room for it',
  [files_status.FILES_BUSY]: 'the server is busy: try again later',
  [files_status.FILES_NO_UPLOAD]: 'the server has given the upload up: begin again',
  [files_status.FILES_BAD_OFFSET]: 'the server did not expect this piece',
  [files_status.FILES_BAD_CHECKSUM]: 'the checksum is wrong: the file changed while it was sent',
  [files_status.FILES_CHANGED]: 'the file changed meanwhile',
  [files_status.FILES_WAIT]: 'the server still computes the checksum',
  [files_status.FILES_INCOMPLETE]: 'pieces are missing',
  [files_status.FILES_FAILED]: 'the server failed; its log says why',
};

/** A status in words. */
export function describeFilesStatus(status: files_status): string {
  return TEXTS[status];
}

interface Settings {
  readonly remote: FilesProgV1Client;
  readonly chunk: number;
  readonly inFlight: number;
  readonly maxRetries: number;
  readonly retryMs: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: (done: number, total: number) => void;
}

/** Statuses after which beginning again goes on with what is there. */
const AGAIN = new Set<files_status>([
  files_status.FILES_NO_UPLOAD,
  files_status.FILES_BAD_OFFSET,
  files_status.FILES_INCOMPLETE,
  files_status.FILES_BUSY,
]);

/**
 * Sends a local file; resolves when the server has checked and named it. Rejects with
 * {@link TransferError} where the server says no, with RpcError where it cannot be reached in `maxRetries` tries,
 * with the system's error where the file cannot be read, or with the signal's reason.
 */
export async function uploadFile(
  caller: Caller,
  file: string,
  name: string,
  options: TransferOptions & { readonly replace?: boolean } = {},
): Promise<void> {
  const settings = settingsOf(caller, options);
  const handle = await open(file, constants.O_RDONLY);
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new TransferError(`${file} is no ordinary file`);
    const { size } = stats;
    const offer = {
      name,
      size: BigInt(size),
      sha256: await sha256Of(handle, size),
      replace: options.replace ?? false,
    };
    await persist(settings, async (onward) => {
      const begun = await settings.remote.begin(offer);
      if (begun.status !== files_status.FILES_OK) throw refusal(name, begun.status);
      await sendPieces(settings, handle, name, begun.upload, size, onward);
      for (;;) {
        const status = await settings.remote.commit(begun.upload.id);
        if (status === files_status.FILES_OK) return;
        if (status !== files_status.FILES_WAIT) throw refusal(name, status);
      }
    });
    settings.onProgress(size, size);
  } finally {
    await handle.close();
  }
}

async function sendPieces(
  { remote, chunk, inFlight, signal, onProgress }: Settings,
  handle: FileHandle,
  name: string,
  upload: files_upload,
  size: number,
  onward: (done: number) => void,
): Promise<void> {
  const start = Number(upload.offset);
  let done = start;
  await inLanes(
    Math.min(inFlight, Math.floor(Number(upload.window) / chunk)),
    start,
    size,
    chunk,
    async (at, count, buffer) => {
      signal?.throwIfAborted();
      const { bytesRead } = await handle.read(buffer, 0, count, at);
      if (bytesRead < count) throw new TransferError('the file became shorter while it was sent');
      const status = await remote.write({
        id: upload.id,
        offset: BigInt(at),
        data: buffer.subarray(0, count),
      });
      if (status !== files_status.FILES_OK) throw refusal(name, status);
      done += count;
      onward(done);
      onProgress(done, size);
    },
  );
}

/**
 * Fetches a file into a local one, which is there under its name only when its checksum is right; until
 * then it is beside it, as `NAME.part`, from where a later call goes on. Rejects as {@link uploadFile} does.
 */
export async function downloadFile(
  caller: Caller,
  name: string,
  file: string,
  options: TransferOptions & { readonly replace?: boolean } = {},
): Promise<void> {
  const settings = settingsOf(caller, options);
  if (options.replace !== true && (await isThere(file)))
    throw new TransferError(`${file} is there already (--replace replaces it)`, files_status.FILES_EXISTS);
  await persist(settings, async (onward) => {
    const whole = await describe(settings, name);
    const part = `${file}.${Buffer.from(whole.id).toString('hex').slice(0, 8)}.part`;
    const handle = await open(part, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o644);
    let isKept = true;
    try {
      await fetchPieces(settings, handle, name, whole, onward);
      const sum = await sha256Of(handle, Number(whole.info.size));
      if (!sum.equals(whole.sha256)) {
        isKept = false;
        throw refusal(name, files_status.FILES_CHANGED);
      }
      await handle.truncate(Number(whole.info.size));
      await handle.sync();
      await rename(part, file);
    } catch (error) {
      // A part of a file that is no more, or that the disk has no room for, is of no use.
      if (codeOf(error) === 'ENOSPC' || codeOf(error) === 'EDQUOT' || codeOf(error) === 'EFBIG')
        isKept = false;
      if (error instanceof TransferError && error.status === files_status.FILES_CHANGED) isKept = false;
      if (!isKept) await unlink(part).catch(() => undefined);
      throw isKept || error instanceof TransferError
        ? error
        : new TransferError(`no room for ${name} on this side`, undefined, error);
    } finally {
      await handle.close();
    }
  });
}

async function fetchPieces(
  { remote, chunk, inFlight, signal, onProgress }: Settings,
  handle: FileHandle,
  name: string,
  { id, info }: files_whole,
  onward: (done: number) => void,
): Promise<void> {
  const size = Number(info.size);
  // What was left by a run before this one has no gaps further back than its pieces under way.
  const { size: there } = await handle.stat();
  const start = Math.max(0, Math.min(there, size) - MAX_IN_FLIGHT * FILES_MAX_CHUNK);
  let done = start;
  await inLanes(inFlight, start, size, chunk, async (at, count) => {
    // A server may send less than was asked for, but never nothing.
    for (let from = at; from < at + count; ) {
      signal?.throwIfAborted();
      const read = await remote.read({ name, id, offset: BigInt(from), count: at + count - from });
      if (read.status !== files_status.FILES_OK) throw refusal(name, read.status);
      if (read.data.length === 0 || read.data.length > at + count - from)
        throw refusal(name, files_status.FILES_CHANGED);
      await handle.write(read.data, 0, read.data.length, from);
      from += read.data.length;
      done += read.data.length;
      onward(done);
      onProgress(done, size);
    }
  });
}

async function describe({ remote, signal }: Settings, name: string): Promise<files_whole> {
  for (;;) {
    signal?.throwIfAborted();
    const result = await remote.stat(name);
    if (result.status === files_status.FILES_OK) return result.file;
    if (result.status !== files_status.FILES_WAIT) throw refusal(name, result.status);
    await pause(100);
  }
}

const MAX_IN_FLIGHT = 16;

/** Goes through a file in pieces, `lanes` of them under way at a time; each lane has one buffer. Ends all at the first failure. */
async function inLanes(
  lanes: number,
  start: number,
  size: number,
  chunk: number,
  step: (at: number, count: number, buffer: Uint8Array) => Promise<void>,
): Promise<void> {
  let next = start;
  let failure: { readonly error: unknown } | undefined;
  const lane = async (): Promise<void> => {
    const buffer = new Uint8Array(chunk);
    while (next < size && failure === undefined) {
      const at = next;
      const count = Math.min(chunk, size - at);
      next += count;
      try {
        await step(at, count, buffer);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, lanes) }, lane));
  if (failure !== undefined) throw failure.error;
}

/** Tries until it is done, or there was no progress in so many tries. */
async function persist(
  { maxRetries, retryMs, signal }: Settings,
  attempt: (onward: (done: number) => void) => Promise<void>,
): Promise<void> {
  let best = -1;
  let failures = 0;
  for (;;) {
    signal?.throwIfAborted();
    try {
      await attempt((done) => {
        if (done <= best) return;
        best = done;
        failures = 0;
      });
      return;
    } catch (error) {
      const isWorthIt =
        (error instanceof RpcError && error.code !== 'RPC_AUTH' && !error.code.startsWith('RPC_PROG')) ||
        (error instanceof TransferError && error.status !== undefined && AGAIN.has(error.status));
      failures += 1;
      if (!isWorthIt || failures > maxRetries) throw error;
      await pause(Math.min(2_000, retryMs * 2 ** (failures - 1)));
    }
  }
}

function settingsOf(caller: Caller, options: TransferOptions): Settings {
  const { chunkBytes = FILES_MAX_CHUNK, inFlight = 4, maxRetries = 8, retryMs = 50 } = options;
  if (!(chunkBytes >= 1 && chunkBytes <= FILES_MAX_CHUNK))
    throw new RangeError(`chunkBytes must be from 1 to ${FILES_MAX_CHUNK}`);
  if (!(inFlight >= 1 && inFlight <= MAX_IN_FLIGHT))
    throw new RangeError(`inFlight must be from 1 to ${MAX_IN_FLIGHT}`);
  return {
    remote: new FilesProgV1Client(callingProgram(caller, options.program)),
    chunk: chunkBytes,
    inFlight,
    maxRetries,
    retryMs,
    signal: options.signal,
    onProgress: options.onProgress ?? (() => undefined),
  };
}

function refusal(what: string, status: files_status): TransferError {
  return new TransferError(`${what}: ${describeFilesStatus(status)}`, status);
}

async function isThere(file: string): Promise<boolean> {
  return (await stat(file).catch(() => undefined)) !== undefined;
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** The name under which a local file is sent unless another is given: its last part. */
export function nameOf(file: string): string {
  return path.basename(path.resolve(file));
}
