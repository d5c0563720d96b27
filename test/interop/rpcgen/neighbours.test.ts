/**
 * The tests over CORPUS_DIR, run on a folder made on purpose: good files beside those that do not parse, contradict
 * each other, have one name, or are no files at all. Each good one must come through as if it were alone.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeFiles } from '../../support/generated.js';
import { compileReal, filesBelow } from '../../support/interfaces.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const has = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0;
const hasC =
  has('gcc', '--version') && has('rpcgen', '--version') && has('pkg-config', '--exists', 'libtirpc');

const GOOD = {
  'a/lib.x': 'const N = 4;\nstruct H { opaque x[N]; };\nenum K { A = 1, B = 2 };\n',
  'a/main.x':
    '%#include "lib.h"\nconst N = 8;\nstruct M { H h; K k; };\nstruct L { M ms<>; opaque y[N]; };\nenum Z { CREATE = 5 };\n' +
    'union U switch (K k) { case 1: int x; default: void; };\n',
  'b/main.x': 'enum K { A = 1, B = 2 };\nunion U switch (K k) { case A: int x; case B: hyper y; };\n',
  'c/b/main.x': 'struct tree { int v; tree *l; tree *r; };\nstruct list { int v; list *next; };\n',
  'c/guess.x': '%#include <far/away.h>\nstruct s { far f; opaque o[SIZE]; };\ntypedef int upTo<SIZE>;\n',
  'c/again.x': '%#define OTHER 3\nstruct s { opaque o[OTHER]; string p<SIZE>; };\n',
  'd/scalars.rpcl':
    'struct s { int a; unsigned b; hyper c; double d; bool e; string f<9>; opaque g[3]; int h<4>; };\n',
} satisfies Record<string, string>;

const BAD = {
  'a/broken.x': 'struct H { int',
  'a/contrary.x': 'typedef hyper H;\nconst N = 100000;\nstruct K { K k; };\n',
  'a/twice.x': 'struct H { int x; };\nstruct H { int y; };\n',
  'b/empty.x': '',
  'b/binary.x': '\0\u0001\u0002\u00ff;;;{{{',
  'b/circle.x': '#include "circle.x"\n',
  'c/quote.x': 'const A = "no end\nstruct s { far f; };\n',
  'c/deep.x': `struct a { ${'struct { '.repeat(500)}`,
  'c/macros.x': '#define M(x) x\nstruct s { int M(a); };\n',
  'd/scalars.x': 'struct s { int a;\n',
} satisfies Record<string, string>;

describe('a folder of bad neighbours', () => {
  let dir = '';
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'rpcgen-neighbours-'));
    writeFiles(dir, { ...GOOD, ...BAD });
    mkdirSync(join(dir, 'e/folder.x'), { recursive: true });
    symlinkSync('nowhere', join(dir, 'e/dangling.x'));
    spawnSync('mkfifo', [join(dir, 'e/pipe.x')]);
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('has its regular files read, and all good ones compiled', () => {
    expect(filesBelow(dir)).toHaveLength(Object.keys(GOOD).length + Object.keys(BAD).length);
    const outputOf = (path: string): string => `${path.replace(/\.(?:x|rpcl)$/, '')}.gen.ts`;
    for (const name of Object.keys(GOOD))
      expect(compileReal(join(dir, name), outputOf).model.types.length, name).toBeGreaterThan(0);
    const stubs = ['c/guess.x', 'c/again.x'].map(
      (name) => compileReal(join(dir, name), outputOf).stubs[0]?.text.match(/const SIZE = \d+;/)?.[0],
    );
    expect(stubs[0]).toBeDefined();
    expect(stubs[1]).toBe(stubs[0]);
  });

  const run = (name: string): { status: number | null; output: string } => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--reporter=verbose', `test/interop/${name}`],
      { cwd: root, encoding: 'utf8', env: { ...process.env, CORPUS_DIR: dir } },
    );
    return { status, output: stdout + stderr };
  };

  it('passes the test of real files', () => {
    const { status, output } = run('rpcgen/corpus.test.ts');
    expect(status, output).toBe(0);
    for (const name of ['a/broken.x', 'c/deep.x', 'd/scalars.x'])
      expect(output).toContain(`refused: ${name}`);
    for (const name of Object.keys(GOOD)) expect(output).not.toContain(`refused: ${name}`);
    expect(output).toMatch(/needs names of C headers: c\/guess\.x: SIZE far/);
  }, 240_000);

  it.skipIf(!hasC)(
    'passes the test against C',
    () => {
      const { status, output } = run('rpcgen/c.test.ts');
      expect(status, output).toBe(0);
      for (const name of ['b/main.x', 'd/scalars.rpcl', 'a/lib.x']) expect(output).toContain(name);
    },
    480_000,
  );
});
