/**
 * Conversion of strings that are not valid UTF-8: lossless escapes for invalid bytes, and Latin-1. File names are
 * often in another encoding; one such name must not make a whole reply unreadable.
 *
 * An invalid byte 0x80 to 0xFF becomes a lone surrogate, U+DC80 to U+DCFF; encoding turns it back into the byte. Valid
 * UTF-8 never decodes to a lone surrogate, so any bytes survive a round trip unchanged. Bytes below 0x80 are never
 * escaped, so an escape cannot stand for '/', NUL or a line feed.
 */

/** How the bytes of a string are converted to text. */
export type StringMode =
  /** UTF-8; invalid bytes are kept as escapes. */
  | 'utf8'
  /** UTF-8; invalid bytes are refused with `XDR_RANGE`. */
  | 'strict'
  /** One byte per character, U+0000 to U+00FF; other characters are refused with `XDR_RANGE`. */
  | 'latin1';

const ESCAPE = 0xdc00;
const FIRST_ESCAPE = 0xdc80;
const LAST_ESCAPE = 0xdcff;

/** Characters converted per call: the number of arguments of a call is limited. */
const CHUNK = 0x2000;

function isEscape(unit: number): boolean {
  return unit >= FIRST_ESCAPE && unit <= LAST_ESCAPE;
}

/** Decodes bytes as UTF-8, invalid ones as escapes. */
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

/** Length of the well-formed UTF-8 sequence at `at` (Unicode table 3-7); 0 if there is none. */
function sequence(bytes: Uint8Array, at: number): number {
  const first = bytes[at] as number;
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  // Overlong forms, surrogates and code points beyond U+10FFFF are recognized by the second byte.
  const second = bytes[at + 1] as number;
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (let i = 2; i < length; i++) if (((bytes[at + i] as number) & 0xc0) !== 0x80) return 0;
  return length;
}

/** Encodes text with escapes; undefined if it has a lone surrogate that is not an escape. */
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

/** Decodes bytes as Latin-1. */
export function latin1From(bytes: Uint8Array): string {
  return fromUnits(bytes);
}

/** Encodes text as Latin-1; undefined if a character is beyond U+00FF. */
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
  for (let at = 0; at < units.length; at += CHUNK)
    text += String.fromCharCode(...units.subarray(at, at + CHUNK));
  return text;
}
