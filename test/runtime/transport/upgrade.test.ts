/** A stream whose socket is replaced while it is open (runtime/transport/recordstream.ts): here by TLS with a shared key. */

import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type CallContext,
  connectTcp,
  connectUnix,
  createClient,
  createServer,
  type Interceptor,
  type RpcServer,
} from '../../../runtime/index.js';
import type {
  ClientTransport,
  HandshakeConnection,
  PeerIdentity,
  ServerSecurity,
  StreamUpgrade,
} from '../../../runtime/protocol.js';
import { add, ECHO_PROGRAM, echo, echoService, slow } from '../../support/echo.js';
import { until } from '../../support/until.js';

const psk = Buffer.alloc(32, 7);
const TLS = { ciphers: 'PSK', minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const;
const identity: PeerIdentity = {
  kind: 'certificate',
  subject: 'toy',
  dnsNames: [],
  addresses: [],
  users: [],
  fingerprint: '00',
};

const serverUpgrade: StreamUpgrade = async (socket) => {
  const secured = new tls.TLSSocket(socket, {
    isServer: true,
    secureContext: tls.createSecureContext(TLS),
    pskCallback: () => psk,
  } as tls.TLSSocketOptions);
  await once(secured, 'secure');
  return { socket: secured, identity };
};

const clientUpgrade: StreamUpgrade = async (socket) => {
  const secured = tls.connect({
    ...TLS,
    socket,
    pskCallback: () => ({ psk, identity: 'toy' }),
    checkServerIdentity: () => undefined,
  });
  await once(secured, 'secureConnect');
  return { socket: secured };
};

/** AUTH_TLS (RFC 9289 section 4.1), as a server without any policy has it. */
const starttls: ServerSecurity = {
  flavor: 7,
  accept: () => ({
    kind: 'reply',
    verifier: { flavor: 0, body: Buffer.from('STARTTLS') },
    result: new Uint8Array(0),
    upgrade: true,
  }),
};
const words = (...all: number[]): Buffer => {
  const bytes = Buffer.alloc(all.length * 4);
  for (const [i, word] of all.entries()) bytes.writeUInt32BE(word >>> 0, i * 4);
  return bytes;
};
const probe = words(77, 0, 2, ECHO_PROGRAM, 1, 0, 7, 0, 0, 0);
const ANSWER = Buffer.concat([words(77, 1, 0, 0, 8), Buffer.from('STARTTLS'), words(0)]);

const handshake = async (connection: HandshakeConnection): Promise<void> => {
  expect(Buffer.from(await connection.exchange(probe))).toEqual(ANSWER);
  await connection.replace(clientUpgrade);
};

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of cleanUps.splice(0).reverse()) await one();
});

interface Seen {
  readonly isEncrypted: boolean | undefined;
  readonly subject: string | undefined;
}

interface Setup {
  readonly server: RpcServer;
  readonly seen: Seen[];
  readonly connect: (withHandshake: boolean) => ClientTransport;
  /** Connects without a client of RPC. */
  readonly open: () => net.Socket;
}

async function serve(
  kind: 'tcp' | 'unix',
  options: { upgrade?: StreamUpgrade; upgradeTimeoutMs?: number } = {},
  onSlow?: () => Promise<number>,
): Promise<Setup> {
  const seen: Seen[] = [];
  const note: Interceptor = (call, next) => {
    const { peer } = call.context as CallContext;
    seen.push({ isEncrypted: peer.isEncrypted, subject: peer.identity?.subject });
    return next(call);
  };
  const server = createServer({
    services: [echoService(onSlow)],
    security: [starttls],
    interceptors: [note],
  });
  cleanUps.push(() => server.close());
  const more = { upgrade: serverUpgrade, ...options };
  if (kind === 'tcp') {
    const { port } = await server.listenTcp({ host: '127.0.0.1', ...more });
    const at = { host: '127.0.0.1', port };
    return {
      server,
      seen,
      connect: (withHandshake) => connectTcp(withHandshake ? { ...at, handshake } : at),
      open: () => net.connect(at),
    };
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'upgrade-'));
  cleanUps.push(() => rm(folder, { recursive: true }));
  const at = { path: path.join(folder, 'socket') };
  await server.listenUnix({ ...at, ...more });
  return {
    server,
    seen,
    connect: (withHandshake) => connectUnix(withHandshake ? { ...at, handshake } : at),
    open: () => net.connect(at),
  };
}

const record = (body: Buffer): Buffer => Buffer.concat([words(0x8000_0000 + body.length), body]);

describe.each(['tcp', 'unix'] as const)('a stream over %s', (kind) => {
  it('is upgraded before the first call, and the peer is then known', async () => {
    const { seen, connect, server } = await serve(kind);
    const client = createClient(connect(true));
    cleanUps.push(() => client.close());
    const texts = Array.from({ length: 200 }, (_, i) => `${i} `.repeat(i));
    expect(await Promise.all(texts.map((text) => client.call(echo, text)))).toEqual(texts);
    expect(new Set(seen.map((one) => JSON.stringify(one)))).toEqual(
      new Set([JSON.stringify({ isEncrypted: true, subject: 'toy' })]),
    );
    await client.close();
    await until(() => server.listeners[0]?.connectionCount === 0, 5_000, 'the connection to be gone');
  });

  it('goes on in the clear for those who do not ask for the upgrade', async () => {
    const { seen, connect } = await serve(kind);
    const client = createClient(connect(false));
    cleanUps.push(() => client.close());
    expect(await client.call(add, { a: 1, b: 2 })).toBe(3);
    expect(seen).toEqual([{ isEncrypted: undefined, subject: undefined }]);
  });

  it('is upgraded in the middle: what was answered before comes in the clear, and what was under way after it', async () => {
    let finish: (value: number) => void = () => undefined;
    const { open } = await serve(kind, {}, () => new Promise((resolve) => (finish = resolve)));
    const socket = open();
    cleanUps.push(() => socket.destroy());
    const call = (xid: number, procedure: number, args = ''): Buffer =>
      record(
        Buffer.concat([words(xid, 0, 2, ECHO_PROGRAM, 1, procedure, 0, 0, 0, 0), Buffer.from(args, 'hex')]),
      );
    socket.write(call(1, slow.number));
    socket.write(call(2, add.number, '0000000200000003'));
    let clear = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      clear = Buffer.concat([clear, chunk]);
    };
    socket.on('data', onData);
    await until(() => clear.length >= 32, 5_000, 'the first answer');
    expect(clear.readUInt32BE(4)).toBe(2);
    clear = Buffer.alloc(0);
    socket.write(record(probe));
    await until(() => clear.length >= 36, 5_000, 'STARTTLS');
    expect(clear.subarray(4)).toEqual(ANSWER);
    socket.off('data', onData);
    const { socket: secured } = await clientUpgrade(socket);
    finish(9);
    const [reply] = (await once(secured, 'data')) as [Buffer];
    expect(reply.subarray(4)).toEqual(words(1, 1, 0, 0, 0, 0, 9));
  });

  it('is closed where bytes come behind the call that asks for the upgrade', async () => {
    const { open, seen } = await serve(kind);
    const socket = open();
    const injected = record(
      Buffer.concat([words(5, 0, 2, ECHO_PROGRAM, 1, add.number, 0, 0, 0, 0), words(1, 2)]),
    );
    socket.write(Buffer.concat([record(probe), injected]));
    await once(socket.resume(), 'close');
    expect(seen).toEqual([]);
  });

  it('is closed where the handshake is not done in time, and where it fails', async () => {
    const { open, server } = await serve(kind, { upgradeTimeoutMs: 50 });
    const silent = open();
    silent.write(record(probe));
    await once(silent.resume(), 'close');
    const wrong = open();
    wrong.on('error', () => undefined);
    wrong.write(record(probe));
    await once(wrong, 'data');
    wrong.write('this is no handshake');
    await once(wrong.resume(), 'close');
    await until(() => server.listeners[0]?.connectionCount === 0, 5_000, 'no connection to be left');
  });
});

describe('a client with a handshake', () => {
  it('tries the next server where it fails, and tells why where all do', async () => {
    const good = await serve('tcp');
    const mute = net.createServer((socket) =>
      socket.on('error', () => undefined).end('\x80\0\0\x04oops', 'latin1'),
    );
    await new Promise<void>((done) => mute.listen(0, '127.0.0.1', done));
    cleanUps.push(() => mute.close());
    const { port } = mute.address() as net.AddressInfo;
    const failing = async (connection: HandshakeConnection): Promise<void> => {
      const answer = await connection.exchange(probe);
      if (answer.length !== ANSWER.length) throw new Error('TLS is not offered');
      await connection.replace(clientUpgrade);
    };
    const alternates = [{ host: '127.0.0.1', port: good.server.listeners[0]?.port ?? 0 }];
    const two = createClient(connectTcp({ host: '127.0.0.1', port, alternates, handshake: failing }));
    cleanUps.push(() => two.close());
    expect(await two.call(add, { a: 1, b: 2 })).toBe(3);
    const one = createClient(connectTcp({ host: '127.0.0.1', port, handshake: failing }));
    cleanUps.push(() => one.close());
    await expect(one.call(add, { a: 1, b: 2 })).rejects.toMatchObject({
      code: 'RPC_CONNECT',
      executed: 'no',
      message: expect.stringContaining('TLS is not offered'),
    });
  });

  it('gives up where the server says nothing', async () => {
    const server = net.createServer(() => undefined);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    cleanUps.push(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    const client = createClient(connectTcp({ host: '127.0.0.1', port, handshake, connectTimeoutMs: 60 }));
    cleanUps.push(() => client.close());
    await expect(client.call(add, { a: 1, b: 2 })).rejects.toMatchObject({ code: 'RPC_CONNECT' });
  });
});
