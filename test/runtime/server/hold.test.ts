/** A server that holds its calls until all of its listeners are open. */

import dgram from 'node:dgram';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { connectTcp, createClient, createServer, type RpcServer } from '../../../runtime/index.js';
import { MAX_HELD_BYTES, MAX_HELD_CALLS } from '../../../runtime/protocol.js';
import { ECHO_PROGRAM, echo, echoService } from '../../support/echo.js';
import { until } from '../../support/until.js';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function heldServer(): Promise<{ server: RpcServer; port: number }> {
  const server = createServer({ services: [echoService()] });
  cleanUps.push(() => server.close({ drainMs: 10 }));
  server.hold();
  const { port } = await server.listenUdp({ host: '127.0.0.1' });
  return { server, port };
}

/** A socket that calls procedure 0, with so many bytes a call, and counts what comes back. */
async function caller(port: number) {
  const socket = dgram.createSocket('udp4');
  cleanUps.push(() => socket.close());
  const seen = new Set<number>();
  socket.on('message', (reply) => seen.add(reply.readUInt32BE(0)));
  await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done));
  return {
    seen,
    async call(first: number, count: number, bytes: number): Promise<void> {
      for (let xid = first; xid < first + count; xid++) {
        await new Promise((done) => socket.send(nullCall(xid, bytes), port, '127.0.0.1', done));
        // The server's turn: it shares this thread, and its buffer in the kernel is small.
        if (xid % 16 === 0) await new Promise((done) => setImmediate(done));
      }
    },
  };
}

describe('a server that holds', () => {
  it('answers nobody on any listener until it is released, and then those who waited', async () => {
    const { server, port } = await heldServer();
    const tcp = await server.listenTcp({ host: '127.0.0.1', port: 0 });
    const client = createClient(connectTcp({ host: '127.0.0.1', port: tcp.port }));
    cleanUps.push(() => client.close());
    const answers: string[] = [];
    const call = client.call(echo, 'by tcp').then((text) => answers.push(text));
    const udp = await caller(port);
    await udp.call(1, 1, 40);
    await until(() => server.stats().connections === 1);
    // What must not come cannot be waited for: a second server that does not hold answers meanwhile.
    const other = createServer({ services: [echoService()] });
    cleanUps.push(() => other.close());
    const free = await caller((await other.listenUdp({ host: '127.0.0.1' })).port);
    await free.call(1, 100, 40);
    await until(() => free.seen.size === 100);
    expect([answers, udp.seen.size]).toEqual([[], 0]);
    server.release();
    await call;
    await until(() => udp.seen.size === 1);
    expect(answers).toEqual(['by tcp']);
    await udp.call(2, 1, 40);
    await until(() => udp.seen.size === 2);
  });

  it('keeps as many bytes as MAX_HELD_BYTES allows, and no call more', async () => {
    const { server, port } = await heldServer();
    const { call, seen } = await caller(port);
    const bytes = 32_768;
    const limit = MAX_HELD_BYTES / bytes;
    await call(1, limit + 1, bytes);
    await turns();
    server.release();
    await until(() => seen.size >= limit);
    await call(9_999, 1, 40);
    await until(() => seen.has(9_999));
    expect(seen.size).toBe(limit + 1);
    expect(seen.has(limit + 1)).toBe(false);
  });

  it('keeps as many calls as MAX_HELD_CALLS allows, and not one more', async () => {
    const { server } = await heldServer();
    const { port } = await server.listenTcp({ host: '127.0.0.1', port: 0 });
    // Over connections, which lose nothing on the way; several, since each has its own limit of calls under way.
    const each = 205;
    const connections = (MAX_HELD_CALLS + 1) / each;
    expect(connections).toBe(5);
    let bytes = 0;
    const sockets = Array.from({ length: connections }, () => {
      const socket = net.connect(port, '127.0.0.1');
      cleanUps.push(() => socket.destroy());
      socket.on('data', (chunk) => {
        bytes += chunk.length;
      });
      for (let xid = 1; xid <= each; xid++) socket.write(Buffer.concat([RECORD_OF_40, nullCall(xid, 40)]));
      return socket;
    });
    await until(() => server.stats().connections === connections);
    await until(() => sockets.every((socket) => socket.writableLength === 0));
    await turns();
    server.release();
    await until(() => bytes >= MAX_HELD_CALLS * REPLY_BYTES);
    for (const socket of sockets) socket.write(Buffer.concat([RECORD_OF_40, nullCall(9_999, 40)]));
    await until(() => bytes >= (MAX_HELD_CALLS + connections) * REPLY_BYTES);
    await turns();
    expect(bytes).toBe((MAX_HELD_CALLS + connections) * REPLY_BYTES);
  });
});

/** Lets the server, which shares this thread, read what has come. */
async function turns(): Promise<void> {
  for (let i = 0; i < 50; i++) await new Promise((done) => setImmediate(done));
}

/** The mark of a record with one fragment of 40 bytes. */
const RECORD_OF_40 = Buffer.from('80000028', 'hex');
/** A reply without results, with its mark. */
const REPLY_BYTES = 28;

function nullCall(xid: number, bytes: number): Buffer {
  const message = Buffer.alloc(bytes);
  for (const [i, word] of [xid, 0, 2, ECHO_PROGRAM, 1, 0].entries()) message.writeUInt32BE(word, i * 4);
  return message;
}
