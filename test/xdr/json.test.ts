/** Values to JSON and back, by the shape of their codec. */

import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadInterface } from '../../rpcgen/index.js';
import { type Codec, encode, fromJson, type Json, print, template, toJson } from '../../xdr/index.js';
import { arbitrary } from '../support/arbitrary.js';

const { types } = loadInterface(fileURLToPath(new URL('../rpcgen/fixtures/features.x', import.meta.url)));
const of = (name: string): Codec<unknown> => types.get(name) as Codec<unknown>;

describe('JSON of values', () => {
  for (const [name, codec] of types) {
    it(`comes back the same for ${name}`, () => {
      fc.assert(
        fc.property(arbitrary(codec), fc.constantFrom('base64' as const, 'hex' as const), (value, opaque) => {
          const json = JSON.parse(JSON.stringify(toJson(codec, value, { opaque }))) as Json;
          expect(encode(codec, fromJson(codec, json, { opaque }))).toEqual(encode(codec, value));
        }),
        { numRuns: 20 },
      );
    });

    it(`has an example of ${name} to fill in`, () => {
      const example = template(codec);
      const isPossible = !/^point_ptr_ptr$/.test(name);
      if (isPossible) expect(() => encode(codec, fromJson(codec, example))).not.toThrow();
    });
  }

  it('spells enums by name, hypers as decimals, bytes as base64', () => {
    expect(toJson(of('by_enum'), { c: 5, stacked: 'x' })).toEqual({ c: 'BLUE', stacked: 'x' });
    expect(toJson(of('by_hyper'), { n: -9007199254740993n, wide: 3 })).toEqual({
      n: '-9007199254740993',
      wide: 3,
    });
    expect(toJson(of('digest'), Uint8Array.of(1, 2, 3, 255))).toBe('AQID/w==');
    expect(toJson(of('digest'), Uint8Array.of(1, 2, 3, 255), { opaque: 'hex' })).toBe('010203ff');
  });

  it('accepts an enum by number and a hyper as an exact number', () => {
    expect(fromJson(of('color'), 5)).toBe(5);
    expect(fromJson(of('by_hyper'), { n: 1, one: 7 })).toEqual({ n: 1n, one: 7 });
  });

  it('names the member that does not fit', () => {
    const bad = (name: string, json: Json, code: string, path: string): void =>
      expect(() => fromJson(of(name), json)).toThrow(expect.objectContaining({ code, path }));
    bad('point', { x: 1 }, 'XDR_RANGE', 'y');
    bad('point', { x: 1, y: '2' }, 'XDR_RANGE', 'y');
    bad('point', { x: 1, y: 2, z: 3 }, 'XDR_RANGE', 'z');
    bad('by_enum', { c: 'PINK' }, 'XDR_BAD_ENUM', 'c');
    bad('by_int', { n: 9 }, 'XDR_BAD_UNION', '');
    bad('colors', ['RED', 'PINK'], 'XDR_BAD_ENUM', '[1]');
    bad('digest', '!!!!', 'XDR_RANGE', '');
  });

  it('stops where JSON is nested too deep', () => {
    let json: Json = { more: false };
    for (let i = 0; i < 5000; i++) json = { more: true, rest: json };
    expect(() => fromJson(of('recursive'), json)).toThrow(expect.objectContaining({ code: 'XDR_DEPTH' }));
  });

  it('prints a line for each member', () => {
    expect(
      print(of('entries'), [
        { name: 'a', size: 1 },
        { name: 'b', size: 2 },
      ]),
    ).toBe('-\n  name: "a"\n  size: 1\n-\n  name: "b"\n  size: 2');
    expect(print(of('by_enum_void'), { c: 1 })).toBe('c: "GREEN"');
  });
});
