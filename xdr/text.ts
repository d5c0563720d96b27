/**
 * Text whose bytes are not UTF-8: invalid bytes as escapes that lose nothing, and Latin-1. Names of files are often
 * neither; one of them must not cost the whole reply.
 *
 * An invalid byte 0x80 to 0xFF is a lone surrogate, U+DC80 to U+DCFF; encoding turns it back into the byte. No valid
 * UTF-8 decodes to a lone surrogate, so bytes go there and back unchanged, whatever they are. No byte below 0x80 is
 * ever escaped: '/', NUL and line feeds cannot hide behind an escape.
 */

/** How the bytes of a string become text. */
export type StringMode =
  /** UTF-8; bytes that are none are kept as escapes. */
  | 'utf8'
  /** UTF-8; bytes that are none are refused with `XDR_RANGE`. */
  | 'strict'
  /** One character a byte, U+0000 to U+00FF; others are refused with `XDR_RANGE`. */
  | 'latin1';

const ESCAPE = 0xdc00;
const FIRST_ESCAPE = 0xdc80;
const LAST_ESCAPE = 0xdcff;

/** Codes at a time: a call takes only so many arguments. */
const PIECE = 0x2000;

function isEscape(unit: number): boolean {
  return unit >= FIRST_ESCAPE && unit <= LAST_ESCAPE;
}

/** Bytes as text, those that are not UTF-8 as escapes. */
export function escapedFrom(bytes: Uint8Array): string {
  const units = new Uint16Array(bytes.length);
  let size = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = sequence(bytes, at);
    const first = bytes[at] as number;
    if (length === 0) {
      units[size++] = ESCAPE + first;
      at += 1;
      continue;
    }
    let point = length === 1 ? first : first & (0x7f >> length);
    for (let i = 1; i < length; i++) point = (point << 6) | ((bytes[at + i] as number) & 0x3f);
    if (point > 0xffff) {
      units[size++] = 0xd7c0 + (point >> 10);
      units[size++] = 0xdc00 + (point & 0x3ff);
    } else units[size++] = point;
    at += length;
  }
  return fromUnits(units.subarray(0, size));
}

/** Bytes of the well-formed UTF-8 sequence at `at` (Unicode table 3-7); 0 where there is none. */
function sequence(bytes: Uint8Array, at: number): number {
  const first = bytes[at] as number;
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  // Overlong forms, surrogates and what is beyond U+10FFFF show in the second byte.
  const second = bytes[at + 1] as number;
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (let i = 2; i < length; i++) if (((bytes[at + i] as number) & 0xc0) !== 0x80) return 0;
  return length;
}

/** The bytes of a text with escapes, or undefined where it has half a surrogate pair that is no escape. */
export function bytesOfEscaped(text: string): Uint8Array | undefined {
  const size = escapedSize(text);
  if (size === undefined) return undefined;
  const bytes = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    const point = text.codePointAt(i) as number;
    if (isEscape(unit)) bytes[at++] = unit - ESCAPE;
    else if (point < 0x80) bytes[at++] = point;
    else {
      const more = point < 0x800 ? 1 : point < 0x1_0000 ? 2 : 3;
      bytes[at++] = ((0xff00 >> (more + 1)) & 0xff) | (point >> (6 * more));
      for (let shift = 6 * (more - 1); shift >= 0; shift -= 6) bytes[at++] = 0x80 | ((point >> shift) & 0x3f);
      if (more === 3) i += 1;
    }
  }
  return bytes;
}

function escapedSize(text: string): number | undefined {
  let size = 0;
  for (let i = 0; i < text.length; i++) {
    const point = text.codePointAt(i) as number;
    if (isEscape(point) || point < 0x80) size += 1;
    else if (point < 0x800) size += 2;
    else if (point >= 0xd800 && point <= 0xdfff) return undefined;
    else if (point < 0x1_0000) size += 3;
    else {
      size += 4;
      i += 1;
    }
  }
  return size;
}

/** Bytes as Latin-1. */
export function latin1From(bytes: Uint8Array): string {
  return fromUnits(bytes);
}

/** The bytes of a text of Latin-1, or undefined where a character is beyond U+00FF. */
export function bytesOfLatin1(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0xff) return undefined;
    bytes[i] = unit;
  }
  return bytes;
}

function fromUnits(units: Uint16Array | Uint8Array): string {
  let text = '';
  for (let at = 0; at < units.length; at += PIECE)
    text += String.fromCharCode(...units.subarray(at, at + PIECE));
  return text;
}
