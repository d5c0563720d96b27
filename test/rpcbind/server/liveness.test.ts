/** Registrations whose server is gone, in one process. With several users and namespaces: test/interop/rpcbind. */

import dgram from 'node:dgram';
import { once } from 'node:events';
import { describe, it, type TestContext } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  type LivenessMode,
  publish,
  type Rpcbind,
  type RpcbindClient,
  type RpcbindDaemonOptions,
  UNKNOWN,
} from '../../../rpcbind/index.js';
import { CONFIRM_MS, MAX_REQUESTED_PROBES } from '../../../rpcbind/internal.js';
import { BindProbe, MAX_PROBES } from '../../../rpcbind/kernel/bindprobe.js';
import type { ProbeResult } from '../../../rpcbind/kernel/probe.js';
import { LivenessChecker, probeFor } from '../../../rpcbind/server/liveness.js';
import { Registry, type TableEntry } from '../../../rpcbind/table/registry.js';
import { createServer, type RpcServer } from '../../../runtime/index.js';
import { hasNative } from '../../../runtime/protocol.js';
import { ECHO_PROGRAM, echoService } from '../../support/echo.js';
import { until } from '../../support/until.js';

/** These tests wait for probes, so they run at the same time. */
const concurrently = describe.concurrent;

async function daemonAndServer(
  { onTestFinished }: TestContext,
  options: RpcbindDaemonOptions,
): Promise<{ rpcbind: Rpcbind; client: RpcbindClient; server: RpcServer }> {
  const rpcbind = await createRpcbind({ port: 0, ...options });
  onTestFinished(() => rpcbind.close());
  const server = createServer({ services: [echoService()] });
  onTestFinished(() => server.close());
  await server.listenUdp({ host: '127.0.0.1' });
  await server.listenTcp({ host: '127.0.0.1' });
  await publish(server, { port: rpcbind.port, checkMs: 3_600_000 });
  const client = await connectRpcbind({ port: rpcbind.port, timeoutMs: 5_000 });
  onTestFinished(() => client.close());
  return { rpcbind, client, server };
}

/** Registrations of UDP ports of `unknown`, one program each. */
function tableOf(ports: readonly number[]): Registry {
  const registry = new Registry();
  ports.forEach((port, i) => {
    const address = `127.0.0.1.${port >> 8}.${port & 255}`;
    registry.set({ program: 0x2000_0000 + i, version: 1, netid: 'udp', address, owner: UNKNOWN });
  });
  return registry;
}

/** A UDP socket of this process. */
async function socket(): Promise<dgram.Socket> {
  const bound = dgram.createSocket('udp4');
  bound.bind(0, '127.0.0.1');
  await once(bound, 'listening');
  return bound;
}

/** A port that nobody has. */
async function unusedPort(): Promise<number> {
  const bound = await socket();
  const { port } = bound.address();
  bound.close();
  await once(bound, 'close');
  return port;
}

function checkerOf(
  { onTestFinished }: TestContext,
  registry: Registry,
  onGone: (entry: TableEntry) => void = () => undefined,
): LivenessChecker {
  const checker = new LivenessChecker({
    probe: probeFor('auto'),
    entries: () => registry.entries(),
    isOwnAddress: () => false,
    removeStale(entry) {
      onGone(entry);
      return true;
    },
  });
  onTestFinished(() => checker.close());
  return checker;
}

concurrently.each<LivenessMode>(['auto', 'probe'])('a registration whose server is gone (%s)', (liveness) => {
  it('is removed, whether it is looked up or not', async (context) => {
    const { expect } = context;
    const removed: string[] = [];
    const { client, server, rpcbind } = await daemonAndServer(context, {
      liveness,
      onEvent: (event) => event.event === 'stale' && removed.push(event.registration.netid),
    });
    const of = { program: ECHO_PROGRAM, version: 1, protocol: 'udp' } as const;
    expect(await client.getport(of)).toBeGreaterThan(0);
    const endedAt = performance.now();
    await server.close();
    await until(async () => (await client.getport(of)) === 0, 15_000, 'the end of the registration');
    // A server that is restarted has some seconds.
    expect(performance.now() - endedAt).toBeGreaterThanOrEqual(CONFIRM_MS - 1);
    const isLeft = (): boolean => rpcbind.registrations().some(({ program }) => program === ECHO_PROGRAM);
    await until(() => !isLeft(), 15_000, 'the end of all its registrations');
    expect(removed.toSorted()).toEqual(['tcp', 'udp']);
    expect(rpcbind.stats().liveness).toMatchObject({ gone: 2, suspected: 0 });
  }, 40_000);
});

concurrently('a registration', () => {
  it('whose server is gone stays with liveness off', async (context) => {
    const { expect } = context;
    const { client, server, rpcbind } = await daemonAndServer(context, { liveness: 'off' });
    const of = { program: ECHO_PROGRAM, version: 1, protocol: 'udp' } as const;
    const port = await client.getport(of);
    await server.close();
    expect(await client.getport(of)).toBe(port);
    expect(rpcbind.stats().liveness).toEqual({ probes: 0, requested: 0, suspected: 0, gone: 0 });
  });

  it.runIf(hasNative())(
    'that never had a server stays, while one beside it that had goes',
    async (context) => {
      const { expect } = context;
      const had = await socket();
      const registry = tableOf([await unusedPort(), had.address().port]);
      const [never, seen] = [...registry.entries()] as [TableEntry, TableEntry];
      const gone: TableEntry[] = [];
      const checker = checkerOf(context, registry, (entry) => gone.push(entry));
      checker.start();
      checker.checkNew(never);
      checker.checkNew(seen);
      expect([never.wasAlive, seen.wasAlive]).toEqual([false, true]);
      had.close();
      await until(() => gone.length > 0, 15_000);
      expect(gone).toEqual([seen]);
    },
    20_000,
  );

  it.runIf(hasNative())(
    'whose server is back before the second probe stays',
    async (context) => {
      const { expect, onTestFinished } = context;
      const first = await socket();
      const { port } = first.address();
      const registry = tableOf([port]);
      const [entry] = [...registry.entries()] as [TableEntry];
      const gone: TableEntry[] = [];
      const checker = checkerOf(context, registry, (one) => gone.push(one));
      checker.checkNew(entry);
      first.close();
      checker.start();
      await until(() => checker.stats().suspected === 1, 5_000, 'the first probe');
      const second = dgram.createSocket('udp4');
      onTestFinished(() => void second.close());
      second.bind(port, '127.0.0.1');
      await until(() => checker.stats().suspected === 0, 5_000, 'a probe that finds it');
      expect([gone, entry.wasAlive]).toEqual([[], true]);
    },
    20_000,
  );
});

concurrently('requests for early probes', () => {
  it('are as many as the limit says; further registrations are probed in their turn', async (context) => {
    const { expect } = context;
    const port = await unusedPort();
    const registry = tableOf(new Array<number>(MAX_REQUESTED_PROBES + 1).fill(port));
    const entries = [...registry.entries()];
    const checker = checkerOf(context, registry);
    for (const entry of entries.slice(0, -1)) checker.request(entry);
    expect(checker.stats().requested).toBe(MAX_REQUESTED_PROBES);
    checker.request(entries[0]!);
    checker.request(entries.at(-1)!);
    expect(checker.stats()).toMatchObject({ requested: MAX_REQUESTED_PROBES, probes: 0 });
    checker.start();
    await until(() => checker.stats().requested === 0, 20_000);
    // Another one has room now.
    checker.request(entries.at(-1)!);
    expect(checker.stats().requested).toBe(1);
  }, 30_000);

  it('are made for new registrations that a flood leaves no time to probe', (context) => {
    const { expect } = context;
    const registry = tableOf(new Array<number>(20_000).fill(1));
    const checker = checkerOf(context, registry);
    for (const entry of registry.entries()) checker.checkNew(entry);
    const { probes, requested } = checker.stats();
    expect(probes).toBeLessThan(20_000);
    expect(requested).toBe(MAX_REQUESTED_PROBES);
  });
});

concurrently('probes by binding', () => {
  it('are as many at a time as the limit says; one more is made later', async ({
    expect,
    onTestFinished,
  }) => {
    const sockets = await Promise.all(Array.from({ length: MAX_PROBES + 1 }, socket));
    onTestFinished(() => {
      for (const bound of sockets) bound.close();
    });
    const registry = tableOf(sockets.map((bound) => bound.address().port));
    const entries = [...registry.entries()];
    // What was seen alive is probed by binding, not by /proc/net.
    for (const entry of entries) entry.wasAlive = true;
    const probe = new BindProbe();
    const results = new Map<TableEntry, ProbeResult>();
    probe.beginRound(false);
    for (const entry of entries) probe.probe(entry, (result) => results.set(entry, result));
    await until(() => results.size === MAX_PROBES);
    const last = entries.at(-1)!;
    expect(results.has(last)).toBe(false);
    probe.probe(last, (result) => results.set(last, result));
    await until(() => results.size === MAX_PROBES + 1);
    expect(new Set(results.values())).toEqual(new Set(['alive']));
  });

  it('find that nobody has a port', async ({ expect }) => {
    const registry = tableOf([await unusedPort()]);
    const [entry] = [...registry.entries()] as [TableEntry];
    entry.wasAlive = true;
    const result = new Promise<ProbeResult>((done) => new BindProbe().probe(entry, done));
    expect(await result).toBe('gone');
  });
});

concurrently('a checker', () => {
  it('makes its rounds until it is closed', async (context) => {
    const { expect } = context;
    const [checker, other] = [checkerOf(context, tableOf([1])), checkerOf(context, tableOf([1]))];
    for (const one of [checker, checker, other]) one.start();
    await until(() => checker.stats().probes > 0);
    checker.close();
    checker.close();
    const { probes } = checker.stats();
    const before = other.stats().probes;
    await until(() => other.stats().probes >= before + 2);
    expect(checker.stats().probes).toBe(probes);
  });
});
