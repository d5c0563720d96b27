/** Statistics, time and ping of an rpcbind. Forwarded calls are in server/forward.test.ts. */

import { afterEach, describe, expect, it } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  getStatistics,
  getTime,
  type RpcbindClient,
} from '../../../rpcbind/index.js';

const PROGRAM = 0x2000_0042;
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function client(transport: 'udp' | 'tcp'): Promise<RpcbindClient> {
  const rpcbind = await createRpcbind({ port: 0 });
  open.push(rpcbind);
  const connected = await connectRpcbind({ port: rpcbind.port, transport, timeoutMs: 3_000 });
  open.push(connected);
  return connected;
}

describe.each(['udp', 'tcp'] as const)('an rpcbind over %s', (transport) => {
  it('tells its time in whole seconds', async () => {
    const time = await getTime(await client(transport));
    expect(Math.abs(time.getTime() - Date.now())).toBeLessThan(5_000);
    expect(time.getMilliseconds()).toBe(0);
  });

  it('counts calls, lookups and changes of each version', async () => {
    const rpcbind = await client(transport);
    const of = { program: PROGRAM, version: 1, protocol: 'udp' } as const;
    await rpcbind.getport(of);
    await rpcbind.set({ ...of, port: 4242 });
    await rpcbind.getport(of);
    await rpcbind.unset(of);
    const [second, third, fourth] = await getStatistics(rpcbind);
    expect(second?.calls).toEqual([0, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect([second?.sets, second?.unsets]).toEqual([1, 1]);
    expect(second?.lookups).toEqual([{ program: PROGRAM, version: 1, netid: 'udp', success: 1, failure: 1 }]);
    expect(third?.calls.reduce((sum, count) => sum + count)).toBe(0);
    expect(fourth?.calls[12]).toBe(1);
  });

  it('answers NULL of each version', async () => {
    const rpcbind = await client(transport);
    for (const version of [2, 3, 4] as const) expect(await rpcbind.ping(version)).toBeGreaterThan(0);
  });
});
