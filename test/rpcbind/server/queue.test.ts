/** The order of changes while a store takes its time, and how many may wait. */

import { describe, expect, it } from 'vitest';
import { MAX_PENDING_CHANGES, RESERVED_PENDING_CHANGES } from '../../../rpcbind/internal.js';
import { SUPERUSER } from '../../../rpcbind/registration.js';
import { ChangeQueue } from '../../../rpcbind/server/queue.js';
import { StatusError } from '../../../runtime/index.js';

/** A change that ends when the test says so. */
function deferred(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let [resolve, reject] = [(): void => undefined, (_: Error): void => undefined];
  const promise = new Promise<void>((onResolve, onReject) => {
    [resolve, reject] = [onResolve, onReject];
  });
  return { promise, resolve, reject };
}

describe('a change', () => {
  it('runs at once, and without a promise, if it returns none and none of its program is under way', () => {
    const queue = new ChangeQueue();
    expect(queue.run(1, '1000', () => 'done')).toBe('done');
    expect([queue.size, queue.isBusy(1)]).toEqual([0, false]);
  });

  it('runs after those of its program that came first, whether they fail or not', async () => {
    const queue = new ChangeQueue();
    const order: string[] = [];
    const [first, second] = [deferred(), deferred()];
    const results = [
      queue.run(1, '1000', () => first.promise),
      queue.run(1, '1000', () => {
        order.push('second');
        return second.promise;
      }),
      queue.run(1, undefined, () => {
        order.push('third');
      }),
      queue.run(2, '1000', () => order.push('other program')),
    ];
    expect(order).toEqual(['other program']);
    first.reject(new Error('failed'));
    await expect(results[0]).rejects.toThrow('failed');
    second.resolve();
    await Promise.all(results.slice(1));
    expect(order).toEqual(['other program', 'second', 'third']);
    // One that comes while the third is about to run, too.
    expect([queue.size, queue.isBusy(1)]).toEqual([0, false]);
  });

  it('keeps its place before one that comes while those before it end', async () => {
    const queue = new ChangeQueue();
    const order: number[] = [];
    const first = deferred();
    void queue.run(1, '1000', () => first.promise);
    const all = [2, 3].map((number) =>
      queue.run(1, '1000', async () => {
        order.push(number);
        await undefined;
        order.push(number);
      }),
    );
    first.resolve();
    await first.promise;
    all.push(
      queue.run(1, '1000', () => {
        order.push(4);
      }) as Promise<void>,
    );
    await Promise.all(all);
    expect(order).toEqual([2, 2, 3, 3, 4]);
  });
});

describe('the number of changes under way', () => {
  const fill = (queue: ChangeQueue, count: number, until: Promise<void>): void => {
    for (let program = 0; program < count; program++) void queue.run(program, SUPERUSER, () => until);
  };

  it('is limited, also for different programs', () => {
    const queue = new ChangeQueue();
    const { promise } = deferred();
    fill(queue, MAX_PENDING_CHANGES - 1, promise);
    void queue.run(0, SUPERUSER, () => promise);
    expect(queue.size).toBe(MAX_PENDING_CHANGES);
    for (const program of [0, MAX_PENDING_CHANGES])
      expect(() => queue.run(program, SUPERUSER, () => promise)).toThrow(StatusError);
    expect(queue.size).toBe(MAX_PENDING_CHANGES);
  });

  it('leaves the last ones for root', () => {
    const queue = new ChangeQueue();
    const { promise } = deferred();
    fill(queue, MAX_PENDING_CHANGES - RESERVED_PENDING_CHANGES - 1, promise);
    void queue.run(0, '1000', () => promise);
    expect(() => queue.run(0, '1000', () => promise)).toThrow(StatusError);
    expect(() => queue.run(0, 'unknown', () => promise)).toThrow(StatusError);
    void queue.run(0, SUPERUSER, () => promise);
    expect(queue.size).toBe(MAX_PENDING_CHANGES - RESERVED_PENDING_CHANGES + 1);
  });

  it('is no limit for changes that the store reports, and is free again when they end', async () => {
    const queue = new ChangeQueue();
    const { promise, resolve } = deferred();
    fill(queue, MAX_PENDING_CHANGES, promise);
    const reported = queue.run(0, undefined, () => 'reported');
    resolve();
    expect(await reported).toBe('reported');
    await promise;
    expect(queue.run(0, '1000', () => 'set')).toBe('set');
    expect(queue.size).toBe(0);
  });
});
