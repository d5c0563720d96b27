/**
 * Short arrays of ints, apart from the reader: it is called, where the reader's own helpers stand beside it in
 * reader.ts, since the engine puts nothing in line that comes from another module.
 */

/** As in reader.ts; a constant of another module would be a variable to the engine. */
const OFFSET_MASK = 0x3fff_ffff;

type Read = (bytes: Uint8Array, at: number) => number[];

/** The int whose four bytes start at `at`, which are known to be there. */
function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

/** A few ints as a literal, which is allocated in line and has no holes, where `new Array(count)` is a call. */
const literals: readonly Read[] = [
  () => [],
  (b, at) => [word(b, at)],
  (b, at) => [word(b, at), word(b, at + 4)],
  (b, at) => [word(b, at), word(b, at + 4), word(b, at + 8)],
  (b, at) => [word(b, at), word(b, at + 4), word(b, at + 8), word(b, at + 12)],
  (b, at) => [word(b, at), word(b, at + 4), word(b, at + 8), word(b, at + 12), word(b, at + 16)],
  (b, at) => [
    word(b, at),
    word(b, at + 4),
    word(b, at + 8),
    word(b, at + 12),
    word(b, at + 16),
    word(b, at + 20),
  ],
  (b, at) => [
    word(b, at),
    word(b, at + 4),
    word(b, at + 8),
    word(b, at + 12),
    word(b, at + 16),
    word(b, at + 20),
    word(b, at + 24),
  ],
  (b, at) => [
    word(b, at),
    word(b, at + 4),
    word(b, at + 8),
    word(b, at + 12),
    word(b, at + 16),
    word(b, at + 20),
    word(b, at + 24),
    word(b, at + 28),
  ],
];

/** A few ints that are known to be there (RFC 4506 section 4.1). */
export function fewInts(bytes: Uint8Array, offset: number, count: number): number[] {
  let at = offset & OFFSET_MASK;
  const literal = literals[count];
  if (literal !== undefined) return literal(bytes, at);
  const values = new Array<number>(count);
  for (let i = 0; i < count; i++) {
    values[i] = word(bytes, at);
    at += 4;
  }
  return values;
}
