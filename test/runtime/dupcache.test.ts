/** The duplicate request cache: what it remembers, what it drops, and where it ends. */

import { describe, expect, it } from 'vitest';
import {
  connectLoopback,
  createClient,
  Dispatcher,
  DUPLICATE_DROPPED,
  DUPLICATE_REFUSED,
  DUPLICATE_REPLAYED,
  DupCache,
  emptyCallHeader,
  type Procedure,
} from '../../runtime/index.js';
import { int } from '../../xdr/index.js';
import { ECHO_PROGRAM } from '../support/echo.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const header = (xid: number, procedure = 1) => ({
  ...emptyCallHeader(),
  xid,
  program: 7,
  version: 1,
  procedure,
});

function finished(cache: DupCache, xid: number, reply: Uint8Array | undefined, at = 0) {
  const entry = cache.begin(1, header(xid), bytes('args'), 0, at);
  if (entry < 0) throw new Error('not new');
  cache.finish(entry, reply, at);
}
const isKnown = (cache: DupCache, xid: number, at = 0): boolean => {
  const entry = cache.begin(1, header(xid), bytes('args'), 0, at);
  if (entry >= 0) cache.finish(entry, undefined, at);
  return entry < 0;
};

describe('the duplicate request cache', () => {
  it('drops a duplicate of a call under way and replays one that is finished', () => {
    const cache = new DupCache();
    const again = (at: number): number => cache.begin('a', header(1), bytes('args'), 0, at);
    const first = again(0);
    expect(first).toBeGreaterThanOrEqual(0);
    expect(again(1)).toBe(DUPLICATE_DROPPED);
    cache.finish(first, bytes('reply'), 2);
    expect(again(3)).toBe(DUPLICATE_REPLAYED);
    expect(cache.reply).toEqual(bytes('reply'));
    expect(cache.stats()).toMatchObject({ entries: 1, misses: 1, dropped: 1, replayed: 1, bytes: 5 });
  });

  it.each([
    ['another sender', ['b', header(1), 'args']],
    ['another xid', ['a', header(2), 'args']],
    ['another procedure', ['a', header(1, 2), 'args']],
    ['another program', ['a', { ...header(1), program: 8 }, 'args']],
    ['another version', ['a', { ...header(1), version: 2 }, 'args']],
    ['other arguments', ['a', header(1), 'argS']],
    ['longer arguments', ['a', header(1), 'args\0\0\0\0']],
  ] as const)('takes a call with %s for another call', (_name, [source, head, args]) => {
    const cache = new DupCache();
    cache.begin('a', header(1), bytes('args'), 0, 0);
    expect(cache.begin(source, head, bytes(args), 0, 0)).toBeGreaterThanOrEqual(0);
  });

  it('tells IPv4 senders apart by port and address', () => {
    const cache = new DupCache();
    expect(cache.begin(0x7f000001 * 65536 + 1, header(1), bytes(''), 0, 0)).toBeGreaterThanOrEqual(0);
    expect(cache.begin(0x7f000001 * 65536 + 2, header(1), bytes(''), 0, 0)).toBeGreaterThanOrEqual(0);
    expect(cache.begin(0x7f000002 * 65536 + 1, header(1), bytes(''), 0, 0)).toBeGreaterThanOrEqual(0);
    expect(cache.begin(0x7f000001 * 65536 + 1, header(1), bytes(''), 0, 0)).toBe(DUPLICATE_DROPPED);
  });

  it('holds maxEntries calls and forgets the oldest finished for one more', () => {
    const cache = new DupCache({ maxEntries: 3 });
    for (const xid of [1, 2, 3]) finished(cache, xid, bytes('r'));
    expect(isKnown(cache, 1)).toBe(true);
    finished(cache, 4, bytes('r'));
    expect(isKnown(cache, 4)).toBe(true);
    expect(cache.stats()).toMatchObject({ entries: 3, evicted: 1, bytes: 3 });
    expect(isKnown(cache, 1)).toBe(false);
  });

  it('takes no call where all room is held by calls under way', () => {
    const cache = new DupCache({ maxEntries: 2 });
    cache.begin(1, header(1), bytes(''), 0, 0);
    cache.begin(1, header(2), bytes(''), 0, 0);
    expect(cache.begin(1, header(3), bytes(''), 0, 0)).toBe(DUPLICATE_REFUSED);
    expect(cache.stats()).toMatchObject({ inProgress: 2, refused: 1 });
  });

  it('holds maxBytes bytes of replies and forgets the oldest for one more; a reply over all of it is not held', () => {
    const cache = new DupCache({ maxBytes: 10 });
    finished(cache, 1, new Uint8Array(5));
    finished(cache, 2, new Uint8Array(5));
    expect(cache.stats()).toMatchObject({ entries: 2, bytes: 10, evicted: 0 });
    finished(cache, 3, new Uint8Array(1));
    expect(cache.stats()).toMatchObject({ entries: 2, bytes: 6, evicted: 1 });
    finished(cache, 4, new Uint8Array(11));
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 });
  });

  it('remembers for maxAgeMs and no longer', () => {
    const cache = new DupCache({ maxAgeMs: 100 });
    finished(cache, 1, bytes('r'), 1_000);
    expect(isKnown(cache, 1, 1_099)).toBe(true);
    cache.expire(1_100);
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0 });
    expect(isKnown(cache, 1, 1_100)).toBe(false);
  });

  it('refuses bounds that hold nothing', () => {
    expect(() => new DupCache({ maxEntries: 0 })).toThrow('maxEntries is 0');
    expect(() => new DupCache({ maxAgeMs: 0 })).toThrow(RangeError);
  });

  it('keeps finding the right one among many thousand', () => {
    const cache = new DupCache({ maxEntries: 5_000 });
    for (let xid = 0; xid < 20_000; xid++) finished(cache, xid, bytes(String(xid)));
    for (let xid = 15_000; xid < 20_000; xid++) {
      expect(cache.begin(1, header(xid), bytes('args'), 0, 0)).toBe(DUPLICATE_REPLAYED);
      expect(cache.reply).toEqual(bytes(String(xid)));
    }
  });
});

describe('a lossy way', () => {
  const count: Procedure<number, number> = {
    program: ECHO_PROGRAM,
    version: 1,
    number: 1,
    name: 'COUNT',
    args: int,
    result: int,
  };
  const runs = async (procedure: Procedure<number, number>, later: boolean): Promise<number> => {
    let ran = 0;
    const dispatcher = new Dispatcher();
    dispatcher.add({
      program: ECHO_PROGRAM,
      version: 1,
      name: 'COUNTER',
      procedures: [
        {
          procedure: procedure as Procedure,
          handle: () => {
            ran += 1;
            return later ? new Promise((done) => setImmediate(() => done(ran))) : ran;
          },
        },
      ],
    });
    const faults = { loss: 0.3, duplication: 0.3, jitterMs: 4, seed: 3 };
    const client = createClient(connectLoopback(dispatcher, faults), { timeoutMs: 5, totalMs: 20_000 });
    await Promise.all(Array.from({ length: 200 }, (_, i) => client.call(procedure, i)));
    await client.close();
    return ran;
  };

  it.each([
    ['at once', false],
    ['later', true],
  ])('runs each call that is answered %s exactly once', async (_name, later) => {
    expect(await runs(count, later)).toBe(200);
  });

  it('may run an idempotent call again', async () => {
    expect(await runs({ ...count, idempotent: true }, false)).toBeGreaterThan(200);
  });
});
