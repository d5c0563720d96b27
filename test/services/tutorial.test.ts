/** docs/tutorial.md, word for word: its files are written, compiled and run as it says. */

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Running, runCommand, startCommand } from '../support/command.js';
import { freePort } from '../support/ports.js';
import { root } from '../support/sandbox.js';

const run = promisify(execFile);
const FILES = ['calc.x', 'calc.ts', 'client.ts'];
/** The page promises fewer lines than this. */
const MAX_LINES = 40;

let folder: string;
let page: string;
const running: Running[] = [];

/** The first block of code after the heading that names a file. */
function block(name: string): string {
  const found = new RegExp(`^## .*\`${name}\`[\\s\\S]*?\n\`\`\`\\w+\n([\\s\\S]*?)\`\`\``, 'm').exec(page);
  if (found?.[1] === undefined) throw new Error(`the tutorial has no ${name}`);
  return found[1];
}

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tutorial-'));
  page = await readFile(path.join(root, 'docs/tutorial.md'), 'utf8');
  await writeFile(path.join(folder, 'package.json'), '{ "type": "module" }');
  // What npm install would put there.
  await mkdir(path.join(folder, 'node_modules'));
  await symlink(root, path.join(folder, 'node_modules/rpcbind-ts'));
  await symlink(path.join(root, 'node_modules/@types'), path.join(folder, 'node_modules/@types'));
  for (const name of FILES) await writeFile(path.join(folder, name), block(name));
});

afterAll(async () => {
  for (const one of running) await one.stop();
  await rm(folder, { recursive: true });
});

describe('the tutorial', () => {
  it(`needs fewer than ${MAX_LINES} lines of the user’s own`, () => {
    const lines = FILES.flatMap((name) => block(name).split('\n')).filter((line) => line.trim() !== '');
    expect(lines.length).toBeLessThan(MAX_LINES);
  });

  it('ends in what it says', async () => {
    const generated = await runCommand('rpcgen-ts', [path.join(folder, 'calc.x')]);
    expect(generated).toMatchObject({ code: 0 });
    const compile = /^npx tsc (.*)$/m.exec(page)?.[1]?.split(' ') ?? [];
    const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
    await run(process.execPath, [tsc, ...compile], { cwd: folder });
    const port = String(await freePort());
    const env = { RPCBIND_PORT: port };
    running.push(await startCommand('rpcbind-ts', ['--port', port, '--host', '127.0.0.1'], /\d/));
    running.unshift(
      await startCommand(
        'rpcserve',
        ['--host', '127.0.0.1', path.join(folder, 'out/calc.js')],
        /published/,
        env,
      ),
    );
    const { stdout } = await run(process.execPath, ['out/client.js'], {
      cwd: folder,
      env: { ...process.env, ...env },
    });
    expect(stdout).toBe(/^prints\n\n```\n([\s\S]*?)```/m.exec(page)?.[1]);
    const pinged = await runCommand('rpcinfo-ts', ['-t', '127.0.0.1', '536871168', '1'], env);
    expect(pinged.stdout).toContain('ready and waiting');
  }, 60_000);
});
