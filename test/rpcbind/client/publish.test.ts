/** Servers that register themselves, and callers that find them. */

import { afterEach, describe, expect, it } from 'vitest';
import {
  createRpcbind,
  defaultRpcbindPort,
  lookup,
  type PublicationState,
  publish,
} from '../../../rpcbind/index.js';
import { createServer, type RpcServer } from '../../../runtime/index.js';
import { ECHO_PROGRAM, echoService } from '../../support/echo.js';
import { freePort } from '../../support/ports.js';
import { until } from '../../support/until.js';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function echoServer(): Promise<RpcServer> {
  const server = createServer({ services: [echoService()] });
  open.push(server);
  await server.listenUdp({ host: '127.0.0.1' });
  await server.listenTcp({ host: '127.0.0.1' });
  return server;
}

describe('publish', () => {
  it('registers every listener, and takes it back', async () => {
    const rpcbind = await createRpcbind({ port: 0 });
    open.push(rpcbind);
    const server = await echoServer();
    const publication = await publish(server, { port: rpcbind.port });
    expect(publication.state).toBe('published');
    for (const transport of ['udp', 'tcp'] as const) {
      const found = await lookup({
        host: '127.0.0.1',
        rpcbindPort: rpcbind.port,
        program: ECHO_PROGRAM,
        version: 1,
        transport,
      });
      const listener = server.listeners.find(({ netid }) => netid === transport);
      expect(found).toEqual({ host: '127.0.0.1', port: listener?.port, netid: transport });
    }
    await publication.withdraw();
    await publication.withdraw();
    expect(publication.state).toBe('withdrawn');
    await expect(
      lookup({
        host: '127.0.0.1',
        rpcbindPort: rpcbind.port,
        program: ECHO_PROGRAM,
        version: 1,
        transport: 'udp',
      }),
    ).rejects.toMatchObject({ name: 'RpcbindError', code: 'RPCBIND_NOT_REGISTERED' });
  });

  it('waits for an rpcbind, and registers again with one that lost its table', async () => {
    const port = await freePort();
    const states: PublicationState[] = [];
    const publication = await publish(await echoServer(), {
      port,
      checkMs: 50,
      onState: (state) => states.push(state),
    });
    expect(states).toEqual(['waiting']);
    const first = await createRpcbind({ port });
    await until(() => first.registrations().some(({ program }) => program === ECHO_PROGRAM));
    await until(() => publication.state === 'published');
    await first.close();
    const second = await createRpcbind({ port });
    open.push(second);
    await until(() => second.registrations().some(({ program }) => program === ECHO_PROGRAM));
    await publication.withdraw();
    expect(second.registrations().some(({ program }) => program === ECHO_PROGRAM)).toBe(false);
    expect(states.at(-1)).toBe('withdrawn');
  });

  it('takes the place of what the same owner left behind', async () => {
    const rpcbind = await createRpcbind({ port: 0 });
    open.push(rpcbind);
    await publish(await echoServer(), { port: rpcbind.port });
    const server = await echoServer();
    const publication = await publish(server, { port: rpcbind.port });
    expect(publication.state).toBe('published');
    const port = server.listeners.find(({ netid }) => netid === 'udp')?.port ?? 0;
    const suffix = `.${port >> 8}.${port & 255}`;
    expect(rpcbind.registrations().some(({ address }) => address.endsWith(suffix))).toBe(true);
    await publication.withdraw();
  });
});

describe('the port of rpcbind', () => {
  it('is 111, or what RPCBIND_PORT says', () => {
    expect(defaultRpcbindPort({})).toBe(111);
    expect(defaultRpcbindPort({ RPCBIND_PORT: '1111' })).toBe(1111);
    expect(defaultRpcbindPort({ RPCBIND_PORT: '65535' })).toBe(65_535);
  });

  it.each(['0', '65536', 'http', '-1', '1e3'])('is no %s', (text) => {
    expect(() => defaultRpcbindPort({ RPCBIND_PORT: text })).toThrow(
      expect.objectContaining({ code: 'RPCBIND_PORT' }),
    );
  });
});
