/** Calls that the daemon forwards. */

import dgram from 'node:dgram';
import { afterEach, describe, expect, it } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  formatUaddr,
  forwardCall,
  forwardCallIndirect,
  getStatistics,
  publish,
  RPCBPROG,
  type Rpcbind,
  type RpcbindClient,
  type RpcbindDaemonOptions,
} from '../../../rpcbind/index.js';
import { MAX_FORWARDED_CALLS, MAX_FORWARDED_CALLS_SHARE } from '../../../rpcbind/internal.js';
import { createServer, type RpcServer } from '../../../runtime/index.js';
import { decode, encode } from '../../../xdr/index.js';
import { add, ECHO_PROGRAM, echoService } from '../../support/echo.js';
import { until } from '../../support/until.js';

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

describe('a forwarded call', () => {
  it('is answered by CALLIT with the port, by INDIRECT with the address', async () => {
    const { client, server } = await setUp({ forwardCalls: true });
    const port = server.listeners.find(({ netid }) => netid === 'udp')?.port;
    const byCallit = await forwardCall(client, call);
    expect(byCallit.port).toBe(port);
    expect(decode(add.result, byCallit.result)).toBe(5);
    const byIndirect = await forwardCallIndirect(client, call);
    expect(byIndirect.address.startsWith('127.0.0.1.')).toBe(true);
    expect(decode(add.result, byIndirect.result)).toBe(5);
    const [second, , fourth] = await getStatistics(client);
    expect(second?.forwards).toMatchObject([{ program: ECHO_PROGRAM, success: 1, isIndirect: false }]);
    expect(fourth?.forwards).toMatchObject([{ program: ECHO_PROGRAM, success: 1, isIndirect: true }]);
  });

  it('is answered while another source uses up its share by calls to a program that does not answer', async () => {
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
      forwardCallIndirect(stranger, { ...call, program }).then(
        () => 'answered',
        (error: { code?: string }) => error.code,
      ),
    );
    const refused = await Promise.all(calls.slice(MAX_FORWARDED_CALLS_SHARE));
    expect(new Set(refused)).toEqual(new Set(['RPC_SYSTEM_ERR']));
    await until(() => heard.length === MAX_FORWARDED_CALLS_SHARE);
    expect(decode(add.result, (await forwardCallIndirect(client, call)).result)).toBe(5);
    // The share of the program is used up, too, whoever calls it.
    await expect(forwardCallIndirect(client, { ...call, program })).rejects.toMatchObject({
      code: 'RPC_SYSTEM_ERR',
    });
    for (const answer of heard) answer();
    expect(new Set(await Promise.all(calls.slice(0, MAX_FORWARDED_CALLS_SHARE)))).toEqual(
      new Set(['answered']),
    );
  });

  it('fails without a reply by CALLIT, and with the reason by INDIRECT', async () => {
    const { client } = await setUp({ forwardCalls: true });
    const wrong: [object, string][] = [
      [{ program: 0x2000_0fff }, 'RPC_PROG_UNAVAIL'],
      [{ version: 9 }, 'RPC_PROG_MISMATCH'],
      [{ procedure: 99 }, 'RPC_PROC_UNAVAIL'],
      [{ args: new Uint8Array(4) }, 'RPC_GARBAGE_ARGS'],
      [{ program: RPCBPROG, version: 2, procedure: 4 }, 'RPC_AUTH'],
    ];
    for (const [difference, code] of wrong)
      await expect(forwardCallIndirect(client, { ...call, ...difference }), code).rejects.toMatchObject({
        code,
      });
    await expect(forwardCall(client, { ...call, version: 9 })).rejects.toMatchObject({ code: 'RPC_TIMEOUT' });
  });

  it.each([
    ['NFS', 100003, 1],
    ['MOUNT', 100005, 1],
    ['RQUOTA', 100011, 1],
    ['the maps of YP', 100004, 8],
    ['the domain of YP', 100007, 2],
    ['rpcbind', RPCBPROG, 1],
  ])('is never forwarded to %s, except NULL', async (_name, program, procedure) => {
    const { client } = await setUp({ forwardCalls: true });
    await client.setAddress({ program, version: 2, netid: 'udp', address: '127.0.0.1.8.1' });
    const of = { program, version: 2, procedure, args: new Uint8Array(0) };
    await expect(forwardCallIndirect(client, of)).rejects.toMatchObject({ code: 'RPC_AUTH' });
  });

  it('is answered if it is NULL of rpcbind itself', async () => {
    const { client, rpcbind } = await setUp({ forwardCalls: true });
    const of = { program: RPCBPROG, version: 2, procedure: 0, args: new Uint8Array(0) };
    expect(await forwardCall(client, of)).toEqual({ port: rpcbind.port, result: new Uint8Array(0) });
  });

  it('is forwarded to this host alone, whatever address is registered', async () => {
    const { client } = await setUp({ forwardCalls: true });
    await client.setAddress({ program: 0x2000_0abc, version: 1, netid: 'udp', address: '203.0.113.9.8.1' });
    const of = { ...call, program: 0x2000_0abc };
    await expect(forwardCallIndirect(client, of)).rejects.toMatchObject({ code: 'RPC_AUTH' });
  });

  it('is refused by default', async () => {
    const { client } = await setUp({});
    await expect(forwardCallIndirect(client, call)).rejects.toMatchObject({ code: 'RPC_AUTH' });
    await expect(forwardCall(client, call)).rejects.toMatchObject({ code: 'RPC_TIMEOUT' });
  });
});
