/** What peers may cost a stream listener: each bound at its limit and beyond it. */

import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { connectTcp, createClient, createServer, type RpcServer } from '../../../runtime/index.js';
import { blob, echo, echoService, slow } from '../../support/echo.js';
import { until } from '../../support/until.js';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

type OnSlow = Parameters<typeof echoService>[0];
async function listening(options: object, onSlow?: OnSlow, more: object = {}) {
  const server: RpcServer = createServer({ services: [echoService(onSlow)], ...more });
  cleanUps.push(() => server.close({ drainMs: 10 }));
  const { port } = await server.listenTcp({ host: '127.0.0.1', ...options });
  return { server, port };
}

function raw(port: number, options: net.SocketConstructorOpts = {}) {
  const socket = net.connect({ host: '127.0.0.1', port, ...options });
  cleanUps.push(() => socket.destroy());
  const peer = { socket, bytes: 0, isClosed: false, isEnded: false };
  socket.on('data', (chunk) => {
    peer.bytes += chunk.length;
  });
  socket.on('end', () => {
    peer.isEnded = true;
  });
  socket.on('close', () => {
    peer.isClosed = true;
  });
  socket.on('error', () => undefined);
  return peer;
}

function clientOf(port: number) {
  const client = createClient(connectTcp({ host: '127.0.0.1', port }));
  cleanUps.push(() => client.close());
  return client;
}

/** Calls as records: procedure and the argument's hex. */
function calls(count: number, procedure: number, args = ''): Buffer {
  const body = `00000000 00000002 20001000 00000001 ${procedure.toString(16).padStart(8, '0')}${' 00000000'.repeat(4)}${args}`;
  return Buffer.concat(
    Array.from({ length: count }, (_, i) => {
      const record = Buffer.from(((i + 1).toString(16).padStart(8, '0') + body).replaceAll(' ', ''), 'hex');
      const mark = Buffer.alloc(4);
      mark.writeUInt32BE(0x8000_0000 + record.length);
      return Buffer.concat([mark, record]);
    }),
  );
}

describe('a stream listener', () => {
  it('closes a connection on which nothing whole comes, and not one with a call under way', async () => {
    const { server, port } = await listening({ idleTimeoutMs: 80 }, () => new Promise(() => undefined));
    const [silent, partial, working] = [raw(port), raw(port), raw(port)];
    const timer = setInterval(() => partial.socket.write('\0'), 15);
    cleanUps.push(() => clearInterval(timer));
    working.socket.write(calls(1, slow.number));
    await until(() => silent.isClosed && partial.isClosed);
    expect(working.isClosed).toBe(false);
    expect(server.stats().pending).toBe(1);
  });

  it('keeps a connection open while calls come, however long, and gives each the whole idle time anew', async () => {
    const { port } = await listening({ idleTimeoutMs: 200 });
    const peer = raw(port);
    const end = performance.now() + 700;
    for (let sent = 1; performance.now() < end; sent++) {
      peer.socket.write(calls(1, 0));
      await until(() => peer.bytes >= sent * 28 || peer.isClosed);
      expect(peer.isClosed).toBe(false);
    }
    // And then no longer.
    await until(() => peer.isClosed);
  });

  it('gives a peer that has caught up with its replies the whole idle time anew', async () => {
    const { port } = await listening({ idleTimeoutMs: 400 });
    const peer = raw(port);
    peer.socket.pause();
    peer.socket.write(calls(1, blob.number, '00600000'));
    const startedAt = performance.now();
    // Three looks of four have found it behind.
    await until(() => performance.now() > startedAt + 330);
    peer.socket.resume();
    await until(() => peer.bytes > 0x60_0000);
    const caughtUpAt = performance.now();
    await until(() => performance.now() > caughtUpAt + 270);
    expect(peer.isClosed).toBe(false);
    await until(() => peer.isClosed);
  });

  it('waits for maxPendingPerConnection calls of a connection and reads no more until one is answered', async () => {
    const open: (() => void)[] = [];
    let entered = 0;
    const { port } = await listening({ maxPendingPerConnection: 3 }, () => {
      entered += 1;
      return new Promise((done) => open.push(() => done(1)));
    });
    const peer = raw(port);
    peer.socket.write(calls(10, slow.number));
    await until(() => entered === 3);
    expect(await clientOf(port).call(echo, 'another peer')).toBe('another peer');
    expect(entered).toBe(3);
    open.shift()?.();
    await until(() => entered === 4);
    expect(await clientOf(port).call(echo, 'once more')).toBe('once more');
    expect(entered).toBe(4);
    while (peer.bytes < 10 * 32) {
      open.shift()?.();
      await until(() => open.length > 0 || peer.bytes >= 10 * 32);
    }
    expect(entered).toBe(10);
  });

  it('stops reading from a peer that does not read, goes on when it does, and answers all', async () => {
    let ran = 0;
    const { server, port } = await listening({}, undefined, {
      interceptors: [
        (call: unknown, next: (call: never) => unknown) => {
          ran += 1;
          return next(call as never);
        },
      ],
    });
    const peer = raw(port);
    peer.socket.pause();
    // 400 calls for 100 000 bytes each: 40 MB, far over what any buffer between holds.
    peer.socket.write(calls(400, blob.number, '000186a0'));
    await until(() => ran > 0);
    const before = process.memoryUsage().arrayBuffers;
    await clientOf(port).call(echo, 'meanwhile');
    expect(ran).toBeLessThan(300);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8_000_000);
    expect(server.stats().connections).toBe(2);
    peer.socket.resume();
    await until(() => peer.bytes === 400 * (4 + 24 + 4 + 100_000));
  });

  it('cuts off a peer that leaves more than maxBufferedBytes unread', async () => {
    const open: (() => void)[] = [];
    const { server, port } = await listening({ maxBufferedBytes: 3_000_000 });
    server.add({
      ...echoService(undefined, 2),
      procedures: [
        {
          procedure: { ...blob, version: 2 } as never,
          handle: () => new Promise((done) => open.push(() => done(new Uint8Array(1_000_000)))),
        },
      ],
    });
    const peer = raw(port);
    peer.socket.pause();
    const request = calls(30, blob.number, '00000001');
    for (let at = 0; at < request.length; at += request.length / 30) request.writeUInt32BE(2, at + 4 + 16);
    peer.socket.write(request);
    await until(() => open.length === 30);
    for (const answer of open) answer();
    await until(() => server.stats().connections === 0);
  });

  it('answers what a peer asked before it closed its half', async () => {
    let release = (_: number): void => undefined;
    const { port } = await listening({}, () => new Promise((done) => (release = done)));
    const peer = raw(port, { allowHalfOpen: true });
    peer.socket.end(Buffer.concat([calls(1, slow.number), calls(1, echo.number, '00000000')]));
    await until(() => peer.bytes === 4 + 28);
    expect(peer.isEnded).toBe(false);
    release(9);
    await until(() => peer.isEnded);
    expect(peer.bytes).toBe(4 + 28 + 4 + 28);
  });

  it('takes maxPending calls of all peers, and says SYSTEM_ERR to one more', async () => {
    const open: ((value: number) => void)[] = [];
    const { server, port } = await listening({}, () => new Promise((done) => open.push(done)), {
      maxPending: 2,
    });
    const waiting = [clientOf(port).call(slow, undefined), clientOf(port).call(slow, undefined)];
    await until(() => server.stats().pending === 2);
    await expect(clientOf(port).call(slow, undefined)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    for (const done of open) done(1);
    expect(await Promise.all(waiting)).toEqual([1, 1]);
  });
});

describe('a procedure that never settles', () => {
  it('is answered with SYSTEM_ERR at callTimeoutMs, told by its signal, and its late result is lost', async () => {
    let late = (_: number): void => undefined;
    const errors: unknown[] = [];
    let signal: AbortSignal | undefined;
    const { server, port } = await listening(
      {},
      (context) => {
        ({ signal } = context);
        return new Promise((done) => (late = done));
      },
      { callTimeoutMs: 30, onError: (error: unknown) => errors.push(error) },
    );
    const client = clientOf(port);
    await expect(client.call(slow, undefined)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect(errors).toEqual([new Error('SLOW did not settle within 0.03 s')]);
    expect(signal?.aborted).toBe(true);
    late(1);
    expect(await client.call(echo, 'fine')).toBe('fine');
    expect(client.stats().strayReplies).toBe(0);
    expect(server.stats().pending).toBe(0);
  });

  it('learns by its signal that its caller is gone', async () => {
    let signal: AbortSignal | undefined;
    const { port } = await listening({}, (context) => {
      ({ signal } = context);
      return new Promise(() => undefined);
    });
    const client = clientOf(port);
    const call = client.call(slow, undefined).catch((error: unknown) => error);
    await until(() => signal !== undefined);
    expect(signal?.aborted).toBe(false);
    await client.close();
    expect(await call).toMatchObject({ code: 'RPC_CLOSED', executed: 'unknown' });
    await until(() => signal?.aborted === true);
  });
});
