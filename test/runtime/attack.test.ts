/** Short runs of what `npm run fuzz`, `npm run soak` and `npm run bench -- hostile` do at length. */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { fuzz } from '../../bench/fuzz.js';
import { hostile } from '../../bench/hostile.js';
import { soak } from '../../bench/soak.js';
import { connectLoopback, createClient, createServer } from '../../runtime/index.js';
import { echo, echoService, fail, misfit, slow } from '../support/echo.js';

const seed = Math.floor(Math.random() * 0x1_0000_0000);
const crowd = new URL('../../dist/bench/hostile.js', import.meta.url);

describe('mutated messages', () => {
  it(`let only declared errors out, and take no memory (seed ${seed})`, () => {
    const result = fuzz({ seed, runs: 20_000, seconds: 4 });
    expect(result.runs).toBeGreaterThan(1_000);
    expect(result.replies).toBeGreaterThan(result.refusals);
    expect(result.grownBytes).toBeLessThan(16 * 1024 * 1024);
  });
});

describe('a way that loses, delays, doubles and cuts', () => {
  it(`ends every call, and runs each that is acknowledged over UDP exactly once (seed ${seed})`, async () => {
    const result = await soak({ calls: 10_000, seed });
    expect(result).toMatchObject({ calls: 10_000, notOnce: 0, twice: 0, wrong: 0 });
    expect(result.acknowledged + result.lost).toBe(10_000);
    expect(result.acknowledged).toBeGreaterThan(9_500);
    expect(result.replayed).toBeGreaterThan(0);
  });
});

describe.skipIf(!existsSync(crowd))('a crowd of bad peers', () => {
  it('costs only itself: the good client is served, and all is given back', async () => {
    const result = await hostile({ idle: 200, slow: 20, mute: 10 }, 0.3, fileURLToPath(crowd));
    expect(result.connections).toBe(231);
    // Far above what `npm run bench -- hostile` finds: here other tests share the machine.
    expect(result.crowdedP99Ms).toBeLessThan(result.aloneP99Ms * 20 + 20);
    expect(result.memoryDuring - result.memoryBefore).toBeLessThan(64 * 1024 * 1024);
    expect(result.descriptorsAfter).toBeLessThanOrEqual(result.descriptorsBefore);
  });
});

describe('a procedure that misbehaves', () => {
  it('has its documented outcome, and the server goes on', async () => {
    const errors: unknown[] = [];
    const block = (ms: number): Promise<number> => {
      const end = performance.now() + ms;
      while (performance.now() < end);
      return Promise.reject(new Error('after blocking'));
    };
    const server = createServer({
      services: [echoService(() => block(30))],
      onError: (error) => {
        errors.push(error);
        throw new Error('and so does whoever is told');
      },
    });
    const client = createClient(connectLoopback(server.dispatcher));
    await expect(client.call(fail, 'thrown')).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    await expect(client.call(misfit, undefined)).rejects.toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    const blocked = client.call(slow, undefined).catch((error: unknown) => error);
    expect(await client.call(echo, 'behind it')).toBe('behind it');
    expect(await blocked).toMatchObject({ code: 'RPC_SYSTEM_ERR' });
    expect(errors.map((error) => (error as Error).message)).toEqual([
      'thrown',
      expect.stringContaining('no integer'),
      'after blocking',
    ]);
    expect(server.stats().procedures.map(({ name, failed }) => `${name} ${failed}`)).toEqual([
      'ECHO 0',
      'FAIL 1',
      'SLOW 1',
      'MISFIT 1',
    ]);
  });
});
