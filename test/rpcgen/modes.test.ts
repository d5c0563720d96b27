/** What codecs do with peers that are not strict: strings, enums and padding, generated and at run time alike. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { type CodecOptions, compile, emit, live } from '../../rpcgen/index.js';
import { type Codec, decode, encode, fromJson, toJson } from '../../xdr/index.js';

const dir = mkdtempSync(fileURLToPath(new URL('.modes-', import.meta.url)));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const xdr = fileURLToPath(new URL('../../xdr/index.js', import.meta.url));
const runtime = fileURLToPath(new URL('../../runtime/protocol/procedure.js', import.meta.url));

const X = `
  typedef string name<8>;
  enum color { RED = 1, BLUE = 2 };
  struct row { name n; color c; bool b; opaque o<>; };
  union by_color switch (color c) { case RED: int r; case BLUE: void; default: string other<>; };
  union closed switch (color c) { case RED: int r; case BLUE: void; };
  program P { version V { row GET(string) = 1; string SAY(int, string) = 2; } = 1; } = 1;
`;

interface Made {
  readonly codecs: ReadonlyMap<string, Codec<unknown>>;
  readonly args: readonly Codec<unknown>[];
  readonly results: readonly Codec<unknown>[];
}

let made = 0;

/** The codecs of X, generated and at run time. */
async function both(options: CodecOptions, text = X): Promise<readonly Made[]> {
  const model = compile(text);
  made += 1;
  const path = join(dir, `m${made}.gen.ts`);
  writeFileSync(path, emit(model, { ...options, xdr, runtime }));
  const module = (await import(/* @vite-ignore */ pathToFileURL(path).href)) as Record<string, unknown>;
  const dynamic = live(model, options);
  const table = module['pV1'] as Record<string, { args: Codec<unknown>; result: Codec<unknown> }> | undefined;
  const procedures = dynamic.programs[0]?.versions[0]?.procedures ?? [];
  const generated = procedures.map(
    ({ name }) => table?.[name] as { args: Codec<unknown>; result: Codec<unknown> },
  );
  return [
    {
      codecs: new Map(
        [...dynamic.types.keys()].map((name) => [name, module[`${name}Codec`] as Codec<unknown>]),
      ),
      args: generated.map(({ args }) => args),
      results: generated.map(({ result }) => result),
    },
    {
      codecs: dynamic.types,
      args: procedures.map(({ args }) => args),
      results: procedures.map(({ result }) => result),
    },
  ];
}

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
const code = (name: string): unknown => expect.objectContaining({ code: name });

/** A row: name, color, bool, opaque of one byte and its padding. */
const row = (name: string, color: number, bool: number, pad = '000000'): Uint8Array =>
  hex(`00000002 ${name}0000 0000000${color} 0000000${bool} 00000001 aa${pad}`);

describe('--strings', () => {
  it('utf8, the default, keeps a name that is not UTF-8', async () => {
    for (const { codecs } of await both({})) {
      const codec = codecs.get('row') as Codec<unknown>;
      const value = decode(codec, row('c7d1', 1, 1));
      expect(value).toMatchObject({ n: '\udcc7\udcd1' });
      expect(encode(codec, value)).toEqual(row('c7d1', 1, 1));
    }
  });

  it('strict refuses it', async () => {
    for (const { codecs } of await both({ strings: 'strict' }))
      expect(() => decode(codecs.get('row') as Codec<unknown>, row('c7d1', 1, 1))).toThrow(code('XDR_RANGE'));
  });

  it('latin1 and bytes read it each in its way', async () => {
    for (const { codecs } of await both({ strings: 'latin1' }))
      expect(decode(codecs.get('row') as Codec<unknown>, row('c7d1', 1, 1))).toMatchObject({
        n: '\u00c7\u00d1',
      });
    for (const { codecs, args } of await both({ strings: 'bytes' })) {
      expect(decode(codecs.get('row') as Codec<unknown>, row('c7d1', 1, 1))).toMatchObject({
        n: hex('c7d1'),
      });
      expect(encode(args[1] as Codec<unknown>, [1, hex('ff')])).toEqual(hex('00000001 00000001 ff000000'));
    }
  });
});

describe('--enums', () => {
  it('strict, the default, refuses numbers that are no members', async () => {
    for (const { codecs } of await both({}))
      expect(() => decode(codecs.get('row') as Codec<unknown>, row('6161', 7, 1))).toThrow(
        code('XDR_BAD_ENUM'),
      );
  });

  it('open keeps them, in a default too, and a union without one still refuses them', async () => {
    for (const { codecs } of await both({ enums: 'open' })) {
      const codec = codecs.get('row') as Codec<unknown>;
      expect(encode(codec, decode(codec, row('6161', 7, 1)))).toEqual(row('6161', 7, 1));
      const union = codecs.get('by_color') as Codec<unknown>;
      const other = { c: 9, other: 'x' };
      expect(decode(union, encode(union, other))).toEqual(other);
      expect(() => decode(codecs.get('closed') as Codec<unknown>, hex('00000009'))).toThrow(
        code('XDR_BAD_UNION'),
      );
      expect(() => encode(codec, { n: '', c: 1.5, b: true, o: hex('') })).toThrow(code('XDR_RANGE'));
    }
    const color = live(compile(X), { enums: 'open' }).types.get('color') as Codec<unknown>;
    expect([toJson(color, 2), toJson(color, 3)]).toEqual(['BLUE', 3]);
    expect([fromJson(color, 'BLUE'), fromJson(color, 3)]).toEqual([2, 3]);
  });
});

describe('--lenient', () => {
  it('accepts padding that is not zero and any bool but 0, in types, arguments and results', async () => {
    for (const { codecs, args, results } of await both({ lenient: true })) {
      const odd = row('6161', 1, 7, '010203');
      for (const codec of [codecs.get('row'), results[0]] as Codec<unknown>[]) {
        expect(decode(codec, odd)).toMatchObject({ b: true, o: hex('aa') });
        expect(encode(codec, decode(codec, odd))).toEqual(row('6161', 1, 1));
      }
      expect(decode(args[0] as Codec<unknown>, hex('00000001 61ffffff'))).toBe('a');
      expect(decode(args[1] as Codec<unknown>, hex('00000001 00000001 61ffffff'))).toEqual([1, 'a']);
      expect(decode(codecs.get('name') as Codec<unknown>, hex('00000001 61ffffff'))).toBe('a');
    }
  });

  it('is off by default', async () => {
    for (const { codecs, args } of await both({})) {
      expect(() => decode(codecs.get('row') as Codec<unknown>, row('6161', 1, 7))).toThrow(
        code('XDR_BAD_ENUM'),
      );
      expect(() => decode(codecs.get('row') as Codec<unknown>, row('6161', 1, 1, '000001'))).toThrow(
        code('XDR_PADDING'),
      );
      expect(() => decode(args[0] as Codec<unknown>, hex('00000001 61ffffff'))).toThrow(code('XDR_PADDING'));
    }
  });

  it('ends with the value it was asked for', () => {
    const { types } = live(compile('struct a { bool x; };'), { lenient: true });
    const strict = live(compile('struct a { bool x; };')).types.get('a') as Codec<unknown>;
    const pair: Codec<unknown> = {
      minBytes: 8,
      encode: () => undefined,
      decode: (r) => [types.get('a')?.decode(r), strict.decode(r)],
    };
    expect(() => decode(pair, hex('00000002 00000002'))).toThrow(code('XDR_BAD_ENUM'));
    expect(decode(strict, hex('00000002'), { lenient: true })).toEqual({ x: true });
  });
});

describe('@rpc:strings', () => {
  it('says it for one typedef, whatever the rest is', async () => {
    const text = '/* @rpc:strings bytes */\ntypedef string raw<8>;\nstruct s { raw a; string b<8>; };';
    for (const { codecs } of await both({}, text))
      expect(decode(codecs.get('s') as Codec<unknown>, hex('00000001 ff000000 00000001 ff000000'))).toEqual({
        a: hex('ff'),
        b: '\udcff',
      });
  });
});
