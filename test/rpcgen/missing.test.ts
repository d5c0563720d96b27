/** Names that a file uses and does not define: from its lines for C, from the `.x` beside a header, or guessed. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  compile,
  compileFiles,
  compileProject,
  emit,
  IdlError,
  live,
  loadInterface,
  outputPath,
} from '../../rpcgen/index.js';
import { type Codec, decode, encode } from '../../xdr/index.js';
import { LIBRARIES, load, typeErrors, writeFiles } from '../support/generated.js';

const messages = (run: () => unknown): string[] => {
  try {
    run();
    return [];
  } catch (error) {
    if (!(error instanceof IdlError)) throw error;
    return error.diagnostics.map(({ message }) => message);
  }
};
const bound = (text: string): unknown => {
  const type = compile(text).types.find(({ name }) => name === 't');
  const of = type?.kind === 'alias' ? type.type : undefined;
  return of?.kind === 'array' ? of.max?.size : of?.kind;
};

describe('%#define lines', () => {
  it('give constants', () => {
    expect(bound('%#define MAX 12\ntypedef int t<MAX>;')).toBe(12);
    expect(bound('%# define MAX 0x10 /* why */\ntypedef int t<MAX>;')).toBe(16);
    expect(bound('%#define MAX (1 << 4)\ntypedef int t<MAX>;')).toBe(16);
    expect(bound('%#define MAX \\\n%  (HALF * 2)\n%#define HALF 4 // four\ntypedef int t<MAX>;')).toBe(8);
    expect(
      bound('%#define MAX (LIMIT + E + 1)\nconst LIMIT = 4; enum e { E = 2 }; typedef int t<MAX>;'),
    ).toBe(7);
    expect(bound('%#define MAXNETNAMELEN 300\ntypedef int t<MAXNETNAMELEN>;')).toBe(300);
  });

  it('do not stand before what the file itself defines, and change no text', () => {
    expect(bound('%#define MAX 12\nconst MAX = 3; typedef int t<MAX>;')).toBe(3);
    expect(bound('%#define int hyper\ntypedef int t;')).toBe('int');
    expect(bound('#if 0\n%#define MAX 12\n#else\n%#define MAX 5\n#endif\ntypedef int t<MAX>;')).toBe(5);
  });

  it('give types', () => {
    expect(bound('%#define number unsigned int\ntypedef number t;')).toBe('uint');
    expect(bound('%#define other number\n%#define number hyper\ntypedef other t;')).toBe('hyper');
    const [, type] = compile('%#define other struct s\nstruct s { int x; }; struct u { other x; };').types;
    expect(type).toMatchObject({ fields: [{ type: { kind: 'named', type: { name: 's' } } }] });
  });

  it('are no help where they say nothing, a function, a pointer, or themselves', () => {
    for (const body of ['', '(a) 4', 'sizeof(int)', 'UNKNOWN + 1', 'MAX', '1 / 0', '"x"'])
      expect(
        messages(() => compile(`%#define MAX${body.startsWith('(') ? '' : ' '}${body}\ntypedef int t<MAX>;`)),
      ).toEqual([
        'constant MAX is not defined: use --define MAX=VALUE, or --import with the .x that defines it',
      ]);
    for (const body of ['char *', 'str', 'struct { int x; }', 'int a; typedef int', 'void'])
      expect(messages(() => compile(`%#define str ${body}\nstruct s { str x; };`))).not.toEqual([]);
    expect(messages(() => compile('%#define A B\n%#define B A\nstruct s { A x; };'))).toHaveLength(1);
  });

  it('that differ are refused where the name is used', () => {
    const text = '%#ifdef linux\n%#define MAX 1\n%#else\n%#define MAX 2\n%#endif\n';
    expect(messages(() => compile(`${text}typedef int t<MAX>;`, { name: 't.x' }))).toEqual([
      'MAX is 1 and 2 by %#define lines of t.x: choose one by --define MAX=VALUE',
    ]);
    expect(messages(() => compile(text))).toEqual([]);
    expect(bound(`${text.replace('2', '0x1')}typedef int t<MAX>;`)).toBe(1);
  });

  it('are followed from name to name 64 times, and not once more', () => {
    const chain = (count: number): string => {
      const lines = Array.from(
        { length: count },
        (_, i) => `%#define T${i} ${i === 0 ? 'last' : `T${i - 1}`}`,
      );
      return `${lines.join('\n')}\ntypedef hyper last; struct s { T${count - 1} x; };`;
    };
    expect(messages(() => compile(chain(64)))).toEqual([]);
    expect(messages(() => compile(chain(65)))).toEqual([
      'type T0 is not defined: define it, or use --import with the .x or module that defines it',
    ]);
  });

  it('do not run away', () => {
    const lines = Array.from({ length: 60 }, (_, i) => `%#define M${i + 1} (M${i} + M${i})`).join('\n');
    const start = performance.now();
    expect(messages(() => compile(`%#define M0 1\n${lines}\ntypedef int t<M60>;`))).toHaveLength(1);
    expect(performance.now() - start).toBeLessThan(2_000);
  });
});

describe('names in no file', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'rpcgen-missing-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  const at = (name: string): string => join(dir, name);
  const write = (files: Readonly<Record<string, string>>): void => writeFiles(dir, files);

  it('are taken from the .x beside a header, and from those that it names', () => {
    write({
      'main.x': '%#include "sub/foo.h"\nstruct m { foo f; bar b; opaque o[SIZE]; };',
      'sub/foo.x': '%#include "bar.h"\nstruct foo { bar b; };',
      'sub/bar.x': '%#define SIZE 4\nstruct bar { int x; };',
    });
    const [model] = compileFiles([at('main.x')]);
    const text = emit(model as NonNullable<typeof model>);
    expect(text).toContain("from './sub/foo.gen.js';");
    expect(text).toContain("from './sub/bar.gen.js';");
    expect(loadInterface(at('main.x')).types.get('m')?.minBytes).toBe(12);
  });

  it('are taken from a header in the directories of --include, and in the folder itself', () => {
    write({
      'main.x': '%#include <rpc/foo.h>\nstruct m { foo f; };',
      'inc/rpc/foo.x': 'struct foo { int x; };',
    });
    expect(compileFiles([at('main.x')], { includeDirs: [at('inc')] })).toHaveLength(1);
    write({ 'foo.x': 'struct foo { int x; };' });
    expect(compileFiles([at('main.x')])).toHaveLength(1);
  });

  it('are told with the headers that may have them', () => {
    write({ 'main.x': '%#include "foo.h"\nstruct m { foo f; };\n' });
    expect(messages(() => compileFiles([at('main.x')]))).toEqual([
      'type foo is not defined; it may be in "foo.h", which line 1 includes: define it, or use --import with the .x or module that defines it',
    ]);
    write({
      'inc.x': '\n%#include <a.h>\n',
      'main.x': '#include "inc.x"\n%#include "b.h"\ntypedef int t<N>;\n',
    });
    expect(messages(() => compileFiles([at('main.x')]))).toEqual([
      `constant N is not defined; it may be in <a.h> (${at('inc.x')}:2) or "b.h" (line 2): use --define N=VALUE, or --import with the .x that defines it`,
    ]);
    const many = Array.from({ length: 7 }, (_, i) => `%#include "h${i}.h"\n`).join('');
    expect(messages(() => compile(`${many}typedef foo t;`))[0]).toContain('"h3.h" (line 4) or 3 more');
  });

  it('are not looked for in a neighbour that does not parse, or is wrong in itself', () => {
    const main = '%#include "foo.h"\nstruct m { foo f; };\n';
    for (const foo of ['struct foo {', 'struct foo { int x; }; struct foo { int y; };', '\0\0\0']) {
      write({ 'main.x': main, 'foo.x': foo });
      expect(messages(() => compileFiles([at('main.x')]))).toEqual([
        'type foo is not defined; it may be in "foo.h", which line 1 includes: define it, or use --import with the .x or module that defines it',
      ]);
    }
    write({ 'foo.x': 'struct foo { nowhere x; };' });
    expect(messages(() => compileFiles([at('main.x')]))).toEqual([
      'type nowhere is not defined: define it, or use --import with the .x or module that defines it',
    ]);
  });

  it('of the file itself are known beside a header of which it is one', () => {
    write({
      'main.x': '%#include "foo.h"\nconst N = 3; struct m { foo f; };',
      'foo.x': 'struct foo { int x[N]; };',
    });
    expect(messages(() => compileFiles([at('main.x')]))[0]).toContain('constant N is not defined');
    write({ 'foo.x': '%#include "main.h"\nstruct foo { int x[N]; };' });
    expect(compileFiles([at('main.x')])).toHaveLength(1);
  });

  it('are looked for in 200 files, and not in one more', () => {
    const chain = (count: number): Record<string, string> => ({
      'main.x': '%#include "h1.h"\nstruct m { last l; };',
      ...Object.fromEntries(
        Array.from({ length: count }, (_, i) => [`h${i + 1}.x`, `%#include "h${i + 2}.h"\n`] as const),
      ),
      [`h${count}.x`]: 'struct last { int x; };',
    });
    write(chain(200));
    expect(compileFiles([at('main.x')])).toHaveLength(1);
    write(chain(201));
    expect(messages(() => compileFiles([at('main.x')]))[0]).toContain('type last is not defined');
  });

  it('that files name in a circle end', () => {
    write({
      'main.x': '%#include "foo.h"\n%#include "main.h"\nstruct m { foo f; };',
      'foo.x': '%#include "main.h"\n%#include "foo.h"\nstruct foo { int x; };',
    });
    expect(compileFiles([at('main.x')])).toHaveLength(1);
  });

  const USES =
    'struct m { far f; far *g; opaque o[SIZE]; string s<LIMIT>; };\n' +
    'union u switch (kind k) { case KIND_A: int x; case KIND_B: near n; default: void; };\n' +
    'typedef sort order; union w switch (order o) { case SORT_A: void; };\n' +
    'program P { version V { far GET(near) = PROC_GET; } = VERSION_ONE; } = PROGRAM;\n';

  const stubAll = (names: readonly string[]): ReturnType<typeof compileProject> => {
    const project = compileProject(names.map(at), { stubMissing: true });
    for (const { path, text, model } of project.stubs) {
      writeFileSync(path, text);
      writeFileSync(outputPath(path), emit(model, LIBRARIES));
    }
    project.models.forEach((model, i) => {
      writeFileSync(outputPath(at(names[i] as string)), emit(model, LIBRARIES));
    });
    return project;
  };

  it('are guessed with --stub-missing, by their use, and what uses them works', async () => {
    write({ 'main.x': USES });
    const { stubs, models } = stubAll(['main.x']);
    expect(stubs.map(({ path, input, names }) => ({ path, input, names }))).toEqual([
      {
        path: at('main.missing.x'),
        input: at('main.x'),
        names: ('LIMIT PROC_GET PROGRAM SIZE VERSION_ONE far kind near sort ' + 'KIND_A KIND_B SORT_A').split(
          ' ',
        ),
      },
    ]);
    expect(readFileSync(at('main.missing.x'), 'utf8')).toMatch(
      /typedef opaque far<>;\ntypedef int kind; \/\* the discriminant of a union \*\/\ntypedef opaque near<>;\ntypedef int sort;/,
    );
    expect(typeErrors(dir)).toEqual([]);
    const made = await load<Record<string, Codec<unknown>>>(outputPath(at('main.x')));
    const dynamic = live(models[0] as NonNullable<(typeof models)[0]>).types.get('u') as Codec<unknown>;
    const value = { k: -1 };
    expect(decode(made['uCodec'] as Codec<unknown>, encode(dynamic, value))).toEqual(value);
  });

  it('are guessed the same in every file and in every run', () => {
    write({
      'a.x': 'typedef int a<SIZE>; typedef int b<A_MORE>;',
      'b.x': 'union u switch (int i) { case SIZE: void; };',
    });
    const constant = (names: readonly string[], of: string): unknown =>
      /const SIZE = (\d+);/.exec(
        compileProject(names.map(at), { stubMissing: true }).stubs.find(({ input }) => input === at(of))
          ?.text ?? '',
      )?.[1];
    const alone = constant(['a.x'], 'a.x');
    expect(alone).toMatch(/^\d+$/);
    expect(constant(['b.x'], 'b.x')).toBe(alone);
    expect(constant(['a.x', 'b.x'], 'a.x')).toBe(alone);
  });

  it('are guessed once where several files need them', () => {
    write({ 'a.x': 'struct a { far f; };', 'b.x': 'struct b { far f; a other; opaque o[SIZE]; };' });
    expect(stubAll(['a.x', 'b.x']).stubs.map(({ names }) => names)).toEqual([['far'], ['SIZE']]);
    expect(typeErrors(dir)).toEqual([]);
  });

  it('stay as the stub says, which only grows', () => {
    write({ 'main.x': 'struct m { far f; };', 'main.missing.x': 'struct far { int mine; };' });
    const [first] = compileProject([at('main.x')], { stubMissing: true }).stubs;
    expect(first).toMatchObject({ names: [], text: 'struct far { int mine; };' });
    write({ 'main.x': 'struct m { far f; near n; };' });
    const [second] = compileProject([at('main.x')], { stubMissing: true }).stubs;
    expect(second).toMatchObject({
      names: ['near'],
      text: 'struct far { int mine; };\ntypedef opaque near<>;\n',
    });
    write({ 'main.missing.x': 'struct far {' });
    expect(messages(() => compileProject([at('main.x')], { stubMissing: true }))).not.toEqual([]);
  });

  it('are errors without --stub-missing, and other errors are errors with it', () => {
    write({ 'main.x': USES });
    expect(messages(() => compileProject([at('main.x')]))).toHaveLength(9);
    write({ 'main.x': 'struct m { far f; far f; };' });
    expect(messages(() => compileProject([at('main.x')], { stubMissing: true }))).toContain(
      'duplicate member f',
    );
    write({ 'main.x': 'struct m { int f; };' });
    expect(compileProject([at('main.x')], { stubMissing: true }).stubs).toEqual([]);
    expect(existsSync(at('main.missing.x'))).toBe(false);
  });

  it('in a .rpcl file are as in a .x', () => {
    write({ 'main.rpcl': 'struct m { foo f; };', 'foo.rpcl': 'struct foo { int x; };' });
    expect(outputPath(at('main.rpcl'))).toBe(at('main.gen.ts'));
    expect(loadInterface(at('main.rpcl'), { imports: [at('foo.rpcl')] }).types.has('m')).toBe(true);
  });
});
