/** UDP by both ways, plain and native: which address answers, and when a port is taken. */

import dgram from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { type CallContext, connectUdp, createClient, createServer } from '../../../runtime/index.js';
import { add, echoService, slow } from '../../support/echo.js';
import { freePort } from '../../support/ports.js';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const addresses = Object.values(networkInterfaces())
  .flat()
  .filter((found) => found !== undefined)
  .filter(({ address }) => !address.startsWith('fe80'));

describe.each([
  ['plain', false],
  ['native', true],
])('UDP, the %s way', (_name, native) => {
  async function serverAt(host: string, onSlow?: (context: CallContext) => Promise<number>) {
    const server = createServer({ services: [echoService(onSlow)] });
    cleanUps.push(() => server.close({ drainMs: 100 }));
    return server.listenUdp({ host, native });
  }
  async function clientAt(host: string, port: number) {
    const client = createClient(await connectUdp({ host, port, native }));
    cleanUps.push(() => client.close());
    return client;
  }

  it.each(addresses.map(({ address, family }) => [address, family]))(
    'answers from the address asked, %s, and tells the procedure which that was',
    async (address, family) => {
      let seen: string | undefined;
      const { port } = await serverAt(family === 'IPv6' ? '::' : '0.0.0.0', (context) => {
        seen = context.peer.localAddress;
        return Promise.resolve(5);
      });
      // Connected to that address: the kernel lets through no reply from another.
      const client = await clientAt(address, port);
      expect(await client.call(slow, undefined, { timeoutMs: 2_000 })).toBe(5);
      expect(seen).toBe(address);
    },
  );

  // All of 127.0.0.0/8 is the loopback of Linux alone.
  it.runIf(process.platform === 'linux')('tells callers apart that call in turn', async () => {
    const seen: string[] = [];
    const { port } = await serverAt('127.0.0.1', (context) => {
      seen.push(`${context.peer.address} ${context.peer.port}`);
      return Promise.resolve(5);
    });
    const callers = await Promise.all(
      ['127.0.0.1', '127.0.0.65', '127.0.65.0', '127.0.0.129'].map(async (localAddress) => {
        const localPort = await freePort();
        const client = createClient(
          await connectUdp({ host: '127.0.0.1', port, native, localAddress, localPort }),
        );
        cleanUps.push(() => client.close());
        return { client, name: `${localAddress} ${localPort}` };
      }),
    );
    const expected = [...callers, ...callers, ...callers];
    for (const { client } of expected) await client.call(slow, undefined, { timeoutMs: 2_000 });
    expect(seen).toEqual(expected.map(({ name }) => name));
  });

  it('answers calls that arrive together, each with its own result, at once or later', async () => {
    const { port } = await serverAt('127.0.0.1', (context) => Promise.resolve(context.xid | 0));
    const client = await clientAt('127.0.0.1', port);
    const sums = Array.from({ length: 150 }, (_, i) => client.call(add, { a: i, b: i }));
    const waits = Array.from({ length: 150 }, () => client.call(slow, undefined));
    expect(await Promise.all(sums)).toEqual(sums.map((_, i) => 2 * i));
    expect(new Set(await Promise.all(waits)).size).toBe(150);
  });

  it.each(['127.0.0.1', '0.0.0.0', '::'])('refuses %s at a port that is taken, by any way', async (host) => {
    const { port } = await serverAt(host);
    await expect(serverAt(host)).resolves.toBeDefined();
    for (const other of [true, false]) {
      const second = createServer();
      cleanUps.push(() => second.close());
      await expect(second.listenUdp({ host, port, native: other })).rejects.toMatchObject({
        code: 'EADDRINUSE',
      });
    }
    const stranger = dgram.createSocket(host === '::' ? 'udp6' : 'udp4');
    cleanUps.push(() => new Promise<void>((done) => stranger.close(() => done())));
    await expect(
      new Promise((done, fail) => stranger.once('error', fail).bind(port, host, () => done(undefined))),
    ).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});
