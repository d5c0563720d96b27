/** RPC-with-TLS between our own two ends (security/tls). */

import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type CallContext,
  connectTcp,
  connectUdp,
  createClient,
  createServer,
  type Peer,
  type RpcClient,
  type RpcServer,
} from '../../runtime/index.js';
import { auth_stat, Dispatcher } from '../../runtime/protocol.js';
import {
  createTlsServer,
  type DevCertificates,
  identityOf,
  type TlsClientOptions,
  type TlsProtection,
  type TlsServer,
  type TlsServerOptions,
  tlsHandshake,
  writeDevCertificates,
} from '../../security/index.js';
import { add, ECHO_PROGRAM, echo, echoService } from '../support/echo.js';
import { until } from '../support/until.js';

let folder = '';
let mine: DevCertificates;
let foreign: DevCertificates;
let expired: DevCertificates;
const cleanUps: (() => unknown)[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tls-'));
  mine = await writeDevCertificates(path.join(folder, 'mine'), { user: 'alice@example.org' });
  foreign = await writeDevCertificates(path.join(folder, 'foreign'));
  expired = await writeDevCertificates(path.join(folder, 'expired'), { days: -1 });
  return () => rm(folder, { recursive: true });
});
afterEach(async () => {
  for (const one of cleanUps.splice(0).reverse()) await one();
});

interface Setup {
  readonly server: RpcServer;
  readonly tls: TlsServer;
  readonly peers: Peer[];
  readonly port: number;
}

async function serve(options: Partial<TlsServerOptions> = {}): Promise<Setup> {
  const tls = createTlsServer({ ...mine.server, ...options });
  const peers: Peer[] = [];
  const server = createServer({
    services: [echoService()],
    security: [tls.security],
    authorize: tls.authorize,
    interceptors: [
      (call, next) => {
        peers.push((call.context as CallContext).peer);
        return next(call);
      },
    ],
  });
  cleanUps.push(
    () => tls.close(),
    () => server.close(),
  );
  const { port } = await server.listenTcp({ host: '127.0.0.1', upgrade: tls.upgrade });
  await server.listenUdp({ host: '127.0.0.1', port });
  return { server, tls, peers, port };
}

const base = { program: ECHO_PROGRAM, version: 1 };

function clientOf(port: number, options: Partial<TlsClientOptions> = {}): RpcClient {
  const handshake = tlsHandshake({ policy: 'require', ca: mine.ca, ...base, ...options });
  const client = createClient(connectTcp({ host: '127.0.0.1', port, handshake }));
  cleanUps.push(() => client.close());
  return client;
}

describe('RPC-with-TLS', () => {
  it('protects calls, and tells who the caller is', async () => {
    const { port, peers, tls } = await serve({ ca: mine.ca });
    const how: TlsProtection[] = [];
    const client = clientOf(port, { ...mine.client, onProtected: (one) => how.push(one) });
    const texts = Array.from({ length: 100 }, (_, i) => 'x'.repeat(i * 50));
    expect(await Promise.all(texts.map((text) => client.call(echo, text)))).toEqual(texts);
    expect(peers.at(-1)).toMatchObject({
      isEncrypted: true,
      identity: { kind: 'certificate', subject: 'client', users: ['alice@example.org'] },
    });
    expect(how).toMatchObject([{ protocol: 'TLSv1.3', peer: 'server', isVerified: true, isResumed: false }]);
    expect(tls.stats()).toMatchObject({ handshakes: 1, failedHandshakes: 0, refused: 0 });
  });

  it('serves callers without a certificate as such, on the same port as callers in the clear', async () => {
    const { port, peers } = await serve({ ca: mine.ca });
    expect(await clientOf(port).call(add, { a: 1, b: 2 })).toBe(3);
    expect(await clientOf(port, { policy: 'off' }).call(add, { a: 1, b: 2 })).toBe(3);
    expect(peers.map(({ isEncrypted, identity }) => [isEncrypted, identity])).toEqual([
      [true, undefined],
      [undefined, undefined],
    ]);
  });

  it('takes up an earlier session, and still knows the caller', async () => {
    const { port, peers, tls } = await serve({ ca: mine.ca });
    const how: TlsProtection[] = [];
    const handshake = tlsHandshake({
      policy: 'require',
      ca: mine.ca,
      ...mine.client,
      ...base,
      onProtected: (one) => how.push(one),
    });
    for (let i = 0; i < 3; i++) {
      const client = createClient(connectTcp({ host: '127.0.0.1', port, handshake }));
      await client.call(add, { a: 1, b: 2 });
      await client.close();
    }
    expect(how.map(({ isResumed }) => isResumed)).toEqual([false, true, true]);
    expect(tls.stats().resumed).toBe(2);
    expect(peers.map(({ identity }) => identity?.subject)).toEqual(['client', 'client', 'client']);
  });

  it.each<[string, () => Partial<TlsClientOptions>, () => Partial<TlsServerOptions>, string]>([
    ['of a foreign authority', () => ({}), () => foreign.server, 'RPC_TLS_UNTRUSTED'],
    ['that has expired', () => ({ ca: expired.ca }), () => expired.server, 'RPC_TLS_UNTRUSTED'],
    ['for another name', () => ({ servername: 'other.example' }), () => ({}), 'RPC_TLS_NAME'],
  ])(
    'is refused by the client where the server has a certificate %s',
    async (_what, client, server, code) => {
      const { port, peers } = await serve(server());
      await expect(clientOf(port, client()).call(echo, 'secret')).rejects.toMatchObject({
        code,
        executed: 'no',
      });
      expect(peers).toEqual([]);
    },
  );

  it.each<[string, () => Partial<TlsClientOptions>, 'tls' | 'mtls']>([
    ['no certificate where one is due', () => ({}), 'mtls'],
    ['a foreign certificate', () => foreign.client, 'mtls'],
    ['an expired certificate', () => expired.client, 'mtls'],
  ])('is refused by the server where the client has %s', async (_what, client, policy) => {
    const { port, peers, tls } = await serve({ ca: mine.ca, policy });
    await expect(clientOf(port, client()).call(echo, 'x')).rejects.toMatchObject({ code: 'RPC_TLS_CLIENT' });
    expect(peers).toEqual([]);
    await until(() => tls.stats().failedHandshakes === 1, 5_000, 'the handshake to be counted');
  });

  it('never takes a certificate that it does not trust for none', async () => {
    const { port, peers } = await serve({ ca: mine.ca, policy: 'none' });
    await expect(clientOf(port, foreign.client).call(echo, 'x')).rejects.toMatchObject({
      executed: 'unknown',
    });
    expect(peers).toEqual([]);
  });

  it.each(['tls', 'mtls'] as const)(
    'with the policy %s refuses calls in the clear, over UDP too',
    async (policy) => {
      const { port, peers, tls } = await serve({ ca: mine.ca, policy });
      const tooWeak = { refusal: { denied: 'AUTH_ERROR', why: auth_stat.AUTH_TOOWEAK } };
      await expect(clientOf(port, { policy: 'off' }).call(echo, 'x')).rejects.toMatchObject(tooWeak);
      const udp = createClient(await connectUdp({ host: '127.0.0.1', port }));
      cleanUps.push(() => udp.close());
      await expect(udp.call(echo, 'x')).rejects.toMatchObject(tooWeak);
      await expect(udp.ping(ECHO_PROGRAM, 1)).rejects.toMatchObject(tooWeak);
      expect(peers).toEqual([]);
      expect(tls.stats().refused).toBe(3);
      expect(await clientOf(port, mine.client).call(echo, 'x')).toBe('x');
    },
  );
});

describe('errors', () => {
  it('say that a handshake failed for another reason', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (probe) => {
        const offer = `80000020${probe.subarray(4, 8).toString('hex')}00000001000000000000000000000008`;
        socket.write(Buffer.concat([Buffer.from(offer, 'hex'), Buffer.from('STARTTLS\0\0\0\0')]));
        socket.once('data', () => socket.end('this is no TLS'));
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    cleanUps.push(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    await expect(clientOf(port).call(echo, 'x')).rejects.toMatchObject({ code: 'RPC_TLS', executed: 'no' });
  });

  it('have a row each in docs/errors.md', () => {
    const text = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
    const codes = [...text.matchAll(/^\| `(RPC_TLS\w*)`/gm)].map((match) => match[1]);
    expect(codes).toEqual([
      'RPC_TLS_NOT_OFFERED',
      'RPC_TLS_UNTRUSTED',
      'RPC_TLS_NAME',
      'RPC_TLS_CLIENT',
      'RPC_TLS',
    ]);
  });
});

describe('the policies of a client', () => {
  /** A server that does not know TLS, behind what a middleman does with the first message. */
  async function withoutTls(): Promise<{ port: number; seen: () => Buffer }> {
    const plain = createServer({ services: [echoService()] });
    cleanUps.push(() => plain.close());
    const { port } = await plain.listenTcp({ host: '127.0.0.1' });
    let seen = Buffer.alloc(0);
    const proxy = net.createServer((socket) => {
      const on = net.connect({ host: '127.0.0.1', port });
      socket.on('data', (chunk) => {
        seen = Buffer.concat([seen, chunk]);
      });
      for (const one of [socket, on]) one.on('error', () => undefined);
      socket.pipe(on).pipe(socket);
      cleanUps.push(
        () => socket.destroy(),
        () => on.destroy(),
      );
    });
    await new Promise<void>((done) => proxy.listen(0, '127.0.0.1', done));
    cleanUps.push(() => proxy.close());
    return { port: (proxy.address() as net.AddressInfo).port, seen: () => seen };
  }

  it('`require` sends nothing of a call where TLS is not offered', async () => {
    const { port, seen } = await withoutTls();
    await expect(clientOf(port).call(echo, 'secret')).rejects.toMatchObject({
      code: 'RPC_TLS_NOT_OFFERED',
      executed: 'no',
    });
    expect(seen()).toHaveLength(44);
    expect(seen().toString('latin1')).not.toContain('secret');
  });

  it('`prefer` goes on in the clear where TLS is not offered', async () => {
    const { port, seen } = await withoutTls();
    expect(await clientOf(port, { policy: 'prefer' }).call(echo, 'open')).toBe('open');
    expect(seen().toString('latin1')).toContain('open');
  });

  it('`prefer` without authorities takes any certificate, and says that it is not verified', async () => {
    const { port } = await serve(foreign.server);
    const how: TlsProtection[] = [];
    const client = clientOf(port, { policy: 'prefer', ca: undefined, onProtected: (one) => how.push(one) });
    expect(await client.call(echo, 'x')).toBe('x');
    expect(how).toMatchObject([{ isVerified: false }]);
  });

  it('`prefer` does not fall back where a handshake fails that was offered', async () => {
    const { port, peers } = await serve(foreign.server);
    await expect(clientOf(port, { policy: 'prefer' }).call(echo, 'x')).rejects.toMatchObject({
      code: 'RPC_TLS_UNTRUSTED',
    });
    expect(peers).toEqual([]);
  });
});

describe('the probe', () => {
  const words = (...all: number[]): Buffer => {
    const bytes = Buffer.alloc(all.length * 4);
    for (const [i, word] of all.entries()) bytes.writeUInt32BE(word >>> 0, i * 4);
    return bytes;
  };
  const refusal = (why: number): string => words(9, 1, 1, 1, why).toString('hex');

  it.each([
    ['on another procedure', [9, 0, 2, ECHO_PROGRAM, 1, 1, 7, 0, 0, 0], auth_stat.AUTH_BADCRED],
    ['with a body', [9, 0, 2, ECHO_PROGRAM, 1, 0, 7, 4, 0, 0, 0], auth_stat.AUTH_BADCRED],
    ['with arguments', [9, 0, 2, ECHO_PROGRAM, 1, 0, 7, 0, 0, 0, 1], auth_stat.AUTH_BADCRED],
    ['with a verifier', [9, 0, 2, ECHO_PROGRAM, 1, 0, 7, 0, 1, 0], auth_stat.AUTH_BADVERF],
    [
      'where the transport cannot be upgraded',
      [9, 0, 2, ECHO_PROGRAM, 1, 0, 7, 0, 0, 0],
      auth_stat.AUTH_REJECTEDCRED,
    ],
  ])('is refused %s', (_where, message, why) => {
    const tls = createTlsServer(mine.server);
    cleanUps.push(() => tls.close());
    const dispatcher = new Dispatcher({ security: [tls.security] });
    dispatcher.add(echoService());
    const replies: string[] = [];
    dispatcher.handle(words(...message), {
      peer: { transport: 'udp', address: '127.0.0.1', port: 1, localAddress: '', localPort: 0 },
      maxReplyBytes: 1_000,
      signal: new AbortController().signal,
      reply: (reply) => replies.push(Buffer.from(reply).toString('hex')),
    });
    expect(replies).toEqual([refusal(why)]);
  });

  it('is refused inside TLS, and the connection goes on', async () => {
    const { port } = await serve();
    const client = clientOf(port);
    await client.call(echo, 'x');
    const probe = { credentials: { flavor: 'other', number: 7, body: new Uint8Array(0) } } as const;
    await expect(client.ping(ECHO_PROGRAM, 1, probe)).rejects.toMatchObject({
      refusal: { why: auth_stat.AUTH_BADCRED },
    });
    expect(await client.call(echo, 'y')).toBe('y');
  });

  it('is 44 bytes, and its answer 36', async () => {
    const { port } = await serve();
    const socket = net.connect({ host: '127.0.0.1', port });
    cleanUps.push(() => socket.destroy());
    const probe = words(0x8000_0028, 9, 0, 2, ECHO_PROGRAM, 1, 0, 7, 0, 0, 0);
    socket.write(probe);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString('hex')).toBe(
      `80000020000000090000000100000000000000000000000853544152${Buffer.from('TTLS').toString('hex')}00000000`,
    );
  });
});

describe('1000 handshakes that are left open', () => {
  it('are closed in time, while others are served', async () => {
    const tls = createTlsServer(mine.server);
    const server = createServer({ services: [echoService()], security: [tls.security] });
    cleanUps.push(
      () => tls.close(),
      () => server.close(),
    );
    const limits = { maxConnections: 2_000, maxConnectionsPerSource: 2_000 };
    const { port } = await server.listenTcp({
      host: '127.0.0.1',
      upgrade: tls.upgrade,
      upgradeTimeoutMs: 1_500,
      ...limits,
    });
    const probe = Buffer.from(
      `80000028${[9, 0, 2, ECHO_PROGRAM, 1, 0, 7, 0, 0, 0].map((word) => word.toString(16).padStart(8, '0')).join('')}`,
      'hex',
    );
    let closed = 0;
    const sockets = Array.from({ length: 1_000 }, () => {
      const socket = net.connect({ host: '127.0.0.1', port });
      socket.on('error', () => undefined).on('close', () => (closed += 1));
      socket.resume().write(probe);
      return socket;
    });
    cleanUps.push(() => {
      for (const socket of sockets) socket.destroy();
    });
    await until(() => tls.stats().handshakes >= 1_000, 10_000, 'all handshakes to have begun');
    expect(await clientOf(port).call(echo, 'x')).toBe('x');
    await until(() => closed === 1_000, 10_000, 'all to be closed');
    expect(tls.stats().failedHandshakes).toBe(1_000);
  }, 30_000);
});

describe('certificates', () => {
  it('are read again when they change, and connections that are open go on', async () => {
    const files = { cert: path.join(folder, 'live.pem'), key: path.join(folder, 'live.key') };
    copyFileSync(mine.server.cert, files.cert);
    copyFileSync(mine.server.key, files.key);
    const warnings: string[] = [];
    const { port, tls } = await serve({ ...files, onWarning: (text) => warnings.push(text) });
    const open = clientOf(port);
    await open.call(echo, 'x');
    copyFileSync(foreign.server.cert, files.cert);
    expect(tls.reload()).toBe(false);
    expect(warnings.at(-1)).toContain('the certificates stay as they were');
    expect(await clientOf(port).call(echo, 'still')).toBe('still');
    copyFileSync(foreign.server.key, files.key);
    expect(tls.reload()).toBe(true);
    expect(await open.call(echo, 'y')).toBe('y');
    expect(await clientOf(port, { ca: foreign.ca }).call(echo, 'z')).toBe('z');
    await expect(clientOf(port).call(echo, 'z')).rejects.toMatchObject({ code: 'RPC_TLS_UNTRUSTED' });
  });

  it('are warned of before they expire', async () => {
    const soon = await writeDevCertificates(path.join(folder, 'soon'), { days: 3 });
    const warnings: string[] = [];
    const tls = createTlsServer({ ...soon.server, onWarning: (text) => warnings.push(text) });
    cleanUps.push(() => tls.close());
    expect(warnings).toEqual([expect.stringMatching(/server\.pem expires on 20\d\d-/)]);
    expect(tls.stats().certificateExpiresAt).toBeGreaterThan(Date.now());
  });

  it('tell the names of their holders', () => {
    const of = (file: string): unknown => identityOf(new X509Certificate(readFileSync(file)));
    expect(of(mine.client.cert)).toMatchObject({
      subject: 'client',
      users: ['alice@example.org'],
      dnsNames: [],
    });
    expect(of(mine.server.cert)).toMatchObject({
      subject: 'server',
      dnsNames: ['localhost'],
      addresses: ['127.0.0.1', '::1'],
      users: [],
    });
  });

  it('of a first try have keys that only their owner reads, and write over nothing', async () => {
    for (const file of [mine.server.key, mine.client.key, path.join(folder, 'mine/ca.key')])
      expect(statSync(file).mode & 0o777).toBe(0o600);
    await expect(writeDevCertificates(path.join(folder, 'mine'))).rejects.toMatchObject({ code: 'EEXIST' });
  });

  it('that cannot be used are named', () => {
    expect(() => createTlsServer({ cert: '/nowhere.pem', key: mine.server.key })).toThrow(
      '/nowhere.pem cannot be read',
    );
    expect(() => createTlsServer({ cert: mine.server.key, key: mine.server.key })).toThrow(
      'holds no certificate',
    );
    expect(() => createTlsServer({ cert: mine.server.cert, key: mine.client.key })).toThrow(
      'do not fit together',
    );
  });
});
