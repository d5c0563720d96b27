/**
 * files: files up and down, and notices to all who listen. It knows which call asks for what and what
 * fits into which answer; the folder is folder.ts's, uploads are uploads.ts's.
 */

import type { CallContext, Service } from '../../runtime/index.js';
import { Feed, type FeedOptions } from '../support/feed.js';
import { DEFAULT_MAX_UDP_BYTES, limit, MAX_UDP_BYTES } from '../support/limits.js';
import { servedAs } from '../support/program.js';
import {
  createFilesProgV1,
  FILES_MAX_CHUNK,
  FILES_MAX_NOTICE,
  FILES_MAX_NOTICES,
  FILES_MAX_PAGE,
  type files_info,
  type files_notice,
  files_status,
} from './files.gen.js';
import { FilesRefusal, openFolder, wireTime } from './folder.js';
import { type UploadLimits, Uploads, WINDOW_BYTES } from './uploads.js';

/** See {@link createFiles}. */
export interface FilesOptions extends UploadLimits {
  /** The folder whose files are served; it has to be there. */
  readonly folder: string;
  /** Bounds of those who listen. */
  readonly notices?: FeedOptions;
  /** Most bytes of one answer over UDP. Default 8192. */
  readonly maxUdpBytes?: number;
  /** Called with what could not be done for a reason that the caller is not told. Default: nothing. */
  readonly onError?: (error: unknown, context: CallContext) => void;
  /** Program number. Default 0x20000005. */
  readonly program?: number;
}

/** Files that are served. */
export interface Files {
  readonly services: readonly [Service];
  /** How many wait for notices now. */
  readonly subscribers: number;
  /** Sends a notice of at most 1024 bytes to all who listen. Throws RangeError for a longer one. */
  sendAll(text: string): void;
  /** Answers those who listen and closes what is open. */
  close(): Promise<void>;
}

/** How long FILES_STAT waits for a checksum before it says FILES_WAIT. */
const STAT_WAIT_MS = 5_000;
/** Bytes of a result around what it carries. */
const RESULT_BYTES = 32;

/** The service FILES_PROG version 1. Rejects where the folder is not there, and with RangeError for a bound out of range. */
export async function createFiles(options: FilesOptions): Promise<Files> {
  const udpBytes = limit('maxUdpBytes', options.maxUdpBytes, DEFAULT_MAX_UDP_BYTES, 2_048, MAX_UDP_BYTES);
  const folder = await openFolder(options.folder);
  const uploads = new Uploads(folder, options);
  await uploads.sweep();
  const feed = new Feed<files_notice>(0n, options.notices);
  const room = ({ peer }: CallContext): number =>
    (peer.transport === 'udp' ? udpBytes : FILES_MAX_CHUNK + RESULT_BYTES) - RESULT_BYTES;
  const sendAll = (text: string): void => {
    if (Buffer.byteLength(text) > FILES_MAX_NOTICE)
      throw new RangeError(`a notice of more than ${FILES_MAX_NOTICE} bytes`);
    const number = feed.latest + 1n;
    feed.add({ number, at: BigInt(Date.now()), text }, number);
  };
  /** The status of what was not done. */
  const statusOf = (error: unknown, context: CallContext): Exclude<files_status, 0> => {
    if (error instanceof FilesRefusal) return error.status;
    options.onError?.(error, context);
    return files_status.FILES_FAILED;
  };

  const service = createFilesProgV1({
    async begin(offer, context) {
      try {
        const { id, offset } = await uploads.begin(offer);
        return {
          status: files_status.FILES_OK,
          upload: { id, offset: BigInt(offset), window: BigInt(WINDOW_BYTES) },
        };
      } catch (error) {
        return { status: statusOf(error, context) };
      }
    },
    async write({ id, offset, data }, context) {
      try {
        if (offset > BigInt(Number.MAX_SAFE_INTEGER)) return files_status.FILES_BAD_OFFSET;
        await uploads.write(id, Number(offset), data);
        return files_status.FILES_OK;
      } catch (error) {
        return statusOf(error, context);
      }
    },
    async commit(id, context) {
      try {
        const done = await uploads.commit(id);
        if (done !== undefined) sendAll(`uploaded: ${done.offer.name} (${done.offer.size} bytes)`);
        return files_status.FILES_OK;
      } catch (error) {
        return statusOf(error, context);
      }
    },
    async abort(id, context) {
      try {
        await uploads.abort(id);
        return files_status.FILES_OK;
      } catch (error) {
        return statusOf(error, context);
      }
    },
    async stat(name, context) {
      try {
        const { state, sha256 } = await folder.describe(name, STAT_WAIT_MS);
        if (sha256 === undefined) return { status: files_status.FILES_WAIT };
        const info = { name, size: BigInt(state.size), modified: wireTime(state.modifiedMs) };
        return { status: files_status.FILES_OK, file: { info, sha256, id: state.id } };
      } catch (error) {
        return { status: statusOf(error, context) };
      }
    },
    async read({ name, id, offset, count }, context) {
      try {
        const { handle, state } = await folder.openFile(name);
        try {
          if (!state.id.equals(id)) return { status: files_status.FILES_CHANGED };
          const left = BigInt(state.size) - offset;
          if (left <= 0n) return { status: files_status.FILES_OK, data: new Uint8Array(0) };
          const most = Math.min(count, room(context), left > 0x7fff_ffffn ? FILES_MAX_CHUNK : Number(left));
          const buffer = new Uint8Array(most);
          const { bytesRead } = await handle.read(buffer, 0, most, Number(offset));
          return { status: files_status.FILES_OK, data: buffer.subarray(0, bytesRead) };
        } finally {
          await handle.close();
        }
      } catch (error) {
        return { status: statusOf(error, context) };
      }
    },
    async list(after, context) {
      try {
        const key = Buffer.from(after);
        const files: files_info[] = [];
        let bytes = 0;
        for (const name of await folder.names()) {
          if (Buffer.compare(Buffer.from(name), key) <= 0) continue;
          const found = await folder.look(name);
          if (found === undefined) continue;
          bytes += 24 + Buffer.byteLength(name);
          if (files.length === FILES_MAX_PAGE || bytes > room(context))
            return { status: files_status.FILES_OK, page: { files, more: true } };
          files.push({ name, size: BigInt(found.size), modified: wireTime(found.modifiedMs) });
        }
        return { status: files_status.FILES_OK, page: { files, more: false } };
      } catch (error) {
        return { status: statusOf(error, context) };
      }
    },
    async remove(name, context) {
      try {
        await folder.remove(name);
        sendAll(`removed: ${name}`);
        return files_status.FILES_OK;
      } catch (error) {
        return statusOf(error, context);
      }
    },
    async subscribe({ after, wait_ms }, context) {
      const isUdp = context.peer.transport === 'udp';
      const most = isUdp
        ? Math.max(1, Math.floor(udpBytes / (FILES_MAX_NOTICE + RESULT_BYTES)))
        : FILES_MAX_NOTICES;
      const news = await feed.ask({ after, waitMs: wait_ms, most }, context);
      if (news === undefined) return { status: files_status.FILES_BUSY };
      const { entries, next, missed } = news;
      return { status: files_status.FILES_OK, news: { notices: [...entries], next, missed } };
    },
    sendAll(text) {
      if (Buffer.byteLength(text) > FILES_MAX_NOTICE) return files_status.FILES_TOO_BIG;
      sendAll(text);
      return files_status.FILES_OK;
    },
  });
  return {
    services: [servedAs(service, options.program)],
    get subscribers() {
      return feed.waiting;
    },
    sendAll,
    async close() {
      feed.close();
      await uploads.close();
    },
  };
}
