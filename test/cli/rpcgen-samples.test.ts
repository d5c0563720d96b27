/** `rpcgen-ts --samples`: what it writes compiles, is served by rpcserve as it is, and answers. Needs the build. */

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCommand, startCommand } from '../support/command.js';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
// Inside the package, whose own name then leads to it.
const dir = mkdtempSync(join(root, 'test/cli/.samples-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const X = `
enum color { RED = 1, BLUE = 2 };
struct tree { color c; tree *left; tree *right; opaque id[4]; };
union result switch (int status) { case 0: tree top; default: void; };
union only switch (hyper h) { default: string why<>; };
struct node { int v; node *next; };
program P {
  version V {
    void NULLPROC(void) = 0;
    result GET(color) = 1;
    only WHY(void) = 2;
    node LIST(void) = 3;
    void DROP(int, string) = 4;
    color COLOR(void) = 5;
  } = 1;
  version NEW { color COLOR(void) = 5; } = 2;
} = 0x20000333;
`;

describe.skipIf(!existsSync(join(root, 'dist/cli/rpcgen-ts/main.js')))('rpcgen-ts --samples', () => {
  beforeAll(async () => {
    writeFileSync(join(dir, 'x.x'), X);
    writeFileSync(join(dir, 'package.json'), '{"type":"module","name":"samples"}');
    const library = join(root, 'dist');
    const modules = ['--xdr', join(library, 'xdr/index.js'), '--runtime', join(library, 'runtime/index.js')];
    expect(await runCommand('rpcgen-ts', ['--samples', ...modules, join(dir, 'x.x')])).toMatchObject({
      code: 0,
    });
    const config = {
      extends: join(root, 'tsconfig.json'),
      compilerOptions: { noEmit: false, rootDir: dir, outDir: join(dir, 'out') },
      include: ['*.ts'],
    };
    writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify(config));
    const tsc = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-p', dir], { encoding: 'utf8' });
    expect(tsc.stdout).toBe('');
  }, 30_000);

  /** Serves, and calls every procedure that has a result. */
  async function answersOf(serve: readonly string[]): Promise<string[]> {
    const server = await startCommand(
      'rpcserve',
      ['--no-publish', '--host', '127.0.0.1', ...serve],
      /serving.*version 2.*tcp.*\d+/s,
    );
    try {
      const port = /tcp\D*127\.0\.0\.1:(\d+)/.exec(server.output())?.[1] ?? '';
      const answers: string[] = [];
      for (const call of ['V.GET', 'V.WHY', 'V.LIST', 'V.COLOR', 'NEW.COLOR']) {
        const args = call === 'V.GET' ? ['"RED"'] : [];
        const where = ['--transport', 'tcp', '--addr', port, '--compact'];
        const { stdout, stderr } = await runCommand('rpccall', [
          '127.0.0.1',
          join(dir, 'x.x'),
          call,
          ...args,
          ...where,
        ]);
        answers.push(stdout.trim() || stderr);
      }
      return answers;
    } finally {
      await server.stop();
    }
  }

  it('writes a server that rpcserve takes as it is', async () => {
    expect(await answersOf([join(dir, 'out/x.server.js')])).toEqual([
      '{"status":0,"top":{"c":"RED","left":null,"right":null,"id":"AAAAAA=="}}',
      '{"h":"0","why":""}',
      '[{"v":0}]',
      '"RED"',
      '"RED"',
    ]);
  }, 60_000);

  it('writes answers that rpcserve --mock takes as they are', async () => {
    const answers = await answersOf(['--mock', join(dir, 'x.x'), '--answers', join(dir, 'x.answers.json')]);
    expect(answers.slice(1)).toEqual(['{"h":"0","why":""}', '[{"v":0}]', '"RED"', '"RED"']);
  }, 60_000);
});
