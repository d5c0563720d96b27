/** A C program made by Debian's rpcgen and libtirpc, that decodes and encodes the types of a `.x` for a test. */

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const has = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0;

/** Whether rpcgen, a C compiler and libtirpc are there. */
export const hasC =
  has('gcc', '--version') && has('rpcgen', '--version') && has('pkg-config', '--exists', 'libtirpc');

const flags = (kind: string): string[] =>
  spawnSync('pkg-config', [kind, 'libtirpc'], { encoding: 'utf8' })
    .stdout.trim()
    .split(/\s+/)
    .filter(Boolean);

/** Bytes of the type with that number. */
export interface Frame {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** Reads (type, length, bytes), decodes, encodes again, answers (ok, length, bytes); all numbers big-endian. */
function harness(types: readonly string[], headers: readonly string[]): string {
  const rows = types.map((name) => `  { (xdrproc_t) xdr_${name}, sizeof(${name}) },`).join('\n');
  return `#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
${headers.map((header) => `#include "${header}"`).join('\n')}
static struct { xdrproc_t proc; size_t size; } table[] = {
${rows}
};
static unsigned get(void) {
  unsigned n;
  if (fread(&n, 4, 1, stdin) != 1) exit(0);
  return ntohl(n);
}
static void put(unsigned n) { n = htonl(n); fwrite(&n, 4, 1, stdout); }
int main(void) {
  for (;;) {
    unsigned type = get(), length = get();
    char *in = malloc(length + 8);
    if (length > 0 && fread(in, length, 1, stdin) != 1) exit(2);
    void *value = calloc(1, table[type].size + 8);
    XDR x;
    xdrmem_create(&x, in, length, XDR_DECODE);
    int ok = table[type].proc(&x, value) && xdr_getpos(&x) == length;
    unsigned room = 4 * length + 4096, size = 0;
    char *back = malloc(room);
    if (ok) {
      xdrmem_create(&x, back, room, XDR_ENCODE);
      ok = table[type].proc(&x, value);
      size = xdr_getpos(&x);
    }
    put(ok); put(ok ? size : 0);
    if (ok) fwrite(back, size, 1, stdout);
    xdr_free(table[type].proc, value);
    free(value); free(in); free(back);
  }
}
`;
}

/** Has rpcgen make C of the `.x` files of `stems` in `dir`. Undefined, or what it complains of. */
export function translate(dir: string, stems: readonly string[]): string | undefined {
  for (const stem of stems)
    for (const [part, file] of [
      ['-h', `${stem}.h`],
      ['-c', `${stem}_xdr.c`],
    ] as const) {
      spawnSync('rm', ['-f', file], { cwd: dir });
      const { status, stderr } = spawnSync('rpcgen', ['-N', part, '-o', file, `${stem}.x`], {
        cwd: dir,
        encoding: 'utf8',
        timeout: 20_000,
      });
      if (status !== 0) return `rpcgen refuses ${readFileSync(join(dir, `${stem}.x`), 'utf8')}: ${stderr}`;
    }
  return undefined;
}

/**
 * Builds `dir`/peer from what {@link translate} made of `stems`, for `types`. The last stem's header is to include the
 * others'. Undefined, or what the C compiler complains of.
 */
export function build(dir: string, stems: readonly string[], types: readonly string[]): string | undefined {
  writeFileSync(
    join(dir, 'main.c'),
    harness(
      types,
      stems.slice(-1).map((stem) => `${stem}.h`),
    ),
  );
  const sources = ['main.c', ...stems.map((stem) => `${stem}_xdr.c`)];
  const args = ['-w', '-O0', ...flags('--cflags'), ...sources, '-o', 'peer', ...flags('--libs')];
  const { status, stderr } = spawnSync('gcc', args, { cwd: dir, encoding: 'utf8', timeout: 60_000 });
  return status === 0 ? undefined : stderr || 'the C compiler was stopped';
}

/** {@link translate} and {@link build}: undefined, or what rpcgen or the C compiler complains of. */
export function buildPeer(
  dir: string,
  stems: readonly string[],
  types: readonly string[],
): string | undefined {
  return translate(dir, stems) ?? build(dir, stems, types);
}

/** What C makes of each frame: its bytes, or undefined where it does not decode. Throws where the program fails. */
export function askPeer(dir: string, frames: readonly Frame[]): (Uint8Array | undefined)[] {
  const parts = frames.flatMap(({ type, bytes }) => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(type, 0);
    head.writeUInt32BE(bytes.length, 4);
    return [head, bytes];
  });
  const { stdout, status, signal } = spawnSync(join(dir, 'peer'), {
    input: Buffer.concat(parts),
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(`the C program ended with ${status ?? signal}`);
  const answers: (Uint8Array | undefined)[] = [];
  for (let at = 0; at < stdout.length; ) {
    const length = stdout.readUInt32BE(at + 4);
    const bytes = new Uint8Array(stdout.subarray(at + 8, at + 8 + length));
    answers.push(stdout.readUInt32BE(at) === 1 ? bytes : undefined);
    at += 8 + length;
  }
  if (answers.length !== frames.length) throw new Error(`${frames.length} frames, ${answers.length} answers`);
  return answers;
}
