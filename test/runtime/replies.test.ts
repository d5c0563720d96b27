/** Which reply reaches whom: what a client takes for the reply to its call, and to whom a server sends late ones. */

import dgram from 'node:dgram';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import {
  broadcast,
  connectTcp,
  connectUdp,
  createClient,
  createServer,
  type ResultError,
  type RpcClient,
  TimeoutError,
} from '../../runtime/index.js';
import { XdrError } from '../../xdr/index.js';
import { add, echo, echoService, slow } from '../support/echo.js';
import { freePort } from '../support/ports.js';
import { until } from '../support/until.js';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const words = (...numbers: number[]): Buffer => {
  const bytes = Buffer.alloc(4 * numbers.length);
  for (const [i, number] of numbers.entries()) bytes.writeUInt32BE(number, 4 * i);
  return bytes;
};
const sum = (xid: number, result: number): Buffer => words(xid, 1, 0, 0, 0, 0, result);

interface Wire {
  readonly port: number;
  /** The calls that came: xid, and who sent it. */
  readonly calls: { readonly xid: number; readonly from: dgram.RemoteInfo }[];
  readonly socket: dgram.Socket;
}

/** A UDP socket that answers each call by `answer`. */
async function wire(
  answer: (xid: number, send: (bytes: Buffer) => void, call: Buffer, count: number) => void = () => undefined,
  address = '127.0.0.1',
): Promise<Wire> {
  const socket = dgram.createSocket('udp4');
  const calls: Wire['calls'] = [];
  socket.on('message', (call, from) => {
    const xid = call.readUInt32BE(0);
    calls.push({ xid, from });
    answer(xid, (bytes) => socket.send(bytes, from.port, from.address), call, calls.length);
  });
  await new Promise<void>((done) => socket.bind(0, address, done));
  cleanUps.push(() => new Promise<void>((done) => socket.close(() => done())));
  return { port: socket.address().port, calls, socket };
}

async function clientOf(port: number, native: boolean, options = {}): Promise<RpcClient> {
  const client = createClient(await connectUdp({ host: '127.0.0.1', port, native }), options);
  cleanUps.push(() => client.close());
  return client;
}

const one = { a: 1, b: 2 };

describe.each([
  ['plain', false],
  ['native', true],
])('a UDP client, the %s way', (_name, native) => {
  it.each<[string, (xid: number) => Buffer]>([
    ['a result that is cut off', (xid) => sum(xid, 7).subarray(0, 26)],
    ['a result with something behind it', (xid) => Buffer.concat([sum(xid, 7), words(0)])],
    ['nothing after the xid', (xid) => words(xid, 1)],
    ['no reply_stat there is', (xid) => words(xid, 1, 2, 0, 0, 0, 7)],
    ['no accept_stat there is', (xid) => words(xid, 1, 0, 0, 0, 6)],
    ['no reject_stat there is', (xid) => words(xid, 1, 1, 2, 0)],
    ['a verifier of 404 bytes', (xid) => Buffer.concat([words(xid, 1, 0, 0, 404), Buffer.alloc(412)])],
  ])('goes on waiting where a reply with its xid has %s', async (_what, broken) => {
    const { port } = await wire((xid, send) => {
      send(broken(xid));
      send(sum(xid, 3));
    });
    const client = await clientOf(port, native);
    expect(await client.call(add, one)).toBe(3);
    expect(client.stats()).toMatchObject({ undecodedReplies: 1, strayReplies: 0, resends: 0, pending: 0 });
  });

  it('tells in its timeout how many replies did not decode, and why the last did not', async () => {
    const { port } = await wire((xid, send, _call, count) => {
      if (count === 1) send(words(xid, 1, 2));
      else send(sum(xid, 7).subarray(0, 25));
    });
    const client = await clientOf(port, native, { retransmitMs: 40, timeoutMs: 100 });
    const error = await client.call(add, one).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TimeoutError);
    const { undecodedReplies, lastReason, message } = error as TimeoutError;
    expect(undecodedReplies).toBeGreaterThanOrEqual(2);
    expect(lastReason).toMatchObject({ code: 'RPC_GARBAGE_RESULT' });
    expect((lastReason as ResultError).cause).toBeInstanceOf(XdrError);
    expect((lastReason as ResultError).cause).toMatchObject({ code: 'XDR_TRUNCATED' });
    expect((error as TimeoutError).cause).toBe(lastReason);
    expect(message).toContain(`no reply within 0.1 s but ${undecodedReplies} replies that did not decode; `);
    expect(message).toContain((lastReason as ResultError & { readonly cause: XdrError }).cause.message);
    expect(client.stats()).toMatchObject({ undecodedReplies, timeouts: 1, pending: 0 });
  });

  it('says nothing of such replies where none came', async () => {
    const { port } = await wire();
    const client = await clientOf(port, native, { retransmitMs: 40, timeoutMs: 60 });
    const error = await client.call(add, one).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ undecodedReplies: 0, lastReason: undefined });
    expect((error as Error).cause).toBeUndefined();
    expect((error as Error).message).toBe(`ADD at udp 127.0.0.1:${port}: no reply within 0.06 s`);
  });

  it('does not hear a reply from another address or another port, though it has the xid', async () => {
    const forgers = [await wire(undefined, '127.0.0.2'), await wire()];
    const { port, calls, socket } = await wire();
    const client = await clientOf(port, native);
    const call = client.call(add, one);
    await until(() => calls.length === 1);
    const { xid, from } = calls[0] as (typeof calls)[0];
    for (const forger of forgers)
      await new Promise((done) => forger.socket.send(sum(xid, 666), from.port, from.address, done));
    // What came before the right one would have been heard before it.
    socket.send(sum(xid, 3), from.port, from.address);
    expect(await call).toBe(3);
    expect(client.stats()).toMatchObject({ strayReplies: 0, undecodedReplies: 0 });
  });

  it('takes a call for no reply, and a reply with another xid for none of its', async () => {
    const { port } = await wire((xid, send, call) => {
      send(call);
      send(sum((xid ^ 1) >>> 0, 666));
      send(words(xid));
      send(sum(xid, 3));
    });
    const client = await clientOf(port, native);
    expect(await client.call(add, one)).toBe(3);
    await until(() => client.stats().strayReplies === 3);
  });
});

describe('a client that sent its call more than once', () => {
  it('cannot know whether a server that is gone by now has run it', async () => {
    const socket = dgram.createSocket('udp4');
    let count = 0;
    // It goes after the second sending, so that the third is refused.
    socket.on('message', () => {
      count += 1;
      if (count === 2) socket.close();
    });
    await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done));
    const client = await clientOf(socket.address().port, true, { retransmitMs: 50, timeoutMs: 20_000 });
    await expect(client.call(add, one)).rejects.toMatchObject({ code: 'RPC_CONNECT', executed: 'unknown' });
    expect(client.stats().resends).toBe(2);
    // The next call goes out once, and is refused: nobody has run it.
    await expect(client.call(add, one)).rejects.toMatchObject({ code: 'RPC_CONNECT', executed: 'no' });
  });
});

describe.each([
  ['plain', false],
  ['native', true],
])('a UDP server, the %s way', (_name, native) => {
  it.each(['127.0.0.1', '0.0.0.0'])(
    'at %s sends late replies to those who called, though others have called since',
    async (host) => {
      const late: (() => void)[] = [];
      const server = createServer({
        services: [echoService(({ peer }) => new Promise((done) => late.push(() => done(peer.port))))],
      });
      cleanUps.push(() => server.close({ drainMs: 10 }));
      const { port } = await server.listenUdp({ host, native });
      const options = { retransmitMs: 20_000, timeoutMs: 20_000 };
      const callers = await Promise.all(
        Array.from({ length: 12 }, async () => {
          const localPort = await freePort();
          const client = createClient(
            await connectUdp({ host: '127.0.0.1', port, localPort, native }),
            options,
          );
          cleanUps.push(() => client.close());
          return { client, localPort };
        }),
      );
      // All in one turn, so that the server takes them in one batch; then the batch's memory is used by others.
      const answers = callers.map(({ client }) => client.call(slow, undefined));
      await until(() => late.length === callers.length);
      const others = await Promise.all(Array.from({ length: 12 }, () => clientOf(port, native, options)));
      expect(await Promise.all(others.map((client) => client.call(add, one)))).toEqual(Array(12).fill(3));
      for (const answer of late) answer();
      expect(await Promise.all(answers)).toEqual(callers.map(({ localPort }) => localPort));
      for (const client of others) expect(client.stats().strayReplies).toBe(0);
    },
  );
});

describe('xids', () => {
  it('do not follow from those before, and are never the same twice under way', async () => {
    const { port, calls } = await wire((xid, send) => send(sum(xid, 3)));
    for (let round = 0; round < 4; round++) {
      const client = await clientOf(port, true);
      for (let i = 0; i < 25; i++) await Promise.all(Array.from({ length: 20 }, () => client.call(add, one)));
    }
    const seen = calls.map(({ xid }) => xid);
    const steps = seen.slice(1).map((xid, i) => (xid - (seen[i] as number)) >>> 0);
    // Of 2000 random numbers of 32 bits, two are the same once in two thousand times.
    expect(new Set(seen).size).toBeGreaterThanOrEqual(seen.length - 2);
    expect(new Set(steps).size).toBeGreaterThanOrEqual(steps.length - 2);
    // Each bit is set in half of them: 2000 times heads or tails are within 800 to 1200 but once in 10^18 times.
    for (let bit = 0; bit < 32; bit++) {
      const count = seen.filter((xid) => ((xid >>> bit) & 1) === 1).length;
      expect(Math.abs(count / seen.length - 0.5)).toBeLessThan(0.1);
    }
  });

  it('of broadcasts are others each time', async () => {
    const { port, calls } = await wire((xid, send) => send(sum(xid, 3)));
    const ask = {
      procedure: add,
      args: one,
      port,
      addresses: ['127.0.0.1'],
      timeoutMs: 2_000,
      maxReplies: 1,
    };
    for (let i = 0; i < 4; i++) for await (const { result } of broadcast(ask)) expect(result).toBe(3);
    const xids = calls.map(({ xid }) => xid);
    expect(xids).toHaveLength(4);
    expect(new Set(xids.slice(1).map((xid, i) => xid - (xids[i] as number))).size).toBe(3);
  });
});

describe('a TCP client', () => {
  it('ends the call at once where its reply does not decode, since only the server can have sent it', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', (call) => {
        const reply = sum(call.readUInt32BE(4), 7).subarray(0, 24);
        socket.write(Buffer.concat([words(0x8000_0000 + reply.length), reply]));
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const client = createClient(
      connectTcp({ host: '127.0.0.1', port: (server.address() as net.AddressInfo).port }),
    );
    cleanUps.push(
      () => server.close(),
      () => client.close(),
    );
    await expect(client.call(echo, 'x', { timeoutMs: 20_000 })).rejects.toMatchObject({
      code: 'RPC_GARBAGE_RESULT',
      executed: 'yes',
    });
    expect(client.stats()).toMatchObject({ undecodedReplies: 0, pending: 0, timeouts: 0 });
  });
});
