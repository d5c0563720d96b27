/** What a client has for production: failover, backoff, keep-alive, lookup, broadcast; and what both ends can be watched by. */

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { lookup } from '../../../rpcbind/index.js';
import {
  broadcast,
  connect,
  connectLoopback,
  connectTcp,
  createClient,
  createServer,
  type Interceptor,
  type RpcServer,
} from '../../../runtime/index.js';
import type { Lookup, LookupTarget, Route } from '../../../runtime/protocol.js';
import { add, ECHO_PROGRAM, echo, echoService, fail, silent, slow } from '../../support/echo.js';
import { until } from '../../support/until.js';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

function serverOf(version = 1, onSlow?: Parameters<typeof echoService>[0], options = {}): RpcServer {
  const server = createServer({ services: [echoService(onSlow, version)], ...options });
  cleanUps.push(() => server.close({ drainMs: 10 }));
  return server;
}

const local = { host: '127.0.0.1' };

async function closedPort(): Promise<number> {
  const probe = net.createServer();
  await new Promise<void>((done) => probe.listen(0, '127.0.0.1', done));
  const { port } = probe.address() as net.AddressInfo;
  await new Promise<void>((done) => probe.close(() => done()));
  return port;
}

describe('a client of several servers', () => {
  it('goes to the next where one cannot be reached, and to the one after when that is gone', async () => {
    const [first, second] = [serverOf(), serverOf()];
    const ports = [(await first.listenTcp(local)).port, (await second.listenTcp(local)).port];
    const alternates = ports.map((port) => ({ ...local, port }));
    const client = createClient(connectTcp({ ...local, port: await closedPort(), alternates }));
    cleanUps.push(() => client.close());
    expect(await client.call(echo, 'x')).toBe('x');
    expect(client.target).toBe(`tcp 127.0.0.1:${ports[0]}`);
    await first.close();
    await until(() =>
      client.call(echo, 'y').then(
        () => true,
        () => false,
      ),
    );
    expect(client.target).toBe(`tcp 127.0.0.1:${ports[1]}`);
  });

  it('waits longer and longer where none can be reached, and comes back when one can', async () => {
    const port = await closedPort();
    const client = createClient(connectTcp({ ...local, port, reconnectMs: 20, maxReconnectMs: 40 }));
    cleanUps.push(() => client.close());
    const took: number[] = [];
    for (let i = 0; i < 4; i++) {
      const startedAt = performance.now();
      await expect(client.call(echo, 'x')).rejects.toMatchObject({ code: 'RPC_CONNECT', executed: 'no' });
      took.push(performance.now() - startedAt);
    }
    // From half of each wait up: none, 10, 20, 20.
    expect(took[1]).toBeGreaterThanOrEqual(9);
    expect(took[2]).toBeGreaterThanOrEqual(19);
    expect(took[3]).toBeLessThan(1_000);
    await serverOf().listenTcp({ ...local, port });
    expect(await client.call(echo, 'back')).toBe('back');
  });

  it('gives up a server that is silent, by calling procedure 0', async () => {
    const sockets: net.Socket[] = [];
    const mute = net.createServer((socket) => {
      sockets.push(socket);
      // It answers the first call, and nothing after it.
      socket.once('data', (bytes) => {
        const reply = Buffer.alloc(32);
        reply.writeUInt32BE(0x8000_001c, 0);
        bytes.copy(reply, 4, 4, 8);
        reply.writeUInt32BE(1, 8);
        reply.writeUInt32BE(5, 28);
        socket.write(reply);
      });
    });
    cleanUps.push(() => mute.close());
    await new Promise<void>((done) => mute.listen(0, '127.0.0.1', done));
    cleanUps.push(() => sockets.map((socket) => socket.destroy()));
    const { port } = mute.address() as net.AddressInfo;
    const client = createClient(connectTcp({ ...local, port }), { keepAliveMs: 40 });
    cleanUps.push(() => client.close());
    expect(await client.call(add, { a: 2, b: 3 })).toBe(5);
    await expect(client.call(slow, undefined)).rejects.toMatchObject({
      code: 'RPC_CLOSED',
      executed: 'unknown',
    });
  });

  it('does not give up a server that is only slow', async () => {
    let release = (_: number): void => undefined;
    const server = serverOf(1, () => new Promise((done) => (release = done)));
    const { port } = await server.listenTcp(local);
    const client = createClient(connectTcp({ ...local, port }), { keepAliveMs: 20 });
    cleanUps.push(() => client.close());
    await client.call(echo, 'x');
    const waiting = client.call(slow, undefined);
    await until(() => client.stats().calls >= 5);
    release(4);
    expect(await waiting).toBe(4);
  });

  it('sends calls that nobody waits for, and knows by a call after them that they have come', async () => {
    const seen: string[] = [];
    const spy: Interceptor = (call, next) => {
      seen.push(call.procedure.name);
      return next(call);
    };
    const { port } = await serverOf(1, undefined, { interceptors: [spy] }).listenTcp(local);
    const client = createClient(connectTcp({ ...local, port }));
    cleanUps.push(() => client.close());
    for (let i = 0; i < 5; i++) client.send(silent, undefined);
    await client.call(echo, 'all there?');
    expect(seen).toEqual([...Array<string>(5).fill('SILENT'), 'ECHO']);
    expect(client.stats()).toMatchObject({ pending: 0, calls: 1 });
    await client.close();
    expect(() => client.send(silent, undefined)).toThrow('the client is closed');
  });
});

describe('connect', () => {
  const known = { host: '127.0.0.1', program: ECHO_PROGRAM };
  const open = async (options: Route & { readonly versions: readonly number[] }) => {
    const client = await connect({ ...known, timeoutMs: 1_000, ...options });
    cleanUps.push(() => client.close());
    return client;
  };
  const at =
    (port: number): Lookup =>
    () =>
      Promise.resolve({ host: '127.0.0.1', port });

  it.each(['udp', 'tcp'] as const)('looks the port up and calls over %s', async (transport) => {
    const server = serverOf();
    const udp = await server.listenUdp(local);
    const tcp = await server.listenTcp(local);
    const asked: string[] = [];
    const find: Lookup = ({ transport: kind, version, program, host }) => {
      asked.push(`${host} ${program} ${version} ${kind}`);
      return at(kind === 'udp' ? udp.port : tcp.port)({} as never);
    };
    const client = await open({ versions: [1], transport, lookup: find });
    expect(await client.call(echo, 'x')).toBe('x');
    expect(asked).toEqual([`127.0.0.1 ${ECHO_PROGRAM} 1 ${transport}`]);
    expect(client.target).toContain(transport);
  });

  it('takes UDP where TCP is not registered', async () => {
    const { port } = await serverOf().listenUdp(local);
    const find: Lookup = ({ transport }) =>
      transport === 'udp' ? at(port)({} as never) : Promise.resolve(undefined);
    expect((await open({ versions: [1], lookup: find })).target).toContain('udp');
  });

  it('chooses the highest version that both know', async () => {
    const server = serverOf(2);
    server.add(echoService(undefined, 3));
    const { port } = await server.listenTcp(local);
    expect((await open({ versions: [1, 2, 3, 4, 5], lookup: at(port) })).version).toBe(3);
    await expect(open({ versions: [4, 7], lookup: at(port) })).rejects.toMatchObject({
      code: 'RPC_PROG_MISMATCH',
    });
    await expect(open({ versions: [], lookup: at(port) })).rejects.toThrow(RangeError);
  });

  it('takes the lookup of rpcbind as it is, and says what that says', async () => {
    const options = {
      versions: [1],
      timeoutMs: 200,
      lookup: (of: LookupTarget) => lookup({ ...of, rpcbindPort: 9 }),
    };
    await expect(open(options)).rejects.toMatchObject({ code: 'RPCBIND_UNREACHABLE' });
    const fits: Lookup = lookup;
    expect(fits).toBe(lookup);
  });

  it('calls over a unix socket', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'rpc-'));
    cleanUps.push(() => rm(folder, { recursive: true }));
    const socket = path.join(folder, 'rpc.sock');
    await serverOf().listenUnix({ path: socket });
    const client = await open({
      versions: [1],
      transport: 'local',
      lookup: () => Promise.resolve({ path: socket }),
    });
    expect(await client.call(echo, 'x')).toBe('x');
  });

  it('says what is not registered', async () => {
    const find: Lookup = () => Promise.resolve(undefined);
    await expect(open({ versions: [1, 2], transport: 'tcp', lookup: find })).rejects.toThrow(
      `program ${ECHO_PROGRAM} version 1 or 2 is not registered at 127.0.0.1 over tcp`,
    );
  });

  it('looks up again when the service has moved, and makes the call that was not run once more', async () => {
    const first = serverOf();
    let { port } = await first.listenTcp(local);
    const client = await open({ versions: [1], transport: 'tcp', lookup: (...of) => at(port)(...of) });
    expect(await client.call(echo, 'here')).toBe('here');
    await first.close();
    port = (await serverOf().listenTcp(local)).port;
    await until(() =>
      client.call(echo, 'there').then(
        () => true,
        () => false,
      ),
    );
    expect(client.target).toBe(`tcp 127.0.0.1:${port}`);
  });
});

describe('broadcast', () => {
  it('gives each server that answers, once, and ends in time', async () => {
    const { port } = await serverOf().listenUdp({ host: '0.0.0.0' });
    const replies: string[] = [];
    const options = { procedure: echo, args: 'who is there?', port, timeoutMs: 120, firstRoundMs: 20 };
    const addresses = ['127.0.0.1', '127.255.255.255'];
    for await (const { address, result } of broadcast({ ...options, addresses }))
      replies.push(`${address} ${result}`);
    expect(new Set(replies)).toEqual(new Set(['127.0.0.1 who is there?']));
    expect(replies).toHaveLength(1);
  });

  it('ends at its first reply where the reader has enough, and passes over refusals', async () => {
    const { port } = await serverOf().listenUdp({ host: '0.0.0.0' });
    const addresses = ['127.0.0.1'];
    const startedAt = performance.now();
    for await (const reply of broadcast({ procedure: echo, args: 'x', port, addresses })) {
      expect(reply.port).toBe(port);
      break;
    }
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    const none: unknown[] = [];
    const wrong = { procedure: { ...echo, version: 9 }, args: 'x', port, addresses, timeoutMs: 50 };
    for await (const reply of broadcast(wrong)) none.push(reply);
    expect(none).toEqual([]);
  });

  it('hears maxReplies servers, and ends when its signal fires', async () => {
    const { port } = await serverOf().listenUdp({ host: '0.0.0.0' });
    const options = { procedure: echo, args: 'x', port, addresses: ['127.0.0.1'] };
    let count = 0;
    for await (const _ of broadcast({ ...options, maxReplies: 1 })) count += 1;
    expect(count).toBe(1);
    for await (const _ of broadcast({ ...options, signal: AbortSignal.abort() })) count += 1;
    expect(count).toBeLessThanOrEqual(2);
  });
});

describe('interceptors', () => {
  it('surround calls on both sides, the first outermost, and may change, refuse or answer them', async () => {
    const log: string[] = [];
    const logging =
      (name: string): Interceptor =>
      async (call, next) => {
        log.push(`${name} ${call.side} ${call.procedure.name}`);
        const result = await next(call);
        log.push(`${name} ${String(result)}`);
        return result;
      };
    const doubling: Interceptor = (call, next) => next({ ...call, args: `${String(call.args)}!` });
    const cached: Interceptor = (call, next) => (call.procedure.name === 'ADD' ? 42 : next(call));
    const server = serverOf(1, undefined, { interceptors: [logging('a'), doubling, logging('b')] });
    const client = createClient(connectLoopback(server.dispatcher), {
      interceptors: [logging('c'), cached],
    });
    expect(await client.call(echo, 'x')).toBe('x!');
    expect(log).toEqual(['c client ECHO', 'a server ECHO', 'b server ECHO', 'b x!', 'a x!', 'c x!']);
    expect(await client.call(add, { a: 1, b: 1 })).toBe(42);
    await expect(client.call(fail, 'boom')).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
  });
});

describe('what can be watched', () => {
  it('counts calls and measures latencies on both sides', async () => {
    const server = serverOf();
    const client = createClient(connectLoopback(server.dispatcher));
    for (let i = 0; i < 10; i++) await client.call(echo, 'x');
    await client.call(fail, 'x').catch(() => undefined);
    for (const { procedures } of [server.stats(), client.stats()]) {
      expect(procedures).toMatchObject([
        { name: 'ECHO', calls: 10, success: 10 },
        { name: 'FAIL', calls: 1 },
      ]);
      expect(procedures[0]?.latency.count).toBe(10);
      const { p50Ms, p99Ms, maxMs } = procedures[0]!.latency;
      expect(0 < p50Ms && p50Ms <= p99Ms && p99Ms <= maxMs).toBe(true);
    }
  });

  it('publishes calls, connections, resends and duplicates on diagnostics channels', async () => {
    const seen: string[] = [];
    const names = ['server:call', 'client:call', 'client:resend', 'server:connection', 'server:duplicate'];
    for (const name of names) {
      const listener = (): void => {
        if (!seen.includes(name)) seen.push(name);
      };
      subscribe(`rpcbind-ts:${name}`, listener);
      cleanUps.push(() => unsubscribe(`rpcbind-ts:${name}`, listener));
    }
    const server = serverOf();
    const { port } = await server.listenTcp(local);
    const client = createClient(connectTcp({ ...local, port }));
    cleanUps.push(() => client.close());
    await client.call(echo, 'x');
    const faults = { loss: 0.5, duplication: 0.5, jitterMs: 1 };
    const lossy = createClient(connectLoopback(server.dispatcher, faults), { retransmitMs: 5 });
    await Promise.all(Array.from({ length: 20 }, () => lossy.call(echo, 'x')));
    expect([...seen].sort()).toEqual([...names].sort());
  });
});
