/** Annotations in comments: what they say, where they may stand, and what is an error. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { compile, compileFiles, emit, IdlError, type Interface, parse } from '../../rpcgen/index.js';
import { writeFiles } from '../support/generated.js';

const UUID = '4b324fc8-1670-01d3-1278-5a47bf6ee188';

function errors(text: string): string[] {
  try {
    compile(text, { name: 't.x' });
    return [];
  } catch (error) {
    if (!(error instanceof IdlError)) throw error;
    return error.diagnostics.map(({ span, code, message }) => {
      const before = text.slice(0, span.start).split('\n');
      return `${before.length}:${(before.at(-1) ?? '').length + 1} ${code} ${message}`;
    });
  }
}

const modes = (model: Interface): unknown[] =>
  model.types.map((type) => {
    const of = type.kind === 'alias' ? type.type : type.kind === 'struct' ? type.fields[0]?.type : undefined;
    const string = of?.kind === 'optional' ? of.element : of;
    return [type.name, string?.kind === 'string' ? string.mode : string?.kind];
  });

describe('annotations', () => {
  it('are as the manual shows them', () => {
    const manual = readFileSync(new URL('../../docs/rpcgen.md', import.meta.url), 'utf8');
    const example = manual.match(/```\n(\/\* @rpc:[^`]*)```/)?.[1] ?? '';
    const { annotations, programs } = compile(example);
    expect(annotations).toEqual({ strings: 'latin1' });
    expect(programs[0]?.versions[0]?.procedures.map((each) => each.annotations)).toEqual([
      { deadlineMs: 5_000, idempotent: true },
      { deadlineMs: 600_000 },
    ]);
  });

  it('stand above, behind, or behind the { of a program, a version and a procedure', () => {
    const text = `
/* Files. @rpc:deadline 2s */
program P { /* @rpc:uuid ${UUID.toUpperCase()} */
  version V {
    void NULL(void) = 0;
    int READ(int) = 1; /* @rpc:idempotent Reads. */
    // @rpc:deadline 500ms
    // @rpc:idempotent
    int LOOK(int) = 2;
  } = 1;
  // @rpc:idempotent
  version W {
    int READ(int) = 1; /* @rpc:deadline 1h */
  } = 2;
} = 7;`;
    const [program] = compile(text).programs;
    expect(program?.annotations).toEqual({ deadlineMs: 2_000, uuid: UUID });
    expect(program?.doc).toBe('Files.');
    const of = (version: number): unknown =>
      program?.versions[version]?.procedures.map(({ name, annotations, doc }) => [name, annotations, doc]);
    expect(of(0)).toEqual([
      ['NULL', { deadlineMs: 2_000 }, undefined],
      ['READ', { deadlineMs: 2_000, idempotent: true }, 'Reads.'],
      ['LOOK', { deadlineMs: 500, idempotent: true }, undefined],
    ]);
    expect(of(1)).toEqual([['READ', { deadlineMs: 3_600_000, idempotent: true }, undefined]]);
    expect(program?.versions[1]?.annotations).toEqual({ idempotent: true });
    // The tree has what each says itself.
    const node = parse(text).definitions[0];
    expect(node?.kind === 'program' ? node.versions[0]?.procedures[0]?.annotations : undefined).toEqual({});
  });

  it('say what strings are, of a typedef, and of a file by its head', () => {
    const text =
      '/* @rpc:strings latin1 */\n\n/* Bytes. @rpc:strings bytes */\ntypedef string a<8>;\ntypedef string *b;\nstruct s { string x<>; };\ntypedef a c;\n';
    const model = compile(text);
    expect(model.annotations).toEqual({ strings: 'latin1' });
    expect(modes(model)).toEqual([
      ['a', 'bytes'],
      ['b', 'latin1'],
      ['s', 'latin1'],
      ['c', 'named'],
    ]);
    expect(emit(model)).not.toContain('@rpc');
    expect(modes(compile('typedef string a<8>; /* @rpc:strings strict */'))).toEqual([['a', 'strict']]);
    expect(modes(compile('typedef string a<8>;'))).toEqual([['a', undefined]]);
  });

  it('of a head hold for that text alone, included or imported', () => {
    const dir = mkdtempSync(join(tmpdir(), 'rpcgen-annotations-'));
    try {
      writeFiles(dir, {
        'inc.x': '// @rpc:strings bytes\n\ntypedef string inc<>;\n',
        'lib.x': '// @rpc:strings strict\n#define X 1\nstruct lib { string x<>; };\n',
        'main.x': '#include "inc.x"\ntypedef string main<>;\nstruct s { lib x; };\n',
      });
      const [model] = compileFiles([join(dir, 'main.x')], { imports: [join(dir, 'lib.x')] });
      expect(modes(model as Interface).slice(0, 2)).toEqual([
        ['inc', 'bytes'],
        ['main', undefined],
      ]);
      const s = model?.types.find(({ name }) => name === 's');
      const lib = s?.kind === 'struct' ? s.fields[0]?.type : undefined;
      expect(
        lib?.kind === 'named' && lib.type.kind === 'struct' ? lib.type.fields[0]?.type : lib,
      ).toMatchObject({ mode: 'strict' });
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('take a deadline from 1 ms to 24 hours, and not one more', () => {
    const deadline = (value: string): unknown => {
      const text = `program P { version V { void A(void) = 1; } = 1; } = 1; /* @rpc:deadline ${value} */`;
      const found = errors(text);
      return found.length > 0 ? found : compile(text).programs[0]?.annotations.deadlineMs;
    };
    expect(deadline('1ms')).toBe(1);
    expect(deadline('24h')).toBe(86_400_000);
    expect(deadline('5m')).toBe(300_000);
    for (const wrong of ['0s', '86400001ms', '25h', '2', 's', '-1s', '1.5s', '2 s', '', '99999999999999s'])
      expect(deadline(wrong)).toEqual([
        '1:60 IDL_SYNTAX @rpc:deadline needs a time from 1ms to 24h, such as 500ms, 2s, 5m or 1h',
      ]);
  });

  const WRONG: readonly (readonly [text: string, error: string])[] = [
    [
      'struct s { int x; };\n/* @rpc:idempotant */\nstruct t { int x; };',
      '2:4 IDL_SYNTAX unknown annotation @rpc:idempotant',
    ],
    ['/* @rpc: */ struct t { int x; };', '1:4 IDL_SYNTAX unknown annotation @rpc:'],
    ['/* @rpc:idempotent */ struct s { int x; };', '1:4 IDL_SYNTAX @rpc:idempotent is not allowed here'],
    ['typedef string a<>; /* @rpc:strings utf16 */', '1:24 IDL_SYNTAX @rpc:strings needs one of utf8'],
    ['/* @rpc:strings bytes */ typedef int a;', '1:38 IDL_TYPE @rpc:strings is for a typedef of string'],
    [
      '/* @rpc:strings bytes */\nstruct s { string x<>; };',
      '1:4 IDL_SYNTAX @rpc:strings is not allowed here',
    ],
    ['struct s { string x<>; /* @rpc:strings bytes */ };', '1:27 IDL_SYNTAX @rpc:strings is not allowed'],
    ['const A = 1; /* @rpc:strings bytes */', '1:17 IDL_SYNTAX @rpc:strings is not allowed'],
    [
      'const A = 1;\n\n/* @rpc:strings bytes */\n\nconst B = 1;',
      '3:4 IDL_SYNTAX @rpc:strings is not allowed',
    ],
    [
      'const A = 1;\n/* @rpc:strings bytes */\n#define B 1\nconst C = B;',
      '2:4 IDL_SYNTAX @rpc:strings is not',
    ],
    ['const A = 1;\n\n/* @rpc:strings bytes */', '3:4 IDL_SYNTAX @rpc:strings is not allowed'],
    ['/* @rpc:idempotent */\n\nconst A = 1;', '1:4 IDL_SYNTAX @rpc:idempotent is not allowed'],
    [
      'program P { version V { void A(void) = 1; } = 1; } = 1; // @rpc:uuid 12345678',
      '1:60 IDL_SYNTAX @rpc:uuid needs a UUID',
    ],
    [
      'program P { version V { void A(void) = 1; } = 1; } = 1; // @rpc:deadline 1s @rpc:deadline 2s',
      '1:77 IDL_SYNTAX duplicate annotation @rpc:deadline',
    ],
  ];
  for (const [text, error] of WRONG)
    it(`are refused where they are wrong: ${JSON.stringify(text)}`, () => {
      const found = errors(text);
      expect(found).toHaveLength(1);
      expect(found[0]).toContain(error);
    });

  it('are none in an address, in a group that is not read, or on a line for C', () => {
    expect(errors('/* me@rpc:idle */ struct s { int x; };')).toEqual([]);
    expect(errors('#if 0\n/* @rpc:nothing */\nconst B = 1;\n#endif\nconst A = 1;')).toEqual([]);
    expect(errors('%/* @rpc:nothing */\nconst A = 1;')).toEqual([]);
  });
});
