/**
 * Short arrays of ints, apart from the reader: it is long, and called as often as not. The reader's own helpers stand
 * beside it in reader.ts, since the engine puts nothing in line that comes from another module.
 */

/** As in reader.ts; a constant of another module would be a variable to the engine. */
const OFFSET_MASK = 0x3fff_ffff;

/**
 * A few ints that are known to be there (RFC 4506 section 4.1). Up to eight come as a literal,
 * which is allocated in line and has no holes, where `new Array(count)` is a call.
 */
export function fewInts(b: Uint8Array, offset: number, count: number): number[] {
  let at = offset & OFFSET_MASK;
  switch (count) {
    case 0:
      return [];
    case 1:
      return [
        ((b[at] as number) << 24) |
          ((b[at + 1] as number) << 16) |
          ((b[at + 2] as number) << 8) |
          (b[at + 3] as number),
      ];
    case 2:
      return [
        ((b[at] as number) << 24) |
          ((b[at + 1] as number) << 16) |
          ((b[at + 2] as number) << 8) |
          (b[at + 3] as number),
        ((b[at + 4] as number) << 24) |
          ((b[at + 5] as number) << 16) |
          ((b[at + 6] as number) << 8) |
          (b[at + 7] as number),
      ];
    case 3:
      return [
        ((b[at] as number) << 24) |
          ((b[at + 1] as number) << 16) |
          ((b[at + 2] as number) << 8) |
          (b[at + 3] as number),
        ((b[at + 4] as number) << 24) |
          ((b[at + 5] as number) << 16) |
          ((b[at + 6] as number) << 8) |
          (b[at + 7] as number),
        ((b[at + 8] as number) << 24) |
          ((b[at + 9] as number) << 16) |
          ((b[at + 10] as number) << 8) |
          (b[at + 11] as number),
      ];
    case 4:
      return [
        ((b[at] as number) << 24) |
          ((b[at + 1] as number) << 16) |
          ((b[at + 2] as number) << 8) |
          (b[at + 3] as number),
        ((b[at + 4] as number) << 24) |
          ((b[at + 5] as number) << 16) |
          ((b[at + 6] as number) << 8) |
          (b[at + 7] as number),
        ((b[at + 8] as number) << 24) |
          ((b[at + 9] as number) << 16) |
          ((b[at + 10] as number) << 8) |
          (b[at + 11] as number),
        ((b[at + 12] as number) << 24) |
          ((b[at + 13] as number) << 16) |
          ((b[at + 14] as number) << 8) |
          (b[at + 15] as number),
      ];
    case 5:
      return [
        ((b[at] as number) << 24) |
          ((b[at + 1] as number) << 16) |
          ((b[at + 2] as number) << 8) |
          (b[at + 3] as number),
        ((b[at + 4] as number) << 24) |
          ((b[at + 5] as number) << 16) |
          ((b[at + 6] as number) << 8) |
          (b[at + 7] as number),
        ((b[at + 8] as number) << 24) |
          ((b[at + 9] as number) << 16) |
          ((b[at + 10] as number) << 8) |
          (b[at + 11] as number),
        ((b[at + 12] as number) << 24) |
          ((b[at + 13] as number) << 16) |
          ((b[at + 14] as number) << 8) |
          (b[at + 15] as number),
        ((b[at + 16] as number) << 24) |
          ((b[at + 17] as number) << 16) |
          ((b[at + 18] as number) << 8) |
          (b[at + 19] as number),
      ];
    case 6:
      return [
        ((b[at] as number) << 24) |
          ((b[at + 1] as number) << 16) |
          ((b[at + 2] as number) << 8) |
          (b[at + 3] as number),
        ((b[at + 4] as number) << 24) |
          ((b[at + 5] as number) << 16) |
          ((b[at + 6] as number) << 8) |
          (b[at + 7] as number),
        ((b[at + 8] as number) << 24) |
          ((b[at + 9] as number) << 16) |
          ((b[at + 10] as number) << 8) |
          (b[at + 11] as number),
        ((b[at + 12] as number) << 24) |
          ((b[at + 13] as number) << 16) |
          ((b[at + 14] as number) << 8) |
          (b[at + 15] as number),
        ((b[at + 16] as number) << 24) |
          ((b[at + 17] as number) << 16) |
          ((b[at + 18] as number) << 8) |
          (b[at + 19] as number),
        ((b[at + 20] as number) << 24) |
          ((b[at + 21] as number) << 16) |
          ((b[at + 22] as number) << 8) |
          (b[at + 23] as number),
      ];
    case 7:
      return [
        ((b[at] as number) << 24) |
          ((b[at + 1] as number) << 16) |
          ((b[at + 2] as number) << 8) |
          (b[at + 3] as number),
        ((b[at + 4] as number) << 24) |
          ((b[at + 5] as number) << 16) |
          ((b[at + 6] as number) << 8) |
          (b[at + 7] as number),
        ((b[at + 8] as number) << 24) |
          ((b[at + 9] as number) << 16) |
          ((b[at + 10] as number) << 8) |
          (b[at + 11] as number),
        ((b[at + 12] as number) << 24) |
          ((b[at + 13] as number) << 16) |
          ((b[at + 14] as number) << 8) |
          (b[at + 15] as number),
        ((b[at + 16] as number) << 24) |
          ((b[at + 17] as number) << 16) |
          ((b[at + 18] as number) << 8) |
          (b[at + 19] as number),
        ((b[at + 20] as number) << 24) |
          ((b[at + 21] as number) << 16) |
          ((b[at + 22] as number) << 8) |
          (b[at + 23] as number),
        ((b[at + 24] as number) << 24) |
          ((b[at + 25] as number) << 16) |
          ((b[at + 26] as number) << 8) |
          (b[at + 27] as number),
      ];
    case 8:
      return [
        ((b[at] as number) << 24) |
          ((b[at + 1] as number) << 16) |
          ((b[at + 2] as number) << 8) |
          (b[at + 3] as number),
        ((b[at + 4] as number) << 24) |
          ((b[at + 5] as number) << 16) |
          ((b[at + 6] as number) << 8) |
          (b[at + 7] as number),
        ((b[at + 8] as number) << 24) |
          ((b[at + 9] as number) << 16) |
          ((b[at + 10] as number) << 8) |
          (b[at + 11] as number),
        ((b[at + 12] as number) << 24) |
          ((b[at + 13] as number) << 16) |
          ((b[at + 14] as number) << 8) |
          (b[at + 15] as number),
        ((b[at + 16] as number) << 24) |
          ((b[at + 17] as number) << 16) |
          ((b[at + 18] as number) << 8) |
          (b[at + 19] as number),
        ((b[at + 20] as number) << 24) |
          ((b[at + 21] as number) << 16) |
          ((b[at + 22] as number) << 8) |
          (b[at + 23] as number),
        ((b[at + 24] as number) << 24) |
          ((b[at + 25] as number) << 16) |
          ((b[at + 26] as number) << 8) |
          (b[at + 27] as number),
        ((b[at + 28] as number) << 24) |
          ((b[at + 29] as number) << 16) |
          ((b[at + 30] as number) << 8) |
          (b[at + 31] as number),
      ];
  }
  const values = new Array<number>(count);
  for (let i = 0; i < count; i++) {
    values[i] =
      ((b[at] as number) << 24) |
      ((b[at + 1] as number) << 16) |
      ((b[at + 2] as number) << 8) |
      (b[at + 3] as number);
    at += 4;
  }
  return values;
}
