/** Which programs and ports are reserved, and for whom. */

import { describe, expect, it } from 'vitest';
import { SUPERUSER, UNKNOWN } from '../../../rpcbind/index.js';
import { MAX_PROGRAM_RULES } from '../../../rpcbind/internal.js';
import { Access } from '../../../rpcbind/server/access.js';

describe('a SET', () => {
  const refused = (owner: string, program: number, port: number, options = {}): string | undefined =>
    new Access({ privilegedUids: [500], ...options }).reservationOf(owner, program, port);

  it('of a system program is for root and the user who started the daemon', () => {
    for (const program of [100001, 100005, 100024, 100099, 100227, 100300, 150001]) {
      for (const owner of [SUPERUSER, '500']) expect(refused(owner, program, 2049)).toBeUndefined();
      for (const owner of ['1000', UNKNOWN])
        expect(refused(owner, program, 2049)).toMatch(/program is reserved/);
    }
    for (const program of [0x2000_0001, 99_999, 100_100, 395_183, 0xffff_ffff])
      expect(refused('1000', program, 2049)).toBeUndefined();
  });

  it('of a port below 1024 is for them, too', () => {
    for (const owner of [SUPERUSER, '500']) expect(refused(owner, 7, 1)).toBeUndefined();
    for (const owner of ['1000', UNKNOWN]) {
      expect(refused(owner, 7, 1023)).toMatch(/ports below 1024/);
      expect(refused(owner, 7, 1)).toMatch(/ports below 1024/);
      expect(refused(owner, 7, 1024)).toBeUndefined();
      // An address that has no port: a local socket.
      expect(refused(owner, 7, 0)).toBeUndefined();
    }
  });

  it('is for the users whom the last rule of a program names, with every port', () => {
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

  it('of a program without a rule is for the users whom the rule for all programs names', () => {
    const programs = [{ first: 0, last: 0xffff_ffff, users: [1000] }];
    expect(refused('1001', 0x2000_0001, 2049, { programs })).toMatch(/reserved/);
    expect(refused('1000', 0x2000_0001, 2049, { programs })).toBeUndefined();
    expect(refused('1000', 100005, 2049, { programs })).toMatch(/reserved/);
  });

  it('follows as many rules as the limit says and not one more, and no rule that is not a range', () => {
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
    expect(access.refusals().registrations).toBe(1);
  });
});
