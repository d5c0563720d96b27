import dgram from 'node:dgram';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  connectTcp,
  connectUdp,
  connectUnix,
  createClient,
  createServer,
  type RpcClient,
  type RpcServer,
} from '../../../runtime/index.js';
import { type ClientTransport, hasNative } from '../../../runtime/protocol.js';
import { add, blob, echo, echoService, slow } from '../../support/echo.js';
import { until } from '../../support/until.js';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function serverOf(onSlow?: Parameters<typeof echoService>[0]): RpcServer {
  const server = createServer({ services: [echoService(onSlow)] });
  cleanUps.push(() => server.close({ drainMs: 100 }));
  return server;
}

function clientOf(transport: ClientTransport, options = {}): RpcClient {
  const client = createClient(transport, options);
  cleanUps.push(() => client.close());
  return client;
}

async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'rpc-'));
  cleanUps.push(() => rm(made, { recursive: true }));
  return made;
}

const transports: [name: string, open: (server: RpcServer) => Promise<ClientTransport>][] = [
  [
    'UDP',
    async (server) =>
      connectUdp({ host: '127.0.0.1', port: (await server.listenUdp({ host: '127.0.0.1' })).port }),
  ],
  [
    'UDP over IPv6',
    async (server) => connectUdp({ host: '::1', port: (await server.listenUdp({ host: '::1' })).port }),
  ],
  [
    'TCP',
    async (server) =>
      connectTcp({ host: '127.0.0.1', port: (await server.listenTcp({ host: '127.0.0.1' })).port }),
  ],
  [
    'TCP over IPv6',
    async (server) => connectTcp({ host: '::1', port: (await server.listenTcp({ host: '::1' })).port }),
  ],
  [
    'a unix socket',
    async (server) => {
      const socket = path.join(await folder(), 'rpc.sock');
      await server.listenUnix({ path: socket });
      return connectUnix({ path: socket });
    },
  ],
];

describe.each(transports)('over %s', (_name, open) => {
  it('answers many calls at once', async () => {
    const client = clientOf(await open(serverOf()));
    const sums = await Promise.all(Array.from({ length: 200 }, (_, i) => client.call(add, { a: i, b: 1 })));
    expect(sums).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  });

  it('answers out of order where one procedure waits', async () => {
    let release = (_: number): void => undefined;
    const client = clientOf(await open(serverOf(() => new Promise((done) => (release = done)))));
    const waiting = client.call(slow, undefined);
    expect(await client.call(echo, 'meanwhile')).toBe('meanwhile');
    release(17);
    expect(await waiting).toBe(17);
  });

  it('carries messages of 50 000 bytes', async () => {
    const client = clientOf(await open(serverOf()));
    const text = 'é'.repeat(25_000);
    expect(await client.call(echo, text)).toBe(text);
  });

  it('drains on close: the call under way is answered', async () => {
    const entered = Promise.withResolvers?.() ?? deferred();
    const result = deferred<number>();
    const server = createServer({
      services: [
        echoService(() => {
          entered.resolve(undefined);
          return result.promise;
        }),
      ],
    });
    const client = clientOf(await open(server));
    const waiting = client.call(slow, undefined);
    await entered.promise;
    const closing = server.close({ drainMs: 5_000 });
    result.resolve(3);
    expect(await waiting).toBe(3);
    await closing;
  });
});

function deferred<T = unknown>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

describe('UDP', () => {
  it('refuses a call of more than 65507 bytes before sending it', async () => {
    const server = serverOf();
    const { port } = await server.listenUdp({ host: '127.0.0.1' });
    const client = clientOf(await connectUdp({ host: '127.0.0.1', port }));
    const most = 65_507 - 40 - 4 - 3;
    expect(await client.call(echo, 'x'.repeat(most - 24))).toHaveLength(most - 24);
    await expect(client.call(echo, 'x'.repeat(65_507))).rejects.toMatchObject({ code: 'XDR_LIMIT' });
  });

  it('says SYSTEM_ERR where a result does not fit a datagram', async () => {
    const { port } = await serverOf().listenUdp({ host: '127.0.0.1' });
    const client = clientOf(await connectUdp({ host: '127.0.0.1', port }));
    await expect(client.call(blob, 70_000)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
  });

  it('fails at once where nothing listens', async () => {
    const probe = dgram.createSocket('udp4');
    await new Promise<void>((done) => probe.bind(0, '127.0.0.1', done));
    const { port } = probe.address();
    await new Promise<void>((done) => probe.close(() => done()));
    const client = clientOf(await connectUdp({ host: '127.0.0.1', port }));
    await expect(client.call(echo, 'x')).rejects.toMatchObject({ code: 'RPC_CONNECT', executed: 'no' });
  });

  it('takes an IPv6 address in brackets', async () => {
    const { port } = await serverOf().listenUdp({ host: '::1' });
    expect(await clientOf(await connectUdp({ host: '[::1]', port })).call(echo, 'x')).toBe('x');
  });

  it('says no such host, by name', async () => {
    await expect(connectUdp({ host: 'no-such-host.invalid', port: 1 })).rejects.toMatchObject({
      code: 'RPC_CONNECT',
      message: 'no such host: no-such-host.invalid',
    });
  });
});

describe('TCP', () => {
  it('connects anew after the server was restarted, and tells the truth about calls under way', async () => {
    const first = serverOf(() => new Promise(() => undefined));
    const { port } = await first.listenTcp({ host: '127.0.0.1' });
    const client = clientOf(connectTcp({ host: '127.0.0.1', port }));
    expect(await client.call(echo, 'first')).toBe('first');
    const waiting = client.call(slow, undefined).catch((reason: unknown) => reason);
    await client.call(echo, 'so the call above has arrived');
    await first.close({ drainMs: 1 });
    expect(await waiting).toMatchObject({ code: 'RPC_CLOSED', executed: 'unknown' });
    await serverOf().listenTcp({ host: '127.0.0.1', port });
    expect(await client.call(echo, 'second')).toBe('second');
  });

  it('fails with executed no where nothing listens, and where there is no such host', async () => {
    const probe = net.createServer();
    await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done));
    const { port } = probe.address() as net.AddressInfo;
    await new Promise<void>((done) => probe.close(() => done()));
    const nobody = clientOf(connectTcp({ host: '127.0.0.1', port }));
    await expect(nobody.call(echo, 'x')).rejects.toMatchObject({ code: 'RPC_CONNECT', executed: 'no' });
    const nowhere = clientOf(connectTcp({ host: 'no-such-host.invalid', port: 1 }));
    await expect(nowhere.call(echo, 'x')).rejects.toThrow('no such host');
  });

  it('cuts off a peer that breaks the frame, and only that one', async () => {
    const { port } = await serverOf().listenTcp({ host: '127.0.0.1', maxRecordBytes: 1000 });
    const client = clientOf(connectTcp({ host: '127.0.0.1', port }));
    const bad = net.connect({ host: '127.0.0.1', port });
    const closed = new Promise((done) => bad.on('close', done));
    bad.on('error', () => undefined);
    bad.write(Buffer.from('ffffffff', 'hex'));
    await closed;
    expect(await client.call(echo, 'fine')).toBe('fine');
  });

  it('answers the calls in each way of cutting the stream', async () => {
    const { port } = await serverOf().listenTcp({ host: '127.0.0.1' });
    const header = (xid: string): string =>
      `${xid} 00000000 00000002 20001000 00000001 00000002${' 00000000'.repeat(4)}`;
    const stream = Buffer.from(
      `80000030 ${header('00000001')} 00000001 00000002 00000028 ${header('00000002')} 80000008 00000003 00000004`.replaceAll(
        ' ',
        '',
      ),
      'hex',
    );
    for (let cut = 0; cut <= stream.length; cut += 3) {
      const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
      const chunks: Buffer[] = [];
      socket.on('data', (chunk) => chunks.push(chunk));
      await new Promise((done) => socket.write(stream.subarray(0, cut), done));
      socket.write(stream.subarray(cut));
      await until(() => Buffer.concat(chunks).length >= 64);
      const replies = Buffer.concat(chunks).toString('hex');
      expect(replies).toContain('8000001c00000001000000010000000000000000000000000000000000000003');
      expect(replies).toContain('8000001c00000002000000010000000000000000000000000000000000000007');
      socket.destroy();
    }
  });
});

describe('unix sockets', () => {
  it('tell who is at the other end, where the means to ask are installed', async () => {
    let uid: number | undefined;
    const server = serverOf((context) => {
      ({ uid } = context.peer);
      return Promise.resolve(1);
    });
    const socket = path.join(await folder(), 'rpc.sock');
    await server.listenUnix({ path: socket });
    await clientOf(connectUnix({ path: socket })).call(slow, undefined);
    expect(uid).toBe(hasNative() ? process.getuid?.() : undefined);
  });

  it('take the place of a socket file that was left over, but not of one in use', async () => {
    const socket = path.join(await folder(), 'rpc.sock');
    const left = net.createServer();
    await new Promise<void>((done) => left.listen(socket, done));
    const server = serverOf();
    await expect(server.listenUnix({ path: socket })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await new Promise<void>((done) => left.close(() => done()));
    await writeFile(`${socket}.other`, '');
    await server.listenUnix({ path: socket, mode: 0o600 });
    expect((await stat(socket)).mode & 0o777).toBe(0o600);
    await expect(server.listenUnix({ path: `${socket}.other` })).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
  });

  it('have paths of at most 107 bytes', async () => {
    const base = `${await folder()}/`;
    const fitting = base + 'x'.repeat(107 - base.length);
    await serverOf().listenUnix({ path: fitting });
    expect(await clientOf(connectUnix({ path: fitting })).call(echo, 'x')).toBe('x');
    expect(() => connectUnix({ path: `${fitting}x` })).toThrow('108 bytes, where 107 are allowed');
    await expect(serverOf().listenUnix({ path: `${fitting}x` })).rejects.toThrow(RangeError);
  });
});
