/** What docs/services.md promises in tables, and the bar of rput and rget. */

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { progressLine } from '../../cli/support/progress.js';
import {
  EXEC_PROG,
  FILES_PROG,
  KV_PROG,
  MESSAGEPROG,
  METHODS_PROG,
  REMOTEDIR_PROG,
} from '../../services/index.js';
import { root } from '../support/sandbox.js';

describe('docs/services.md', () => {
  it('has the program numbers of the code', () => {
    const page = readFileSync(path.join(root, 'docs/services.md'), 'utf8');
    const rows = [...page.matchAll(/^\| (\w+) \| (0x[0-9a-f]{8}) \((\d+)\) \| 1 \|/gm)];
    const table = Object.fromEntries(rows.map(([, name, hex]) => [name, Number(hex)]));
    expect(table).toEqual({
      printmsg: MESSAGEPROG,
      remotedir: REMOTEDIR_PROG,
      kv: KV_PROG,
      exec: EXEC_PROG,
      files: FILES_PROG,
      methods: METHODS_PROG,
    });
    for (const [, , hex, decimal] of rows) expect(Number(hex)).toBe(Number(decimal));
  });
});

describe('a progress bar', () => {
  it('says share, bytes, rate and the time that is left', () => {
    expect(progressLine('f', 512 * 1024, 1024 * 1024, 512 * 1024, 1_000)).toBe(
      'f [============>           ]  50%  512.0 KiB of 1.0 MiB  512.0 KiB/s  ETA 0:01',
    );
    expect(progressLine('f', 0, 10 * 1024 ** 3, 0, 0)).toBe(
      'f [>                       ]   0%  0 B of 10.0 GiB  0 B/s  ETA -:--',
    );
    expect(progressLine('f', 0, 7_200_000, 1_000, 1_000)).toMatch(/ETA 2:00:00$/);
    expect(progressLine('f', 0, 0, 0, 5)).toBe(
      'f [========================] 100%  0 B of 0 B  0 B/s  ETA -:--',
    );
  });
});
