/** Strings that are not UTF-8: nothing is lost, nothing hides, and strict means strict. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Codec, decode, encode, fromJson, type Json, opaque, string, toJson } from '../../xdr/index.js';

const utf8 = string(undefined, 'utf8');
const strict = string(undefined, 'strict');
const latin1 = string(undefined, 'latin1');
const wire = (bytes: readonly number[] | Uint8Array): Uint8Array => encode(opaque(), Uint8Array.from(bytes));

/** Bytes that are nearly UTF-8: pieces of it, whole and cut, and any bytes. */
const nearlyUtf8 = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 3 }).map((text) => [...Buffer.from(text)]),
      fc.array(fc.constantFrom(0x80, 0xbf, 0xc0, 0xc3, 0xe0, 0xed, 0xa0, 0xf0, 0x90, 0xf4, 0x8f, 0xff), {
        maxLength: 3,
      }),
      fc.array(fc.nat(255), { maxLength: 4 }),
    ),
    { maxLength: 12 },
  )
  .map((parts) => Uint8Array.from(parts.flat()));

describe('a string of utf8', () => {
  it('keeps all bytes, there and back, by JSON too', () => {
    fc.assert(
      fc.property(nearlyUtf8, (bytes) => {
        const text = decode(utf8, wire(bytes));
        expect(encode(utf8, text)).toEqual(wire(bytes));
        const json = JSON.parse(JSON.stringify(toJson(utf8, text))) as Json;
        expect(encode(utf8, fromJson(utf8, json))).toEqual(wire(bytes));
      }),
      { numRuns: 2_000 },
    );
  });

  it('agrees with the platform on what is UTF-8', () => {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    fc.assert(
      fc.property(nearlyUtf8, (bytes) => {
        let expected: string | undefined;
        try {
          expected = decoder.decode(bytes);
        } catch {}
        const text = decode(utf8, wire(bytes));
        if (expected === undefined) expect(text.isWellFormed()).toBe(false);
        else expect(text).toBe(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  it('names the bytes of EUC-KR and CP949 as lone surrogates, but for those that are UTF-8 by chance', () => {
    // Two syllables in EUC-KR, of which the middle bytes are U+0471 in UTF-8; and one that only CP949 has.
    expect(decode(utf8, wire([0xc7, 0xd1, 0xb1, 0xdb]))).toBe('\udcc7\u0471\udcdb');
    expect(decode(utf8, wire([0x41, 0x8c, 0x63, 0x42]))).toBe('A\udc8ccB');
  });

  it('never escapes a byte of ASCII', () => {
    for (let byte = 0; byte < 0x80; byte++)
      expect(decode(utf8, wire([0xc3, byte, 0xff]))).toBe(`\udcc3${String.fromCharCode(byte)}\udcff`);
  });

  it('refuses a lone surrogate that is not an escape', () => {
    for (const text of ['\ud800', 'a\udbff', '\udc7f', '\udd00', '\udfff', '\ud800\ud800'])
      expect(() => encode(utf8, text), escape(text)).toThrow(expect.objectContaining({ code: 'XDR_RANGE' }));
    expect(encode(utf8, '\udc80\udcff')).toEqual(wire([0x80, 0xff]));
  });

  it('counts bytes, not characters, at the bound', () => {
    const three = string(3, 'utf8');
    expect(decode(three, encode(three, 'a\udcff\udc80'))).toBe('a\udcff\udc80');
    expect(() => encode(three, 'é\udcff\udcff')).toThrow(expect.objectContaining({ code: 'XDR_LIMIT' }));
    expect(() => decode(three, wire([1, 2, 3, 4]))).toThrow(expect.objectContaining({ code: 'XDR_LIMIT' }));
  });

  it('takes a million bad bytes at once', () => {
    const bytes = new Uint8Array(1_000_000).fill(0xfe);
    expect(Buffer.compare(encode(utf8, decode(utf8, wire(bytes))), wire(bytes))).toBe(0);
  });
});

describe('a strict string', () => {
  it('refuses what is not UTF-8, and escapes', () => {
    expect(() => decode(strict, wire([0xff]))).toThrow(expect.objectContaining({ code: 'XDR_RANGE' }));
    expect(() => encode(strict, '\udcff')).toThrow(expect.objectContaining({ code: 'XDR_RANGE' }));
    expect(string().shape).toEqual({ kind: 'string', max: 0xffff_ffff, mode: 'strict' });
  });
});

describe('a string of latin1', () => {
  it('is one character a byte', () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const text = String.fromCharCode(...all);
    expect(decode(latin1, wire(all))).toBe(text);
    expect(encode(latin1, text)).toEqual(wire(all));
    expect(encode(latin1, 'é')).toEqual(wire([0xe9]));
  });

  it('refuses characters beyond U+00FF', () => {
    for (const codec of [latin1] as readonly Codec<string>[])
      expect(() => encode(codec, '\u0100')).toThrow(expect.objectContaining({ code: 'XDR_RANGE' }));
  });
});
