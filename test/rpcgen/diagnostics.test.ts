/** What is wrong with a `.x`: where, how it is said, and that one fault is one error. */

import { describe, expect, it } from 'vitest';
import { compile, IdlError } from '../../rpcgen/index.js';

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

/** One text, one error: the beginning of what is said. */
const FAULTS: readonly (readonly [name: string, text: string, error: string])[] = [
  ['a type defined nowhere', 'struct a { foo x; };', '1:12 IDL_NAME type foo is not defined'],
  ['a constant defined nowhere', 'typedef opaque a<MAX>;', '1:18 IDL_NAME constant MAX is not defined'],
  ['a type twice', 'struct a { int x; };\nenum a { B };', '2:6 IDL_NAME type a is defined twice'],
  ['a constant twice', 'const A = 1;\nconst A = 1;', '2:7 IDL_NAME A is defined twice'],
  ['an enumerator twice', 'enum a { X = 1, X = 2 };', '1:17 IDL_NAME X is defined twice'],
  [
    'a length that is an enumerator of two enums',
    'enum a { X }; enum b { X = 1 }; typedef int c<X>;',
    '1:47 IDL_NAME X is defined in enum a of t.x and in enum b of t.x; write ENUM::X',
  ],
  ['an enumerator that is a constant', 'const X = 1; enum b { X };', '1:23 IDL_NAME X is defined twice'],
  ['a member twice', 'struct a { int x; int x; };', '1:23 IDL_NAME duplicate member x'],
  [
    'a case twice',
    'union a switch (int d) { case 1: int x; case 1: void; };',
    '1:46 IDL_NAME duplicate case 1',
  ],
  [
    'a case twice by another name',
    'const ONE = 1; union a switch (int d) { case ONE: int x; case 0x1: void; };',
    '1:63 IDL_NAME duplicate case 1',
  ],
  [
    'two defaults',
    'union a switch (int d) { default: void; default: int x; };',
    '1:41 IDL_SYNTAX duplicate default',
  ],
  [
    'a procedure number twice',
    'program P { version V { void A(void) = 1; void B(void) = 1; } = 1; } = 1;',
    '1:48 IDL_NAME duplicate procedure 1',
  ],
  [
    'a procedure name twice',
    'program P { version V { void A(void) = 1; void A(void) = 2; } = 1; } = 1;',
    '1:48 IDL_NAME duplicate procedure A',
  ],
  [
    'a version number twice',
    'program P { version V { void A(void) = 1; } = 1; version W { void A(void) = 1; } = 1; } = 1;',
    '1:58 IDL_NAME duplicate version 1',
  ],
  [
    'a struct inside itself',
    'struct a { int x; a inside; };',
    '1:8 IDL_TYPE a contains itself, so its size is infinite',
  ],
  [
    'a struct inside itself by an array',
    'struct a { a two[2]; };',
    '1:8 IDL_TYPE a contains itself, so its size is infinite',
  ],
  ['a typedef of itself', 'typedef a b; typedef b a;', 'refers to itself'],
  [
    'a constant of itself',
    'const A = B; const B = A;',
    '1:11 IDL_TYPE the definition of this constant refers to itself',
  ],
  [
    'a length below zero',
    'typedef int a<-1>;',
    '1:15 IDL_TYPE length -1 is not in the range 0 to 4294967295',
  ],
  [
    'a length that is no constant',
    'struct s { int n; int a<n>; };',
    '1:25 IDL_NAME constant n is not defined',
  ],
  ['a length that is a string', 'const A = "x"; typedef int a<A>;', '1:30 IDL_TYPE A is a string'],
  ['an enum beyond 32 bits', 'enum a { X = 0x100000000 };', '1:14 IDL_TYPE 4294967296 does not fit an enum'],
  [
    'a case no enum has',
    'enum e { A }; union u switch (e d) { case 7: void; };',
    '1:43 IDL_TYPE case 7 is not a member of enum e',
  ],
  [
    'a case beyond bool',
    'union u switch (bool d) { case 2: void; };',
    "1:32 IDL_TYPE case 2 is out of range of the discriminant's type",
  ],
  [
    'a union switched by a string',
    'union u switch (string d) { default: void; };',
    '1:24 IDL_TYPE the discriminant of a union is',
  ],
  ['a void member', 'struct a { void x; };', '1:12 IDL_TYPE void is allowed only as'],
  [
    'an opaque without a length',
    'struct a { opaque x; };',
    '1:19 IDL_TYPE opaque must be declared as opaque x[n]',
  ],
  ['a fixed string', 'struct a { string x[4]; };', '1:19 IDL_TYPE string must be declared as string x<>'],
  ['an empty enum', 'enum a { };', '1:6 IDL_TYPE enum a has no members'],
  ['a union without arms', 'union a switch (int d) { };', '1:7 IDL_TYPE union a has no arms'],
  ['a missing semicolon', 'const A = 1\nconst B = 2;', "1:12 IDL_SYNTAX expected ';'"],
  ['a missing name', 'struct { int a; };', "1:8 IDL_SYNTAX expected a name for the struct, found '{'"],
  [
    'a missing constant',
    'const A = ;\nconst B = 2;',
    '1:11 IDL_SYNTAX expected a number or the name of a constant',
  ],
  [
    'a keyword for a name',
    'struct a { int switch; };',
    "1:16 IDL_SYNTAX expected a name, found the word 'switch'",
  ],
  ['something else altogether', 'int x;', "1:1 IDL_SYNTAX expected 'const', 'typedef'"],
  ['a number that is none', 'const A = 12abc;', "1:11 IDL_SYNTAX '12abc' is not a number"],
  ['an octal number that is none', 'const A = 089;', "1:11 IDL_SYNTAX '089' is not an octal number"],
  ['a comment without an end', 'const A = 1; /* and so on', '1:14 IDL_SYNTAX this comment has no end'],
  ['an #if without #endif', '#if 1\nconst A = 1;', '1:1 IDL_SYNTAX #if 1 without #endif'],
  ['an #endif without #if', '#endif', '1:1 IDL_SYNTAX #endif without #if'],
  ['an #include of nothing', '#include "none.x"', "1:1 IDL_SYNTAX cannot find 'none.x' to include"],
  ['an #error', '#error "no"', '1:1 IDL_SYNTAX #error "no"'],
  ['a character of another kind', 'const A = 1; §', "1:14 IDL_SYNTAX unexpected '§'"],
];

describe('diagnostics', () => {
  for (const [name, text, error] of FAULTS)
    it(`says once that there is ${name}`, () => {
      const found = errors(text);
      expect(found).toHaveLength(1);
      expect(found[0]).toContain(error);
    });

  it('shows file, line and column, the source line, and a caret under the place', () => {
    expect(() => compile('struct a {\n\tfoo x;\n};', { name: 'dir/t.x' })).toThrow(
      'dir/t.x:2:2: error: type foo is not defined: define it, or use --import with the .x or module that defines it [IDL_NAME]\n' +
        ' 2 | \tfoo x;\n' +
        '   | \t^^^',
    );
  });

  it('writes out what could steer a terminal, with the caret still under the place', () => {
    const shown = (text: string, name = 't.x'): string => {
      try {
        compile(text, { name });
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    };
    expect(shown('\u001b[J;')).toBe(
      't.x:1:1: error: unexpected character 27 [IDL_SYNTAX]\n' + ' 1 | \\u001b[J;\n' + '   | ^^^^^^',
    );
    expect(shown('/* \u0007 */ struct a { foo x; }; // \u202e')).toContain(
      `\n 1 | /* \\u0007 */ struct a { foo x; }; // \\u202e\n   | ${' '.repeat(24)}^^^`,
    );
    for (const hostile of ['\u009b31m', 'const A = "\u001b', '#error \u0000', '#\u0008'])
      expect(shown(hostile, 'a\u001b.x').replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  });

  it('shows where the first of two stands', () => {
    expect(() => compile('const A = 1;\nconst A = 2;', { name: 't.x' })).toThrow(
      't.x:1:7: note: first defined here\n 1 | const A = 1;\n   |       ^',
    );
  });

  it('finds several faults in one run, in the order of the text', () => {
    const found = errors(
      'const A = ;\nstruct b { int x; int x; };\nstruct c { int 7; d y; };\nenum e { F = G };',
    );
    expect(found.map((line) => line.split(' ')[0])).toEqual(['1:11', '2:23', '3:16', '3:19', '4:14']);
  });

  it('does not take what failed to parse for undefined', () => {
    expect(
      errors('struct a { int 7; };\nstruct b { a x; };\nenum c { D = , E };\ntypedef c cs<E>;'),
    ).toHaveLength(2);
  });

  for (const [name, value] of [
    ['a string without an end', '"no end'],
    ['a string without an end before a ;', '"no end;'],
    ['a string without an end before a ; and blanks', '"no end; \r'],
    ['a string without an end before a comment', '"no end; /* and why */'],
    ['a lone quote', '"'],
    ['a character without an end', "'a;"],
    ['a character that is two', "'ab';"],
    ['a character that is none', "'';"],
  ] as const)
    it(`says one error for ${name}, and finds what is wrong behind it`, () => {
      const found = errors(`const A = ${value}\nconst B = A;\nstruct s { foo x; };\nconst C = ;`);
      expect(found.map((line) => line.split(' ')[0])).toEqual(['1:11', '3:12', '4:11']);
    });

  it('says one error for a string or a comment without an end at the end of the file', () => {
    expect(errors('const A = "x')).toHaveLength(1);
    expect(errors('const A = /* x')).toHaveLength(1);
    expect(errors('struct s { int a; int "x; };\nconst A = 1;')).toHaveLength(1);
  });

  it('has the code and position of its first error, and them all', () => {
    const error = (() => {
      try {
        compile('\nstruct a { foo x; bar y; };', { name: 't.x' });
      } catch (caught) {
        return caught;
      }
      return undefined;
    })();
    expect(error).toBeInstanceOf(IdlError);
    expect(error).toMatchObject({ code: 'IDL_NAME', position: { file: 't.x', line: 2, column: 12 } });
    expect((error as IdlError).diagnostics).toHaveLength(2);
  });
});

describe('hostile .x', () => {
  const quick = (text: string): string[] => {
    const start = performance.now();
    const found = errors(text);
    expect(performance.now() - start).toBeLessThan(10_000);
    return found;
  };

  it('nested without end', () => {
    expect(quick(`struct a { ${'struct { '.repeat(100_000)}`).length).toBeGreaterThan(0);
    expect(quick('namespace a { '.repeat(100_000)).length).toBeGreaterThan(0);
  });

  it('macros that double at each step', () => {
    const lines = Array.from({ length: 60 }, (_, i) => `#define M${i + 1} M${i} M${i}`);
    expect(quick(`#define M0 const A = 1;\n${lines.join('\n')}\nM60`).join()).toContain(
      'tokens once macros are expanded',
    );
  });

  it('a macro of itself', () => {
    expect(quick('#define A A\n#define B C\n#define C B\nconst X = A; const Y = B;').length).toBe(2);
  });

  it('macros that double at each step, by sums', () => {
    const lines = Array.from({ length: 40 }, (_, i) => `#define M${i + 1} M${i}+1 M${i}+1`);
    const start = performance.now();
    expect(errors(`${lines.join('\n')}\nconst A = M40;`)).toEqual([
      '41:11 IDL_SYNTAX more than 500000 tokens once macros are expanded',
    ]);
    expect(performance.now() - start).toBeLessThan(3_000);
  });

  it('as many tokens as there may be, and one more', () => {
    // Five tokens a line, and nothing for those after it.
    const most = `${Array.from({ length: 99_999 }, (_, i) => `const C${i} = 1;`).join('\n')}\n#define ONE 1\n`;
    expect(errors(`${most}const A = ONE;`)).toEqual([]);
    expect(errors(`${most}const A = -ONE;`).join()).toContain('more than 500000 tokens');
  });

  const files =
    (texts: Readonly<Record<string, string>>) =>
    (name: string): { name: string; text: string } | undefined => {
      const text = texts[name];
      return text === undefined ? undefined : { name, text };
    };
  const messages = (name: string, texts: Readonly<Record<string, string>>): string[] => {
    try {
      compile(texts[name] ?? '', { name, include: files(texts) });
      return [];
    } catch (error) {
      if (!(error instanceof IdlError)) throw error;
      return error.diagnostics.map(({ message, span }) => `${span.source.name}:${span.start} ${message}`);
    }
  };

  it('a file that includes itself, alone and by way of another', () => {
    expect(messages('self.x', { 'self.x': '#include "self.x"\n#include "self.x"\n' })).toEqual([
      'self.x:0 self.x includes itself: self.x -> self.x',
      'self.x:18 self.x includes itself: self.x -> self.x',
    ]);
    expect(
      messages('a.x', { 'a.x': 'const A = 1;\n#include "b.x"\n', 'b.x': '#include "a.x"\nconst B = A;' }),
    ).toEqual(['b.x:0 a.x includes itself: a.x -> b.x -> a.x']);
    expect(
      messages('main.x', { 'main.x': '#include "a.x"', 'a.x': '#include "b.x"', 'b.x': '#include "a.x"' }),
    ).toEqual(['b.x:0 a.x includes itself: a.x -> b.x -> a.x']);
  });

  it('a file that includes itself where an #ifndef ends it is none', () => {
    const text = '#ifndef A\n#define A 1\n#include "b.x"\nconst B = A;\n#endif\n';
    expect(messages('a.x', { 'a.x': text, 'b.x': '#include "a.x"' })).toEqual([]);
  });

  it('as deep as #include may go, and one more', () => {
    const chain = (depth: number): Record<string, string> => ({
      ...Object.fromEntries(
        Array.from({ length: depth }, (_, i) => [`${i}.x`, `#include "${i + 1}.x"`] as const),
      ),
      [`${depth}.x`]: 'const A = 1;',
    });
    expect(messages('0.x', chain(32))).toEqual([]);
    expect(messages('0.x', chain(33))).toEqual(['32.x:0 #include nested deeper than 32 files']);
  });

  it('as many #include as there may be, and one more', () => {
    const many = (count: number): Record<string, string> => ({
      'a.x': '#include "empty.x"\n'.repeat(count),
      'empty.x': '',
    });
    expect(messages('a.x', many(1_000))).toEqual([]);
    expect(messages('a.x', many(1_001))).toEqual(['a.x:19000 more than 1000 #include directives']);
  });

  it('a byte order mark at the start of a file, which is none', () => {
    const mark = '\uFEFF';
    expect(
      messages('a.x', { 'a.x': `${mark}#include "b.x"\nconst A = B;`, 'b.x': `${mark}const B = 1;` }),
    ).toEqual([]);
    expect(errors(`${mark}struct a { foo x; };`)[0]).toMatch(/^1:12 IDL_NAME type foo/);
    expect(errors(`const A = 1; ${mark}`)).toHaveLength(1);
  });

  it('a fault in a macro is told where it is used', () => {
    expect(errors('#define A "open\n#define B it\'s\nconst C = A;')).toEqual([
      '3:11 IDL_SYNTAX a string constant must end on its line',
    ]);
  });

  it('#if of endless parentheses', () => {
    expect(quick(`#if ${'('.repeat(100_000)}\n#endif`).join()).toContain('#if cannot be evaluated');
    expect(quick(`#if ${'!'.repeat(100_000)}1\n#endif`).join()).toContain('#if cannot be evaluated');
  });

  it('chains of thousands of types and constants', () => {
    const count = 30_000;
    const structs = Array.from({ length: count }, (_, i) => `struct s${i} { s${i + 1} x; };`).join('\n');
    expect(quick(`${structs}\nstruct s${count} { int x; };`).join()).toContain('nested deeper than');
    const pointers = Array.from(
      { length: count },
      (_, i) => `struct s${i} { s${(i + 1) % count} *x; int y; };`,
    ).join('\n');
    expect(quick(pointers)).toEqual([]);
    const constants = Array.from({ length: count }, (_, i) => `const C${i} = C${i + 1};`).join('\n');
    expect(quick(`${constants}\nconst C${count} = 1;`).join()).toContain('a chain of more than');
    const typedefs = Array.from({ length: 2_000 }, (_, i) => `typedef t${i + 1} t${i};`).join('\n');
    expect(quick(`${typedefs}\ntypedef int t2000;`).join()).toContain('nested deeper than');
  });

  it('a line of a million blanks, and one of a million quotes', () => {
    expect(quick(`#define A ${' '.repeat(1_000_000)}\nconst B = 1;`)).toEqual([]);
    expect(quick(`const A = ${'"'.repeat(100_001)};`).length).toBeGreaterThan(0);
  });
});
