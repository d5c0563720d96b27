/** What a user gets from the registry: the packed package in an empty folder. */

import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from './support/sandbox.js';

const execute = promisify(execFile);
let folder = '';
let installed = '';

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'pack-'));
  const { stdout } = await execute(
    'npm',
    ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder],
    { cwd: root },
  );
  await writeFile(path.join(folder, 'package.json'), '{ "type": "module", "private": true }');
  // What it depends on is taken from where the tests run; the package itself from the tarball alone.
  await execute('tar', ['xzf', stdout.trim()], { cwd: folder });
  installed = path.join(folder, 'node_modules/rpcbind-ts');
  await execute('sh', ['-c', `mkdir -p node_modules && mv package node_modules/rpcbind-ts`], { cwd: folder });
  for (const name of await readdir(path.join(root, 'node_modules')))
    if (!name.startsWith('.'))
      await symlink(path.join(root, 'node_modules', name), path.join(folder, 'node_modules', name));
}, 120_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the packed package', () => {
  it('has commands that run', async () => {
    const { bin } = JSON.parse(await readFile(path.join(installed, 'package.json'), 'utf8')) as {
      bin: Record<string, string>;
    };
    expect(Object.keys(bin)).toEqual(
      expect.arrayContaining(['rpcbind-ts', 'rpcinfo-ts', 'rpcserve', 'rprintmsg', 'rpcgen-ts']),
    );
    await Promise.all(
      Object.entries(bin).map(async ([name, file]) => {
        expect((await readFile(path.join(installed, file), 'utf8')).startsWith('#!/usr/bin/env node\n')).toBe(
          true,
        );
        const { stdout } = await execute(process.execPath, [path.join(installed, file), '--help'], {
          cwd: folder,
        });
        expect(stdout, name).toContain(name);
      }),
    );
  }, 60_000);

  it('has types for each of its doors', async () => {
    const { exports } = JSON.parse(await readFile(path.join(installed, 'package.json'), 'utf8')) as {
      exports: Record<string, unknown>;
    };
    const doors = Object.keys(exports).filter((door) => door !== './package.json');
    await writeFile(
      path.join(folder, 'use.ts'),
      `import { createServer, type Service } from 'rpcbind-ts/runtime';
import { encode, int } from 'rpcbind-ts/xdr';
${doors.map((door, i) => `import * as door${i} from 'rpcbind-ts/${door.slice(2)}';`).join('\n')}
const services: Service[] = [];
const server = createServer({ services });
const bytes: Uint8Array = encode(int, 5);
// @ts-expect-error the types are there, so this is refused
const wrong: string = encode(int, 5);
console.log(bytes.length, server.listeners.length, wrong.length, ${doors.map((_, i) => `Object.keys(door${i}).length > 0`).join(', ')});
`,
    );
    await execute(
      process.execPath,
      [
        path.join(root, 'node_modules/typescript/bin/tsc'),
        ...['--strict', '--target', 'es2023', '--module', 'nodenext', 'use.ts'],
      ],
      { cwd: folder },
    );
    const { stdout } = await execute(process.execPath, ['use.js'], { cwd: folder });
    expect(stdout.trim()).toBe(`4 0 4 ${doors.map(() => 'true').join(' ')}`);
  }, 60_000);

  it('holds neither tests nor benches', async () => {
    const files = await readdir(installed, { recursive: true });
    expect(files.filter((file) => /(^|\/)(test|bench)\//.test(file) || file.endsWith('.test.js'))).toEqual(
      [],
    );
    expect(files).toContain('README.md');
    for (const file of ['rpcbind-ts.service', 'rpcbind-ts.socket', 'rpcbind-ts.sysusers.conf'])
      expect(files).toContain(`systemd/${file}`);
  });
});
