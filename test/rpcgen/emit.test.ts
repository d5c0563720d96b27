/** What comes out: golden files, names, parts, imports; and the tools on interfaces. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { compile, compileFiles, diff, emit, loadInterface, parse, print } from '../../rpcgen/index.js';

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const modules = { xdr: '../../../xdr/index.js', runtime: '../../../runtime/protocol/procedure.js' };

describe('generated modules', () => {
  for (const name of ['features', 'msg'])
    it(`${name}.gen.ts is what ${name}.x gives`, () => {
      const [model] = compileFiles([at(`./fixtures/${name}.x`)]);
      expect(emit(model as NonNullable<typeof model>, modules)).toBe(
        readFileSync(at(`./golden/${name}.gen.ts`), 'utf8'),
      );
    });

  it('import only what they use', () => {
    expect(emit(compile('const A = 1;'))).not.toContain('import');
    expect(emit(compile('typedef int a;'))).toContain(
      "import { type Codec, describe, type Description, int } from 'rpcbind-ts/xdr';",
    );
  });

  it('hold the parts asked for', () => {
    const model = compile('program P { version V { int F(int) = 1; } = 1; } = 1;');
    const parts = (client: boolean, server: boolean): boolean[] => {
      const text = emit(model, { client, server });
      return [text.includes('class PV1Client'), text.includes('function createPV1')];
    };
    expect(parts(true, true)).toEqual([true, true]);
    expect(parts(true, false)).toEqual([true, false]);
    expect(parts(false, true)).toEqual([false, true]);
    expect(emit(model, { client: false, server: false })).not.toContain('runtime');
  });

  it('call methods by what procedures do not share', () => {
    const methods = (names: string): string[] => {
      const text = names
        .split(' ')
        .map((name, i) => `void ${name}(void) = ${i};`)
        .join(' ');
      const { programs } = loadInterface(`program P { version V { ${text} } = 1; } = 1;`);
      return programs[0]?.versions[0]?.procedures.map(({ method }) => method) ?? [];
    };
    expect(methods('PMAPPROC_NULL PMAPPROC_GETPORT')).toEqual(['null', 'getport']);
    expect(methods('RPCBPROC_TADDR2UADDR RPCBPROC_SET')).toEqual(['taddr2uaddr', 'set']);
    expect(methods('A_GET_ALL A_GetSome a')).toEqual(['aGetAll', 'aGetSome', 'a']);
    expect(methods('PRINTMESSAGE')).toEqual(['printmessage']);
    expect(methods('X_1 X_2')).toEqual(['x1', 'x2']);
    expect(methods('X_CONSTRUCTOR X_THEN X_y X_Y')).toEqual(['constructor_', 'then_', 'y', 'y_']);
    expect(methods('NEW')).toEqual(['new_']);
    expect(methods('X_NEW X_new_ X_GET X_SET')).toEqual(['new_', 'new__', 'get', 'set']);
    expect(methods('X_ASYNC X_STATIC')).toEqual(['async', 'static']);
  });

  it('take names of other files from their modules', () => {
    const base = {
      module: parse('struct a { int x; }; const N = 3; enum e { ONE = 1 };'),
      specifier: './base.gen.js',
    };
    const text = emit(
      compile('struct b { a first; a others<N>; }; union u switch (e d) { case ONE: a x; default: void; };', {
        imports: [base],
      }),
    );
    expect(text).toMatch(
      /import \{\s*type a,\s*decodeA,.*encodeA,.*\bN,\s*typeDescription as other_typeDescription,\s*\} from '\.\/base\.gen\.js';/s,
    );
    expect(text).not.toContain('type a =');
  });

  it('take names from modules never read', () => {
    const text = emit(
      compile('struct b { a first; a others<>; };', { externals: [{ specifier: './far.js' }] }),
    );
    expect(text).toContain("import { type a, aCodec } from './far.js';");
    expect(text).toContain('aCodec.encode(w, v.first);');
    expect(text).toContain('aCodec.minBytes');
  });

  it('carry comments over, and leave licences', () => {
    const text = emit(
      compile(
        '/* Licence. */\n\n/* About s. */\nstruct s {\n  int a; /* About a. */\n  // About b\n  // in two lines.\n  int b;\n  int c;\n};',
      ),
    );
    expect(text).not.toContain('Licence');
    expect(text).toContain(
      '/** About s. */\nexport type s = {\n  /** About a. */\n  a: number;\n  /**\n   * About b\n   * in two lines.\n   */\n  b: number;\n  c: number;\n};',
    );
  });
});

describe('canonical form', () => {
  it('compiles to the same interface, and prints the same again', () => {
    const [model] = compileFiles([at('./fixtures/features.x')]);
    const once = print(model as NonNullable<typeof model>);
    const again = compile(once);
    expect(print(again)).toBe(once);
    expect(diff(model as NonNullable<typeof model>, again)).toEqual([]);
  });
});
