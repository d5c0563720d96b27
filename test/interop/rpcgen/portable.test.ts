/** --portable against C's rpcgen itself: on planted and on random files the two give the same verdict. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { checkPortable, IdlError, parse } from '../../../rpcgen/index.js';
import { corpusDir, filesBelow, systemFiles } from '../../support/interfaces.js';

const hasRpcgen = spawnSync('rpcgen', ['--version']).status === 0;
const dir = mkdtempSync(join(tmpdir(), 'portable-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** What C's rpcgen says: nothing, or its complaint. */
function theirs(text: string, newStyle: boolean, cwd = dir): string {
  const path = join(dir, 'x.x');
  writeFileSync(path, text);
  const args = [...(newStyle ? ['-N'] : []), '-h', '-o', join(dir, 'x.h'), path];
  rmSync(join(dir, 'x.h'), { force: true });
  const { status, stderr } = spawnSync('rpcgen', args, { cwd, encoding: 'utf8' });
  return status === 0 ? '' : stderr || 'refused';
}

/** What we say; undefined where it is no `.x` for us, which is told without --portable. */
function ours(text: string, newStyle: boolean): string | undefined {
  try {
    parse(text);
  } catch {
    return undefined;
  }
  try {
    checkPortable(text, { newStyle });
    return '';
  } catch (error) {
    if (!(error instanceof IdlError)) throw error;
    return error.message;
  }
}

const PLANTED = `
struct s { string *note; };
struct s { string note; };
struct s { string note<>; opaque a<3>; opaque b[3]; };
typedef string *note;
typedef string note<5>;
program P { version V { void F(unsigned int) = 1; } = 1; } = 1;
program P { version V { unsigned F(u_int x) = 1; unsigned hyper G(hyper) = 2; } = 1; } = 1;
struct s {int x;}; program P { version V { s *F(int) = 1; } = 1; } = 1;
struct s {int x;}; program P { version V { void F(s *) = 1; } = 1; } = 1;
struct s {int x;}; program P { version V { struct s F(struct s *p) = 1; } = 1; } = 1;
program P { version V { string F(string x) = 1; } = 1; } = 1;
program P { version V { void F(string x<9>) = 1; } = 1; } = 1;
program P { version V { void F(string<>) = 1; } = 1; } = 1;
program P { version V { string<> F(void) = 1; } = 1; } = 1;
program P { version V { opaque<> F(void) = 1; } = 1; } = 1;
program P { version V { void F(opaque x<>) = 1; } = 1; } = 1;
program P { version V { void F(int x[3]) = 1; } = 1; } = 1;
program P { version V { void F(int x<3>) = 1; } = 1; } = 1;
program P { version V { int<3> F(void) = 1; } = 1; } = 1;
program P { version V { void F(int, int) = 1; } = 1; } = 1;
program P { version V { void F(int a, string b) = 1; } = 1; } = 1;
program P { version V { void F() = 1; } = 1; } = 1;
program P { version V { void F(void) = N; } = 1; } = 1; const N = 1;
program P { version V { } = 1; } = 1;
program P { } = 1;
program P { version V { void F(void) = 1; } = 1; version W { void F(void) = 1; } = 2; } = 0x20000001;
struct s { hyper x; unsigned hyper y; quadruple z; long a; unsigned long b; short int c; unsigned char d; };
struct s { float x; double y; bool b; char c; u_char d; int64_t e; bool_t f; };
struct s { int x<>; int *y; int z[3]; int w<3>; };
struct s { };
struct s { struct t { int y; } x; };
struct s { struct { int y; } x; };
struct s { enum { A, B } x; };
struct s { union switch (int x) { case 1: int y; } u; };
enum e { A, B, };
enum e { A = 1, B = -1, C = 0x10, D = 010 };
const N = -1;
const N = - 1;
const N = "foo";
const N = "f\\\\oo";
const N = 'a';
const N = 0XFF;
const N = 1u;
const M = 1; const N = -M;
enum e { A = 'a' };
struct s { int x['a']; };
union u switch (int x) { case 1: int y; default: void; };
union u switch (int x) { case 1: case 2: int y; };
union u switch (int x) { default: void; };
union u switch (int x) { case 1: default: int y; };
union u switch (int x) { case 1: int y; default: void; case 2: int z; };
union u switch (bool x) { case TRUE: int y; case FALSE: void; };
union u switch (unsigned x) { case 'a': int y; case 2: string z<>; case 3: opaque o[3]; };
union u switch (int x) { case '\\\\n': int y; };
enum e { A }; union u switch (enum e x) { case A: int y; };
typedef struct { int x; } t;
typedef struct s x; struct s { int y; };
typedef int x[3]; typedef int *y; typedef int z<>;
// comment
struct s { int x; }; // comment
struct s { int x; /* a // b */ };
namespace a { struct s { int x; }; };
struct s { int x; };;
;struct s { int x; };
struct s { int x;\\n%foo\\n int y; };
#if 0\\n// hidden\\nfoo\\n#endif\\nstruct s { int x; };
#define N 5\\nstruct s { int x<N>; };
#pragma foo\\nstruct s { int x; };
struct list { int x; list *next; }; struct node { int x; struct node *next; };
`
  .trim()
  .split('\n')
  .map((line) => line.replaceAll('\\\\', '\u0000').replaceAll('\\n', '\n').replaceAll('\u0000', '\\'));

/** Pieces that are put together at random; some are portable, some are not. */
const name = fc.constantFrom('a', 'b', 'c', 'item', 'x1');
const type = fc.constantFrom(
  ...'int,unsigned,unsigned int,hyper,unsigned hyper,string,opaque,bool,float,T,struct T,enum E,long,short int,u_int'.split(
    ',',
  ),
);
const size = fc.constantFrom('', '3', 'N', '0x10', "'a'", '-1');
const declared = fc
  .tuple(type, fc.constantFrom('', '', '', '*'), name, fc.constantFrom('', '', '<>', '[]'), size)
  .map(
    ([t, star, n, brackets, s]) =>
      `${t} ${star}${n}${brackets === '' ? '' : `${brackets[0]}${s}${brackets[1]}`}`,
  );
const member = fc.oneof(
  { weight: 9, arbitrary: declared },
  { weight: 1, arbitrary: fc.constant('struct { int y; } in') },
);
const members = fc
  .array(member, { minLength: 0, maxLength: 4 })
  .map((all) => all.map((one) => `${one};`).join(' '));
const argument = fc
  .tuple(type, fc.constantFrom('', '', '*'), fc.constantFrom('', 'p'), fc.constantFrom('', '', '<>', '<3>'))
  .map((parts) => parts.join(' '));
const procedure = fc
  .tuple(type, fc.constantFrom('', '', '', '*'), fc.array(argument, { maxLength: 2 }))
  .map(([result, star, args]) => `${result} ${star} F(${args.length === 0 ? 'void' : args.join(', ')}) = 1;`);
const arm = fc.tuple(fc.constantFrom('1', 'N', "'a'", '-1', '0x1f'), fc.oneof(fc.constant('void'), member));
const definition = fc.oneof(
  members.map((all) => `struct S { ${all} };`),
  declared.map((one) => `typedef ${one};`),
  fc
    .array(arm, { maxLength: 3 })
    .chain((arms) =>
      fc
        .constantFrom('', 'default: void;')
        .map(
          (rest) =>
            `union U switch (int d) { ${arms.map(([c, d]) => `case ${c}: ${d};`).join(' ')} ${rest} };`,
        ),
    ),
  fc.constantFrom(
    'enum E { A, B = 2 };',
    'enum E { A, };',
    'const N = 3;',
    "const N = 'a';",
    'const N = -0x3;',
    '/* note */',
    '// note\n',
  ),
  fc
    .array(procedure, { maxLength: 2 })
    .map((all) => `program P { version V { ${all.join(' ')} } = 1; } = 9;`),
);
const file = fc.array(definition, { minLength: 1, maxLength: 3 }).map((all) => all.join('\n'));

describe.skipIf(!hasRpcgen)('--portable and C’s rpcgen', () => {
  const tally = { accepted: 0, refused: 0 };
  const same = (text: string, newStyle: boolean): void => {
    const mine = ours(text, newStyle);
    if (mine === undefined) return;
    const real = theirs(text, newStyle);
    tally[real === '' ? 'accepted' : 'refused'] += 1;
    expect([text, newStyle, mine === '' ? '' : 'refused', real]).toEqual([
      text,
      newStyle,
      real === '' ? '' : 'refused',
      real,
    ]);
  };

  for (const newStyle of [false, true])
    it(`agree on planted files${newStyle ? ', as rpcgen -N' : ''}`, () => {
      for (const text of PLANTED) same(text, newStyle);
    });

  it('agree on random files', () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
    console.log(`SEED=${seed}`);
    fc.assert(fc.property(file, fc.boolean(), same), { numRuns: 300, seed });
    expect(Math.min(tally.accepted, tally.refused)).toBeGreaterThan(50);
  }, 120_000);

  it('agree on real files', () => {
    const files = [...(corpusDir === undefined ? [] : filesBelow(corpusDir)), ...systemFiles()];
    for (const path of files) {
      const text = readFileSync(path, 'utf8');
      // Files that include others are read by the two from different places.
      if (!/^#[ \t]*include/m.test(text)) same(text, true);
    }
  }, 120_000);

  it('says where: line and column', () => {
    expect(ours('struct s {\n  int x;\n  string *note;\n};', false)).toMatch(
      /^input\.x:3:10: error: C's rpcgen does not accept a pointer to string: use a typedef \[IDL_PORTABLE\]/,
    );
  });
});
