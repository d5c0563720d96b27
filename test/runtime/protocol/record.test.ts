import { describe, expect, it } from 'vitest';
import { TransportError } from '../../../runtime/index.js';
import { RecordFramer, RecordParser } from '../../../runtime/protocol.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

/** Streams of RFC 5531 section 11, and the records they hold. */
const vectors: [name: string, stream: string, records: string[]][] = [
  ['one record', '80000004 01020304', ['01020304']],
  ['two records', '80000002 0102 80000001 03', ['0102', '03']],
  ['a record of three fragments', '00000001 01 00000002 0203 80000001 04', ['01020304']],
  ['empty fragments around the message', '00000000 00000002 0102 00000000 80000000', ['0102']],
  ['an empty record', '80000000', ['']],
  ['an empty record between two', '80000001 01 80000000 80000001 02', ['01', '', '02']],
  ['fragments, then a whole record', '00000001 aa 80000001 bb 80000003 010203', ['aabb', '010203']],
];

function parse(chunks: readonly Uint8Array[]): string[] {
  const parser = new RecordParser();
  const records: string[] = [];
  for (const chunk of chunks) parser.push(chunk, (record) => records.push(hex(record)));
  expect(parser.isIdle).toBe(true);
  return records;
}

describe('record parser', () => {
  it.each(vectors)(
    'finds %s whole, byte by byte, and cut at every one and two offsets',
    (_name, text, records) => {
      const stream = bytes(text);
      expect(parse([stream])).toEqual(records);
      expect(parse([...stream].map((byte) => Uint8Array.of(byte)))).toEqual(records);
      for (let a = 0; a <= stream.length; a++)
        for (let b = a; b <= stream.length; b++)
          expect(parse([stream.subarray(0, a), stream.subarray(a, b), stream.subarray(b)])).toEqual(records);
    },
  );

  it('is not idle within a record', () => {
    const parser = new RecordParser();
    for (const byte of bytes('80000002 01')) {
      parser.push(Uint8Array.of(byte), () => undefined);
      expect(parser.isIdle).toBe(false);
    }
    parser.push(bytes('02'), () => undefined);
    expect(parser.isIdle).toBe(true);
  });

  it('takes a record at maxRecordBytes and refuses one byte more, at its mark', () => {
    const options = { maxRecordBytes: 8 };
    const records: number[] = [];
    new RecordParser(options).push(bytes('80000008 0102030405060708'), (record) =>
      records.push(record.length),
    );
    new RecordParser(options).push(bytes('00000004 01020304 80000004 05060708'), (record) =>
      records.push(record.length),
    );
    expect(records).toEqual([8, 8]);
    const push = (text: string) => () => new RecordParser(options).push(bytes(text), () => undefined);
    expect(push('80000009')).toThrow(TransportError);
    expect(push('00000004 01020304 80000005')).toThrow('a record of more than 8 bytes');
  });

  it('takes maxFragments fragments and refuses one more, empty ones too', () => {
    const endless = (count: number): Uint8Array => new Uint8Array(count * 4);
    const parser = new RecordParser({ maxFragments: 10 });
    parser.push(endless(9), () => undefined);
    let records = 0;
    parser.push(bytes('80000000'), () => {
      records += 1;
    });
    expect(records).toBe(1);
    expect(() => parser.push(endless(11), () => undefined)).toThrow('a record of more than 10 fragments');
  });

  it('holds what has arrived, not what a mark announces', () => {
    const parser = new RecordParser({ maxRecordBytes: 0x7fff_ffff });
    parser.push(bytes('ffffffff 01'), () => undefined);
    expect(parser.pendingBytes).toBe(1);
  });
});

describe('record framer', () => {
  it('keeps records together for one write, and the parser finds them again', () => {
    const framer = new RecordFramer();
    const sent = [bytes('0102'), new Uint8Array(0), new Uint8Array(5000).fill(9)];
    for (const record of sent) framer.add(record);
    expect(framer.pendingBytes).toBe(12 + 5002);
    expect(parse([framer.take()])).toEqual(sent.map(hex));
    framer.add(bytes('aa'));
    expect(hex(framer.take())).toBe('80000001aa');
  });
});
