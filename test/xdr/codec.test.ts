import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  array,
  bool,
  type Codec,
  decode,
  double,
  encode,
  enumeration,
  fixedArray,
  fixedOpaque,
  float,
  hyper,
  int,
  lazy,
  list,
  MAX_READER_BYTES,
  nonEmptyList,
  opaque,
  optional,
  quadruple,
  string,
  struct,
  uhyper,
  uint,
  unionOf,
  voidCodec,
  XdrError,
  type XdrErrorCode,
  XdrReader,
  XdrWriter,
} from '../../xdr/index.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

function codeOf(action: () => unknown): XdrErrorCode | 'no error' {
  try {
    action();
  } catch (error) {
    if (error instanceof XdrError) return error.code;
    throw error;
  }
  return 'no error';
}

/** The file entry of RFC 4506 section 7, with the bytes the RFC prints. */
const filetype = struct({
  filename: string(255),
  type: unionOf(
    { name: 'kind', type: enumeration({ TEXT: 0, DATA: 1, EXEC: 2 }) as Codec<unknown> },
    [
      { cases: [0], field: null },
      { cases: [1], field: { name: 'creator', type: string(255) as Codec<unknown> } },
      { cases: [2], field: { name: 'interpretor', type: string(255) as Codec<unknown> } },
    ],
    undefined,
    { name: 'filetype' },
  ),
  owner: string(32),
  data: opaque(65535),
});

const golden: [name: string, type: Codec<never>, value: unknown, wire: string][] = [
  ['int 4.1', int as Codec<never>, -259, 'fffffefd'],
  ['unsigned int 4.2', uint as Codec<never>, 0xfffffefd, 'fffffefd'],
  ['enum 4.3', enumeration({ RED: 2, BLUE: -5 }) as Codec<never>, -5, 'fffffffb'],
  ['bool 4.4', bool as Codec<never>, true, '00000001'],
  ['hyper 4.5', hyper as Codec<never>, -2n, 'fffffffffffffffe'],
  ['unsigned hyper 4.5', uhyper as Codec<never>, 2n ** 64n - 1n, 'ffffffffffffffff'],
  ['float 4.6', float as Codec<never>, -1.5, 'bfc00000'],
  ['double 4.7', double as Codec<never>, Math.PI, '400921fb54442d18'],
  [
    'quadruple 4.8',
    quadruple as Codec<never>,
    bytes('3fff0000000000000000000000000001'),
    '3fff0000000000000000000000000001',
  ],
  ['fixed opaque 4.9', fixedOpaque(5) as Codec<never>, bytes('0102030405'), '0102030405000000'],
  ['variable opaque 4.10', opaque() as Codec<never>, bytes('010203'), '0000000301020300'],
  ['string 4.11', string() as Codec<never>, 'sillyprog', '0000000973696c6c7970726f67000000'],
  ['string of UTF-8', string() as Codec<never>, 'né', '000000036ec3a900'],
  ['fixed array 4.12', fixedArray(int, 2) as Codec<never>, [1, 2], '0000000100000002'],
  ['variable array 4.13', array(string()) as Codec<never>, ['a', ''], '00000002000000016100000000000000'],
  ['struct 4.14', struct({ a: int, b: bool }) as Codec<never>, { a: 7, b: false }, '0000000700000000'],
  ['void 4.16', voidCodec as Codec<never>, undefined, ''],
  ['optional 4.19', optional(int) as Codec<never>, null, '00000000'],
  ['optional 4.19, there', optional(int) as Codec<never>, 9, '0000000100000009'],
  ['list 4.19', list(int) as Codec<never>, [1, 2], '0000000100000001000000010000000200000000'],
  ['list by its first node', nonEmptyList(int) as Codec<never>, [1, 2], '00000001000000010000000200000000'],
  [
    'file of section 7',
    filetype as Codec<never>,
    {
      filename: 'sillyprog',
      type: { kind: 2, interpretor: 'lisp' },
      owner: 'john',
      data: new TextEncoder().encode('(quit)'),
    },
    '00000009 73696c6c 7970726f 67000000 00000002 00000004 6c697370 00000004 6a6f686e 00000006 28717569 74290000'.replaceAll(
      ' ',
      '',
    ),
  ],
];

describe('golden vectors of RFC 4506', () => {
  it.each(golden)('%s', (_name, type, value, wire) => {
    expect(hex(encode(type, value as never))).toBe(wire);
    expect(decode(type, bytes(wire))).toEqual(value);
  });

  it.each(golden)('%s cut short is XDR_TRUNCATED at every length', (_name, type, _value, wire) => {
    const whole = bytes(wire);
    for (let size = 0; size < whole.length; size++)
      expect(codeOf(() => decode(type, whole.subarray(0, size)))).toBe('XDR_TRUNCATED');
  });

  it.each(golden)('%s with four bytes more is XDR_TRAILING', (_name, type, _value, wire) => {
    expect(codeOf(() => decode(type, bytes(`${wire}00000000`)))).toBe('XDR_TRAILING');
  });
});

describe('strict decoding', () => {
  const cases: [string, Codec<never>, string, XdrErrorCode][] = [
    ['bool 2', bool as Codec<never>, '00000002', 'XDR_BAD_ENUM'],
    ['an enum value that is no member', enumeration({ A: 1 }) as Codec<never>, '00000002', 'XDR_BAD_ENUM'],
    ['padding of an opaque', opaque() as Codec<never>, '0000000101000001', 'XDR_PADDING'],
    ['padding of a string', string() as Codec<never>, '0000000161010000', 'XDR_PADDING'],
    ['a string that is not UTF-8', string() as Codec<never>, '00000001ff000000', 'XDR_RANGE'],
    ['a string over its bound', string(2) as Codec<never>, '0000000361616100', 'XDR_LIMIT'],
    ['an opaque over its bound', opaque(2) as Codec<never>, '0000000361616100', 'XDR_LIMIT'],
    ['an array over its bound', array(int, 1) as Codec<never>, '000000020000000000000000', 'XDR_LIMIT'],
    ['a count the bytes cannot hold', array(int) as Codec<never>, 'ffffffff00000000', 'XDR_TRUNCATED'],
    ['a count of voids', array(voidCodec) as Codec<never>, 'ffffffff', 'XDR_LIMIT'],
    ['a length of 2^31-1', opaque() as Codec<never>, '7fffffff00000000', 'XDR_TRUNCATED'],
    ['a union without that arm', filetype as Codec<never>, '0000000000000003', 'XDR_BAD_ENUM'],
  ];
  it.each(cases)('refuses %s', (_name, type, wire, code) => {
    expect(codeOf(() => decode(type, bytes(wire)))).toBe(code);
  });

  it('names the byte where it went wrong', () => {
    const type = struct({ a: int, b: bool });
    expect(() => decode(type, bytes('0000000000000005'))).toThrow(
      '5 is neither 0 (false) nor 1 (true) (byte 4)',
    );
  });
});

describe('values that do not fit', () => {
  const cases: [string, Codec<never>, unknown, XdrErrorCode][] = [
    ['int 2^31', int as Codec<never>, 2 ** 31, 'XDR_RANGE'],
    ['int 1.5', int as Codec<never>, 1.5, 'XDR_RANGE'],
    ['int from a string', int as Codec<never>, '1', 'XDR_RANGE'],
    ['unsigned -1', uint as Codec<never>, -1, 'XDR_RANGE'],
    ['unsigned 2^32', uint as Codec<never>, 2 ** 32, 'XDR_RANGE'],
    ['hyper 2^63', hyper as Codec<never>, 2n ** 63n, 'XDR_RANGE'],
    ['hyper from a number', hyper as Codec<never>, 1, 'XDR_RANGE'],
    ['unsigned hyper -1', uhyper as Codec<never>, -1n, 'XDR_RANGE'],
    ['bool 1', bool as Codec<never>, 1, 'XDR_RANGE'],
    ['fixed opaque of another size', fixedOpaque(3) as Codec<never>, new Uint8Array(2), 'XDR_RANGE'],
    ['fixed array of another size', fixedArray(int, 3) as Codec<never>, [1], 'XDR_RANGE'],
    ['an empty list by its first node', nonEmptyList(int) as Codec<never>, [], 'XDR_RANGE'],
    ['a lone surrogate', string() as Codec<never>, 'a\ud800', 'XDR_RANGE'],
    ['a string over its bound in bytes', string(2) as Codec<never>, 'éa', 'XDR_LIMIT'],
    ['an array over its bound', array(int, 1) as Codec<never>, [1, 2], 'XDR_LIMIT'],
    ['a stranger to an enum', enumeration({ A: 1 }) as Codec<never>, 2, 'XDR_BAD_ENUM'],
  ];
  it.each(cases)('refuses %s', (_name, type, value, code) => {
    expect(codeOf(() => encode(type, value as never))).toBe(code);
  });

  it('names the field by its path', () => {
    const type = struct({ entries: array(struct({ name: string(3), size: uint })) });
    const value = {
      entries: [
        { name: 'a', size: 1 },
        { name: 'abcd', size: 2 },
      ],
    };
    expect(() => encode(type, value)).toThrow(/^entries\[1\]\.name: a string of 4 bytes/);
    expect(() => encode(struct({ a: array(int) }), { a: [1, 2 ** 40] })).toThrow(/^a\[1\]: /);
  });
});

describe('limits', () => {
  it('holds the bound of a string at the limit and refuses limit + 1', () => {
    expect(hex(encode(string(4), 'abcd'))).toBe('0000000461626364');
    expect(codeOf(() => encode(string(4), 'abcde'))).toBe('XDR_LIMIT');
    expect(decode(string(4), encode(string(), 'abcd'))).toBe('abcd');
    expect(codeOf(() => decode(string(4), encode(string(), 'abcde')))).toBe('XDR_LIMIT');
  });

  it('counts elements over the whole message', () => {
    const type = array(array(int));
    const four = encode(type, [[1], [2]]);
    expect(decode(type, four, { maxElements: 4 })).toEqual([[1], [2]]);
    expect(codeOf(() => decode(type, four, { maxElements: 3 }))).toBe('XDR_LIMIT');
  });

  it('counts the depth of recursive types on both ways', () => {
    type Nest = { inner: Nest | null };
    const nest: Codec<Nest> = struct({ inner: optional(lazy((): Codec<Nest> => nest)) });
    const deep = (levels: number): Nest => (levels === 0 ? { inner: null } : { inner: deep(levels - 1) });
    const eight = encode(nest, deep(8), { maxDepth: 8 });
    expect(decode(nest, eight, { maxDepth: 8 })).toEqual(deep(8));
    expect(codeOf(() => decode(nest, eight, { maxDepth: 7 }))).toBe('XDR_DEPTH');
    expect(codeOf(() => encode(nest, deep(9), { maxDepth: 8 }))).toBe('XDR_DEPTH');
  });

  it('bounds the bytes of a message', () => {
    const options = { maxBytes: 2048 };
    expect(encode(string(), 'x'.repeat(2044), options).length).toBe(2048);
    expect(codeOf(() => encode(string(), 'x'.repeat(2045), options))).toBe('XDR_LIMIT');
    expect(encode(opaque(), new Uint8Array(2044), options).length).toBe(2048);
    expect(codeOf(() => encode(opaque(), new Uint8Array(2045), options))).toBe('XDR_LIMIT');
  });
});

describe('writer and reader', () => {
  it('give back a huge arena on reset', () => {
    const writer = new XdrWriter();
    writer.opaque(new Uint8Array(3_000_000));
    writer.reset();
    writer.int32(1);
    expect(writer.peek().buffer.byteLength).toBeLessThan(10_000);
  });

  it('show message after message, whatever their lengths and however the arena grew between them', () => {
    const writer = new XdrWriter();
    for (const [byte, length] of [8, 8, 2_000_000, 8, 12, 3_000, 3_000, 8].entries()) {
      writer.reset();
      writer.fixedOpaque(new Uint8Array(length).fill(byte), length);
      expect(Buffer.from(writer.peek()).equals(Buffer.alloc(length, byte))).toBe(true);
      expect(Buffer.from(writer.take()).equals(writer.peek())).toBe(true);
    }
  });

  it('let a getter encode something while its own value is being encoded', () => {
    const value = {
      get a(): number {
        return encode(int, 5)[3] ?? 0;
      },
      b: 6,
    };
    expect(hex(encode(struct({ a: int, b: int }), value))).toBe('0000000500000006');
  });

  it('read messages that lie anywhere in a larger buffer', () => {
    const chunk = bytes('ffffffff 00000001 00000002 ffffffff');
    const reader = new XdrReader(chunk.subarray(4, 12));
    expect([reader.int32(), reader.int32(), reader.remaining]).toEqual([1, 2, 0]);
    reader.reset(chunk.subarray(8, 12));
    expect([reader.offset, reader.int32()]).toEqual([0, 2]);
    expect(codeOf(() => reader.int32())).toBe('XDR_TRUNCATED');
  });
});

describe('the quick paths for what is short', () => {
  /** Each length from none to beyond where the quick paths end. */
  const lengths = Array.from({ length: 150 }, (_, i) => i);

  it('read ASCII of every length', () => {
    for (const length of lengths) {
      const text = Array.from({ length }, (_, i) => String.fromCharCode(i % 128)).join('');
      expect(decode(string(), encode(string(), text))).toBe(text);
    }
  });

  it('read a character beyond ASCII at every place of every length', () => {
    for (const length of lengths.slice(0, 70))
      for (let place = 0; place < length; place++) {
        const text = `${'a'.repeat(place)}\u00e9${'z'.repeat(length - place - 1)}`;
        expect(decode(string(), encode(string(), text))).toBe(text);
      }
  });

  it('refuse a byte that is no UTF-8 at every place', () => {
    for (let place = 0; place < 70; place++) {
      const message = encode(opaque(), new Uint8Array(70).fill(0x61));
      message[4 + place] = 0xff;
      expect(codeOf(() => decode(string(), message))).toBe('XDR_RANGE');
    }
  });

  it('refuse padding other than zero, and bounds, at every length', () => {
    for (const length of lengths.slice(1)) {
      const message = encode(string(), 'x'.repeat(length));
      expect(codeOf(() => decode(string(length - 1), message))).toBe('XDR_LIMIT');
      expect(codeOf(() => decode(string(length), message.subarray(0, -4)))).toBe('XDR_TRUNCATED');
      if (length % 4 === 0) continue;
      message[message.length - 1] = 1;
      expect(codeOf(() => decode(string(length), message))).toBe('XDR_PADDING');
    }
  });

  it('read ints of every count, and refuse one more than may be', () => {
    for (const length of lengths) {
      const values = Array.from({ length }, (_, i) => (i % 2 === 0 ? 0 - i : 2_147_483_647 - i));
      const message = new XdrWriter();
      message.int32s(values);
      const read = (options = {}): XdrReader => new XdrReader(message.peek(), options);
      expect(read().int32s(length)).toEqual(values);
      expect(decode(array(int), message.peek())).toEqual(values);
      expect(read({ maxElements: length }).int32s()).toEqual(values);
      if (length === 0) continue;
      expect(codeOf(() => read().int32s(length - 1))).toBe('XDR_LIMIT');
      expect(codeOf(() => read({ maxElements: length - 1 }).int32s())).toBe('XDR_LIMIT');
      expect(codeOf(() => new XdrReader(message.peek().subarray(0, -4)).int32s())).toBe('XDR_TRUNCATED');
    }
  });

  it('end where a message is longer than the reader takes', () => {
    const long = new Uint8Array(MAX_READER_BYTES + 1);
    const reader = new XdrReader(long.subarray(1));
    expect(reader.remaining).toBe(MAX_READER_BYTES);
    expect(codeOf(() => reader.reset(long))).toBe('XDR_LIMIT');
    expect(codeOf(() => new XdrReader(long))).toBe('XDR_LIMIT');
  });
});

describe('properties', () => {
  const record = struct({
    name: string(),
    data: opaque(),
    ints: array(int),
    big: hyper,
    real: double,
    flag: optional(bool),
    links: list(uint),
  });
  const values = fc.record({
    name: fc.string({ unit: 'grapheme' }),
    data: fc.uint8Array(),
    ints: fc.array(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })),
    big: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    real: fc.double(),
    flag: fc.option(fc.boolean()),
    links: fc.array(fc.nat()),
  });

  it('decode(encode(v)) is v, and the length a multiple of 4', () => {
    fc.assert(
      fc.property(values, (value) => {
        const wire = encode(record, value);
        expect(wire.length % 4).toBe(0);
        expect(decode(record, wire)).toEqual(value);
      }),
    );
  });

  it('lets no error but XdrError out of mutated bytes', () => {
    fc.assert(
      fc.property(values, fc.nat(), fc.integer({ min: 1, max: 255 }), (value, where, flip) => {
        const wire = encode(record, value);
        wire[where % wire.length]! ^= flip;
        codeOf(() => decode(record, wire));
      }),
      { numRuns: 500 },
    );
  });
});
