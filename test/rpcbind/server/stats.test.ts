/** The statistics that GETSTAT sends. */

import { describe, expect, it } from 'vitest';
import { rpcb_stat_byversCodec } from '../../../rpcbind/rpcbind.gen.js';
import { MAX_STATISTICS_ROWS, Statistics } from '../../../rpcbind/server/stats.js';
import { encode } from '../../../xdr/index.js';

const origin = { by: 4, netid: 'udp6', isIndirect: true } as const;

describe('statistics', () => {
  it('know their size on the wire as they grow', () => {
    const stats = new Statistics();
    const check = (): void =>
      expect(stats.snapshotBytes).toBe(encode(rpcb_stat_byversCodec, stats.snapshot()).length);
    check();
    for (let i = 0; i < MAX_STATISTICS_ROWS + 3; i++) {
      stats.countLookup(3, i, 1, i % 2 === 0 ? 'udp' : 'local', true);
      stats.countForward({ prog: i, vers: 1, proc: 0 }, origin, false);
      if (i % 50 === 0) check();
    }
    check();
  });

  it('keep as many rows as the limit says and not one more', () => {
    const stats = new Statistics();
    for (let i = 0; i <= MAX_STATISTICS_ROWS; i++) {
      stats.countLookup(2, i, 1, 'udp', true);
      stats.countForward({ prog: i, vers: 1, proc: 0 }, origin, false);
    }
    stats.countLookup(2, 5, 1, 'udp', false);
    const [second, , fourth] = stats.snapshot();
    expect(second?.addrinfo).toHaveLength(MAX_STATISTICS_ROWS);
    expect(second?.addrinfo.find(({ prog }) => prog === 5)).toMatchObject({ success: 1, failure: 1 });
    expect(fourth?.rmtinfo).toHaveLength(MAX_STATISTICS_ROWS);
  });
});
