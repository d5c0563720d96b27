/** As much of DER (ITU-T X.690) as reading a certificate takes. Bad input throws DerError; nothing is guessed. */

/** The bytes are not DER, or not what was expected. */
export class DerError extends Error {
  override readonly name = 'DerError';
}

/** One element: its tag byte and its contents. */
export interface DerElement {
  readonly tag: number;
  readonly body: Uint8Array;
}

/** Tags that certificates use. */
export const DER = {
  BOOLEAN: 0x01,
  OID: 0x06,
  UTF8: 0x0c,
  PRINTABLE: 0x13,
  IA5: 0x16,
  OCTETS: 0x04,
  SEQUENCE: 0x30,
  SET: 0x31,
} as const;

/** The tag of a context-specific element, constructed (holding others) or not. */
export function contextTag(number: number, isConstructed: boolean): number {
  return 0x80 + (isConstructed ? 0x20 : 0) + number;
}

/** Elements of one body that are read at most. */
const MAX_ELEMENTS = 4_096;

/** The elements that fill `bytes` exactly. */
export function elementsOf(bytes: Uint8Array): DerElement[] {
  const found: DerElement[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (found.length === MAX_ELEMENTS) throw new DerError(`more than ${MAX_ELEMENTS} elements`);
    const tag = bytes[at] as number;
    if ((tag & 0x1f) === 0x1f) throw new DerError('a tag of more than one byte');
    let size = bytes[at + 1];
    at += 2;
    if (size === undefined) throw new DerError('cut off within a length');
    if (size >= 0x80) {
      const count = size - 0x80;
      if (count < 1 || count > 3 || at + count > bytes.length) throw new DerError('a length that is none');
      size = 0;
      for (let i = 0; i < count; i++) size = size * 256 + (bytes[at + i] as number);
      at += count;
    }
    if (at + size > bytes.length) throw new DerError('cut off within an element');
    found.push({ tag, body: bytes.subarray(at, at + size) });
    at += size;
  }
  return found;
}

/** The one element that fills `bytes`, of this tag. */
export function elementOf(bytes: Uint8Array, tag: number): Uint8Array {
  const [element, second] = elementsOf(bytes);
  if (element === undefined || second !== undefined || element.tag !== tag)
    throw new DerError(`not one element of tag ${tag}`);
  return element.body;
}

/** An object identifier as text: `2.5.29.17`. */
export function oidText(body: Uint8Array): string {
  const parts: number[] = [];
  let value = 0;
  for (const byte of body) {
    value = value * 128 + (byte & 0x7f);
    if (value > Number.MAX_SAFE_INTEGER / 128) throw new DerError('an object identifier that is too long');
    if (byte >= 0x80) continue;
    if (parts.length === 0)
      parts.push(value < 80 ? Math.floor(value / 40) : 2, value < 80 ? value % 40 : value - 80);
    else parts.push(value);
    value = 0;
  }
  return parts.join('.');
}
