/** Generated codecs and those made at run time agree byte for byte, both ways. */

import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadInterface } from '../../rpcgen/index.js';
import { type Codec, decode, encode, XdrError } from '../../xdr/index.js';
import { arbitrary } from '../support/arbitrary.js';
import * as generated from './golden/features.gen.js';

const features = loadInterface(fileURLToPath(new URL('./fixtures/features.x', import.meta.url)));
const exported = generated as unknown as Record<string, Codec<unknown>> & { recursiveCodec: Codec<unknown> };

describe('generated and dynamic codecs', () => {
  for (const [name, dynamic] of features.types) {
    it(`agree on ${name}`, () => {
      const made = exported[`${name}Codec`] as Codec<unknown>;
      expect(made, `${name}Codec is exported`).toBeDefined();
      expect(made.minBytes).toBe(dynamic.minBytes);
      fc.assert(
        fc.property(arbitrary(dynamic), (value) => {
          const bytes = encode(dynamic, value);
          expect(encode(made, value)).toEqual(bytes);
          expect(decode(made, bytes)).toEqual(value);
          expect(decode(dynamic, bytes)).toEqual(value);
          expect(bytes.length % 4).toBe(0);
          expect(bytes.length).toBeGreaterThanOrEqual(made.minBytes);
        }),
        { numRuns: 60 },
      );
    });

    it(`agree on what is no ${name}`, () => {
      const made = exported[`${name}Codec`] as Codec<unknown>;
      const verdict = (codec: Codec<unknown>, bytes: Uint8Array): unknown => {
        try {
          return decode(codec, bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(XdrError);
          return error instanceof XdrError ? error.code : error;
        }
      };
      const mutated = fc
        .tuple(arbitrary(dynamic), fc.nat(), fc.nat(255), fc.nat(8))
        .map(([value, at, byte, cut]) => {
          const bytes = encode(dynamic, value);
          if (bytes.length > 0) bytes[at % bytes.length] = byte;
          return bytes.subarray(0, bytes.length - Math.min(cut, bytes.length));
        });
      fc.assert(
        fc.property(mutated, (bytes) => {
          expect(verdict(made, bytes)).toEqual(verdict(dynamic, bytes));
        }),
        { numRuns: 60 },
      );
    });
  }

  it('agree on procedures with several arguments', () => {
    const procedure = features.programs[0]?.versions[0]?.procedures.find(
      (p) => p.name === 'FEATURES_DELETE_ALL',
    );
    const dynamic = procedure?.args as Codec<unknown>;
    const made = generated.featuresProgV1.FEATURES_DELETE_ALL.args as Codec<unknown>;
    fc.assert(
      fc.property(arbitrary(dynamic), (value) => {
        const bytes = encode(dynamic, value);
        expect(encode(made, value)).toEqual(bytes);
        expect(decode(made, bytes)).toEqual(decode(dynamic, bytes));
      }),
      { numRuns: 30 },
    );
  });

  it('serve procedures called new, get, set, async, static, constructor', async () => {
    const echo = (x: number): number => x;
    const service = generated.createWordsProgV1({
      get: () => undefined,
      new_: echo,
      set: (_, x) => x,
      async: echo,
      static: echo,
      constructor_: echo,
      then_: echo,
      delete: echo,
      readonly: echo,
      declare: echo,
      accessor: echo,
      tostring: echo,
    });
    const asked: string[] = [];
    const client = new generated.WordsProgV1Client({
      call: (procedure: { name: string }) => Promise.resolve(asked.push(procedure.name)),
    } as unknown as ConstructorParameters<typeof generated.WordsProgV1Client>[0]);
    await client.new_(1);
    await client.set(1, 2);
    await client.constructor_(1);
    expect(asked).toEqual(['WORDS_NEW', 'WORDS_SET', 'WORDS_CONSTRUCTOR']);
    expect(service.procedures).toHaveLength(12);
  });

  it('stop at the same depth', () => {
    const dynamic = features.types.get('recursive') as Codec<unknown>;
    const deep = (levels: number): Uint8Array => {
      const bytes = new Uint8Array(levels * 4);
      for (let i = 0; i < levels - 1; i++) bytes[i * 4 + 3] = 1;
      return bytes;
    };
    for (const codec of [dynamic, exported.recursiveCodec as Codec<unknown>]) {
      expect(() => decode(codec, deep(128))).not.toThrow();
      expect(() => decode(codec, deep(129))).toThrow(expect.objectContaining({ code: 'XDR_DEPTH' }));
    }
  });
});
