import { describe, expect, it } from 'vitest';
import { Histogram } from '../../../runtime/protocol.js';

describe('a histogram', () => {
  it('gives its buckets: every duration is in one, below its end and within a quarter of it', () => {
    for (let i = 0; i < 2_000; i++) {
      const ms = 10 ** (Math.random() * 8 - 3);
      const histogram = new Histogram();
      histogram.add(ms);
      const [bucket, ...others] = histogram.buckets();
      expect(others).toEqual([]);
      expect(bucket?.count).toBe(1);
      expect(ms).toBeLessThan(bucket?.belowMs ?? 0);
      expect((bucket?.belowMs ?? 0) * 0.74).toBeLessThan(ms);
    }
  });

  it('counts all of them, in order, with their sum', () => {
    const histogram = new Histogram();
    const all = Array.from({ length: 5_000 }, () => Math.random() * 100);
    for (const ms of all) histogram.add(ms);
    const { buckets, count, sumMs, maxMs } = histogram.stats();
    expect(buckets.reduce((sum, bucket) => sum + bucket.count, 0)).toBe(count);
    expect(count).toBe(5_000);
    expect(sumMs).toBeCloseTo(
      all.reduce((sum, ms) => sum + ms, 0),
      3,
    );
    expect(maxMs).toBe(Math.max(...all));
    const ends = buckets.map(({ belowMs }) => belowMs);
    expect(ends).toEqual([...ends].sort((a, b) => a - b));
    for (const { belowMs } of buckets) {
      const below = all.filter((ms) => ms < belowMs).length;
      const counted = buckets
        .filter((one) => one.belowMs <= belowMs)
        .reduce((sum, one) => sum + one.count, 0);
      expect(counted).toBe(below);
    }
  });
});
