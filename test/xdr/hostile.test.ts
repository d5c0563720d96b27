/**
 * Messages made to exhaust us: each ends in the declared error, with little memory grown and
 * no stack overflowed. Memory is measured in a process of its own.
 */

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadInterface } from '../../rpcgen/index.js';
import { type Codec, decode, encode } from '../../xdr/index.js';
import * as generated from '../rpcgen/golden/features.gen.js';

const features = loadInterface(fileURLToPath(new URL('../rpcgen/fixtures/features.x', import.meta.url)));
const made = generated as unknown as Readonly<Record<string, Codec<unknown>>> & {
  readonly intsCodec: Codec<unknown>;
  readonly anytextCodec: Codec<unknown>;
};
const both = (name: string): Codec<unknown>[] => [
  made[`${name}Codec`] as Codec<unknown>,
  features.types.get(name) as Codec<unknown>,
];
const code = (wanted: string): unknown => expect.objectContaining({ code: wanted });

/** A linked list of `count` nodes { "", 0 }. */
function list(count: number): Uint8Array {
  const bytes = new Uint8Array(count * 12 + 4);
  for (let i = 0; i < count; i++) bytes[i * 12 + 3] = 1;
  return bytes;
}

describe('hostile messages', () => {
  it('a million-node list is refused by the limit on elements', () => {
    const bytes = list(1_000_000);
    for (const codec of both('entries')) expect(() => decode(codec, bytes)).toThrow(code('XDR_LIMIT'));
  });

  it('a million-node list within a raised limit decodes, and encodes to the same', () => {
    const bytes = list(1_000_000);
    for (const codec of both('entries')) {
      const value = decode(codec, bytes, { maxElements: 1_000_000 });
      expect(value).toHaveLength(1_000_000);
      expect(Buffer.compare(encode(codec, value), bytes)).toBe(0);
    }
  });

  it('a 10 000-deep chain of optionals is refused by the limit on depth', () => {
    const bytes = new Uint8Array(10_000 * 8 + 8);
    for (let i = 0; i < 10_000; i++) bytes[i * 8 + 7] = 1;
    for (const codec of both('chain')) expect(() => decode(codec, bytes)).toThrow(code('XDR_DEPTH'));
    let value: unknown = { value: 0, link: null };
    for (let i = 0; i < 10_000; i++) value = { value: 0, link: { inner: value } };
    for (const codec of both('chain')) expect(() => encode(codec, value)).toThrow(code('XDR_DEPTH'));
  });

  it('a count of 2^32-1 in a 40-byte message is refused before anything is built', () => {
    const bytes = new Uint8Array(40).fill(0xff, 0, 4);
    expect(() => decode(made.intsCodec as Codec<unknown>, bytes)).toThrow(code('XDR_TRUNCATED'));
    expect(() => decode(made.anytextCodec as Codec<unknown>, bytes)).toThrow(code('XDR_TRUNCATED'));
    for (const codec of both('ints')) expect(() => decode(codec, bytes)).toThrow(code('XDR_TRUNCATED'));
    for (const codec of both('texts')) expect(() => decode(codec, bytes)).toThrow(code('XDR_LIMIT'));
  });

  it('empty elements, of which a count takes no bytes, count against the limit all the same', () => {
    const { types } = loadInterface('struct empty {}; typedef empty many<>;');
    const bytes = Uint8Array.of(0xff, 0xff, 0xff, 0xff);
    expect(() => decode(types.get('many') as Codec<unknown>, bytes)).toThrow(code('XDR_LIMIT'));
  });

  const built = fileURLToPath(new URL('../../dist/rpcgen/index.js', import.meta.url));
  const builtXdr = fileURLToPath(new URL('../../dist/xdr/index.js', import.meta.url));
  it.skipIf(!existsSync(built))('none of them grows memory by 16 MiB (needs the build)', () => {
    const script = `
      import { loadInterface } from ${JSON.stringify(built)};
      import { decode } from ${JSON.stringify(builtXdr)};
      const { types } = loadInterface(${JSON.stringify(
        'struct entry { string name<12>; unsigned size; entry *next; }; typedef entry *entries; typedef int ints<>;' +
          'struct chain { int v; link *l; }; struct link { chain c; };',
      )});
      const list = new Uint8Array(12_000_004);
      for (let i = 0; i < 1_000_000; i++) list[i * 12 + 3] = 1;
      const chain = new Uint8Array(80_008);
      for (let i = 0; i < 10_000; i++) chain[i * 8 + 7] = 1;
      const huge = new Uint8Array(40).fill(0xff, 0, 4);
      const used = () => { const m = process.memoryUsage(); return m.heapUsed + m.external + m.arrayBuffers; };
      const out = {};
      for (const [type, bytes] of [['entries', list], ['chain', chain], ['ints', huge]]) {
        globalThis.gc();
        const before = used();
        let code = 'none';
        try { decode(types.get(type), bytes); } catch (error) { code = error.code; }
        // Before any collection: what was grown at the worst moment that can be seen from here.
        out[type] = [code, used() - before];
      }
      console.log(JSON.stringify(out));`;
    const node = spawnSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    expect(node.stderr).toBe('');
    const result = JSON.parse(node.stdout) as Record<string, [string, number]>;
    console.log(`growth in bytes: ${node.stdout.trim()}`);
    expect(Object.values(result).map(([error]) => error)).toEqual([
      'XDR_LIMIT',
      'XDR_DEPTH',
      'XDR_TRUNCATED',
    ]);
    for (const [, growth] of Object.values(result)) expect(growth).toBeLessThanOrEqual(16 * 1024 * 1024);
  });
});
