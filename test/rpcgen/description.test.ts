/** What generated modules tell of themselves: types for JSON and printing without the .x, and a fingerprint. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { compile, compileFiles, emit, live, loadInterface } from '../../rpcgen/index.js';
import {
  type Codec,
  type Description,
  decode,
  encode,
  fromJson,
  type Json,
  print,
  toJson,
} from '../../xdr/index.js';
import { arbitrary } from '../support/arbitrary.js';
import * as generated from './golden/features.gen.js';

const dir = mkdtempSync(fileURLToPath(new URL('.description-', import.meta.url)));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const modules = {
  xdr: fileURLToPath(new URL('../../xdr/index.js', import.meta.url)),
  runtime: fileURLToPath(new URL('../../runtime/protocol/procedure.js', import.meta.url)),
};
const features = loadInterface(fileURLToPath(new URL('./fixtures/features.x', import.meta.url)));
const described = generated.typeDescription();

describe('the description in a generated module', () => {
  it('has every type of the .x', () => {
    expect([...described.keys()]).toEqual([...features.types.keys()]);
  });

  for (const [name, live] of features.types)
    it(`walks ${name} as the .x does, and has its bytes`, () => {
      const codec = described.get(name) as Codec<unknown>;
      fc.assert(
        fc.property(arbitrary(live), (value) => {
          const json = toJson(live, value);
          expect(toJson(codec, value)).toEqual(json);
          const bytes = encode(live, value);
          expect(Buffer.compare(encode(codec, value), bytes)).toBe(0);
          expect(
            Buffer.compare(encode(codec, fromJson(codec, JSON.parse(JSON.stringify(json)) as Json)), bytes),
          ).toBe(0);
          expect(decode(codec, bytes)).toEqual(value);
        }),
        { numRuns: 20 },
      );
    });

  it('has the names of enums, and prints', () => {
    const color = described.get('color') as Codec<unknown>;
    expect(toJson(color, generated.color.RED)).toBe('RED');
    const point = described.get('point') as Codec<unknown>;
    expect(print(point, { x: 1, y: -1 })).toBe('x: 1\ny: -1');
  });

  it('reaches into other modules, that take from it in turn', async () => {
    writeFileSync(
      join(dir, 'a.x'),
      'struct node { int v; node *next; }; enum e { ONE = 1 }; struct a { b *deeper; };',
    );
    writeFileSync(join(dir, 'b.x'), 'struct b { node *all; e which; a inner<>; };');
    const paths = ['a', 'b'].map((name) => join(dir, `${name}.x`));
    for (const [i, model] of compileFiles(paths).entries())
      writeFileSync((paths[i] as string).replace(/\.x$/, '.gen.ts'), emit(model, modules));
    const { typeDescription } = (await import(pathToFileURL(join(dir, 'b.gen.ts')).href)) as {
      typeDescription: Description;
    };
    const value = {
      all: [{ v: 1 }, { v: 2 }],
      which: 1,
      inner: [{ deeper: { all: [], which: 1, inner: [] } }],
    };
    const b = typeDescription().get('b') as Codec<unknown>;
    expect(toJson(b, value)).toEqual({
      ...value,
      which: 'ONE',
      inner: [{ deeper: { ...value.inner[0]?.deeper, which: 'ONE' } }],
    });
    expect(decode(b, encode(b, value))).toEqual(value);
  });
});

describe('annotations', () => {
  it('are carried by the module and by live procedures, and a deadline is sent', () => {
    const procedures = (note: string): string => `${note}\nint GET(int) = 1;\n int SET(int) = 2;`;
    const of = (notes: readonly [string, string]): ReturnType<typeof compile> =>
      compile(`program P {\n${notes[0]}\nversion V {\n${procedures(notes[1])} } = 1; } = 7;`);
    const model = of(['', '']);
    const annotated = of([
      '/* @rpc:uuid 12345678-1234-abcd-ef00-0123456789ab */',
      '/* @rpc:idempotent */\n/* @rpc:deadline 2s */',
    ]);
    const text = emit(annotated);
    expect(text).toContain("  name: 'P',\n  uuid: '12345678-1234-abcd-ef00-0123456789ab',\n");
    expect(text).toContain('    result: int,\n    idempotent: true,\n    deadlineMs: 2000,\n  } satisfies');
    expect(text).toContain('call(pV1.GET, args, options);');
    expect(text).toContain('call(pV1.SET, args, options);');
    const [get, set] = live(annotated).programs[0]?.versions[0]?.procedures ?? [];
    expect(get).toMatchObject({ idempotent: true, deadlineMs: 2_000 });
    expect(set?.idempotent).toBeUndefined();
    const plain = wire(emit(model));
    expect(wire(text)).toBe(plain);
  });
});

const wire = (text: string): string => /wireFingerprint = '([0-9a-f]+)'/.exec(text)?.[1] ?? '';

describe('the fingerprint', () => {
  const print1 = (text: string): string => wire(emit(compile(text)));
  const BASE = 'struct s { int a; string b<9>; }; program P { version V { s F(s) = 1; } = 1; } = 7;';

  it('is the same for the same bytes, whatever the names', () => {
    const same = [
      'struct t { int x; opaque y<9>; }; program Q { version W { t G(t) = 1; } = 1; } = 7;',
      `${BASE} struct unused { hyper h; };`,
      'typedef int i; struct s { i a; string b<9>; }; program P { version V { s F(s) = 1; } = 1; } = 7;',
    ];
    for (const text of same) expect(print1(text)).toBe(print1(BASE));
  });

  it('is another where a byte is', () => {
    const others = ['int a', 'b<9>', '= 7', 's F', 'F(s) = 1', '} = 1;'].map((part, i) =>
      BASE.replace(part, ['hyper a', 'b<8>', '= 8', 'int F', 'F(s) = 2', '} = 2;'][i] as string),
    );
    const all = [BASE, ...others].map(print1);
    expect(new Set(all).size).toBe(all.length);
    expect(all.every((each) => /^[0-9a-f]{24}$/.test(each))).toBe(true);
  });

  it('stands in the golden file, so that a change of how it is made is seen', () => {
    const golden = readFileSync(fileURLToPath(new URL('./golden/msg.gen.ts', import.meta.url)), 'utf8');
    expect(golden).toMatch(/wireFingerprint = '[0-9a-f]{24}'/);
  });
});
