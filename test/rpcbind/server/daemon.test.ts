/** The daemon and its client over real sockets, in one process. */

import { afterEach, describe, expect, it } from 'vitest';
import {
  connectRpcbind,
  createRpcbind,
  RPCBPROG,
  type Rpcbind,
  type RpcbindClient,
  type RpcbindDaemonOptions,
} from '../../../rpcbind/index.js';

const PROGRAM = 0x2000_0042;
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function daemon(options: RpcbindDaemonOptions = {}): Promise<Rpcbind> {
  const rpcbind = await createRpcbind({ port: 0, ...options });
  open.push(rpcbind);
  return rpcbind;
}

async function client(
  rpcbind: Rpcbind,
  transport: 'udp' | 'tcp' = 'udp',
  host = '127.0.0.1',
): Promise<RpcbindClient> {
  const one = await connectRpcbind({ host, port: rpcbind.port, transport, timeoutMs: 3000 });
  open.push(one);
  return one;
}

describe.each(['udp', 'tcp'] as const)('version 2 over %s', (transport) => {
  it('registers, finds, lists and removes', async () => {
    const asked = await client(await daemon(), transport);
    expect(await asked.set({ program: PROGRAM, version: 1, protocol: 'udp', port: 4242 })).toBe(true);
    expect(await asked.set({ program: PROGRAM, version: 1, protocol: 'tcp', port: 4243 })).toBe(true);
    expect(await asked.getport({ program: PROGRAM, version: 1, protocol: 'udp' })).toBe(4242);
    expect(await asked.getport({ program: PROGRAM, version: 1, protocol: 'tcp' })).toBe(4243);
    expect(await asked.dump()).toContainEqual({
      program: PROGRAM,
      version: 1,
      protocol: 'tcp',
      port: 4243,
    });
    expect(await asked.unset({ program: PROGRAM, version: 1 })).toBe(true);
    expect(await asked.getport({ program: PROGRAM, version: 1, protocol: 'udp' })).toBe(0);
    expect(await asked.getport({ program: PROGRAM, version: 1, protocol: 'tcp' })).toBe(0);
  });
});

describe('registering', () => {
  it('is refused for another port, for an invalid port and for rpcbind itself', async () => {
    const asked = await client(await daemon());
    expect(await asked.set({ program: PROGRAM, version: 1, protocol: 'udp', port: 4242 })).toBe(true);
    expect(await asked.set({ program: PROGRAM, version: 1, protocol: 'udp', port: 4243 })).toBe(false);
    expect(await asked.set({ program: PROGRAM, version: 2, protocol: 'udp', port: 0 })).toBe(false);
    expect(await asked.set({ program: PROGRAM, version: 2, protocol: 'udp', port: 65_536 })).toBe(false);
    expect(await asked.set({ program: RPCBPROG, version: 9, protocol: 'udp', port: 4242 })).toBe(false);
    expect(await asked.unset({ program: RPCBPROG, version: 2 })).toBe(false);
    expect(await asked.unset({ program: PROGRAM, version: 77 })).toBe(true);
  });

  it('by version 4 takes any known netid and gives the caller an address to call', async () => {
    const rpcbind = await daemon();
    const asked = await client(rpcbind);
    const of = { program: PROGRAM, version: 1 };
    expect(await asked.setAddress({ ...of, netid: 'udp', address: '0.0.0.0.4.1' })).toBe(true);
    expect(await asked.setAddress({ ...of, netid: 'tcp6', address: '::.4.2' })).toBe(true);
    expect(await asked.setAddress({ ...of, netid: 'local', address: '/run/x.sock' })).toBe(true);
    expect(await asked.setAddress({ ...of, netid: 'tcp', address: 'nonsense' })).toBe(false);
    expect(await asked.getaddr(of)).toBe('127.0.0.1.4.1');
    expect(await asked.getaddr({ ...of, version: 2 })).toBe('127.0.0.1.4.1');
    expect(await asked.getVersionAddress({ ...of, version: 2 })).toBeUndefined();
    expect(await asked.addressList(of)).toMatchObject([{ netid: 'udp', address: '127.0.0.1.4.1' }]);
    expect((await asked.dumpAddresses()).filter(({ program }) => program === PROGRAM)).toHaveLength(3);
    expect(await asked.unsetAddress({ ...of, netid: 'udp' })).toBe(true);
    expect(await asked.getaddr(of)).toBeUndefined();
    expect(await asked.unsetAddress(of)).toBe(true);
    expect(rpcbind.registrations().every(({ program }) => program === RPCBPROG)).toBe(true);
  });
});

describe('the daemon', () => {
  it('lists itself in versions 2, 3 and 4', async () => {
    const rpcbind = await daemon();
    const asked = await client(rpcbind);
    const own = await asked.dump();
    for (const version of [2, 3, 4])
      for (const protocol of ['udp', 'tcp'] as const)
        expect(own).toContainEqual({ program: RPCBPROG, version, protocol, port: rpcbind.port });
    for (const version of [2, 3, 4] as const) await asked.ping(version);
  });

  it('serves all versions over IPv6', async () => {
    const rpcbind = await daemon({ host: ['127.0.0.1', '::1'] });
    const asked = await client(rpcbind, 'tcp', '::1');
    await asked.setAddress({ program: PROGRAM, version: 1, netid: 'tcp6', address: '::.4.2' });
    await asked.setAddress({ program: PROGRAM, version: 1, netid: 'tcp', address: '0.0.0.0.4.3' });
    expect(await asked.getaddr({ program: PROGRAM, version: 1 })).toBe('::1.4.2');
    expect(await asked.getport({ program: PROGRAM, version: 1, protocol: 'tcp' })).toBe(1027);
    expect(await asked.addressList({ program: PROGRAM, version: 1 })).toMatchObject([
      { address: '::1.4.2', netid: 'tcp6', semantics: 3, family: 'inet6', protocol: 'tcp' },
    ]);
  });

  it('shares nothing with another one in the same process', async () => {
    const [one, two] = [await daemon(), await daemon()];
    await (await client(one)).set({ program: PROGRAM, version: 1, protocol: 'udp', port: 4242 });
    expect(two.registrations().every(({ program }) => program === RPCBPROG)).toBe(true);
  });

  it('rejects with the system’s error if a port is in use, and leaves no socket open', async () => {
    const first = await daemon();
    await expect(createRpcbind({ port: first.port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await first.close();
    await daemon({ port: first.port });
  });
});
