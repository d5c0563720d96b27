/** Calls passed on by the daemon, and registrations whose servers are gone. */

import dgram from 'node:dgram';
import { afterEach, describe, expect, it } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  formatUaddr,
  type LivenessMode,
  MAX_FORWARDED_CALLS,
  MAX_FORWARDED_CALLS_SHARE,
  publish,
  RPCBPROG,
  type Rpcbind,
  type RpcbindClient,
  type RpcbindDaemonOptions,
} from '../../rpcbind/index.js';
import { createServer, type RpcServer } from '../../runtime/index.js';
import { decode, encode } from '../../xdr/index.js';
import { add, ECHO_PROGRAM, echoService } from '../support/echo.js';
import { until } from '../support/until.js';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function setUp(
  options: RpcbindDaemonOptions,
): Promise<{ rpcbind: Rpcbind; client: RpcbindClient; server: RpcServer }> {
  const rpcbind = await createRpcbind({ port: 0, ...options });
  open.push(rpcbind);
  const server = createServer({ services: [echoService()] });
  open.push(server);
  await server.listenUdp({ host: '127.0.0.1' });
  await server.listenTcp({ host: '127.0.0.1' });
  await publish(server, { port: rpcbind.port, checkMs: 3_600_000 });
  const client = await connectRpcbind({
    port: rpcbind.port,
    transport: 'udp',
    retransmitMs: 400,
    timeoutMs: 800,
  });
  open.push(client);
  return { rpcbind, client, server };
}

const call = {
  program: ECHO_PROGRAM,
  version: 1,
  procedure: add.number,
  args: encode(add.args, { a: 2, b: 3 }),
};

describe('a call passed on', () => {
  it('is answered by CALLIT with the port, by INDIRECT with the address', async () => {
    const { client, server } = await setUp({ forwardCalls: true });
    const port = server.listeners.find(({ netid }) => netid === 'udp')?.port;
    const byCallit = await client.callit(call);
    expect(byCallit.port).toBe(port);
    expect(decode(add.result, byCallit.result)).toBe(5);
    const byIndirect = await client.indirect(call);
    expect(byIndirect.address.startsWith('127.0.0.1.')).toBe(true);
    expect(decode(add.result, byIndirect.result)).toBe(5);
    const [second, , fourth] = await client.statistics();
    expect(second?.forwards).toMatchObject([{ program: ECHO_PROGRAM, success: 1, isIndirect: false }]);
    expect(fourth?.forwards).toMatchObject([{ program: ECHO_PROGRAM, success: 1, isIndirect: true }]);
  });

  it('is answered while another source fills its share with calls of a program that does not answer', async () => {
    const { rpcbind, client } = await setUp({ forwardCalls: true });
    const silent = dgram.createSocket('udp4');
    await new Promise<void>((done) => silent.bind(0, '127.0.0.1', done));
    open.push({ close: () => new Promise<void>((done) => silent.close(done)) });
    const address = formatUaddr('127.0.0.1', silent.address().port);
    const program = 0x2000_0123;
    expect(await client.setAddress({ program, version: 1, netid: 'udp', address })).toBe(true);
    const heard: (() => void)[] = [];
    silent.on('message', (message, { port }) => {
      const reply = Buffer.alloc(24);
      message.copy(reply, 0, 0, 4);
      reply.writeUInt32BE(1, 4);
      heard.push(() => silent.send(reply, port, '127.0.0.1'));
    });
    const stranger = await connectRpcbind({ port: rpcbind.port, transport: 'tcp', timeoutMs: 60_000 });
    open.push(stranger);
    const calls = Array.from({ length: MAX_FORWARDED_CALLS + 1 }, () =>
      stranger.indirect({ ...call, program }).then(
        () => 'answered',
        (error: { code?: string }) => error.code,
      ),
    );
    const refused = await Promise.all(calls.slice(MAX_FORWARDED_CALLS_SHARE));
    expect(new Set(refused)).toEqual(new Set(['RPC_SYSTEM_ERR']));
    await until(() => heard.length === MAX_FORWARDED_CALLS_SHARE);
    expect(decode(add.result, (await client.indirect(call)).result)).toBe(5);
    // The share of the program is taken too, whoever calls it.
    await expect(client.indirect({ ...call, program })).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    for (const answer of heard) answer();
    expect(new Set(await Promise.all(calls.slice(0, MAX_FORWARDED_CALLS_SHARE)))).toEqual(
      new Set(['answered']),
    );
  });

  it('fails in silence by CALLIT, and with what was wrong by INDIRECT', async () => {
    const { client } = await setUp({ forwardCalls: true });
    const wrong: [object, string][] = [
      [{ program: 0x2000_0fff }, 'RPC_PROG_UNAVAIL'],
      [{ version: 9 }, 'RPC_PROG_MISMATCH'],
      [{ procedure: 99 }, 'RPC_PROC_UNAVAIL'],
      [{ args: new Uint8Array(4) }, 'RPC_GARBAGE_ARGS'],
      [{ program: RPCBPROG, version: 2, procedure: 4 }, 'RPC_AUTH'],
    ];
    for (const [difference, code] of wrong)
      await expect(client.indirect({ ...call, ...difference }), code).rejects.toMatchObject({ code });
    await expect(client.callit({ ...call, version: 9 })).rejects.toMatchObject({ code: 'RPC_TIMEOUT' });
  });

  it.each([
    ['NFS', 100003, 1],
    ['MOUNT', 100005, 1],
    ['RQUOTA', 100011, 1],
    ['the maps of YP', 100004, 8],
    ['the domain of YP', 100007, 2],
    ['rpcbind', RPCBPROG, 1],
  ])('is never one to %s, unless its NULL', async (_name, program, procedure) => {
    const { client } = await setUp({ forwardCalls: true });
    await client.setAddress({ program, version: 2, netid: 'udp', address: '127.0.0.1.8.1' });
    const of = { program, version: 2, procedure, args: new Uint8Array(0) };
    await expect(client.indirect(of)).rejects.toMatchObject({ code: 'RPC_AUTH' });
  });

  it('is answered for NULL of rpcbind itself', async () => {
    const { client, rpcbind } = await setUp({ forwardCalls: true });
    const of = { program: RPCBPROG, version: 2, procedure: 0, args: new Uint8Array(0) };
    expect(await client.callit(of)).toEqual({ port: rpcbind.port, result: new Uint8Array(0) });
  });

  it('goes to this host alone, whatever was registered', async () => {
    const { client } = await setUp({ forwardCalls: true });
    await client.setAddress({ program: 0x2000_0abc, version: 1, netid: 'udp', address: '203.0.113.9.8.1' });
    const of = { ...call, program: 0x2000_0abc };
    await expect(client.indirect(of)).rejects.toMatchObject({ code: 'RPC_AUTH' });
  });

  it('is none by default', async () => {
    const { client } = await setUp({});
    await expect(client.indirect(call)).rejects.toMatchObject({ code: 'RPC_AUTH' });
    await expect(client.callit(call)).rejects.toMatchObject({ code: 'RPC_TIMEOUT' });
  });
});

describe.each<LivenessMode>(['auto', 'probe'])('a registration whose server is gone (%s)', (liveness) => {
  it('is dropped when it is looked up', async () => {
    const dropped: string[] = [];
    const { client, server, rpcbind } = await setUp({
      liveness,
      onEvent: (event) => event.event === 'stale' && dropped.push(event.registration.netid),
    });
    const of = { program: ECHO_PROGRAM, version: 1, protocol: 'udp' } as const;
    expect(await client.getport(of)).toBeGreaterThan(0);
    await server.close();
    await until(async () => (await client.getport(of)) === 0, 15_000, 'the end of the registration');
    await client.dump();
    await until(
      async () => {
        await client.dump();
        return !rpcbind.registrations().some(({ program }) => program === ECHO_PROGRAM);
      },
      15_000,
      'the end of all its registrations',
    );
    expect(dropped.toSorted()).toEqual(['tcp', 'udp']);
  }, 40_000);
});

describe('a registration', () => {
  it('whose server is gone stays where the operator wants that', async () => {
    const { client, server } = await setUp({ liveness: 'off' });
    const of = { program: ECHO_PROGRAM, version: 1, protocol: 'udp' } as const;
    const port = await client.getport(of);
    await server.close();
    expect(await client.getport(of)).toBe(port);
  });

  it('that never had a listener stays: some register before they listen', async () => {
    const { client } = await setUp({});
    await client.set({ program: 0x2000_0def, version: 1, protocol: 'udp', port: 1024 });
    const of = { program: 0x2000_0def, version: 1, protocol: 'udp' } as const;
    expect(await client.getport(of)).toBe(1024);
  });
});
