/** A server of the bench in a process of its own: `server KIND` prints its UDP and TCP port. */

import dgram from 'node:dgram';
import net from 'node:net';
import { createServer } from '../../runtime/index.js';
import { native, Outbox } from '../../runtime/transport/native.js';
import { loadGrpc, serveGrpc } from './grpc.js';
import { loadService } from './program.js';

const REPLY_BYTES = 24;

/** Sockets and nothing else: a reply of the right xid to whatever comes. */
async function bare(): Promise<[number, number]> {
  const udp = dgram.createSocket({
    type: 'udp4',
    lookup: (address, _options, done) => done(null, address, 4),
  });
  udp.on('message', (bytes, from) => udp.send(replyTo(bytes, 0), from.port, from.address));
  await new Promise<void>((done) => udp.bind(0, '127.0.0.1', done));
  const server = net.createServer({ noDelay: true }, (socket) => {
    let held = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      const bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const replies: Buffer[] = [];
      let at = 0;
      while (bytes.length - at >= 4) {
        const size = bytes.readUInt32BE(at) & 0x7fff_ffff;
        if (bytes.length - at < 4 + size) break;
        replies.push(replyTo(bytes, at + 4));
        at += 4 + size;
      }
      held = bytes.subarray(at);
      const out = Buffer.allocUnsafe(replies.length * (4 + REPLY_BYTES));
      replies.forEach((reply, i) => {
        out.writeUInt32BE(0x8000_0000 + REPLY_BYTES, i * (4 + REPLY_BYTES));
        reply.copy(out, i * (4 + REPLY_BYTES) + 4);
      });
      socket.write(out);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return [udp.address().port, (server.address() as net.AddressInfo).port];
}

function replyTo(bytes: Buffer, at: number): Buffer {
  const reply = Buffer.alloc(REPLY_BYTES);
  bytes.copy(reply, 0, at, at + 4);
  reply[7] = 1;
  return reply;
}

/** The system calls of the fast path and nothing else. */
async function bareNative(): Promise<[number, number]> {
  const fast = native();
  if (fast === undefined) throw new Error('koffi is not there');
  const { encodeSockaddr } = await import('../../runtime/transport/sockaddr.js');
  const fd = fast.openUdp({
    name: encodeSockaddr('127.0.0.1', 0),
    tellsAddress: false,
    receiveBufferBytes: 4 * 1024 * 1024,
  });
  const socket = dgram.createSocket('udp4');
  await new Promise<void>((done) => socket.bind({ fd }, done));
  const outbox = new Outbox(
    fast,
    fd,
    () => undefined,
    () => undefined,
  );
  const reply = Buffer.alloc(REPLY_BYTES);
  reply[7] = 1;
  const inbox = fast.received;
  socket.on('message', (first, from) => {
    first.copy(reply, 0, 0, 4);
    outbox.add(reply, encodeSockaddr(from.address, from.port), undefined);
    const count = inbox.receive(fd);
    for (let i = 0; i < count; i++) {
      reply.set(inbox.bytes(i).subarray(0, 4));
      outbox.add(reply, inbox.name[i], undefined);
    }
    outbox.flush();
  });
  return [socket.address().port, 0];
}

async function ours(isNative: boolean, isIdempotent: boolean): Promise<[number, number]> {
  const server = createServer({ services: [loadService(isIdempotent)] });
  const udp = await server.listenUdp({ host: '127.0.0.1', native: isNative });
  const tcp = await server.listenTcp({ host: '127.0.0.1' });
  return [udp.port, tcp.port];
}

const kinds: Record<string, () => Promise<[number, number]>> = {
  native: () => ours(true, true),
  plain: () => ours(false, true),
  cached: () => ours(true, false),
  bare,
  bareNative,
  grpc: async () => [0, await serveGrpc(loadGrpc()!)],
};
const ports = await kinds[process.argv[2] ?? '']?.();
if (ports === undefined) throw new Error(`one of ${Object.keys(kinds).join(' ')}`);
console.log(ports.join(' '));
