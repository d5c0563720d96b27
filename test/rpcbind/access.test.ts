import { describe, expect, it } from 'vitest';
import { MAX_PROGRAM_RULES, MAX_SOURCES, networkList } from '../../rpcbind/index.js';
import { rpcb_stat_byversCodec } from '../../rpcbind/rpcbind.gen.js';
import { Access, DEFAULT_TABLE_BYTES_PER_MINUTE } from '../../rpcbind/server/access.js';
import { MAX_STATISTICS_ROWS, Statistics } from '../../rpcbind/server/stats.js';
import { SUPERUSER, UNKNOWN } from '../../rpcbind/table/registry.js';
import type { Peer } from '../../runtime/index.js';
import { encode } from '../../xdr/index.js';

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

  it('over TCP stays whatever was forged in the same name over UDP, and the other way round', () => {
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

  it('over TCP stays however many sources are forged over UDP', () => {
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
    'is not for "%s", which is no network',
    (network) => {
      expect(() => networkList([network])).toThrow(RangeError);
      expect(() => new Access().reload({ allow: [network] })).toThrow(RangeError);
    },
  );
});

describe('registering', () => {
  const refused = (owner: string, program: number, port: number, options = {}): string | undefined =>
    new Access({ privilegedUids: [500], ...options }).reservationOf(owner, program, port);

  it('of the system’s programs is for root and who started the daemon', () => {
    for (const program of [100001, 100005, 100024, 100099, 100227, 100300, 150001]) {
      for (const owner of [SUPERUSER, '500']) expect(refused(owner, program, 2049)).toBeUndefined();
      for (const owner of ['1000', UNKNOWN])
        expect(refused(owner, program, 2049)).toMatch(/program is reserved/);
    }
    for (const program of [0x2000_0001, 99_999, 100_100, 395_183, 0xffff_ffff])
      expect(refused('1000', program, 2049)).toBeUndefined();
  });

  it('of ports below 1024 is for them too', () => {
    for (const owner of [SUPERUSER, '500']) expect(refused(owner, 7, 1)).toBeUndefined();
    for (const owner of ['1000', UNKNOWN]) {
      expect(refused(owner, 7, 1023)).toMatch(/ports below 1024/);
      expect(refused(owner, 7, 1)).toMatch(/ports below 1024/);
      expect(refused(owner, 7, 1024)).toBeUndefined();
      // An address that has no port: a local socket.
      expect(refused(owner, 7, 0)).toBeUndefined();
    }
  });

  it('is for whom the last rule of a program names, on every port', () => {
    const programs = [
      { first: 100024, last: 100024, users: [1000] },
      { first: 100020, last: 100030, users: [1001, 1002] },
      { first: 100021, last: 100021, users: 'all' as const },
    ];
    expect(refused('1001', 100024, 600, { programs })).toBeUndefined();
    expect(refused('1000', 100024, 2049, { programs })).toMatch(/reserved/);
    expect(refused('1000', 100021, 2049, { programs })).toBeUndefined();
    expect(refused('1000', 100021, 600, { programs })).toMatch(/ports below/);
    expect(refused(SUPERUSER, 100024, 600, { programs })).toBeUndefined();
  });

  it('of all other programs is for whom a rule for all names', () => {
    const programs = [{ first: 0, last: 0xffff_ffff, users: [1000] }];
    expect(refused('1001', 0x2000_0001, 2049, { programs })).toMatch(/reserved/);
    expect(refused('1000', 0x2000_0001, 2049, { programs })).toBeUndefined();
    expect(refused('1000', 100005, 2049, { programs })).toMatch(/reserved/);
  });

  it('has as many rules as the limit says and not one more, and none that is no range', () => {
    const rule = { first: 1, last: 1, users: [] };
    const access = new Access({ programs: new Array<typeof rule>(MAX_PROGRAM_RULES).fill(rule) });
    const more = new Array<typeof rule>(MAX_PROGRAM_RULES + 1).fill(rule);
    expect(() => access.reload({ programs: more })).toThrow(RangeError);
    for (const [first, last] of [
      [2, 1],
      [0, 2 ** 32],
      [-1, 3],
      [0.5, 3],
    ] as const)
      expect(() => access.reload({ programs: [{ first, last, users: 'all' }] })).toThrow(RangeError);
    expect(access.reservationOf('7', 1, 2049)).toMatch(/reserved/);
  });

  it('that is refused is counted', () => {
    const access = new Access({ privilegedUids: [] });
    access.reservationOf('7', 100005, 2049);
    access.reservationOf('7', 7, 2049);
    expect(access.refused.registrations).toBe(1);
  });
});

describe('statistics', () => {
  it('know their size on the wire as they grow', () => {
    const stats = new Statistics();
    const check = (): void =>
      expect(stats.snapshotBytes).toBe(encode(rpcb_stat_byversCodec, stats.snapshot()).length);
    check();
    for (let i = 0; i < MAX_STATISTICS_ROWS + 3; i++) {
      stats.lookedUp(3, i, 1, i % 2 === 0 ? 'udp' : 'local', true);
      stats.forwarded(4, { prog: i, vers: 1, proc: 0 }, 'udp6', true, false);
      if (i % 50 === 0) check();
    }
    check();
  });

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
