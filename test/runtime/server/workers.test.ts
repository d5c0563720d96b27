/** Services in worker threads. The workers run what `npm run build` made. */

import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { connectLoopback, createClient, startWorkers, type WorkerPool } from '../../../runtime/index.js';
import { Dispatcher, WorkerError, type WorkerOptions } from '../../../runtime/protocol.js';
import { hyper, int } from '../../../xdr/index.js';
import { until } from '../../support/until.js';

const module = new URL('../fixtures/worker.mjs', import.meta.url);
const isBuilt = existsSync(new URL('../../../dist/runtime/server/workers.js', import.meta.url));
const base = { program: 0x2000_1001, version: 1, args: int, result: int };
const burn = { ...base, number: 1, name: 'BURN' };
const fail = { ...base, number: 2, name: 'FAIL' };
const wait = { ...base, number: 3, name: 'WAIT' };
const loop = { ...base, number: 4, name: 'LOOP' };
const hang = { ...base, number: 5, name: 'HANG' };

describe.skipIf(!isBuilt)('worker threads', () => {
  let pool: WorkerPool | undefined;
  afterEach(() => pool?.close());

  async function clientOf(workers: number, options = {}, poolOptions: Partial<WorkerOptions> = {}) {
    pool = await startWorkers({ module, workers, onError: () => undefined, ...poolOptions });
    const dispatcher = new Dispatcher(options);
    for (const service of pool.services) dispatcher.add(service);
    return createClient(connectLoopback(dispatcher), { timeoutMs: 20_000 });
  }

  it('run a procedure that burns a processor while the event loop stays free', async () => {
    const client = await clientOf(2);
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    expect(await Promise.all([client.call(burn, 300), client.call(burn, 301)])).toEqual([300, 301]);
    delay.disable();
    expect(delay.percentile(90) / 1e6).toBeLessThan(100);
  });

  it('answer every failure as the thread of the server would', async () => {
    const errors: unknown[] = [];
    const client = await clientOf(1, { onError: (error: unknown) => errors.push(error) });
    await expect(client.call(fail, 0)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect(errors).toEqual([new Error('boom')]);
    await expect(client.call(fail, 1)).rejects.toMatchObject({ code: 'RPC_AUTH' });
    await expect(client.call(fail, 2, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'RPC_TIMEOUT' });
    await expect(client.call(fail, 3)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    await expect(client.call({ ...burn, args: hyper }, 1n)).rejects.toMatchObject({
      code: 'RPC_GARBAGE_ARGS',
    });
  });

  it('are replaced when they die, and the calls in them fail', async () => {
    const client = await clientOf(1);
    await expect(client.call(fail, 4)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    await until(() =>
      client.call(burn, 1).then(
        () => true,
        () => false,
      ),
    );
  });

  it('tell a procedure that nobody waits for it any more', async () => {
    const client = await clientOf(1, { callTimeoutMs: 50 });
    await expect(client.call(wait, 0)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect(await client.call(burn, 2)).toBe(2);
  });

  it('are ended soon after the deadline of a call in a loop, and started again; who runs them is told', async () => {
    const told: WorkerError[] = [];
    const client = await clientOf(
      2,
      { callTimeoutMs: 300 },
      { graceMs: 150, onError: (error) => told.push(error) },
    );
    const startedAt = performance.now();
    await expect(client.call(loop, 0)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    // The other thread serves meanwhile, and is not given up.
    expect(await client.call(burn, 1)).toBe(1);
    await until(() => told.length === 1);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(449);
    expect(told[0]).toBeInstanceOf(WorkerError);
    expect(told[0]).toMatchObject({ name: 'WorkerError', reason: 'stuck', restartMs: 100 });
    expect(told[0]?.message).toMatch(
      /^a worker of .*worker.mjs was ended: a call in it did not return within 0.15 s after its deadline; it is/,
    );
    expect(pool?.stats()).toMatchObject({ stuck: 1, died: 0, failedStarts: 0 });
    await until(() => pool?.stats().threads === 2);
    expect(pool?.stats()).toMatchObject({ missing: 0, pending: 0 });
    expect(await client.call(burn, 2)).toBe(2);
    expect(told).toHaveLength(1);
  });

  it('are all ended where all loop, and serve again', async () => {
    const client = await clientOf(2, { callTimeoutMs: 50 }, { graceMs: 50, minRestartMs: 1 });
    const calls = [1, 2, 3, 4].map((i) =>
      client.call(loop, i).catch((error: { code: string }) => error.code),
    );
    expect(await Promise.all(calls)).toEqual(Array(4).fill('RPC_SYSTEM_ERR'));
    await until(() => pool?.stats().stuck === 2 && pool.stats().threads === 2);
    expect(await client.call(burn, 2)).toBe(2);
  });

  it('are not ended for a call that never settles but leaves the thread free', async () => {
    const client = await clientOf(1, { callTimeoutMs: 50 }, { graceMs: 5_000 });
    await expect(client.call(hang, 0)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    await until(() => pool?.stats().pending === 0);
    expect(await client.call(burn, 2)).toBe(2);
    expect(pool?.stats()).toEqual({
      ...{ threads: 1, missing: 0, pending: 0 },
      ...{ stuck: 0, died: 0, failedStarts: 0 },
    });
  });

  it('are not ended while they work off calls that queue up, and do not run those that are too late', async () => {
    const client = await clientOf(1, { callTimeoutMs: 300 }, { graceMs: 400 });
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => client.call(burn, 100).catch((error: { code: string }) => error.code)),
    );
    expect(answers[0]).toBe(100);
    expect(answers.at(-1)).toBe('RPC_SYSTEM_ERR');
    await until(() => pool?.stats().pending === 0);
    expect(pool?.stats()).toMatchObject({ stuck: 0, threads: 1 });
    expect(await client.call(burn, 1)).toBe(1);
  });

  it('are tried again and again where they do not come up, after longer and longer waits, and serve once they do', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'workers-'));
    const gate = path.join(folder, 'closed');
    const gated = path.join(folder, 'gated.mjs');
    await writeFile(
      gated,
      `import { existsSync } from 'node:fs';
       if (existsSync(${JSON.stringify(gate)})) throw new Error('not now');
       await import(${JSON.stringify(module.href)});`,
    );
    try {
      const told: WorkerError[] = [];
      const client = await clientOf(
        1,
        {},
        {
          ...{ module: pathToFileURL(gated), minRestartMs: 5, maxRestartMs: 40 },
          onError: (error) => {
            told.push(error);
            throw new Error('and so does whoever is told');
          },
        },
      );
      await writeFile(gate, '');
      await expect(client.call(fail, 4)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
      await until(() => told.length >= 6);
      await expect(client.call(burn, 1)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
      expect(told.slice(0, 6).map(({ reason, restartMs }) => [reason, restartMs])).toEqual([
        ['died', 5],
        ['start', 10],
        ['start', 20],
        ['start', 40],
        ['start', 40],
        ['start', 40],
      ]);
      expect(told[0]?.message).toMatch(/gated.mjs ended with code 3; it is started again in 0.005 s$/);
      expect(told[1]?.cause).toMatchObject({ message: 'not now' });
      await rm(gate);
      await until(() => pool?.stats().threads === 1);
      expect(await client.call(burn, 1)).toBe(1);
      // It has answered: the next wait is a short one again.
      const before = told.length;
      await expect(client.call(fail, 4)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
      await until(() => told.length > before);
      expect(told[before]).toMatchObject({ reason: 'died', restartMs: 5 });
      expect(pool?.stats()).toMatchObject({ died: 2, failedStarts: before - 1 });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('have to be ready in time', async () => {
    const slowly = new URL('data:text/javascript,for(;;);');
    await expect(startWorkers({ module: slowly, workers: 1, startMs: 100 })).rejects.toThrow(
      'was not ready within 0.1 s',
    );
  });

  it('have bounds that can be', async () => {
    for (const name of ['graceMs', 'startMs', 'minRestartMs', 'maxRestartMs'])
      await expect(startWorkers({ module, workers: 1, [name]: 0 })).rejects.toThrow(
        `${name} is 0; it must be from 1 to 2147483647`,
      );
    await expect(startWorkers({ module, workers: 1, minRestartMs: 10, maxRestartMs: 9 })).rejects.toThrow(
      'maxRestartMs is 9, less than minRestartMs',
    );
  });

  it('are from 1 to 1024, of a module that serves', async () => {
    await expect(startWorkers({ module, workers: 0 })).rejects.toThrow(RangeError);
    await expect(startWorkers({ module, workers: 1025 })).rejects.toThrow('from 1 to 1024');
    await expect(startWorkers({ module: new URL('data:text/javascript,0'), workers: 1 })).rejects.toThrow(
      'ended with code 0',
    );
  });
});
