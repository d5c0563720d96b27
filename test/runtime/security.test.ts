/** The seam of security mechanisms (runtime/protocol/security.ts), by a mechanism that signs and encrypts. */

import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import net from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import {
  AuthError,
  type CallContext,
  connectLoopback,
  connectTcp,
  connectUdp,
  createClient,
  createServer,
  type Interceptor,
  type RpcClient,
  type RpcServer,
} from '../../runtime/index.js';
import { auth_stat, Dispatcher, type ReplyChannel, type ServerSecurity } from '../../runtime/protocol.js';
import { add, blob, ECHO_PROGRAM, echo, echoService, fail } from '../support/echo.js';
import { ToyServerSecurity, toyClientSecurity } from '../support/toysecurity.js';

const key = randomBytes(32);
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of cleanUps.splice(0).reverse()) await one();
});

async function serve(security: ServerSecurity, interceptors: Interceptor[] = []): Promise<RpcServer> {
  const server = createServer({ services: [echoService()], security: [security], interceptors });
  cleanUps.push(() => server.close());
  await server.listenTcp({ host: '127.0.0.1' });
  await server.listenUdp({ host: '127.0.0.1' });
  return server;
}

async function clientOf(server: RpcServer, netid: 'tcp' | 'udp'): Promise<RpcClient> {
  const port = server.listeners.find((one) => one.netid === netid)?.port ?? 0;
  const at = { host: '127.0.0.1', port };
  const transport = netid === 'tcp' ? connectTcp(at) : await connectUdp(at);
  const client = createClient(transport, { security: toyClientSecurity(key) });
  cleanUps.push(() => client.close());
  return client;
}

/** What one message is answered with, in memory. */
function answersTo(dispatcher: Dispatcher, message: Uint8Array, more: Partial<ReplyChannel> = {}): Buffer[] {
  const replies: Buffer[] = [];
  dispatcher.handle(message, {
    peer: { transport: 'loopback', address: '', port: 0, localAddress: '', localPort: 0 },
    maxReplyBytes: 10_000,
    signal: new AbortController().signal,
    reply: (reply) => replies.push(Buffer.from(reply)),
    ...more,
  });
  return replies;
}

const target = { xid: 7, program: ECHO_PROGRAM, version: 1, procedure: add.number };
const args = Buffer.from('0000000200000003', 'hex');

describe.each(['tcp', 'udp'] as const)('a mechanism over %s', (netid) => {
  it.each([
    ['at once', false],
    ['later', true],
  ])('protects calls and results, and answers %s', async (_when, isSlow) => {
    const security = new ToyServerSecurity(key, { isSlow });
    const seen: (string | undefined)[] = [];
    const note: Interceptor = (call, next) => {
      const { credentials } = call.context as CallContext;
      seen.push(credentials.flavor === 'other' ? credentials.principal : credentials.flavor);
      return next(call);
    };
    const server = await serve(security, [note]);
    const client = await clientOf(server, netid);
    expect(await client.call(add, { a: 2, b: 3 })).toBe(5);
    const texts = Array.from({ length: 50 }, (_, i) => `call ${i}`);
    expect(await Promise.all(texts.map((text) => client.call(echo, text)))).toEqual(texts);
    await expect(client.call(fail, 'x')).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect(security.counts).toMatchObject({ accepted: 52, refused: 0, replays: 0 });
    expect(server.stats().security).toMatchObject({ accepted: 52, refused: 0, silenced: 0, pending: 0 });
    expect(new Set(seen)).toEqual(new Set(['toy']));
  });

  it('sends nothing in the clear, and no caller without it is taken for one with it', async () => {
    const security = new ToyServerSecurity(key);
    const server = await serve(security);
    const client = await clientOf(server, netid);
    expect(await client.call(echo, 'confidential')).toBe('confidential');
    const port = server.listeners.find((one) => one.netid === netid)?.port ?? 0;
    const at = { host: '127.0.0.1', port };
    const plain = createClient(netid === 'tcp' ? connectTcp(at) : await connectUdp(at), {
      credentials: { flavor: 'other', number: 300_000, body: Buffer.from('000000000000000000000009', 'hex') },
    });
    cleanUps.push(() => plain.close());
    await expect(plain.call(echo, 'x')).rejects.toMatchObject({
      refusal: { denied: 'AUTH_ERROR', why: auth_stat.AUTH_BADVERF },
    });
    expect(security.counts.refused).toBe(1);
  });
});

describe('a call under a mechanism', () => {
  it('is refused or met with silence, whichever byte of it is changed, and never run', () => {
    const runs: unknown[] = [];
    const dispatcher = new Dispatcher({
      security: [new ToyServerSecurity(key)],
      interceptors: [
        (call, next) => {
          runs.push(call.args);
          return next(call);
        },
      ],
    });
    dispatcher.add(echoService());
    const call = toyClientSecurity(key).protect(args);
    const message = call.seal(target);
    for (let at = 0; at < message.length; at++) {
      const altered = Uint8Array.from(message);
      altered[at]! ^= 0x55;
      for (const reply of answersTo(dispatcher, altered)) {
        // No accepted reply with SUCCESS.
        const isAccepted = reply.readUInt32BE(8) === 0;
        expect([at, isAccepted && reply.readUInt32BE(20 + reply.readUInt32BE(16))]).not.toEqual([at, 0]);
      }
    }
    expect(runs).toEqual([]);
    // The number of the first transmission is used up.
    expect(answersTo(dispatcher, message)).toHaveLength(0);
    expect(answersTo(dispatcher, call.seal(target))).toHaveLength(1);
    expect(runs).toEqual([{ a: 2, b: 3 }]);
  });

  it('is met with silence when it is played again', () => {
    const security = new ToyServerSecurity(key);
    const dispatcher = new Dispatcher({ security: [security] });
    dispatcher.add(echoService());
    const message = toyClientSecurity(key).protect(args).seal(target);
    expect(answersTo(dispatcher, message)).toHaveLength(1);
    expect(answersTo(dispatcher, message)).toHaveLength(0);
    expect(security.counts.replays).toBe(1);
  });

  it('runs once when it is sent again over UDP, though each transmission has a number of its own', async () => {
    let runs = 0;
    const security = new ToyServerSecurity(key);
    const dispatcher = new Dispatcher({
      security: [security],
      interceptors: [
        (call, next) => {
          runs += 1;
          return next(call);
        },
      ],
    });
    dispatcher.add(echoService());
    const lossy = connectLoopback(dispatcher, { loss: 0.4, duplication: 0.2, jitterMs: 3, seed: 5 });
    const client = createClient(lossy, { retransmitMs: 5, security: toyClientSecurity(key) });
    cleanUps.push(() => client.close());
    const texts = Array.from({ length: 100 }, (_, i) => `call ${i}`);
    expect(await Promise.all(texts.map((text) => client.call(echo, text)))).toEqual(texts);
    expect(client.stats().resends).toBeGreaterThan(10);
    expect(security.counts.accepted).toBeGreaterThan(100);
    expect(runs).toBe(100);
  });

  it('is answered with SYSTEM_ERR where the protected reply would be too long for the channel', () => {
    const dispatcher = new Dispatcher({ security: [new ToyServerSecurity(key)] });
    dispatcher.add(echoService());
    const ask = (size: number): Buffer[] => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(size);
      const security = toyClientSecurity(key, { first: 1 + size });
      const message = security.protect(bytes).seal({ ...target, procedure: blob.number });
      return answersTo(dispatcher, message, { maxReplyBytes: 1_000 });
    };
    const statusOf = (reply: Buffer | undefined): number | undefined =>
      reply?.readUInt32BE(20 + reply.readUInt32BE(16));
    // 1000 less the 64 bytes of protection, the 24 of the header and the 4 of the length.
    expect(statusOf(ask(908)[0])).toBe(0);
    expect(statusOf(ask(909)[0])).toBe(5);
  });
});

describe('a reply under a mechanism', () => {
  it('is not believed on a connection where its verifier is wrong', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (call) => {
        const reply = Buffer.from(
          '8000001c 00000000 00000001 00000000 00000000 00000000 00000000 00000005'.replaceAll(' ', ''),
          'hex',
        );
        call.copy(reply, 4, 4, 8);
        socket.write(reply);
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    cleanUps.push(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    const client = createClient(connectTcp({ host: '127.0.0.1', port }), {
      security: toyClientSecurity(key),
    });
    cleanUps.push(() => client.close());
    await expect(client.call(add, { a: 2, b: 3 })).rejects.toMatchObject({
      name: 'SecurityError',
      code: 'RPC_UNVERIFIED',
      executed: 'unknown',
    });
  });

  it('is ignored over UDP where its verifier is wrong, and the true one is waited for', async () => {
    const server = await serve(new ToyServerSecurity(key));
    const port = server.listeners.find((one) => one.netid === 'udp')?.port ?? 0;
    const proxy = dgram.createSocket('udp4');
    let caller = 0;
    proxy.on('message', (message, from) => {
      if (from.port === port) {
        proxy.send(message, caller, '127.0.0.1');
        return;
      }
      caller = from.port;
      const forged = Buffer.from('0000000000000001000000000000000000000000000000000000000a', 'hex');
      message.copy(forged, 0, 0, 4);
      proxy.send(forged, caller, '127.0.0.1', () => proxy.send(message, port, '127.0.0.1'));
    });
    await new Promise<void>((done) => proxy.bind(0, '127.0.0.1', done));
    cleanUps.push(() => proxy.close());
    const transport = await connectUdp({ host: '127.0.0.1', port: proxy.address().port });
    const client = createClient(transport, { security: toyClientSecurity(key) });
    cleanUps.push(() => client.close());
    expect(await client.call(add, { a: 2, b: 3 })).toBe(5);
    expect(client.stats().undecodedReplies).toBe(1);
  });
});

describe('a mechanism that answers by itself', () => {
  const starttls: ServerSecurity = {
    flavor: 7,
    accept: ({ canUpgrade }) => {
      if (!canUpgrade) throw new AuthError(auth_stat.AUTH_BADCRED);
      const verifier = { flavor: 0, body: Buffer.from('STARTTLS') };
      return { kind: 'reply', verifier, result: new Uint8Array(0), upgrade: true };
    },
  };
  const probe = Buffer.from(
    `00000007 00000000 00000002 ${ECHO_PROGRAM.toString(16)} 00000001 00000000 00000007 00000000 00000000 00000000`.replaceAll(
      ' ',
      '',
    ),
    'hex',
  );

  it('upgrades the connection behind its reply, where that can be', () => {
    const dispatcher = new Dispatcher({ security: [starttls] });
    dispatcher.add(echoService());
    const order: string[] = [];
    const replies = answersTo(dispatcher, probe, {
      reply: (reply) => order.push(Buffer.from(reply).toString('hex')),
      upgrade: () => order.push('upgrade'),
    });
    expect(replies).toEqual([]);
    expect(order).toEqual([
      `0000000700000001000000000000000000000008${Buffer.from('STARTTLS').toString('hex')}00000000`,
      'upgrade',
    ]);
    expect(answersTo(dispatcher, probe).map((reply) => reply.toString('hex'))).toEqual([
      '0000000700000001000000010000000100000001',
    ]);
  });
});
