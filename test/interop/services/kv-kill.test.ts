/** The long form of kv's test of durability; the short one is among its unit tests. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { killRounds } from '../../services/kv-kill.js';

const ROUNDS = 200;

describe('kv', () => {
  it(`has every acknowledged change, whole and once, after ${ROUNDS} times kill -9 under load`, async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'kv-kill-'));
    try {
      const report = await killRounds(path.join(folder, 'kv'), ROUNDS);
      expect(report.problems).toEqual([]);
      expect(report.acknowledged).toBeGreaterThan(ROUNDS * 10);
      expect(report.repeated).toBeGreaterThan(ROUNDS);
      console.log(
        `${ROUNDS} kills: ${report.acknowledged} changes acknowledged, ${report.repeated} asked for again`,
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  }, 170_000);
});
