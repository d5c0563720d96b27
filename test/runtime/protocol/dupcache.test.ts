/** The duplicate request cache: what it remembers, what it drops, and where it ends. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { describe, expect, it } from 'vitest';
import { connectLoopback, createClient, noCredentials, type Procedure } from '../../../runtime/index.js';
import {
  Dispatcher,
  DUPLICATE_DROPPED,
  DUPLICATE_REFUSED,
  DUPLICATE_REPLAYED,
  DupCache,
  emptyCallHeader,
  MAX_SHARE_SOURCES,
  type ReplyChannel,
  writeCall,
} from '../../../runtime/protocol.js';
import { encodeSockaddr, keyOf } from '../../../runtime/transport/sockaddr.js';
import { int, XdrWriter } from '../../../xdr/index.js';
import { ECHO_PROGRAM } from '../../support/echo.js';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const hex = (bytes: Uint8Array | undefined): string | undefined =>
  bytes && Buffer.from(bytes).toString('hex');
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
    cache.begin('a', header(1), bytes(''), 0, 0);
    cache.begin('b', header(2), bytes(''), 0, 0);
    expect(cache.begin('c', header(3), bytes(''), 0, 0)).toBe(DUPLICATE_REFUSED);
    expect(cache.stats()).toMatchObject({ inProgress: 2, refused: 1, sources: 2 });
  });

  it('holds maxBytes bytes of replies and forgets the oldest for one more; a reply over all of it is not held', () => {
    const cache = new DupCache({ maxBytes: 10 });
    finished(cache, 1, new Uint8Array(5));
    finished(cache, 2, new Uint8Array(5));
    expect(cache.stats()).toMatchObject({ entries: 2, bytes: 10, evicted: 0 });
    finished(cache, 3, new Uint8Array(1));
    expect(cache.stats()).toMatchObject({ entries: 2, bytes: 6, evicted: 1 });
    finished(cache, 4, new Uint8Array(11));
    expect(cache.stats()).toMatchObject({ entries: 2, bytes: 6, evicted: 2 });
    expect(isKnown(cache, 4)).toBe(false);
  });

  it.each([0, 1, 63, 64, 65, 50_000])(
    'gives back a reply of %i bytes as it was, and silence as silence',
    (size) => {
      const cache = new DupCache();
      const replies = [1, 2, 3].map((xid) => new Uint8Array(size).fill(xid));
      for (const [i, reply] of replies.entries()) finished(cache, i, reply);
      finished(cache, 3, undefined);
      for (const [i, reply] of [...replies, undefined].entries()) {
        expect(cache.begin(1, header(i), bytes('args'), 0, 0)).toBe(DUPLICATE_REPLAYED);
        expect(hex(cache.reply)).toBe(hex(reply));
      }
      expect(cache.stats()).toMatchObject({ bytes: 3 * size });
    },
  );

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
    expect(() => new DupCache({ maxEntries: 16_777_217 })).toThrow('from 1 to 16777216');
    expect(() => new DupCache({ maxAgeMs: 0 })).toThrow(RangeError);
    expect(() => new DupCache({ maxBytes: Number.NaN })).toThrow('maxBytes is NaN');
    expect(new DupCache({ maxEntries: 16_777_216, maxBytes: 0, maxAgeMs: 1 }).stats().entries).toBe(0);
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

/** A sender of IPv6 as the fast listener knows it. */
const binary = (address: string, port: number): number | string => keyOf(encodeSockaddr(address, port));
/** A sender of IPv4 as the listener knows it: address and port as one number. */
const ipv4 = (host: number, port = 1): number => host * 65_536 + port;

describe('the room of the duplicate request cache', () => {
  const run = (cache: DupCache, source: number | string, xid: number, reply = bytes('r'), at = 0): number => {
    const entry = cache.begin(source, header(xid), bytes(''), 0, at);
    if (entry >= 0) cache.finish(entry, reply, at);
    return entry;
  };

  it('is not taken from others by a stranger who calls 69 000 times from all his ports', () => {
    const ran = new Map<string, number>();
    const dispatcher = new Dispatcher();
    const procedure = { program: 7, version: 1, number: 1, name: 'ONCE', args: int, result: int };
    dispatcher.add({
      ...{ program: 7, version: 1, name: 'ONCE' },
      procedures: [
        {
          procedure: procedure as unknown as Procedure,
          handle: (_args, { peer, xid }) => {
            const call = `${peer.address} ${xid}`;
            ran.set(call, (ran.get(call) ?? 0) + 1);
            return 1;
          },
        },
      ],
    });
    const { signal } = new AbortController();
    let replies = 0;
    const writer = new XdrWriter();
    const send = (host: number, port: number, xid: number): void => {
      writer.reset();
      writeCall(writer, xid, procedure as unknown as Procedure, noCredentials);
      int.encode(writer, 1);
      const peer = { transport: 'udp', address: String(host), port, localAddress: '', localPort: 0 } as const;
      const reply = (): void => {
        replies += 1;
      };
      dispatcher.handle(writer.take(), {
        peer,
        source: ipv4(host, port),
        maxReplyBytes: 1_000,
        signal,
        reply,
      });
    };
    for (let xid = 0; xid < 1_000; xid++) send(1, 1, xid);
    for (let i = 0; i < 69_000; i++) send(2, i % 65_536, i);
    for (let xid = 0; xid < 1_000; xid++) send(1, 1, xid);
    expect(replies).toBe(71_000);
    expect(Array.from({ length: 1_000 }, (_, xid) => ran.get(`1 ${xid}`))).toEqual(Array(1_000).fill(1));
    expect(dispatcher.stats().dupCache).toMatchObject({ entries: 65_536, sources: 2, replayed: 1_000 });
  });

  it.each([
    ['an IPv4 address and all its ports', ipv4(5, 1), ipv4(5, 2), true],
    ['another IPv4 address', ipv4(5), ipv4(6), false],
    ['an IPv4 address, by either way of listening', ipv4(0x7f000001, 1), '127.0.0.1 9', true],
    ['an IPv4 address that comes mapped into IPv6', ipv4(0x0a000001), '::ffff:10.0.0.1 9', true],
    ['addresses of one /64', '2001:db8:0:1::1 5', '2001:db8:0:1:ffff:ffff:ffff:ffff 6', true],
    ['addresses of two /64', '2001:db8:0:1::1 5', '2001:db8:0:2::1 5', false],
    ['an IPv6 address, by either way', binary('2001:db8::7', 5), '2001:db8::8 5', true],
    ['a mapped IPv4 address, by the fast way', binary('::ffff:10.0.0.1', 5), ipv4(0x0a000001), true],
    ['two hosts of one link', 'fe80::1%eth0 5', 'fe80::2%eth0 5', false],
    ['one host of a link', 'fe80::1%eth0 5', 'fe80::1%eth0 6', true],
    ['two ways in memory', 'loopback 1', 'loopback 2', true],
  ])('is one share for %s', (_name, one, other, isShared) => {
    const cache = new DupCache();
    cache.begin(one, header(1), bytes(''), 0, 0);
    cache.begin(other, header(2), bytes(''), 0, 0);
    expect(cache.stats().sources).toBe(isShared ? 1 : 2);
  });

  it('is made by the host that holds most, the oldest of its calls first, and shared evenly in the end', () => {
    const cache = new DupCache({ maxEntries: 12 });
    for (let xid = 0; xid < 10; xid++) run(cache, ipv4(1), xid);
    for (let xid = 0; xid < 12; xid++) run(cache, ipv4(2), xid);
    expect(isKnownOf(cache, 1, [4, 5, 6, 7, 8, 9])).toBe(true);
    expect(isKnownOf(cache, 2, [6, 7, 8, 9, 10, 11])).toBe(true);
    expect(cache.stats()).toMatchObject({ entries: 12, evicted: 10, replayed: 12 });
  });

  it('is never that of a call under way', () => {
    const cache = new DupCache({ maxEntries: 8 });
    const mine = cache.begin(ipv4(1), header(1), bytes(''), 0, 0);
    for (let xid = 0; xid < 100; xid++) run(cache, ipv4(2), xid);
    expect(cache.begin(ipv4(1), header(1), bytes(''), 0, 0)).toBe(DUPLICATE_DROPPED);
    cache.finish(mine, bytes('mine'), 0);
    expect(cache.begin(ipv4(1), header(1), bytes(''), 0, 0)).toBe(DUPLICATE_REPLAYED);
    expect(cache.reply).toEqual(bytes('mine'));
  });

  it('is at most by half one host that has calls under way', () => {
    const cache = new DupCache({ maxEntries: 8 });
    for (let xid = 0; xid < 4; xid++)
      expect(cache.begin(ipv4(1), header(xid), bytes(''), 0, 0)).toBeGreaterThanOrEqual(0);
    expect(cache.begin(ipv4(1, 9), header(4), bytes(''), 0, 0)).toBe(DUPLICATE_REFUSED);
    expect(cache.begin(ipv4(2), header(4), bytes(''), 0, 0)).toBeGreaterThanOrEqual(0);
    expect(cache.stats()).toMatchObject({ inProgress: 5, refused: 1, sources: 2 });
  });

  it('is made by the host whose replies are largest where bytes are short', () => {
    const cache = new DupCache({ maxEntries: 100, maxBytes: 10_000 });
    for (let xid = 0; xid < 20; xid++) run(cache, ipv4(1), xid, new Uint8Array(20));
    for (let xid = 0; xid < 50; xid++) run(cache, ipv4(2), xid, new Uint8Array(1_000));
    for (let xid = 0; xid < 20; xid++)
      expect(cache.begin(ipv4(1), header(xid), bytes(''), 0, 0)).toBe(DUPLICATE_REPLAYED);
    expect(cache.stats()).toMatchObject({ entries: 29, bytes: 9_400 });
  });

  it('counts MAX_SHARE_SOURCES hosts, and those beyond as one, which cannot push out the others', () => {
    const cache = new DupCache({ maxEntries: 10_000 });
    for (let host = 1; host <= MAX_SHARE_SOURCES; host++) run(cache, ipv4(host), host);
    expect(cache.stats()).toMatchObject({ entries: MAX_SHARE_SOURCES, sources: MAX_SHARE_SOURCES });
    // Datagrams with forged senders, each another.
    for (let i = 1; i <= 50_000; i++) run(cache, ipv4(1_000_000 + i), i);
    expect(cache.stats()).toMatchObject({ entries: 10_000, sources: MAX_SHARE_SOURCES });
    for (let host = 1; host <= MAX_SHARE_SOURCES; host++)
      expect(run(cache, ipv4(host), host)).toBe(DUPLICATE_REPLAYED);
    // Once they are forgotten, their accounts are others'.
    cache.expire(1_000_000);
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0, sources: 0 });
    run(cache, ipv4(9), 1, bytes('r'), 1_000_000);
    expect(cache.stats()).toMatchObject({ entries: 1, sources: 1 });
  });

  it('is searched as fast where a sender chooses xids that fit his ports', () => {
    const millisecondsOf = (xidOf: (port: number) => number): number => {
      const cache = new DupCache();
      const startedAt = performance.now();
      for (let port = 0; port < 20_000; port++) run(cache, ipv4(1, port), xidOf(port));
      return performance.now() - startedAt;
    };
    const random = (): number => (Math.random() * 0x1_0000_0000) >>> 0;
    millisecondsOf(random);
    const usual = Math.min(...[1, 2, 3].map(() => millisecondsOf(random)));
    const chosen = Math.min(...[1, 2, 3].map(() => millisecondsOf((port) => port)));
    expect(chosen).toBeLessThan(usual * 5 + 20);
  });

  it('stays what it is while hosts, sizes and ages come and go at random', () => {
    const cache = new DupCache({ maxEntries: 300, maxBytes: 20_000, maxAgeMs: 500 });
    const under: { entry: number; size: number }[] = [];
    let state = 1;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % below;
    };
    for (let at = 0; at < 20_000; at++) {
      const entry = cache.begin(ipv4(random(40)), header(random(2_000)), bytes(''), 0, at);
      if (entry >= 0) under.push({ entry, size: random(20) === 0 ? 3_000 : random(130) });
      if (under.length > 100) {
        const [{ entry: done, size }] = under.splice(random(under.length), 1) as [(typeof under)[0]];
        cache.finish(done, size % 7 === 0 ? undefined : new Uint8Array(size), at);
      }
      const { entries, bytes: held, inProgress } = cache.stats();
      if (entries > 300 || held > 20_000 || inProgress !== under.length) throw new Error(`at ${at}`);
    }
    for (const { entry } of under) cache.finish(entry, undefined, 20_000);
    expect(cache.stats().evicted).toBeGreaterThan(1_000);
    cache.expire(1e9);
    expect(cache.stats()).toMatchObject({ entries: 0, bytes: 0, inProgress: 0, sources: 0 });
  });
});

const isKnownOf = (cache: DupCache, host: number, xids: readonly number[]): boolean =>
  xids.every((xid) => cache.begin(ipv4(host), header(xid), bytes(''), 0, 0) === DUPLICATE_REPLAYED);

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
    const client = createClient(connectLoopback(dispatcher, faults), { retransmitMs: 5, timeoutMs: 20_000 });
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

  it('replays the very first call of a server, and takes it for no duplicate when it comes', () => {
    let ran = 0;
    const dispatcher = new Dispatcher();
    dispatcher.add({
      ...{ program: ECHO_PROGRAM, version: 1, name: 'COUNTER' },
      procedures: [{ procedure: count as Procedure, handle: () => ++ran }],
    });
    const duplicates: unknown[] = [];
    const listen = (event: unknown): unknown => duplicates.push(event);
    subscribe('rpcbind-ts:server:duplicate', listen);
    try {
      const replies: (string | undefined)[] = [];
      const peer = { transport: 'udp', address: '', port: 1, localAddress: '', localPort: 0 } as const;
      const { signal } = new AbortController();
      const reply = (message: Uint8Array): unknown => replies.push(hex(message));
      const origin: ReplyChannel = { peer, source: 1, maxReplyBytes: 1_000, signal, reply };
      const writer = new XdrWriter();
      writeCall(writer, 1, count as Procedure, noCredentials);
      int.encode(writer, 5);
      const message = writer.take();
      dispatcher.handle(message, origin);
      expect(duplicates).toEqual([]);
      expect(dispatcher.stats().dupCache).toMatchObject({ entries: 1, inProgress: 0, misses: 1 });
      dispatcher.handle(message, origin);
      expect(replies).toHaveLength(2);
      expect(replies[1]).toBe(replies[0]);
      expect(ran).toBe(1);
      expect(duplicates).toMatchObject([{ action: 'replayed', xid: 1 }]);
    } finally {
      unsubscribe('rpcbind-ts:server:duplicate', listen);
    }
  });

  it('may run an idempotent call again', async () => {
    expect(await runs({ ...count, idempotent: true }, false)).toBeGreaterThan(200);
  });
});
