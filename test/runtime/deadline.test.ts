/** Deadlines of procedures, as `@rpc:deadline` of a `.x` gives them, at both ends. */

import { describe, expect, it } from 'vitest';
import { connectLoopback, createClient } from '../../runtime/index.js';
import { Dispatcher } from '../../runtime/protocol.js';
import { echoService, slow } from '../support/echo.js';

const never = (): Promise<number> => new Promise(() => undefined);
const quick = { ...slow, deadlineMs: 30 };

function dispatcherOf(
  deadlineMs: number | undefined,
  callTimeoutMs: number,
): { dispatcher: Dispatcher; errors: string[] } {
  const errors: string[] = [];
  const dispatcher = new Dispatcher({
    callTimeoutMs,
    onError: (error) => errors.push((error as Error).message),
  });
  const { procedures, ...service } = echoService(never);
  const given = deadlineMs === undefined ? {} : { deadlineMs };
  const timed = procedures.map((served) => ({ ...served, procedure: { ...served.procedure, ...given } }));
  dispatcher.add({ ...service, procedures: timed });
  return { dispatcher, errors };
}

describe('the deadline of a procedure', () => {
  it('is how long the server gives it, where the server allows no less', async () => {
    for (const [deadlineMs, callTimeoutMs] of [
      [40, 60_000],
      [60_000, 40],
      [undefined, 40],
    ]) {
      const { dispatcher, errors } = dispatcherOf(deadlineMs, callTimeoutMs as number);
      const client = createClient(connectLoopback(dispatcher));
      await expect(client.call(slow, undefined)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
      expect(errors).toEqual(['SLOW did not settle within 0.04 s']);
      await client.close();
    }
  });

  it('ends a call that came later before one that has more time', async () => {
    const errors: string[] = [];
    const dispatcher = new Dispatcher({
      callTimeoutMs: 120,
      onError: (_error, { procedure }) => errors.push(procedure.name),
    });
    const { procedures, ...service } = echoService(never);
    const [served] = procedures.filter(({ procedure }) => procedure.number === slow.number);
    dispatcher.add({
      ...service,
      procedures: [
        { ...served!, procedure: { ...served!.procedure, name: 'LONG' } },
        { ...served!, procedure: { ...served!.procedure, number: 50, name: 'SHORT', deadlineMs: 30 } },
      ],
    });
    const client = createClient(connectLoopback(dispatcher));
    const calls = [client.call(slow, undefined), client.call({ ...slow, number: 50 }, undefined)];
    await Promise.allSettled(calls);
    expect(errors).toEqual(['SHORT', 'LONG']);
    await client.close();
  });

  it('is how long a client waits, where neither the call nor the client says', async () => {
    const { dispatcher } = dispatcherOf(undefined, 60_000);
    const message = (ms: number) => ({
      code: 'RPC_TIMEOUT',
      message: expect.stringContaining(`within ${ms / 1000} s`),
    });
    const plain = createClient(connectLoopback(dispatcher));
    await expect(plain.call(quick, undefined)).rejects.toMatchObject(message(30));
    await expect(plain.call(quick, undefined, { timeoutMs: 20 })).rejects.toMatchObject(message(20));
    const told = createClient(connectLoopback(dispatcher), { timeoutMs: 40 });
    await expect(told.call(quick, undefined)).rejects.toMatchObject(message(40));
    await Promise.all([plain.close(), told.close()]);
  });
});
