/**
 * kv: a store of keys and values over RPC. It knows what fits into which answer and who watches;
 * what is on disk is store.ts's.
 */

import type { CallContext, Service } from '../../runtime/index.js';
import { Feed, type FeedOptions } from '../support/feed.js';
import { DEFAULT_MAX_UDP_BYTES, limit, MAX_UDP_BYTES } from '../support/limits.js';
import { servedAs } from '../support/program.js';
import {
  createKvProgV1,
  KV_MAX_EVENTS,
  KV_MAX_KEY,
  KV_MAX_PAGE,
  KV_MAX_VALUE,
  type kv_change_result,
  type kv_entry,
  type kv_event,
  kv_event_kind,
  type kv_page,
  kv_status,
} from './kv.gen.js';
import { type Change, type Changed, type Kind, openStore, type Store, type StoreLimits } from './store.js';

/** See {@link createKv}. */
export interface KvOptions extends StoreLimits {
  /** The folder of the database; made where it is not there. One process at a time may have it open. */
  readonly folder: string;
  /** Most bytes of a key. Default and most 1024. */
  readonly maxKeyBytes?: number;
  /** Most bytes of a value. Default {@link DEFAULT_MAX_VALUE_BYTES}, most 1 MiB. */
  readonly maxValueBytes?: number;
  /** Most bytes of one answer over TCP, at least those of the largest entry. Default {@link DEFAULT_MAX_PAGE_BYTES}. */
  readonly maxPageBytes?: number;
  /** Most bytes of one answer over UDP; for a larger one the client is told to use TCP. Default 8192. */
  readonly maxUdpBytes?: number;
  /** Bounds of those who watch. */
  readonly watch?: FeedOptions;
  /** Program number. Default 0x20000003. */
  readonly program?: number;
}

/** Default for the bytes of a value: 64 KiB. */
export const DEFAULT_MAX_VALUE_BYTES = 65_536;
/** Default for the bytes of one page: 1 MiB. */
export const DEFAULT_MAX_PAGE_BYTES = 1024 * 1024;

/** A store that is served. */
export interface Kv {
  readonly services: readonly [Service];
  /** Answers those who watch, finishes what waits for the disk, and closes the store. */
  close(): Promise<void>;
}

const EVENTS = {
  put: kv_event_kind.KV_PUT_EVENT,
  update: kv_event_kind.KV_UPDATE_EVENT,
  delete: kv_event_kind.KV_DELETE_EVENT,
} as const;
const REFUSALS = {
  exists: kv_status.KV_EXISTS,
  'not found': kv_status.KV_NOT_FOUND,
  full: kv_status.KV_FULL,
  busy: kv_status.KV_BUSY,
} as const;
/** Bytes of a page around its entries, with the status and what may precede it (RFC 4506 section 4.13). */
const PAGE_BYTES = 32;

/**
 * The service KV_PROG version 1. A change is flushed to the disk before its reply, and happens once
 * for each token. Rejects where the store cannot be opened, and with RangeError for a bound out of range.
 */
export async function createKv(options: KvOptions): Promise<Kv> {
  const maxKeyBytes = limit('maxKeyBytes', options.maxKeyBytes, KV_MAX_KEY, 1, KV_MAX_KEY);
  const maxValueBytes = limit(
    'maxValueBytes',
    options.maxValueBytes,
    DEFAULT_MAX_VALUE_BYTES,
    0,
    KV_MAX_VALUE,
  );
  // One entry has to fit, or a list would never come to its end.
  const leastBytes = PAGE_BYTES + 16 + padded(maxKeyBytes) + padded(maxValueBytes);
  const tcpBytes = limit(
    'maxPageBytes',
    options.maxPageBytes,
    Math.max(DEFAULT_MAX_PAGE_BYTES, leastBytes),
    leastBytes,
    3 * KV_MAX_VALUE,
  );
  const udpBytes = limit(
    'maxUdpBytes',
    options.maxUdpBytes,
    DEFAULT_MAX_UDP_BYTES,
    PAGE_BYTES,
    MAX_UDP_BYTES,
  );
  let feed: Feed<kv_event> | undefined;
  const onChange = (kind: Kind, key: string, revision: bigint): void =>
    feed?.add({ kind: EVENTS[kind], key, revision }, revision);
  const store = await openStore(options.folder, options, onChange);
  const watchers = new Feed<kv_event>(store.statistics.revision, options.watch);
  feed = watchers;
  const room = ({ peer }: CallContext): number => (peer.transport === 'udp' ? udpBytes : tcpBytes);

  const change = async (
    kind: Kind,
    args: Omit<Change, 'kind'>,
    wantContent: boolean,
    context: CallContext,
  ): Promise<kv_change_result> => {
    const keyBytes = Buffer.byteLength(args.key);
    if (keyBytes === 0 || keyBytes > maxKeyBytes || args.value.length > maxValueBytes)
      return { status: kv_status.KV_TOO_BIG };
    const changed: Changed = await store.change({ ...args, kind });
    if (typeof changed === 'string') return { status: REFUSALS[changed] };
    const content = wantContent ? await readPage(store, '', '', KV_MAX_PAGE, room(context)) : null;
    return { status: kv_status.KV_OK, changed: { revision: changed.revision, content } };
  };

  const service = createKvProgV1({
    put: (args, context) => change('put', args, args.want_content, context),
    update: (args, context) => change('update', args, args.want_content, context),
    delete: ({ key, token, want_content }, context) =>
      change('delete', { key, token, value: new Uint8Array(0) }, want_content, context),
    async get(key, context) {
      const entry = await store.get(key);
      if (entry === undefined) return { status: kv_status.KV_NOT_FOUND };
      if (context.peer.transport === 'udp' && PAGE_BYTES + wireBytes(entry) > udpBytes)
        return { status: kv_status.KV_USE_TCP };
      return { status: kv_status.KV_OK, entry };
    },
    async list({ prefix, after, limit: most }, context) {
      const count = most === 0 ? KV_MAX_PAGE : Math.min(most, KV_MAX_PAGE);
      const page = await readPage(store, prefix, after, count, room(context));
      // A first entry that does not fit would make an empty page, over and over.
      if (page.entries.length === 0 && page.more) return { status: kv_status.KV_USE_TCP };
      return { status: kv_status.KV_OK, page };
    },
    stat: () => {
      const { entries, bytes, revision } = store.statistics;
      return { entries, size: bytes, revision };
    },
    async watch({ prefix, after, wait_ms }, context) {
      const most =
        context.peer.transport === 'udp' ? Math.max(1, Math.floor(udpBytes / 1_056)) : KV_MAX_EVENTS;
      const wants = (event: kv_event): boolean => event.key.startsWith(prefix);
      // A revision that never was comes from another store, or from this one before an older copy took its place.
      const isOther = after > store.statistics.revision;
      const news = await watchers.ask({ after, waitMs: wait_ms, most, wants }, context);
      if (news === undefined) return { status: kv_status.KV_BUSY };
      const { entries, next, missed } = news;
      return { status: kv_status.KV_OK, happened: { events: [...entries], next, missed: missed || isOther } };
    },
  });
  return {
    services: [servedAs(service, options.program)],
    async close() {
      watchers.close();
      await store.close();
    },
  };
}

/** As many entries as fit; a single one over TCP always does. */
async function readPage(
  store: Store,
  prefix: string,
  after: string,
  most: number,
  maxBytes: number,
): Promise<kv_page> {
  const entries: kv_entry[] = [];
  let bytes = PAGE_BYTES;
  for await (const entry of store.list(prefix, after)) {
    bytes += wireBytes(entry);
    if (entries.length === most || bytes > maxBytes) return { entries, more: true };
    entries.push(entry);
  }
  return { entries, more: false };
}

/** Bytes of an entry: two counted and padded byte strings and a hyper (RFC 4506 sections 4.5, 4.10, 4.11). */
function wireBytes({ key, value }: kv_entry): number {
  return 16 + padded(Buffer.byteLength(key)) + padded(value.length);
}

function padded(size: number): number {
  return Math.ceil(size / 4) * 4;
}
