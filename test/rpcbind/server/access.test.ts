/** Who may call, and how much. */

import { describe, expect, it } from 'vitest';
import { Access, DEFAULT_TABLE_BYTES_PER_MINUTE, networkList } from '../../../rpcbind/server/access.js';
import { MAX_SOURCES } from '../../../rpcbind/table/accounts.js';
import type { Peer } from '../../../runtime/index.js';

const from = (address: string, transport: 'udp' | 'tcp' = 'udp'): Peer => ({
  transport,
  address,
  port: 4000,
  localAddress: '192.0.2.1',
  localPort: 111,
});

describe('access', () => {
  it('is for callers on the list, and always for this host', () => {
    const access = new Access({ allow: ['192.0.2.0/24', '2001:db8::/32', '198.51.100.7'] });
    for (const address of ['192.0.2.200', '2001:db8::9', '198.51.100.7', '127.0.0.1', '::1'])
      expect(access.mayCall(from(address)), address).toBe(true);
    for (const address of ['192.0.3.1', '2001:db9::9', '198.51.100.8'])
      expect(access.mayCall(from(address)), address).toBe(false);
    expect(access.refusals().lookups).toBe(3);
  });

  it('to registering is for this host alone unless insecure, and then for those on the list', () => {
    expect(new Access().mayRegister(from('192.0.2.9'))).toBe(false);
    expect(new Access().mayRegister(from('127.0.0.1'))).toBe(true);
    expect(new Access({ isInsecure: true }).mayRegister(from('192.0.2.9'))).toBe(true);
    const some = new Access({ isInsecure: true, allowRegister: ['198.51.100.0/24'] });
    expect(some.mayRegister(from('192.0.2.9'))).toBe(false);
    expect(some.mayRegister(from('198.51.100.9'))).toBe(true);
  });

  it('has a burst for each source, and not one call more', () => {
    const access = new Access({ callsPerSecond: 0.001 * 5 });
    const burst = new Access({ callsPerSecond: 5 });
    const answered = Array.from({ length: 12 }, () => burst.mayCall(from('192.0.2.9'))).filter(Boolean);
    expect(answered).toHaveLength(10);
    expect(burst.refusals().rate).toBe(2);
    expect(burst.mayCall(from('192.0.2.10'))).toBe(true);
    expect(access.mayCall(from('127.0.0.1'))).toBe(true);
  });

  it('to tables over UDP ends with the budget, to the byte; TCP and this host have no limit', () => {
    const access = new Access();
    const half = DEFAULT_TABLE_BYTES_PER_MINUTE / 2;
    expect(access.maySend(from('192.0.2.9'), half)).toBe(true);
    expect(access.maySend(from('192.0.2.9'), half)).toBe(true);
    expect(access.maySend(from('192.0.2.9'), half)).toBe(false);
    expect(access.refusals().budget).toBe(1);
    expect(access.maySend(from('192.0.2.9', 'tcp'), 1e9)).toBe(true);
    expect(access.maySend(from('127.0.0.1'), 1e9)).toBe(true);
    expect(access.maySend(from('192.0.2.10'), DEFAULT_TABLE_BYTES_PER_MINUTE + 1)).toBe(false);
  });

  it('beyond the limit of accounts is from one account, so forged sources get no budget of their own', () => {
    const access = new Access();
    const address = (i: number): string => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
    const bytes = DEFAULT_TABLE_BYTES_PER_MINUTE;
    for (let i = 0; i < MAX_SOURCES; i++) expect(access.maySend(from(address(i)), bytes)).toBe(true);
    const more = Array.from({ length: 100 }, (_, i) => access.maySend(from(address(MAX_SOURCES + i)), bytes));
    expect(more.filter(Boolean)).toHaveLength(1);
  });

  it('over TCP does not depend on calls from the same address over UDP, and the other way round', () => {
    const access = new Access({ callsPerSecond: 5 });
    for (const [first, second] of [
      ['udp', 'tcp'],
      ['tcp', 'udp'],
    ] as const) {
      const host = `192.0.2.${first === 'udp' ? 8 : 9}`;
      const flood = Array.from({ length: 1000 }, () => access.mayCall(from(host, first)));
      expect(flood.filter(Boolean).length).toBeLessThan(20);
      const honest = Array.from({ length: 10 }, () => access.mayCall(from(host, second)));
      expect(honest.every(Boolean), `${second} after a flood over ${first}`).toBe(true);
    }
  });

  it('over TCP does not depend on the number of sources over UDP', () => {
    const access = new Access({ callsPerSecond: 5 });
    for (let i = 0; i < MAX_SOURCES * 3; i++)
      access.mayCall(from(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`));
    const honest = Array.from({ length: 10 }, () => access.mayCall(from('198.51.100.1', 'tcp')));
    expect(honest.every(Boolean)).toBe(true);
  });

  it('for a network of IPv4-mapped addresses is for the IPv4 addresses', () => {
    const access = new Access({ allow: ['::ffff:192.0.2.0/120', '::ffff:c633:6401'] });
    expect(access.mayCall(from('192.0.2.200'))).toBe(true);
    expect(access.mayCall(from('198.51.100.1'))).toBe(true);
    expect(access.mayCall(from('192.0.3.200'))).toBe(false);
    expect(() => networkList(['::ffff:192.0.2.0/95'])).toThrow(RangeError);
  });

  it.each(['192.0.2.0/33', '2001:db8::/129', 'example', '192.0.2.0/', '192.0.2.0/24/1', ''])(
    'is not for "%s", which is not a network',
    (network) => {
      expect(() => networkList([network])).toThrow(RangeError);
      expect(() => new Access().reload({ allow: [network] })).toThrow(RangeError);
    },
  );
});
