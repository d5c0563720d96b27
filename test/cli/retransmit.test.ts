/** `--retransmit`, and `--timeout` as its older name: how often a datagram is sent. */

import dgram from 'node:dgram';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand } from '../support/command.js';

let folder = '';
let received = 0;
const silent = dgram.createSocket('udp4').on('message', () => (received += 1));

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'retransmit-'));
  await writeFile(
    path.join(folder, 'p.x'),
    'program P { version V { void F(void) = 1; } = 1; } = 0x20000098;',
  );
  await new Promise<void>((done) => silent.bind(0, '127.0.0.1', done));
});
afterAll(async () => {
  silent.close();
  await rm(folder, { recursive: true });
});

async function call(
  ...args: string[]
): Promise<{ readonly code: number; readonly sent: number; readonly stderr: string }> {
  received = 0;
  const at = ['127.0.0.1', path.join(folder, 'p.x'), 'F', '--transport', 'udp'];
  const { code, stderr } = await runCommand('rpccall', [
    ...at,
    '--addr',
    String(silent.address().port),
    ...args,
  ]);
  return { code, sent: received, stderr };
}

describe('rpccall over UDP', () => {
  it.each(['--retransmit', '--timeout'])('sends again each %s', async (name) => {
    expect(await call(name, '0.3', '--total-time', '1')).toMatchObject({ code: 1, sent: 4 });
    expect(await call(name, '3', '--total-time', '0.5')).toMatchObject({ code: 1, sent: 1 });
  });

  it('refuses two values of the same setting', async () => {
    const { code, sent, stderr } = await call('--retransmit', '1', '--timeout', '2');
    expect([code, sent]).toEqual([2, 0]);
    expect(stderr).toContain('are the same setting');
  });
});
