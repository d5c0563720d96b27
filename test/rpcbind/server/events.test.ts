/** Events of the daemon, and its statistics: what an operator can know of every change. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  type Rpcbind,
  type RpcbindClient,
  type RpcbindDaemonOptions,
  type RpcbindEvent,
  SUPERUSER,
} from '../../../rpcbind/index.js';
import { createServer } from '../../../runtime/index.js';
import { ECHO_PROGRAM, echoService } from '../../support/echo.js';
import { until } from '../../support/until.js';

const PROGRAM = 0x2000_0600;
const registration = { program: PROGRAM, version: 1, netid: 'tcp', address: '0.0.0.0.16.146' };
/** Of a caller over TCP: the user of this process. */
const owner = process.getuid?.() === 0 ? SUPERUSER : String(process.getuid?.());

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

interface Started {
  readonly rpcbind: Rpcbind;
  readonly client: RpcbindClient;
  readonly events: RpcbindEvent[];
}

async function start(options: RpcbindDaemonOptions = {}): Promise<Started> {
  const events: RpcbindEvent[] = [];
  const rpcbind = await createRpcbind({ port: 0, onEvent: (event) => events.push(event), ...options });
  cleanUps.push(() => rpcbind.close());
  const client = await connectRpcbind({ port: rpcbind.port, transport: 'tcp', timeoutMs: 5_000 });
  cleanUps.push(() => client.close());
  return { rpcbind, client, events };
}

describe.runIf(process.platform === 'linux')('events', () => {
  it('tell of SET, UNSET and holds, with the owner', async () => {
    const { client, events } = await start();
    expect(await client.setAddress(registration)).toBe(true);
    expect(await client.setAddress(registration)).toBe(true);
    expect(await client.unsetAddress({ program: PROGRAM, version: 1 })).toBe(true);
    expect(await client.setAddress(registration)).toBe(true);
    const { address: _, ...key } = registration;
    expect(events).toEqual([
      { event: 'set', registration: { ...registration, owner }, source: 'caller' },
      { event: 'held', registration: { ...key, owner } },
      { event: 'unset', registration: { ...registration, owner }, source: 'caller' },
      { event: 'released', registration: { ...key, owner }, reason: 'registered' },
      { event: 'set', registration: { ...registration, owner }, source: 'caller' },
    ]);
  });

  it('tell of a hold whose time is over, without a call', async () => {
    const { client, events, rpcbind } = await start({ holdMs: 100 });
    await client.setAddress(registration);
    await client.unsetAddress(registration);
    await until(() => events.some(({ event }) => event === 'released'));
    expect(events.at(-1)).toMatchObject({ event: 'released', reason: 'expired' });
    expect(rpcbind.stats().held).toBe(0);
  });

  it('tell of a hold that ended since a limit was reached', async () => {
    const { client, events } = await start({ maxRegistrations: 20 });
    const used = (await client.dumpAddresses()).length;
    for (let version = 1; version <= 20 - used + 1; version++) {
      await client.setAddress({ ...registration, version });
      if (version === 1) await client.unsetAddress({ program: PROGRAM, version });
    }
    const limits = events.filter((event) => event.event === 'released' && event.reason === 'limit');
    expect(limits).toHaveLength(owner === SUPERUSER ? 1 : limits.length);
  });

  it('tell of refusals, with the reason and the peer', async () => {
    const { client, events } = await start();
    await client.setAddress(registration);
    await client.setAddress({ ...registration, address: '0.0.0.0.16.147' });
    expect(events.at(-1)).toMatchObject({
      event: 'refused',
      what: `SET ${PROGRAM} version 1 tcp 0.0.0.0.16.147`,
      why: 'another address is registered',
      peer: { transport: 'tcp', address: '127.0.0.1' },
    });
  });

  it('tell of a registration whose server is gone', async () => {
    const { client, events } = await start();
    const server = createServer({ services: [echoService()] });
    const { port } = await server.listenTcp({ host: '127.0.0.1' });
    const of = {
      program: ECHO_PROGRAM,
      version: 1,
      netid: 'tcp',
      address: `0.0.0.0.${port >> 8}.${port & 255}`,
    };
    await client.setAddress(of);
    await server.close();
    await until(() => events.some(({ event }) => event === 'stale'), 15_000);
    expect(events.map(({ event }) => event)).toEqual(['set', 'held', 'stale']);
    expect(events.at(-1)).toEqual({ event: 'stale', registration: { ...of, owner } });
  }, 20_000);

  it('tell of what was restored from the folder', async () => {
    const stateFolder = await mkdtemp(path.join(tmpdir(), 'rpcbind-events-'));
    cleanUps.push(() => rm(stateFolder, { recursive: true }));
    const first = await start({ stateFolder });
    await first.client.setAddress(registration);
    await first.client.setAddress({ ...registration, version: 2 });
    await first.client.unsetAddress({ program: PROGRAM, version: 2 });
    await first.rpcbind.close();
    const { events } = await start({ stateFolder });
    expect(events).toMatchObject([
      { event: 'restored', registration: { ...registration, owner } },
      { event: 'held', registration: { program: PROGRAM, version: 2, netid: 'tcp', owner } },
    ]);
  });
});

describe('statistics', () => {
  it('have sizes, calls, refusals, connections, checks and the journal', async () => {
    const stateFolder = await mkdtemp(path.join(tmpdir(), 'rpcbind-stats-'));
    cleanUps.push(() => rm(stateFolder, { recursive: true }));
    const { rpcbind, client } = await start({ stateFolder });
    const before = rpcbind.stats();
    await client.setAddress(registration);
    await client.setAddress({ ...registration, version: 2 });
    await client.unsetAddress({ program: PROGRAM, version: 2 });
    await client.setAddress({ ...registration, program: 0xffff_fffe, address: 'nonsense' });
    const after = rpcbind.stats();
    expect(after.registrations).toBe(before.registrations + 1);
    expect(after.tableBytes).toBeGreaterThan(before.tableBytes);
    expect(after.held).toBe(owner === SUPERUSER || process.platform === 'linux' ? 1 : 0);
    expect(after.versions[4]).toMatchObject({ sets: 2, unsets: 1 });
    expect(after.versions[4].calls.slice(0, 3)).toEqual([0, 3, 1]);
    expect(after.refused).toEqual({ lookups: 0, registrations: 0, rate: 0, budget: 0, full: 0 });
    expect(after.server.connections).toBe(1);
    expect(after.changes).toEqual({ pending: 0, failed: 0 });
    expect(after.forwarding).toBe(0);
    expect(after.liveness.probes).toBeGreaterThanOrEqual(2);
    expect(after.liveness).toMatchObject({ suspected: 0, gone: 0 });
    expect(after.store?.journalBytes).toBeGreaterThan(before.store?.journalBytes ?? 0);
    expect(after.store).toMatchObject({ obsoleteLines: 2, rewrites: 1 });
  });

  it('count a SET over the limit', async () => {
    const { rpcbind, client } = await start({ maxRegistrations: 1 });
    expect(await client.setAddress(registration)).toBe(false);
    expect(rpcbind.stats()).toMatchObject({ refused: { full: 1 }, store: undefined });
  });
});
