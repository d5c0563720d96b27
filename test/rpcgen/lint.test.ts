/** rpcgen-ts lint: each warning, where it is, and what is left alone. */

import { describe, expect, it } from 'vitest';
import { lint, parse } from '../../rpcgen/index.js';

const said = (text: string): string[] =>
  lint(parse(text)).map(
    ({ code, message, position: { line, column } }) => `${line}:${column} ${code} ${message}`,
  );

describe('lint', () => {
  it('warns of lengths without a bound, in types, arms, arguments and results', () => {
    const text =
      'struct s { int a<>; string b<9>; opaque c<>; };\ntypedef string t<>;\nunion u switch (int d) { case 1: int e<>; default: opaque f<8>; };';
    expect(said(text).map((line) => line.replace(/:? a bound.*/, ''))).toEqual([
      '1:16 unbounded a has no maximum number of elements',
      '1:41 unbounded c has no maximum number of bytes',
      '2:16 unbounded t has no maximum number of bytes',
      '3:38 unbounded e has no maximum number of elements',
    ]);
  });

  it('warns of numbers that mean two things', () => {
    expect(said('const N = 1;\nenum e { A, B = N, C = 1, D };')).toEqual([
      '2:20 reused-number member C has the same number as B: 1',
    ]);
    const program = (names: string): string =>
      `program P { version V {\n void NULLPROC(void) = 0;\n /* x */\n void ${names}(void) = 1; } = 1;
       version W {\n void NULLPROC(void) = 0;\n /* x */\n void G(void) = 1; } = 2; } = 9;`;
    expect(said(program('F'))).toEqual([
      expect.stringContaining('reused-number procedure G has the same number as F: 1'),
    ]);
    expect(said(program('G'))).toEqual([]);
  });

  it('warns of a version without procedure 0, and of procedures that nobody explained', () => {
    expect(said('program P { version V { void F(int) = 1; } = 1; } = 9;')).toEqual([
      expect.stringMatching(/^1:21 no-null-procedure version V has no procedure 0/),
      '1:30 no-comment procedure F has no comment',
    ]);
    const good =
      'program P { version V {\n  void NULLPROC(void) = 0;\n  void F(int) = 1; /* Does it. */\n} = 1; } = 9;';
    expect(said(good)).toEqual([]);
  });

  it('warns of arguments and results', () => {
    const text = 'program P { version V { void N(void) = 0;\n/* F */\nstring F(string) = 1; } = 1; } = 9;';
    expect(said(text).map((line) => line.slice(0, 32))).toEqual([
      '3:1 unbounded the result has no ',
      '3:10 unbounded this has no maxim',
    ]);
  });
});
