/** What interceptors see of a call, at both ends. */

import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import {
  connectLoopback,
  connectTcp,
  createClient,
  createServer,
  type Interceptor,
} from '../../runtime/index.js';
import { Dispatcher } from '../../runtime/protocol.js';
import { add, echoService } from '../support/echo.js';
import { ToyServerSecurity, toyClientSecurity } from '../support/toysecurity.js';

const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of cleanUps.splice(0).reverse()) await one();
});

describe('a call that interceptors see', () => {
  it('has its xid and its target at both ends', async () => {
    const seen: { side: string; xid: number; target: string }[] = [];
    const note: Interceptor = (call, next) => {
      seen.push({ side: call.side, xid: call.xid, target: call.target });
      return next(call);
    };
    const server = createServer({ services: [echoService()], interceptors: [note] });
    cleanUps.push(() => server.close());
    const { port } = await server.listenTcp({ host: '127.0.0.1' });
    const client = createClient(connectTcp({ host: '127.0.0.1', port }), { interceptors: [note] });
    cleanUps.push(() => client.close());
    await client.call(add, { a: 1, b: 2 });
    expect(seen.map(({ side, target }) => [side, target])).toEqual([
      ['client', `tcp 127.0.0.1:${port}`],
      ['server', `tcp 127.0.0.1:${port}`],
    ]);
    expect(seen[0]?.xid).toBe(seen[1]?.xid);
  });

  it('gets another xid where an interceptor makes it once more', async () => {
    const xids: number[] = [];
    const dispatcher = new Dispatcher({
      interceptors: [
        (call, next) => {
          xids.push(call.xid);
          return next(call);
        },
      ],
    });
    dispatcher.add(echoService());
    const twice: Interceptor = async (call, next) => {
      await next(call);
      return next(call);
    };
    const client = createClient(connectLoopback(dispatcher, {}), { interceptors: [twice] });
    cleanUps.push(() => client.close());
    expect(await client.call(add, { a: 1, b: 2 })).toBe(3);
    expect(new Set(xids).size).toBe(2);
  });

  it('has its xid under a security mechanism, too', async () => {
    const seen: number[] = [];
    const note: Interceptor = (call, next) => {
      seen.push(call.xid);
      return next(call);
    };
    const key = randomBytes(32);
    const dispatcher = new Dispatcher({ interceptors: [note], security: [new ToyServerSecurity(key)] });
    dispatcher.add(echoService());
    const security = toyClientSecurity(key, { createsContext: true });
    const client = createClient(connectLoopback(dispatcher), { interceptors: [note], security });
    cleanUps.push(() => client.close());
    expect(await client.call(add, { a: 1, b: 2 })).toBe(3);
    expect(seen).toHaveLength(2);
    expect(seen[0]).toBe(seen[1]);
  });
});
