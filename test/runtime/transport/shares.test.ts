/** What callers share: connections, and the memory of calls and replies that are not whole. */

import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createServer } from '../../../runtime/index.js';
import { ByteBudget, sourceOf } from '../../../runtime/protocol.js';
import { add, blob, echoService, slow } from '../../support/echo.js';
import { until } from '../../support/until.js';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

type OnSlow = Parameters<typeof echoService>[0];
async function listening(options: object, onSlow?: OnSlow, more: object = {}) {
  const server = createServer({ services: [echoService(onSlow)], ...more });
  cleanUps.push(() => server.close({ drainMs: 10 }));
  const { port } = await server.listenTcp({ host: '0.0.0.0', ...options });
  return { server, port };
}

/** A connection from 127.0.0.`host`, open. Each such address is a source of its own. */
async function peerOf(port: number, host: number) {
  const socket = net.connect({ host: '127.0.0.1', port, localAddress: `127.0.0.${host}` });
  cleanUps.push(() => socket.destroy());
  const peer = { socket, bytes: 0, isClosed: false };
  socket.on('data', (chunk) => {
    peer.bytes += chunk.length;
  });
  socket.on('close', () => {
    peer.isClosed = true;
  });
  socket.on('error', () => undefined);
  await new Promise((done) => socket.once('connect', done));
  return peer;
}

/** A call of a procedure without credentials, as a record. */
function call(procedure: number, args = ''): Buffer {
  const words = ['00000001', '00000000', '00000002', '20001000', '00000001'];
  const body = [...words, procedure.toString(16).padStart(8, '0'), '00000000'.repeat(4), args].join('');
  const record = Buffer.from(body, 'hex');
  const mark = Buffer.alloc(4);
  mark.writeUInt32BE(0x8000_0000 + record.length);
  return Buffer.concat([mark, record]);
}

/** The beginning of a record: its mark, which promises 4 MiB, and so many bytes of it. */
function partOfRecord(bytes: number): Buffer {
  const part = Buffer.alloc(4 + bytes);
  part.writeUInt32BE(0x8040_0000);
  return part;
}

/** Which of these are closed, once the server has closed `count` of them. */
async function closedOf(peers: readonly { isClosed: boolean }[], count: number): Promise<boolean[]> {
  await until(() => peers.filter(({ isClosed }) => isClosed).length >= count);
  return peers.map(({ isClosed }) => isClosed);
}

// All of 127.0.0.0/8 is the loopback of Linux alone.
describe.runIf(process.platform === 'linux')('the connections of a listener', () => {
  it('are maxConnections; one more closes the longest idle of the source that has most', async () => {
    const { server, port } = await listening({ maxConnections: 4 });
    const peers = [
      await peerOf(port, 2),
      await peerOf(port, 3),
      await peerOf(port, 3),
      await peerOf(port, 4),
    ];
    await until(() => server.stats().connections === 4);
    // The first of 127.0.0.3 is used; its second, though it came later, has been idle for longer.
    peers[1]?.socket.write(call(0));
    await until(() => peers[1]?.bytes === 28);
    peers.push(await peerOf(port, 5));
    expect(await closedOf(peers, 1)).toEqual([false, false, true, false, false]);
    expect(server.stats().connections).toBe(4);
  });

  it('are maxConnectionsPerSource of a source; one more closes its own longest idle', async () => {
    const { server, port } = await listening({ maxConnectionsPerSource: 2 });
    const peers = [await peerOf(port, 2), await peerOf(port, 3), await peerOf(port, 3)];
    await until(() => server.stats().connections === 3);
    peers.push(await peerOf(port, 3));
    expect(await closedOf(peers, 1)).toEqual([false, true, false, false]);
    expect(server.stats().connections).toBe(3);
  });

  it('with calls under way are kept, and one more of their source is refused', async () => {
    let entered = 0;
    const { server, port } = await listening({ maxConnections: 2 }, () => {
      entered += 1;
      return new Promise(() => undefined);
    });
    const peers = [await peerOf(port, 2), await peerOf(port, 2)];
    for (const { socket } of peers) socket.write(call(slow.number));
    await until(() => entered === 2);
    peers.push(await peerOf(port, 2));
    expect(await closedOf(peers, 1)).toEqual([false, false, true]);
    // One of another source has a right to a place: the calls of one that has more are given up.
    peers.push(await peerOf(port, 3));
    expect((await closedOf(peers, 2)).slice(2)).toEqual([true, false]);
    expect(server.stats().connections).toBe(2);
  });

  it.each([
    [{ maxConnections: 0 }],
    [{ maxConnections: 1.5 }],
    [{ maxConnectionsPerSource: 0 }],
    [{ maxConnections: 3, reservedConnections: 4 }],
    [{ reservedConnections: -1 }],
  ])('have limits that make sense: %j is a RangeError', async (limits) => {
    await expect(listening(limits)).rejects.toBeInstanceOf(RangeError);
  });

  it('are asked for before anything is read', async () => {
    const { server, port } = await listening({
      mayConnect: ({ address }: { address: string }) => address !== '127.0.0.2',
    });
    const peers = [await peerOf(port, 2), await peerOf(port, 3)];
    for (const { socket } of peers) socket.write(call(add.number, '0000000100000002'));
    expect(await closedOf(peers, 1)).toEqual([true, false]);
    await until(() => peers[1]?.bytes === 32);
    expect(server.stats().procedures.map(({ calls }) => calls)).toEqual([1]);
  });
});

describe.runIf(process.platform === 'linux')('input of unfinished calls', () => {
  it('is held up to maxUnfinishedBytes; beyond it goes the largest of the source that holds most', async () => {
    const unfinished = new ByteBudget(20_000);
    const { port } = await listening({ unfinished });
    const peers = [
      await peerOf(port, 2),
      await peerOf(port, 3),
      await peerOf(port, 3),
      await peerOf(port, 3),
    ];
    // The largest call of one caller, and three of another, which are more together.
    for (const [i, bytes] of [8_000, 3_000, 7_000, 2_000].entries()) {
      const before = unfinished.bytes;
      peers[i]?.socket.write(partOfRecord(bytes));
      await until(() => unfinished.bytes === before + bytes);
    }
    expect(unfinished.bytes).toBe(20_000);
    peers[3]?.socket.write('\0');
    expect(await closedOf(peers, 1)).toEqual([false, false, true, false]);
    // What is gathered grows by doubling: 2000 bytes more for the one.
    expect(unfinished.bytes).toBe(15_000);
  });

  it('is forgotten when its connection is closed or its call is whole', async () => {
    const unfinished = new ByteBudget(1_000_000);
    const { server, port } = await listening({ unfinished });
    const [gone, whole] = [await peerOf(port, 2), await peerOf(port, 3)];
    gone.socket.write(partOfRecord(10_000));
    whole.socket.write(call(0).subarray(0, 20));
    await until(() => unfinished.bytes > 10_000);
    gone.socket.destroy();
    await until(() => server.stats().connections === 1);
    expect(unfinished.bytes).toBeGreaterThan(0);
    expect(unfinished.bytes).toBeLessThan(10_000);
    whole.socket.write(call(0).subarray(20));
    await until(() => whole.bytes === 28);
    expect(unfinished.bytes).toBe(0);
  });
});

describe('a budget of bytes', () => {
  const holders = (budget: ByteBudget, ...callers: string[]) =>
    callers.map((caller) => {
      const holder = {
        caller,
        isCutOff: false,
        cutOff(): void {
          holder.isCutOff = true;
          budget.update(holder, 0);
        },
      };
      return holder;
    });

  it('is kept at its limit, and at one byte more the oldest of the largest of the largest source goes', () => {
    const budget = new ByteBudget(10);
    const all = holders(budget, 'a', 'b', 'b', 'b');
    for (const [i, bytes] of [4, 1, 2, 2].entries()) budget.update(all[i] as never, bytes);
    budget.update(all[1] as never, 2);
    expect(all.map(({ isCutOff }) => isCutOff)).toEqual([false, false, false, false]);
    expect(budget.bytes).toBe(10);
    budget.update(all[0] as never, 5);
    expect(all.map(({ isCutOff }) => isCutOff)).toEqual([false, true, false, false]);
    expect(budget.bytes).toBe(9);
  });

  it('is kept by whoever alone exceeds it being cut off', () => {
    const budget = new ByteBudget(10);
    const all = holders(budget, 'a', 'b');
    budget.update(all[0] as never, 2);
    budget.update(all[1] as never, 11);
    expect(all.map(({ isCutOff }) => isCutOff)).toEqual([false, true]);
    expect(budget.bytes).toBe(2);
  });
});

describe.runIf(process.platform === 'linux')('replies that peers do not take', () => {
  it('are held up to maxUnsentBytes; beyond it goes the largest of the source that holds most', async () => {
    const unsent = new ByteBudget(45_000_000);
    const { server, port } = await listening({ unsent, maxBufferedBytes: 64_000_000 });
    // One reply of 20 000 000 bytes for each, of which the system takes some.
    const askOf = async (host: number) => {
      const peer = await peerOf(port, host);
      peer.socket.pause();
      const answered = (): number => server.stats().procedures[0]?.success ?? 0;
      const before = answered();
      peer.socket.write(call(blob.number, '01312d00'));
      await until(() => answered() > before);
      return peer;
    };
    const modest = await askOf(2);
    const greedy: Awaited<ReturnType<typeof peerOf>>[] = [];
    while (server.stats().connections === 1 + greedy.length) {
      expect(greedy.length).toBeLessThan(20);
      greedy.push(await askOf(3));
    }
    expect(unsent.bytes).toBeGreaterThan(0);
    expect(unsent.bytes).toBeLessThanOrEqual(45_000_000);
    modest.socket.resume();
    await until(() => modest.bytes === 4 + 24 + 4 + 20_000_000);
    for (const { socket } of greedy) socket.destroy();
    await until(() => unsent.bytes === 0);
  });
});

describe('a source', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64%eth0'],
  ])('is an IPv4 address or an IPv6 network of 64 bits: %s is %s', (address, source) => {
    expect(sourceOf(address)).toBe(source);
  });
});
