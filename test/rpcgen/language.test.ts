/** What real files say that the grammar of the RFCs does not, and names that mean something to JavaScript. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { compile, compileFiles, emit, formatDiagnostic, live, loadInterface } from '../../rpcgen/index.js';
import { type Codec, decode, encode, fromJson, toJson } from '../../xdr/index.js';
import { generate, LIBRARIES, load, typeErrors, writeFiles } from '../support/generated.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const codecOf = (text: string, name: string): Codec<unknown> =>
  live(compile(text)).types.get(name) as Codec<unknown>;

describe('the language of real files', () => {
  it('has case true and case false, of bool and of int', () => {
    for (const kind of ['bool', 'int', 'unsigned int']) {
      const codec = codecOf(`union u switch (${kind} d) { case true: int x; case false: void; };`, 'u');
      const d = kind === 'bool' ? true : 1;
      expect(decode(codec, new Uint8Array([0, 0, 0, 1, 0, 0, 0, 7]))).toEqual({ d, x: 7 });
    }
    expect(() => compile('union u switch (bool d) { case true: int x; case TRUE: void; };')).toThrow(
      'duplicate case 1',
    );
  });

  it('has names of its own called true and false', () => {
    const codec = codecOf(
      'enum e { false = 3, true = 4 }; union u switch (e d) { case true: void; case false: int x; };',
      'u',
    );
    expect(decode(codec, new Uint8Array([0, 0, 0, 4]))).toEqual({ d: 4 });
  });

  it('has digits in groups', () => {
    const { constants } = compile("const A = 1'000'000; const B = 0xff'ff; const C = 01'7; const D = '1';");
    expect(constants.map(({ value }) => value)).toEqual([1_000_000n, 0xffffn, 15n, 49n]);
    expect(emit(compile("const A = 1'000'000;"))).toContain('export const A = 1000000;');
    expect(() => compile("const A = 1'000'x;")).toThrow('IDL_SYNTAX');
    expect(() => compile("const A = 1'';")).toThrow('IDL_SYNTAX');
  });

  it('has the unions of RFC 5531 section 9 as they stand there', () => {
    const { types } = compile(`
      enum reply_stat { MSG_ACCEPTED = 0, MSG_DENIED = 1 };
      enum accept_stat { SUCCESS = 0, PROG_MISMATCH = 2 };
      union reply_body switch (reply_stat stat) {
      case MSG_ACCEPTED:
        accepted_reply areply;
      case MSG_DENIED:
        int rreply;
      } reply;
      struct accepted_reply {
        opaque_auth verf;
        union switch (accept_stat stat) {
        case SUCCESS:
          opaque results[0];
        case PROG_MISMATCH:
          struct { unsigned int low; unsigned int high; } mismatch_info;
        default:
          void;
        } reply_data;
      };`);
    expect(types.map(({ name }) => name)).toContain('reply_body');
    expect(() => compile('struct s { int x; } variable;')).toThrow("expected ';'");
  });

  it('has the integers of C and its string', () => {
    const text = 'struct s { uint_t a; int32 b; uint32 c; int64 d; uint64 e; wrapstring f; };';
    const value = { a: 4_294_967_295, b: -1, c: 1, d: -1n, e: 2n ** 64n - 1n, f: 'abc' };
    const wire = encode(codecOf(text, 's'), value);
    expect(hex(wire)).toBe(`${'ffffffff'.repeat(2)}00000001${'ffffffffffffffff'.repeat(2)}0000000361626300`);
    expect(codecOf('typedef hyper int32; typedef int32 t;', 't').minBytes).toBe(8);
  });

  it('warns of two programs of one number, and compiles them', () => {
    const program = (name: string, version: number): string =>
      `program ${name} { version ${name}_V { void ${name}_NULL(void) = 0; } = ${version}; } = 100003;\n`;
    const model = compile(program('NFS', 2) + program('NFS3', 3), { name: 't.x' });
    expect(model.warnings.map(formatDiagnostic)).toEqual([
      't.x:2:70: warning: two programs have the number 100003: services are found by program and version number [IDL_NAME]\n' +
        ` 2 | ${program('NFS3', 3).trim()}\n   | ${' '.repeat(69)}^^^^^^\n` +
        `t.x:1:67: note: first used here\n 1 | ${program('NFS', 2).trim()}\n   | ${' '.repeat(66)}^^^^^^`,
    ]);
    expect(live(model).programs.map(({ number }) => number)).toEqual([100003, 100003]);
    expect(() => compile(program('NFS', 2) + program('NFS', 3))).toThrow('duplicate program NFS');
  });

  it('keeps a comment behind the { of what it opens', () => {
    const text = emit(
      compile(
        'enum e { /* About e. */\n  A, /* About A. */\n  B\n};\nstruct s { // About s.\n  int x; // About x.\n};\n' +
          'program P { /* About P. */\n version V { /* About V. */\n void N(void) = 0; } = 1; } = 9;',
      ),
    );
    for (const line of [
      '/** About e. */\nexport const e = {\n  /** About A. */\n  A: 0,\n  B: 1,',
      '/** About s. */\nexport ',
      '/** About P. */\nexport const P = 9;',
      '/** About V. */\nexport const V = 1;',
    ])
      expect(text).toContain(line);
  });
});

describe('names that every object has', () => {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'rpcgen-language-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const TEXT = `
    enum e { __proto__ = 4, constructor = 5, toString = 6 };
    struct s { int constructor; int __proto__; int valueOf; };
    union u switch (int d) { case 1: int constructor; case 2: int __proto__; default: void; };
    union w switch (hyper d) { case 1: int constructor; case 2: int toString; default: int x; };
    union v switch (e d) { case __proto__: int hasOwnProperty; default: void; };`;
  const VALUES: readonly (readonly [type: string, value: unknown, wire: string])[] = [
    ['e', 4, '00000004'],
    ['s', { constructor: 1, __proto___: 2, valueOf: 3 }, '000000010000000200000003'],
    ['u', { d: 1, constructor: 7 }, '0000000100000007'],
    ['u', { d: 2, __proto___: 7 }, '0000000200000007'],
    ['u', { d: 3 }, '00000003'],
    ['w', { d: 1n, constructor: 7 }, '000000000000000100000007'],
    ['w', { d: 3n, x: 7 }, '000000000000000300000007'],
    ['v', { d: 4, hasOwnProperty: 7 }, '0000000400000007'],
  ];

  it('are names of members and arms, generated and at run time', async () => {
    writeFiles(dir, {
      'a.x': TEXT,
      'use.ts':
        "import { e, type s, type u, type v, type w } from './a.gen.js';\n" +
        `import type { OtherBigint } from '${LIBRARIES.xdr}';\n` +
        'export const all: [s, u, u, u, w, w, v] = [{ constructor: 1, __proto___: 2, valueOf: 3 }, { d: 1, constructor: 7 },\n' +
        '  { d: 2, __proto___: 7 }, { d: 3 as number }, { d: 1n, constructor: 7 }, { d: 3n as OtherBigint, x: 7 }, { d: e.__proto__, hasOwnProperty: 7 }];\n',
    });
    generate(dir, ['a.x']);
    expect(typeErrors(dir)).toEqual([]);
    const made = await load<Record<string, Codec<unknown>>>(join(dir, 'a.gen.ts'));
    const { types } = loadInterface(join(dir, 'a.x'));
    for (const [type, value, wire] of VALUES)
      for (const codec of [made[`${type}Codec`], types.get(type)] as Codec<unknown>[]) {
        expect(hex(encode(codec, value)), type).toBe(wire);
        expect(decode(codec, new Uint8Array(Buffer.from(wire, 'hex')))).toEqual(value);
        const shaped = types.get(type) as Codec<unknown>;
        expect(hex(encode(codec, fromJson(shaped, toJson(shaped, value))))).toBe(wire);
      }
  });

  it('in comments that are Latin-1 are read as that, and UTF-8 as UTF-8', () => {
    const text = 'typedef int a; /* Ren\u00e9 */\n';
    for (const encoding of ['latin1', 'utf8'] as const) {
      writeFileSync(join(dir, 'a.x'), Buffer.from(text, encoding));
      expect(compileFiles([join(dir, 'a.x')])[0]?.types[0]?.doc).toBe('Ren\u00e9');
    }
    writeFileSync(join(dir, 'a.x'), Buffer.from(`\uFEFF${text}`, 'utf8'));
    expect(compileFiles([join(dir, 'a.x')])[0]?.types[0]?.doc).toBe('Ren\u00e9');
  });
});
