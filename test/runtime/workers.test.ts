/** Services in worker threads. The workers run what `npm run build` made. */

import { existsSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterEach, describe, expect, it } from 'vitest';
import {
  connectLoopback,
  createClient,
  Dispatcher,
  startWorkers,
  type WorkerPool,
} from '../../runtime/index.js';
import { hyper, int } from '../../xdr/index.js';
import { until } from '../support/until.js';

const module = new URL('./fixtures/worker.mjs', import.meta.url);
const isBuilt = existsSync(new URL('../../dist/runtime/workers.js', import.meta.url));
const base = { program: 0x2000_1001, version: 1, args: int, result: int };
const burn = { ...base, number: 1, name: 'BURN' };
const fail = { ...base, number: 2, name: 'FAIL' };
const wait = { ...base, number: 3, name: 'WAIT' };

describe.skipIf(!isBuilt)('worker threads', () => {
  let pool: WorkerPool | undefined;
  afterEach(() => pool?.close());

  async function clientOf(workers: number, options = {}) {
    pool = await startWorkers({ module, workers });
    const dispatcher = new Dispatcher(options);
    for (const service of pool.services) dispatcher.add(service);
    return createClient(connectLoopback(dispatcher), { totalMs: 20_000 });
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
    await expect(client.call(fail, 2, { totalMs: 50 })).rejects.toMatchObject({ code: 'RPC_TIMEOUT' });
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

  it('are from 1 to 1024, of a module that serves', async () => {
    await expect(startWorkers({ module, workers: 0 })).rejects.toThrow(RangeError);
    await expect(startWorkers({ module, workers: 1025 })).rejects.toThrow('from 1 to 1024');
    await expect(startWorkers({ module: new URL('data:text/javascript,0'), workers: 1 })).rejects.toThrow(
      'ended with code 0',
    );
  });
});
