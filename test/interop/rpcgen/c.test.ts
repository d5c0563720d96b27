/**
 * Our codecs against those that Debian's rpcgen makes for libtirpc, on the same `.x`: what we
 * encode C decodes and encodes again to the same bytes, and what C encodes we do.
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { compile, IdlError, type LiveInterface, live } from '../../../rpcgen/index.js';
import { type Codec, decode, encode, XdrError } from '../../../xdr/index.js';
import { arbitrary } from '../../support/arbitrary.js';
import { corpusDir, filesBelow, systemFiles } from '../../support/interfaces.js';
import { askPeer, build, hasC, translate } from '../../support/peer.js';

/** Few interfaces (no corpus) are asked more of each type. */
const VALUES = 25_000;
const VALUES_EACH = 40;

const out = mkdtempSync(join(tmpdir(), 'rpcgen-c-'));
afterAll(() => rmSync(out, { recursive: true, force: true }));

/**
 * C keeps these in fewer bits than they have on the wire, so that it changes values that XDR
 * allows: no comparison is possible.
 */
const NARROW_IN_C = /\b(?:char|short|u_char|u_short|u?_?int(?:8|16)_t)\b/;

/** The same text for both: without lines for C, whose headers are not here, and names libtirpc has taken renamed. */
function neutral(text: string): string {
  // A file that defines int64_t itself (nfs4_prot.x) gets an xdr_int64_t that calls itself in C.
  const isDefiner = /typedef[^;]*\bu?int(?:32|64)_t\s*;/.test(text);
  return (isDefiner ? text.replaceAll(/\b(u?int(?:32|64)_t)\b/g, 'x_$1') : text)
    .replaceAll(/^[ \t]*%.*$/gm, '')
    .replaceAll(
      /\b(rp__list|rpcb\w*|pmap\w*|authunix_parms|authsys_parms|opaque_auth|rpcsec_gss_cred_t)\b/g,
      'x_$1',
    );
}

interface Peer {
  readonly name: string;
  readonly types: readonly string[];
  readonly codecs: readonly Codec<unknown>[];
  readonly dir: string;
}

/** The C program for one interface, or why there is none. */
function peerOf(path: string): Peer | string {
  const text = neutral(readFileSync(path, 'utf8'));
  if (NARROW_IN_C.test(text.replaceAll(/\/\*.*?\*\//gs, ''))) return 'has integers narrower in C than in XDR';
  let types: LiveInterface;
  try {
    types = live(compile(text, { name: path }));
  } catch (error) {
    if (error instanceof IdlError) return 'takes names from elsewhere';
    throw error;
  }
  // Two folders of a corpus may have the same name.
  const dir = join(out, resolve(path));
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'x.x'), text);
  if (translate(dir, ['x']) !== undefined) return 'rpcgen refuses it';
  const header = readFileSync(join(dir, 'x.h'), 'utf8');
  const declared = new Set([...header.matchAll(/bool_t xdr_(\w+) \(/g)].map((match) => match[1] as string));
  const own = [...types.types].filter(([name]) => declared.has(name));
  const several = types.programs.flatMap(({ versions }) =>
    versions.flatMap(({ number, procedures }) =>
      procedures.flatMap(({ name, args }): [string, Codec<unknown>][] => {
        const argument = `${name.toLowerCase()}_${number}_argument`;
        return args.shape?.kind === 'tuple' && declared.has(argument) ? [[argument, args]] : [];
      }),
    ),
  );
  const all = [...own, ...several];
  if (all.length === 0) return 'has no types of its own';
  const names = all.map(([name]) => name);
  if (build(dir, ['x'], names) !== undefined) return 'does not compile as C';
  const name = `${basename(dirname(path))}/${basename(path)}`;
  return {
    name,
    types: names,
    codecs: all.map(([, codec]) => codec),
    dir,
  };
}

describe.skipIf(!hasC)('C made by rpcgen with libtirpc', () => {
  const peers: Peer[] = [];
  const each = (): number =>
    Math.max(VALUES_EACH, Math.ceil(VALUES / peers.reduce((sum, peer) => sum + peer.types.length, 0)));

  it('is built for at least 12 interfaces', () => {
    const files = [...(corpusDir === undefined ? [] : filesBelow(corpusDir)), ...systemFiles()];
    for (const path of files) {
      const peer = peerOf(path);
      if (typeof peer !== 'string') peers.push(peer);
    }
    console.log(`${peers.length} interfaces: ${peers.map(({ name }) => name).join(' ')}`);
    expect(peers.length).toBeGreaterThanOrEqual(12);
  }, 240_000);

  it('decodes what we encode, and encodes it to the same bytes', () => {
    let count = 0;
    for (const peer of peers) {
      const frames = peer.codecs.flatMap((codec, type) =>
        fc
          .sample(arbitrary(codec, { c: true, maxLength: 4 }), { numRuns: each(), seed: 4506 })
          .map((value) => ({ type, value, bytes: encode(codec, value) })),
      );
      askPeer(peer.dir, frames).forEach((answer, i) => {
        const frame = frames[i] as (typeof frames)[number];
        if (answer === undefined || Buffer.compare(answer, frame.bytes) !== 0)
          throw new Error(
            `${peer.name} ${peer.types[frame.type]}: ours ${hex(frame.bytes)}, C's ${answer === undefined ? 'refused' : hex(answer)}`,
          );
        expect(decode(peer.codecs[frame.type] as Codec<unknown>, answer)).toEqual(frame.value);
        count += 1;
      });
    }
    console.log(`${count} values of ours through C`);
    expect(count).toBeGreaterThanOrEqual(10_000);
  }, 240_000);

  it('encodes what we decode, and we encode it to the same bytes', () => {
    const tally = { same: 0, refusedByBoth: 0, refusedByC: 0, stricter: new Map<string, number>() };
    for (const peer of peers) {
      // Valid bytes with one changed: C decodes many of them to other values, whose encoding is its own.
      const frames = peer.codecs.flatMap((codec, type) =>
        fc
          .sample(fc.tuple(arbitrary(codec, { c: true, maxLength: 4 }), fc.nat(), fc.nat(255)), {
            numRuns: each() * 2,
            seed: 5531,
          })
          .map(([value, at, byte]) => {
            const bytes = encode(codec, value);
            // The low byte of a word: a count of millions would only make C clear memory for minutes.
            if (bytes.length > 0) bytes[(at % bytes.length) | 3] = byte;
            return { type, bytes };
          }),
      );
      askPeer(peer.dir, frames).forEach((answer, i) => {
        const frame = frames[i] as (typeof frames)[number];
        const codec = peer.codecs[frame.type] as Codec<unknown>;
        if (answer === undefined) {
          tally.refusedByC += 1;
          return;
        }
        let value: unknown;
        try {
          value = decode(codec, answer);
        } catch (error) {
          // C takes any int for an enum; a string's bytes that are not UTF-8 come back as they were.
          if (!(error instanceof XdrError)) throw error;
          tally.stricter.set(error.code, (tally.stricter.get(error.code) ?? 0) + 1);
          return;
        }
        expect([peer.name, peer.types[frame.type], hex(encode(codec, value))]).toEqual([
          peer.name,
          peer.types[frame.type],
          hex(answer),
        ]);
        tally.same += 1;
      });
    }
    const stricter = [...tally.stricter].map(([code, n]) => `${n} ${code}`).join(', ');
    console.log(
      `${tally.same} values of C's through ours; C refused ${tally.refusedByC}; we refused of C's own: ${stricter}`,
    );
    expect(tally.same).toBeGreaterThanOrEqual(10_000);
    expect([...tally.stricter.keys()].toSorted()).toEqual(['XDR_BAD_ENUM']);
  }, 240_000);
});

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
