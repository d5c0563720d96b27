/** The daemon ended in the worst moments, for a short time; `npm run soak -- faults` does it for long. */

import { execFile } from 'node:child_process';
import path from 'node:path';
import { expect, it } from 'vitest';
import { describeWith, root } from '../../support/sandbox.js';

const SECONDS = 20;

describeWith(['sandbox', 'root', 'setpriv', 'prlimit'], 'rpcbind-ts, ended again and again', () => {
  it('keeps exactly what it acknowledged, whatever it does when it ends', async () => {
    const { code, stdout } = await new Promise<{ code: unknown; stdout: string }>((resolve) => {
      const main = path.join(root, 'dist/bench/main.js');
      execFile(process.execPath, [main, 'soak', 'faults', String(SECONDS)], (error, out, err) =>
        resolve({ code: error?.code ?? 0, stdout: out + err }),
      );
    });
    // With the seed, to have it again.
    console.log(stdout.trim());
    expect(code, stdout).toBe(0);
    for (const fault of ['kill', 'rewrite', 'stop', 'disk', 'descriptors'])
      expect(stdout).toMatch(new RegExp(`${fault} [1-9]`));
  }, 60_000);
});
