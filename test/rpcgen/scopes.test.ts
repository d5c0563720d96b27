/** Whose name a name is: each file looks its own up, cases are their discriminant's, and what is still two is refused. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile, compileFiles, IdlError, live, loadInterface } from '../../rpcgen/index.js';
import { type Codec, decode, encode } from '../../xdr/index.js';
import { generate, load, typeErrors, writeFiles } from '../support/generated.js';

type Codecs = Readonly<Record<string, Codec<unknown>>>;

/** Folders of files that are compiled together. */
const PROJECTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  sizes: {
    'lib.x': 'const N = 4; struct H { opaque x[N]; };',
    'main.x': 'const N = 8; struct M { H h; }; struct L { M ms<>; opaque y[N]; };',
  },
  cases: {
    'lib.x':
      'enum B { CREATE = 0, REMOVE = 1 }; union U switch (B b) { case CREATE: int x; case REMOVE: hyper y; };',
    'main.x': 'enum A { CREATE = 0, UPDATE = 1, REMOVE = 2 }; struct M { U u; };',
  },
  types: {
    'lib.x': 'typedef hyper id; struct H { id x; id *next; };',
    'main.x': 'typedef int id; struct M { H h; id y; };',
  },
  two: {
    'a.x': 'enum K { A = 1, B = 2 }; const SIZE = 3; typedef K ks<SIZE>;',
    'b.x': 'enum K { A = 7, C = 8 }; const SIZE = 5; typedef K others<SIZE>;',
    'main.x':
      'struct M { ks first; others second; }; union U switch (int i) { case 1: ks k; default: others o; };',
  },
  own: {
    'a.x': 'enum K { A = 1, B = 2 }; struct S { K k; };',
    'main.x':
      'enum Z { A = 5, B = 6 }; struct M { Z z; S s; }; union U switch (Z z) { case A: S s; case B: void; };',
  },
  equal: {
    'main.x':
      'enum K { A = 1, B = 2 }; enum Z { A = 5, B = 2 }; const TWO = B; typedef int upTo<B>;' +
      'union U switch (K k) { case A: int x; case B: void; }; union V switch (Z z) { case A: int x; default: void; };',
  },
  numbers: {
    'lib.x': 'const N = 2; struct list { int v[N]; list *rest; };',
    'main.x': 'const N = 3; struct M { list l; list *m; opaque o[N]; };',
  },
};

describe('names of several files', () => {
  let dir = '';
  let errors: string[] = [];
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'rpcgen-scopes-'));
    for (const [name, files] of Object.entries(PROJECTS)) {
      writeFiles(join(dir, name), files);
      generate(join(dir, name), Object.keys(files));
    }
    errors = typeErrors(dir);
  }, 60_000);
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  /** A type of a project's main.x, as its generated module and as a live interface have it. */
  const both = async (project: string, type: string): Promise<Codec<unknown>[]> => {
    const made = await load<Codecs>(join(dir, project, 'main.gen.ts'));
    const others = Object.keys(PROJECTS[project] ?? {}).filter((name) => name !== 'main.x');
    const imports = others.map((name) => join(dir, project, name));
    const codec = loadInterface(join(dir, project, 'main.x'), { imports }).types.get(type);
    return [made[`${type}Codec`] as Codec<unknown>, codec as Codec<unknown>];
  };
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

  it('give modules that pass every flag of the compiler', () => {
    expect(errors).toEqual([]);
  });

  it('are sizes of the file that uses them', async () => {
    for (const codec of await both('sizes', 'L')) {
      const value = {
        ms: Array.from({ length: 6 }, () => ({ h: { x: new Uint8Array(4).fill(1) } })),
        y: new Uint8Array(8).fill(2),
      };
      const wire = encode(codec, value);
      expect(hex(wire)).toBe(`00000006${'01010101'.repeat(6)}${'02'.repeat(8)}`);
      expect(decode(codec, wire)).toEqual(value);
    }
  });

  it('are members of the enum of the file that uses them', async () => {
    for (const codec of await both('cases', 'M')) {
      expect(hex(encode(codec, { u: { b: 1, y: 3n } }))).toBe('000000010000000000000003');
      expect(decode(codec, bytes('00000000 00000009'))).toEqual({ u: { b: 0, x: 9 } });
    }
  });

  it('are types of the file that uses them', async () => {
    for (const codec of await both('types', 'M'))
      expect(hex(encode(codec, { h: { x: 1n, next: null }, y: 2 }))).toBe('00000000000000010000000000000002');
  });

  it('may be one name of two files', async () => {
    for (const codec of await both('two', 'M')) {
      expect(hex(encode(codec, { first: [1, 2], second: [7] }))).toBe(
        '0000000200000001000000020000000100000007',
      );
      expect(() => encode(codec, { first: [], second: [1] })).toThrow('K');
      expect(() => encode(codec, { first: [1, 1, 1, 1], second: [] })).toThrow('at most 3');
      expect(() => decode(codec, bytes('00000000 00000006'))).toThrow('at most 5');
    }
  });

  it('are the own file’s before those of another', async () => {
    for (const codec of await both('own', 'U')) {
      expect(hex(encode(codec, { z: 5, s: { k: 1 } }))).toBe('0000000500000001');
      expect(() => decode(codec, bytes('00000001 00000001'))).toThrow('Z');
    }
  });

  it('may be members of two enums of one file', async () => {
    for (const codec of await both('equal', 'V')) {
      expect(hex(encode(codec, { z: 5, x: 1 }))).toBe('0000000500000001');
      expect(() => decode(codec, bytes('00000001 00000001'))).toThrow('Z');
    }
    for (const codec of await both('equal', 'U')) expect(decode(codec, bytes('00000002'))).toEqual({ k: 2 });
    for (const codec of await both('equal', 'upTo'))
      expect(() => encode(codec, [1, 2, 3])).toThrow('at most 2');
  });

  it('are bounds of another file’s linked list', async () => {
    for (const codec of await both('numbers', 'M'))
      expect(
        hex(encode(codec, { l: [{ v: [1, 2] }], m: [{ v: [3, 4] }], o: new Uint8Array([5, 5, 5]) })),
      ).toBe('000000010000000200000000000000010000000300000004000000000505050' + '0');
  });

  const refusal = (files: Readonly<Record<string, string>>): string[] => {
    const own = mkdtempSync(join(tmpdir(), 'rpcgen-scopes-'));
    try {
      writeFiles(own, files);
      const imports = Object.keys(files).filter((name) => name !== 'main.x');
      compileFiles([join(own, 'main.x')], { imports: imports.map((name) => join(own, name)) });
      return [];
    } catch (error) {
      if (!(error instanceof IdlError)) throw error;
      return error.diagnostics.map(({ message }) => message.replaceAll(`${own}/`, ''));
    } finally {
      rmSync(own, { recursive: true });
    }
  };

  it('are refused where two files have one that is not the same, and both are named', () => {
    const files = { 'a.x': 'typedef int t; const N = 1;', 'b.x': 'typedef hyper t; const N = 2;' };
    expect(refusal({ ...files, 'main.x': 'struct s { t x; opaque y[N]; };' })).toEqual([
      'type t is defined in a.x and in b.x',
      'N is defined in a.x and in b.x',
    ]);
    expect(
      refusal({ 'a.x': 'enum e { N }; ', 'b.x': 'const N = 2;', 'main.x': 'typedef int t<N>;' }),
    ).toEqual(['N is defined in enum e of a.x and in b.x']);
  });

  it('are not seen by a file that is imported, but by those that are compiled together', () => {
    const files = {
      'lib.x': 'typedef int l<N>; struct t { m x; };',
      'main.x': 'const N = 3; typedef int m; struct s { l x; t y; };',
    };
    expect(refusal(files).map((message) => message.replace(/:.*/, ''))).toEqual([
      'constant N is not defined',
      'type m is not defined',
    ]);
    const own = mkdtempSync(join(tmpdir(), 'rpcgen-scopes-'));
    writeFiles(own, files);
    expect(compileFiles(Object.keys(files).map((name) => join(own, name)))).toHaveLength(2);
    rmSync(own, { recursive: true });
  });

  it('are one where two files say the same, all that it is made of included', () => {
    const text = 'const N = 4; typedef opaque id[N]; struct t { id x; };';
    const main = 'struct s { t x; };';
    expect(refusal({ 'a.x': text, 'b.x': text, 'main.x': main })).toEqual([]);
    expect(refusal({ 'a.x': text, 'b.x': text.replace('4', '0x4'), 'main.x': main })).toEqual([]);
    expect(refusal({ 'a.x': text, 'b.x': text.replace('4', '8'), 'main.x': main })).toEqual([
      'type t is defined in a.x and in b.x',
    ]);
    const node = 'struct t { int v; t *next; };';
    expect(refusal({ 'a.x': node, 'b.x': node, 'main.x': main })).toEqual([]);
  });
});

describe('cases', () => {
  it('are looked up in the discriminant’s enum first', () => {
    const text =
      'enum K { A = 1, B = 2 }; enum Z { A = 5 }; union U switch (K k) { case A: int x; case B: void; };';
    const codec = live(compile(text)).types.get('U') as Codec<unknown>;
    expect(decode(codec, new Uint8Array([0, 0, 0, 1, 0, 0, 0, 9]))).toEqual({ k: 1, x: 9 });
  });

  it('may be constants and members of other enums, if the discriminant’s enum has their number', () => {
    const head = 'enum K { A = 1, B = 2 }; enum Z { C = 2 }; const ONE = 1; ';
    expect(() => compile(`${head} union U switch (K k) { case ONE: int x; case C: void; };`)).not.toThrow();
    expect(() => compile(`${head} const FIVE = 5; union U switch (K k) { case FIVE: int x; };`)).toThrow(
      'case 5 is not a member of enum K',
    );
  });
});

describe('a struct that points to itself', () => {
  const shape = (text: string): unknown => {
    const type = compile(text).types.find(({ name }) => name === 'tree');
    return type?.kind === 'struct'
      ? [type.link, type.fields.map(({ name, type: of }) => [name, of.kind])]
      : type;
  };
  it('is a list where its last member is its only reference to itself', () => {
    expect(shape('struct tree { int v; tree *next; };')).toEqual(['next', [['v', 'int']]]);
    expect(shape('struct tree { int v; ptr next; }; typedef tree *ptr;')).toEqual(['next', [['v', 'int']]]);
  });

  it('is a tree where others lead to it too', () => {
    const members = (kind: string): unknown => [
      undefined,
      [
        ['v', 'int'],
        ['l', kind],
        ['r', 'optional'],
      ],
    ];
    expect(shape('struct tree { int v; tree *l; tree *r; };')).toEqual(members('optional'));
    expect(shape('struct tree { int v; tree l<>; tree *r; };')).toEqual(members('array'));
    expect(shape('typedef tree *ptr; struct tree { int v; ptr l; tree *r; };')).toEqual(members('named'));
    expect(shape('struct tree { int v; struct { tree *x; } l; tree *r; };')).toEqual(members('named'));
  });

  it('keeps both branches', () => {
    const codec = loadInterface('struct tree { int v; tree *l; tree *r; };').types.get(
      'tree',
    ) as Codec<unknown>;
    const value = { v: 1, l: { v: 2, l: null, r: null }, r: { v: 3, l: null, r: null } };
    expect(Buffer.from(encode(codec, value)).toString('hex')).toBe(
      '00000001' +
        '00000001' +
        '00000002' +
        '0000000000000000' +
        '00000001' +
        '00000003' +
        '0000000000000000',
    );
    expect(decode(codec, encode(codec, value))).toEqual(value);
  });
});
