/** rpcgen-ts fmt: the layout, what it keeps, and that it is stable. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compile, format, print } from '../../rpcgen/index.js';
import { randomFiles } from '../support/random-x.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const texts = ['interfaces', 'rpcbind', 'runtime', 'test/rpcgen/fixtures'].flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith('.x'))
    .map((name): [string, string] => [name, readFileSync(join(root, folder, name), 'utf8')]),
);

describe('the layout', () => {
  it('is two columns a brace, a declaration a line, and comments where they were', () => {
    const text = `/* Licence. */


%#include <foo.h>
const   A=1;
/* About e. */
enum e{ONE=1,/* the first */ TWO=-2 , // the second
   THREE };
struct s   {   int a  ;	/* tail */
  unsigned   int  b < A >;


  /* about c,
     in two lines */
  s  * c; opaque d [ 4 ];
};
#ifdef X
union u switch(enum e w) { case ONE: case TWO: string x<>; default:void; };
#endif
program P { version V { void F ( void )=0; int G(int,/* b */ string)=1; }=1; } = 0x20000001;
typedef struct { int z; } t;`;
    expect(format(text)).toBe(`/* Licence. */

%#include <foo.h>
const A = 1;
/* About e. */
enum e {
  ONE = 1,  /* the first */
  TWO = -2,  // the second
  THREE
};
struct s {
  int a;  /* tail */
  unsigned int b<A>;

  /* about c,
     in two lines */
  s *c;
  opaque d[4];
};
#ifdef X
union u switch (enum e w) {
  case ONE:
  case TWO:
    string x<>;
  default:
    void;
};
#endif
program P {
  version V {
    void F(void) = 0;
    int G(int, /* b */ string) = 1;
  } = 1;
} = 0x20000001;
typedef struct {
  int z;
} t;
`);
  });

  it('keeps a continued % line, a comment before a token, and CRLF as LF', () => {
    expect(format('%#define A \\\r\n  1\r\n/* x */ int a;\r\n')).toBe('%#define A \\\n  1\n/* x */ int a;\n');
  });

  it('refuses a comment without an end', () => {
    expect(() => format('struct s { int a; }; /* open')).not.toThrow();
    expect(format('')).toBe('');
  });
});

describe('laid out files', () => {
  for (const [name, text] of texts)
    it(`of ${name} mean the same, and stay`, () => {
      const once = format(text);
      expect(format(once)).toBe(once);
      expect(print(compile(once))).toBe(print(compile(text)));
      const docs = (of: string): unknown => compile(of).types.map(({ doc }) => doc?.replaceAll(/\s+/g, ' '));
      expect(docs(once)).toEqual(docs(text));
    });

  it('at random mean the same, and stay', () => {
    fc.assert(
      fc.property(
        randomFiles,
        fc.array(fc.constantFrom(' ', '\n', '/* c */', '\n\n', ' // d\n', '\t')),
        ({ lib }, gaps) => {
          let i = 0;
          const text = lib.text.replaceAll(' ', () => ` ${gaps[i++ % Math.max(1, gaps.length)] ?? ''}`);
          const once = format(text);
          expect(format(once)).toBe(once);
          expect(print(compile(once))).toBe(print(compile(text)));
        },
      ),
      { numRuns: 150 },
    );
  });
});
