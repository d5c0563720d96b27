/** docs/security.md: its first block is run as a shell would, in an empty clone, and prints what the page says. */

import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
const page = readFileSync(path.join(root, 'docs/security.md'), 'utf8');
let folder = '';

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'security-page-'));
  for (const name of ['package.json', 'node_modules', 'services', 'dist'])
    await symlink(path.join(root, name), path.join(folder, name));
});
afterAll(() => rm(folder, { recursive: true }));

describe.skipIf(!existsSync(path.join(root, 'dist/cli/rpccerts/main.js')))('docs/security.md', () => {
  it('has a first try that works as it stands', async () => {
    const [, block = ''] = /```sh\n([\s\S]*?)```/.exec(page) ?? [];
    // The commands of the package itself: npx finds no other where nothing is installed.
    const script = `set -m\nnpx() { name=$1; shift; node dist/cli/$name/main.js "$@"; }\n${block.replace('rpcserve --no', 'rpcserve --no')}wait`;
    const { stdout } = await promisify(execFile)('bash', ['-c', script], { cwd: folder, timeout: 25_000 });
    const lines = stdout.split('\n');
    expect(lines.filter((line) => line === '1')).toEqual(['1']);
    expect(lines.join('\n')).toContain('127.0.0.1: hello');
  }, 30_000);
});
