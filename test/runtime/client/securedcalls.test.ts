/** Calls of a client under a security mechanism: the exchange before the first call, new contexts, times, and the end. */

import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type ClientOptions,
  connectLoopback,
  connectUdp,
  createClient,
  createServer,
  type RpcClient,
} from '../../../runtime/index.js';
import {
  type ClientSecurity,
  Dispatcher,
  SECURITY_CLOSE_MS,
  SecurityError,
} from '../../../runtime/protocol.js';
import { add, echo, echoService } from '../../support/echo.js';
import { ToyServerSecurity, toyClientSecurity } from '../../support/toysecurity.js';

const key = randomBytes(32);
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of cleanUps.splice(0).reverse()) await one();
});

function setUp(options: ClientOptions = {}): {
  client: RpcClient;
  security: ToyServerSecurity;
  dispatcher: Dispatcher;
} {
  const security = new ToyServerSecurity(key);
  const dispatcher = new Dispatcher({ security: [security] });
  dispatcher.add(echoService());
  const client = createClient(connectLoopback(dispatcher), {
    security: toyClientSecurity(key, { createsContext: true }),
    ...options,
  });
  cleanUps.push(() => client.close());
  return { client, security, dispatcher };
}

/** A UDP port at which nobody answers, and what comes there. */
async function silentPort(): Promise<{ port: number; messages: Buffer[] }> {
  const socket = dgram.createSocket('udp4');
  const messages: Buffer[] = [];
  socket.on('message', (message) => messages.push(message));
  await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done));
  cleanUps.push(() => socket.close());
  return { port: socket.address().port, messages };
}

describe('the exchange before the first call', () => {
  it('is made once for all calls that wait for it', async () => {
    const { client, security } = setUp();
    const sums = [1, 2, 3].map((a) => client.call(add, { a, b: 1 }));
    expect(await Promise.all(sums)).toEqual([2, 3, 4]);
    expect(await client.call(add, { a: 4, b: 1 })).toBe(5);
    expect(security.counts).toMatchObject({ created: 1, accepted: 4 });
  });

  it('is sent again where it is lost', async () => {
    const security = new ToyServerSecurity(key);
    const dispatcher = new Dispatcher({ security: [security] });
    dispatcher.add(echoService());
    for (let seed = 1; seed <= 5; seed++) {
      const client = createClient(connectLoopback(dispatcher, { loss: 0.5, seed }), {
        retransmitMs: 5,
        security: toyClientSecurity(key, { createsContext: true }),
      });
      cleanUps.push(() => client.close());
      expect(await client.call(add, { a: 2, b: 3 })).toBe(5);
    }
  });

  it('fails all calls that wait for it, and is made again by the next call', async () => {
    const { port } = await silentPort();
    const client = createClient(await connectUdp({ host: '127.0.0.1', port }), {
      timeoutMs: 30,
      security: toyClientSecurity(key, { createsContext: true }),
    });
    cleanUps.push(() => client.close());
    for (let i = 0; i < 2; i++) {
      const calls = [1, 2].map((a) => client.call(add, { a, b: 1 }));
      for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'RPC_TIMEOUT' });
    }
  });

  it('fails the calls with the error of the mechanism', async () => {
    const { client, security } = setUp({
      security: toyClientSecurity(randomBytes(32), { createsContext: true }),
    });
    await expect(client.call(add, { a: 1, b: 1 })).rejects.toMatchObject({
      name: 'SecurityError',
      code: 'RPC_SECURITY',
      executed: 'no',
    });
    expect(security.counts).toMatchObject({ created: 1, accepted: 0 });
  });

  it('is waited for no longer than each call says, and goes on for the others', async () => {
    let ready: (() => void) | undefined;
    const wait = new Promise<void>((resolve) => {
      ready = resolve;
    });
    let isReady = false;
    void wait.then(() => {
      isReady = true;
    });
    const inner = toyClientSecurity(key);
    const slow: ClientSecurity = { ...inner, prepare: () => (isReady ? undefined : wait) };
    const { client } = setUp({ security: slow, maxPendingCalls: 3 });
    const abort = new AbortController();
    const short = client.call(add, { a: 1, b: 1 }, { timeoutMs: 20 });
    const aborted = client.call(add, { a: 2, b: 1 }, { signal: abort.signal });
    const patient = client.call(add, { a: 3, b: 1 });
    await expect(client.call(add, { a: 4, b: 1 })).rejects.toThrow(
      'loopback: 3 calls wait for the security mechanism (maxPendingCalls)',
    );
    await expect(short).rejects.toMatchObject({
      code: 'RPC_TIMEOUT',
      message: 'ADD at loopback: the security mechanism was not ready within 0.02 s',
    });
    abort.abort(new Error('no longer wanted'));
    await expect(aborted).rejects.toThrow('no longer wanted');
    ready?.();
    expect(await patient).toBe(4);
    await expect(client.call(add, { a: 2, b: 1 }, { signal: abort.signal })).rejects.toThrow(
      'no longer wanted',
    );
  });
});

describe('a call whose context the server does not know any more', () => {
  it('is made once more under a new context', async () => {
    const { client, security } = setUp();
    expect(await client.call(add, { a: 1, b: 1 })).toBe(2);
    security.forget();
    expect(await client.call(add, { a: 2, b: 1 })).toBe(3);
    expect(security.counts).toMatchObject({ created: 2, accepted: 2, refused: 1 });
  });

  it('fails where the new one is refused, too', async () => {
    const { client, security } = setUp();
    const forgetful = security.accept.bind(security);
    security.accept = (call) => {
      const decision = forgetful(call);
      security.forget();
      return decision;
    };
    await expect(client.call(add, { a: 1, b: 1 })).rejects.toMatchObject({
      code: 'RPC_AUTH',
      refusal: { why: 13 },
    });
    expect(security.counts).toMatchObject({ created: 2, accepted: 0, refused: 2 });
  });
});

describe('a message that nobody waits for', () => {
  it('is protected: before the exchange it waits for it, afterwards it is sent at once', async () => {
    const { client, security } = setUp();
    client.send(echo, 'first');
    expect(await client.call(echo, 'second')).toBe('second');
    client.send(echo, 'third');
    expect(await client.call(echo, 'fourth')).toBe('fourth');
    expect(security.counts).toMatchObject({ created: 1, accepted: 4 });
  });

  it('is not sent where the mechanism does not become ready', async () => {
    const { port, messages } = await silentPort();
    const security: ClientSecurity = {
      ...toyClientSecurity(key),
      prepare: () => Promise.reject(new SecurityError('RPC_SECURITY', 'no ticket')),
    };
    const client = createClient(await connectUdp({ host: '127.0.0.1', port }), { security });
    cleanUps.push(() => client.close());
    client.send(echo, 'secret');
    await expect(client.call(echo, 'secret')).rejects.toMatchObject({ code: 'RPC_SECURITY' });
    await client.ping(1, 1, { credentials: { flavor: 'none' }, timeoutMs: 30 }).catch(() => undefined);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toHaveLength(40);
  });
});

describe('a client that closes', () => {
  it('destroys the context, and makes no further call', async () => {
    const { client, security } = setUp();
    expect(await client.call(add, { a: 1, b: 1 })).toBe(2);
    const closing = client.close();
    await expect(client.call(add, { a: 1, b: 1 })).rejects.toMatchObject({
      code: 'RPC_CLOSED',
      executed: 'no',
    });
    expect(() => client.send(echo, 'x')).toThrow('the client is closed');
    await closing;
    expect(security.counts).toMatchObject({ created: 1, destroyed: 1, accepted: 1 });
  });

  it('says nothing where there was no call, or one is in progress', async () => {
    const unused = setUp();
    await unused.client.close();
    expect(unused.security.counts).toMatchObject({ created: 0, destroyed: 0 });
    const busy = setUp();
    expect(await busy.client.call(add, { a: 1, b: 1 })).toBe(2);
    const call = busy.client.call(add, { a: 1, b: 1 });
    await busy.client.close();
    await expect(call).rejects.toMatchObject({ code: 'RPC_CLOSED' });
    expect(busy.security.counts.destroyed).toBe(0);
  });

  it(`waits at most ${SECURITY_CLOSE_MS} ms for a server that is gone`, async () => {
    const server = createServer({ services: [echoService()], security: [new ToyServerSecurity(key)] });
    const { port } = await server.listenUdp({ host: '127.0.0.1' });
    const client = createClient(await connectUdp({ host: '127.0.0.1', port }), {
      security: toyClientSecurity(key, { createsContext: true }),
    });
    expect(await client.call(add, { a: 1, b: 1 })).toBe(2);
    await server.close();
    const startedAt = performance.now();
    await client.close();
    expect(performance.now() - startedAt).toBeLessThan(SECURITY_CLOSE_MS + 500);
  });
});
