/**
 * Random interfaces of two files against C: what our codecs, generated and at run time, encode C decodes and encodes
 * again to the same bytes; and what C makes of spoiled bytes we read as C does. 50 pairs of files, or RANDOM_X of
 * them; SEED repeats a run. One that fails is shrunk to a small one. `npm run fuzz -- rpcgen` runs 500.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { compileFiles, emit, type Interface, live } from '../../../rpcgen/index.js';
import { type Codec, decode, encode, XdrError } from '../../../xdr/index.js';
import { arbitrary } from '../../support/arbitrary.js';
import { askPeer, buildPeer, hasC } from '../../support/peer.js';
import { type RandomFiles, randomFiles } from '../../support/random-x.js';

const RUNS = Number(process.env['RANDOM_X'] ?? 50);
const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const VALUES_EACH = 12;

const root = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
const base = mkdtempSync(join(root, 'test/interop/.random-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

interface Tested {
  readonly name: string;
  readonly live: Codec<unknown>;
  readonly generated: Codec<unknown>;
}

let round = 0;
const tally = { files: 0, types: 0, ours: 0, theirs: 0, refused: 0, stricter: 0 };

async function codecsOf(dir: string): Promise<Tested[]> {
  const [lib, main] = ['lib', 'main'].map((stem) => join(dir, `${stem}.x`)) as [string, string];
  const models = [
    compileFiles([lib])[0] as Interface,
    compileFiles([main], { imports: [lib] })[0] as Interface,
  ] as const;
  const modules = { xdr: join(root, 'xdr/index.js'), runtime: join(root, 'runtime/protocol/procedure.js') };
  const tested: Tested[] = [];
  for (const [i, model] of models.entries()) {
    const path = join(dir, i === 0 ? 'lib.gen.ts' : 'main.gen.ts');
    writeFileSync(path, emit(model, modules));
    const module = (await import(/* @vite-ignore */ pathToFileURL(path).href)) as Record<
      string,
      Codec<unknown>
    >;
    for (const [name, codec] of live(model).types) {
      const generated = module[`${name}Codec`];
      if (generated === undefined) throw new Error(`${name}Codec is not exported`);
      tested.push({ name, live: codec, generated });
    }
  }
  return tested;
}

function hasNaN(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).some(hasNaN);
  return Number.isNaN(value);
}

/** Throws where C and we differ. */
async function compare({ lib, main }: RandomFiles, seed: number): Promise<void> {
  const dir = join(base, String(++round));
  const files = `\n--- lib.x\n${lib.text}--- main.x\n${main.text}`;
  mkdirSync(dir);
  writeFileSync(join(dir, 'lib.x'), lib.text);
  writeFileSync(join(dir, 'main.x'), main.text);
  const tested = await codecsOf(dir);
  const complaint = buildPeer(
    dir,
    ['lib', 'main'],
    tested.map(({ name }) => name),
  );
  if (complaint !== undefined) throw new Error(`C does not take what it should: ${complaint}${files}`);
  const samples = tested.flatMap(({ live: codec }, type) =>
    fc
      .sample(fc.tuple(arbitrary(codec, { c: true, maxLength: 3 }), fc.nat(), fc.nat(255)), {
        numRuns: VALUES_EACH,
        seed,
      })
      .map(([value, at, byte]) => ({ type, value, bytes: encode(codec, value), at, byte })),
  );
  askPeer(dir, samples).forEach((answer, i) => {
    const { type, value, bytes } = samples[i] as (typeof samples)[number];
    const { name, live: codec, generated } = tested[type] as Tested;
    const ours = hex(bytes);
    const theirs = answer === undefined ? 'refused' : hex(answer);
    if (theirs !== ours) throw new Error(`${name}: ours ${ours}, C's ${theirs}${files}`);
    if (hex(encode(generated, value)) !== ours) throw new Error(`${name}: generated and live differ${files}`);
    expect(decode(codec, bytes)).toEqual(value);
    expect(decode(generated, bytes)).toEqual(value);
    tally.ours += 1;
  });
  const spoiled = samples.map(({ type, bytes, at, byte }) => {
    const copy = bytes.slice();
    // The low byte of a word: a count of millions would only make C clear memory for minutes.
    if (copy.length > 0) copy[(at % copy.length) | 3] = byte;
    return { type, bytes: copy };
  });
  askPeer(dir, spoiled).forEach((answer, i) => {
    const { type } = spoiled[i] as (typeof spoiled)[number];
    const { name, live: codec, generated } = tested[type] as Tested;
    if (answer === undefined) {
      tally.refused += 1;
      return;
    }
    for (const each of [codec, generated]) {
      try {
        const value = decode(each, answer);
        // JavaScript has quiet NaNs only: a signalling one comes back as such.
        const isSame = hex(encode(each, value)) === hex(answer);
        if (!isSame && !hasNaN(value))
          throw new Error(`${name}: C's ${hex(answer)}, ours ${hex(encode(each, value))}${files}`);
        tally.theirs += 1;
      } catch (error) {
        // C takes any number for an enum.
        if (!(error instanceof XdrError) || error.code !== 'XDR_BAD_ENUM') throw error;
        tally.stricter += 1;
      }
    }
  });
  tally.files += 1;
  tally.types += tested.length;
  rmSync(dir, { recursive: true, force: true });
}

describe.skipIf(!hasC)('random interfaces', () => {
  it(
    `are the same to C and to us: ${RUNS} pairs of files, SEED=${SEED}`,
    async () => {
      console.log(`SEED=${SEED}`);
      await fc.assert(
        fc.asyncProperty(randomFiles, fc.nat(), (files, seed) => compare(files, seed)),
        { numRuns: RUNS, seed: SEED },
      );
      console.log(JSON.stringify(tally));
      expect(tally.files).toBe(RUNS);
      expect(Math.min(tally.ours, tally.theirs)).toBeGreaterThan(RUNS * VALUES_EACH);
    },
    Math.max(120_000, RUNS * 4_000),
  );
});
