/** What rpcgen-ts diff says of edits: each with the level that the wire gives it. */

import { describe, expect, it } from 'vitest';
import { compile, diff } from '../../rpcgen/index.js';

const changes = (before: string, after: string): string[] =>
  diff(compile(before), compile(after)).map(({ level, where, what }) => `${level} ${where}: ${what}`);

/** An interface of which every part is used, to plant edits in. */
const BASE = `
const MAX = 8;
enum kind { FILE = 1, DIR = 2 };
struct entry { string name<MAX>; int size; hyper time; };
union found switch (kind k) { case FILE: entry file; case DIR: void; };
union status switch (int code) { case 0: entry ok; default: void; };
struct pair { int a; int b; };
struct node { int v; node *next; };
struct unused { int x; };
program P {
  version ONE {
    void NULLPROC(void) = 0;
    found FIND(entry) = 1;
    status STAT(pair) = 2;
    node LIST(int) = 3;
  } = 1;
  version TWO { void NULLPROC(void) = 0; } = 2;
} = 77;
`;

/** What is replaced in BASE, by what, and what is said of it. */
const EDITS: readonly (readonly [name: string, from: string, to: string, said: readonly string[]])[] = [
  ['a type of a member', 'int size;', 'hyper size;', ['breaks type entry member size: was int, is hyper']],
  [
    'signedness',
    'int size;',
    'unsigned int size;',
    ['breaks type entry member size: was int, is unsigned int'],
  ],
  [
    'the order of members',
    'int size; hyper time;',
    'hyper time; int size;',
    ['breaks type entry: the order was name, size, time, is name, time, size'],
  ],
  ['a member at the end', 'hyper time;', 'hyper time; int more;', ['breaks type entry member more: is new']],
  [
    'a member in the middle',
    'int size;',
    'int mode; int size;',
    ['breaks type entry member mode: is new, after name'],
  ],
  [
    'a member at the start',
    'string name<MAX>;',
    'int id; string name<MAX>;',
    ['breaks type entry member id: is new, at the start'],
  ],
  ['a member gone', 'int size; ', '', ['breaks type entry member size: is removed']],
  ['a member renamed', 'int size;', 'int length;', ['ok type entry member size: is renamed to length']],
  [
    'a bound narrowed',
    'MAX = 8',
    'MAX = 4',
    ['breaks type entry member name: the bound was 8, is 4: narrower', 'ok constant MAX: was 8, is 4'],
  ],
  [
    'a bound widened',
    'name<MAX>',
    'name<16>',
    ['extends type entry member name: the bound was 8, is 16: wider'],
  ],
  [
    'a bound taken away',
    'name<MAX>',
    'name<>',
    ['extends type entry member name: the bound was 8, is none: wider'],
  ],
  [
    'string to opaque',
    'string name<MAX>',
    'opaque name<MAX>',
    ['ok type entry member name: was string<8>, is opaque<8>: the same encoding'],
  ],
  [
    'an enumerator renumbered',
    'DIR = 2',
    'DIR = 3',
    [
      'breaks type found case DIR: is removed',
      'extends type found case DIR: is new: old peers refuse it',
      'breaks type kind member DIR: was 2, is 3',
    ],
  ],
  [
    'an enumerator new',
    'DIR = 2 }',
    'DIR = 2, LINK = 3 }',
    ['extends type kind member LINK: is new: old peers refuse the value 3'],
  ],
  ['an enumerator renamed', 'FILE', 'REGULAR', ['ok type kind member FILE: is renamed to REGULAR']],
  [
    'an arm for a number of the default',
    'case 0: entry ok;',
    'case 0: entry ok; case 1: int why;',
    ['breaks type status case 1: was void, is int'],
  ],
  ['an arm renamed', 'entry file;', 'entry plain;', ['ok type found case FILE: file is renamed to plain']],
  [
    'an arm from void',
    'case DIR: void;',
    'case DIR: int count;',
    ['breaks type found case DIR: was void, is int'],
  ],
  ['a default new', 'case DIR: void; }', 'case DIR: void; default: int x; }', []],
  ['a default gone', ' default: void;', '', ['breaks type status default: is removed']],
  [
    'a procedure new',
    'node LIST(int) = 3;',
    'node LIST(int) = 3; int MORE(void) = 4;',
    ['extends program P version 1 procedure MORE: is new'],
  ],
  ['a procedure gone', 'node LIST(int) = 3;', '', ['breaks program P version 1 procedure LIST: is removed']],
  [
    'a procedure renumbered',
    'LIST(int) = 3',
    'LIST(int) = 4',
    ['breaks program P version 1 procedure LIST: was number 3, is 4'],
  ],
  [
    'a procedure renamed',
    'LIST(int)',
    'WALK(int)',
    ['ok program P version 1 procedure LIST: is renamed to WALK'],
  ],
  [
    'an argument',
    'LIST(int)',
    'LIST(string)',
    ['breaks program P version 1 procedure LIST argument 1: was int, is string<>'],
  ],
  [
    'a struct taken apart into arguments',
    'STAT(pair)',
    'STAT(int, int)',
    ['ok program P version 1 procedure STAT: had 1 arguments, has 2: the same encoding'],
  ],
  [
    'a version new',
    '} = 2;\n}',
    '} = 2; version THREE { void NULLPROC(void) = 0; } = 3;\n}',
    ['extends program P version 3: is new'],
  ],
  [
    'a version gone',
    'version TWO { void NULLPROC(void) = 0; } = 2;',
    '',
    ['breaks program P version 2: is removed'],
  ],
  ['the program’s number', '= 77', '= 78', ['breaks program P: was number 77, is 78']],
  [
    'a type that nothing uses',
    'struct unused { int x; }',
    'struct unused { hyper x; }',
    ['ok type unused: is changed, but not used by procedures of both versions'],
  ],
  ['a typedef put between', 'int size;', 'length size;', ['ok type length: is new']],
  ['a link to a pointer', 'node *next;', 'node next<1>;', []],
];

describe('an edit', () => {
  for (const [name, from, to, said] of EDITS)
    it(`of ${name} is told by what it does to the wire`, () => {
      expect(BASE).toContain(from);
      const after = BASE.replaceAll(from, to);
      const before = to.startsWith('length') ? 'typedef int length;' : '';
      expect(changes(BASE, before + after)).toEqual(said);
    });
});

describe('several edits at once', () => {
  const edited = (...edits: readonly (readonly [string, string])[]): string =>
    edits.reduce((text, [from, to]) => text.replaceAll(from, to), BASE);
  const LINK = edited(
    ['DIR = 2 }', 'DIR = 2, LINK = 3 }'],
    ['case DIR: void;', 'case DIR: void; case LINK: string target<>;'],
  );

  it('tell a new arm and its enumerator as an extension', () => {
    expect(changes(BASE, LINK)).toEqual([
      'extends type found case LINK: is new: old peers refuse it',
      'extends type kind member LINK: is new: old peers refuse the value 3',
    ]);
  });

  it('tell an arm and its enumerator that are gone as a break', () => {
    expect(changes(LINK, BASE)).toEqual([
      'breaks type found case LINK: is removed',
      'breaks type kind member LINK: is removed: its value is refused',
    ]);
  });

  it('name the other type of an arm, and what is different in it', () => {
    expect(changes(BASE, edited(['entry file;', 'pair file;'])).slice(0, 2)).toEqual([
      'ok type found case FILE: was entry, is pair',
      'ok type entry member name: is renamed to a',
    ]);
  });

  it('tell a renamed type by the place where it is used', () => {
    expect(changes(BASE, edited(['entry', 'item']))).toEqual([
      'ok program P version 1 procedure FIND argument 1: entry is renamed to item',
      'ok type found case FILE: entry is renamed to item',
      'ok type status case 0: entry is renamed to item',
    ]);
  });

  it('say nothing where nothing changed', () => {
    expect(changes(BASE, BASE)).toEqual([]);
  });
});

describe('types that are the same bytes', () => {
  const SAME: readonly (readonly [before: string, after: string])[] = [
    ['typedef int *t;', 'typedef int t<1>;'],
    ['typedef int *t;', 'union t switch (bool b) { case TRUE: int x; case FALSE: void; };'],
    ['typedef bool t;', 'enum t { NO = 0, YES = 1 };'],
    ['typedef opaque t[16];', 'typedef quadruple t;'],
    ['typedef int t;', 'struct t { int only; };'],
    ['struct t { int v; t *next; };', 'struct t { int v; t next<1>; };'],
    ['struct a { int v; a *next; }; typedef a *t;', 'struct b { int w; b *more; }; typedef b *t;'],
  ];
  for (const [before, after] of SAME)
    it(`are ok: ${before} ${after}`, () => {
      const said = diff(compile(before), compile(after));
      expect(said.filter(({ level }) => level !== 'ok')).toEqual([]);
    });
});

describe('types that widen', () => {
  it('extend: an enum or a bool to int, an optional to an array', () => {
    const level = (before: string, after: string): string[] =>
      diff(compile(before), compile(after)).map((change) => change.level);
    expect(level('enum e { A, B }; struct s { e x; };', 'struct s { int x; };')).toContain('extends');
    expect(level('typedef bool t;', 'typedef int t;')).toEqual(['extends']);
    expect(level('typedef int t;', 'typedef bool t;')).toEqual(['breaks']);
    expect(level('typedef int *t;', 'typedef int t<2>;')).toEqual(['extends']);
    expect(level('enum t { A = -1 };', 'typedef unsigned t;')).toEqual(['breaks']);
  });
});

describe('the discriminant of a union', () => {
  const union = (type: string, rest: string): string =>
    `enum k { A = 1, B = 2 }; union t switch (${type} d) { case 1: int x; case 2: void; ${rest} };`;

  it('may be a number or an enum where the cases say it all', () => {
    expect(changes(union('unsigned', ''), union('k', ''))).toEqual([
      'ok type t discriminant: was unsigned int, is k',
    ]);
  });

  it('may not become an enum where a default took the other numbers', () => {
    expect(changes(union('int', 'default: void;'), union('k', ''))).toContain(
      'breaks type t discriminant: was int, is k',
    );
  });
});

describe('a file without programs', () => {
  it('has all its types compared, and one that is gone breaks', () => {
    expect(changes('struct a { int x; }; struct b { hyper y; };', 'struct a { hyper x; };')).toEqual([
      'breaks type a member x: was int, is hyper',
      'breaks type b: is removed',
    ]);
    expect(changes('struct a { int x; };', 'struct b { int x; };')).toEqual(['ok type a: is renamed to b']);
  });

  it('may chain types as long as it likes', () => {
    const chain = (last: string): string =>
      `${Array.from({ length: 3_000 }, (_, i) => `struct s${i} { s${i + 1} *x; };`).join('\n')} struct s3000 { ${last} x; };`;
    expect(changes(chain('int'), chain('hyper'))).toEqual(['breaks type s3000 member x: was int, is hyper']);
  });
});
