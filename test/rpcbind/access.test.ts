import { describe, expect, it } from 'vitest';
import { Access, DEFAULT_TABLE_BYTES_PER_MINUTE } from '../../rpcbind/access.js';
import { MAX_SOURCES, networkList } from '../../rpcbind/index.js';
import { MAX_STATISTICS_ROWS, Statistics } from '../../rpcbind/stats.js';
import type { Peer } from '../../runtime/index.js';

const from = (address: string, transport: 'udp' | 'tcp' = 'udp'): Peer => ({
  transport,
  address,
  port: 4000,
  localAddress: '192.0.2.1',
  localPort: 111,
});

describe('access', () => {
  it('is for those on the list, and always for this host', () => {
    const access = new Access({ allow: ['192.0.2.0/24', '2001:db8::/32', '198.51.100.7'] });
    for (const address of ['192.0.2.200', '2001:db8::9', '198.51.100.7', '127.0.0.1', '::1'])
      expect(access.mayCall(from(address)), address).toBe(true);
    for (const address of ['192.0.3.1', '2001:db9::9', '198.51.100.8'])
      expect(access.mayCall(from(address)), address).toBe(false);
    expect(access.refused.lookups).toBe(3);
  });

  it('to registering is for this host alone unless insecure, and then for those on the list', () => {
    expect(new Access().mayRegister(from('192.0.2.9'))).toBe(false);
    expect(new Access().mayRegister(from('127.0.0.1'))).toBe(true);
    expect(new Access({ isInsecure: true }).mayRegister(from('192.0.2.9'))).toBe(true);
    const some = new Access({ isInsecure: true, allowRegister: ['198.51.100.0/24'] });
    expect(some.mayRegister(from('192.0.2.9'))).toBe(false);
    expect(some.mayRegister(from('198.51.100.9'))).toBe(true);
  });

  it('has a burst for each source and not one call more', () => {
    const access = new Access({ callsPerSecond: 0.001 * 5 });
    const burst = new Access({ callsPerSecond: 5 });
    const answered = Array.from({ length: 12 }, () => burst.mayCall(from('192.0.2.9'))).filter(Boolean);
    expect(answered).toHaveLength(10);
    expect(burst.refused.rate).toBe(2);
    expect(burst.mayCall(from('192.0.2.10'))).toBe(true);
    expect(access.mayCall(from('127.0.0.1'))).toBe(true);
  });

  it('to tables over UDP ends with the budget, to the byte; TCP and this host have none', () => {
    const access = new Access();
    const half = DEFAULT_TABLE_BYTES_PER_MINUTE / 2;
    expect(access.mayTakeTable(from('192.0.2.9'), half)).toBe(true);
    expect(access.mayTakeTable(from('192.0.2.9'), half)).toBe(true);
    expect(access.mayTakeTable(from('192.0.2.9'), half)).toBe(false);
    expect(access.refused.budget).toBe(1);
    expect(access.mayTakeTable(from('192.0.2.9', 'tcp'), 1e9)).toBe(true);
    expect(access.mayTakeTable(from('127.0.0.1'), 1e9)).toBe(true);
    expect(access.mayTakeTable(from('192.0.2.10'), DEFAULT_TABLE_BYTES_PER_MINUTE + 1)).toBe(false);
  });

  it('of strangers beyond the accounts kept is from one account, so forged sources buy nothing', () => {
    const access = new Access();
    const address = (i: number): string => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
    const bytes = DEFAULT_TABLE_BYTES_PER_MINUTE;
    for (let i = 0; i < MAX_SOURCES; i++) expect(access.mayTakeTable(from(address(i)), bytes)).toBe(true);
    const more = Array.from({ length: 100 }, (_, i) =>
      access.mayTakeTable(from(address(MAX_SOURCES + i)), bytes),
    );
    expect(more.filter(Boolean)).toHaveLength(1);
  });

  it.each(['192.0.2.0/33', '2001:db8::/129', 'example', '192.0.2.0/', '192.0.2.0/24/1', ''])(
    'is not for "%s", which is no network',
    (network) => {
      expect(() => networkList([network])).toThrow(RangeError);
      expect(() => new Access().reload({ allow: [network] })).toThrow(RangeError);
    },
  );
});

describe('statistics', () => {
  it('keep as many rows as the limit says and not one more', () => {
    const stats = new Statistics();
    for (let i = 0; i <= MAX_STATISTICS_ROWS; i++) {
      stats.lookedUp(2, i, 1, 'udp', true);
      stats.forwarded(4, { prog: i, vers: 1, proc: 0 }, 'udp', true, false);
    }
    stats.lookedUp(2, 5, 1, 'udp', false);
    const [second, , fourth] = stats.snapshot();
    expect(second?.addrinfo).toHaveLength(MAX_STATISTICS_ROWS);
    expect(second?.addrinfo.find(({ prog }) => prog === 5)).toMatchObject({ success: 1, failure: 1 });
    expect(fourth?.rmtinfo).toHaveLength(MAX_STATISTICS_ROWS);
  });
});
