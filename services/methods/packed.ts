/**
 * MessagePack from strangers: bytes are walked and counted before anything is built of them, so that
 * the size of what is built is bounded by the size of what came. It knows nothing of methods.
 */

import { Decoder, Encoder } from '@msgpack/msgpack';

/** Bounds on one packed value. */
export interface PackedLimits {
  /** Deepest nesting of arrays and maps. Default {@link DEFAULT_MAX_NESTING}. */
  readonly maxDepth?: number;
  /** Most values altogether, those inside others and the keys of maps included. Default {@link DEFAULT_MAX_VALUES}. */
  readonly maxValues?: number;
}

/** Default for the nesting of one packed value. */
export const DEFAULT_MAX_NESTING = 32;
/** Default for the values in one packed value. */
export const DEFAULT_MAX_VALUES = 65_536;

/** Bytes that are no MessagePack, or more of it than is taken. */
export class PackedError extends Error {
  override readonly name = 'PackedError';
}

/** Type of the one extension that is taken: the timestamp. */
const TIMESTAMP = -1;

/**
 * The value in `bytes`, which must hold one and nothing more. Integers of 64 bits are bigint, binary
 * is Uint8Array, timestamps are Date; keys of maps must be strings. Throws {@link PackedError}.
 */
export function unpack(bytes: Uint8Array, limits: PackedLimits = {}): unknown {
  const maxValues = limits.maxValues ?? DEFAULT_MAX_VALUES;
  walk(bytes, limits.maxDepth ?? DEFAULT_MAX_NESTING, maxValues);
  const decoder = new Decoder({
    useBigInt64: true,
    maxStrLength: bytes.length,
    maxBinLength: bytes.length,
    maxExtLength: 12,
    maxArrayLength: Math.min(bytes.length, maxValues),
    maxMapLength: Math.min(bytes.length, maxValues),
  });
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new PackedError(error instanceof Error ? error.message : 'not MessagePack', { cause: error });
  }
}

const encoder = new Encoder({ useBigInt64: true, maxDepth: DEFAULT_MAX_NESTING });

/**
 * A value as MessagePack: what JSON can say, and bigint, Uint8Array and Date. Throws
 * {@link PackedError} for anything else, for a circle, or for more than `maxBytes`.
 */
export function pack(value: unknown, maxBytes: number): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = encoder.encode(value);
  } catch (error) {
    throw new PackedError(error instanceof Error ? error.message : 'cannot be packed', { cause: error });
  }
  if (bytes.length > maxBytes) throw new PackedError(`${bytes.length} bytes, where ${maxBytes} are allowed`);
  return bytes;
}

/** What one head says: bytes of its own after the first, values that follow it. */
interface Head {
  /** Bytes of the value that are no values themselves. */
  readonly skip: number;
  readonly kind: 'plain' | 'string' | 'array' | 'map';
  readonly count: number;
}

/** Goes through the bytes by a loop and throws where there is too much, too deep, or too little. */
function walk(bytes: Uint8Array, maxDepth: number, maxValues: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Values still to come, for each level; a map's level counts keys and values. */
  const left: number[] = [1];
  const isMap: boolean[] = [false];
  let at = 0;
  let values = 0;
  while (left.length > 0) {
    const level = left.length - 1;
    const rest = left[level]!;
    if (rest === 0) {
      left.pop();
      isMap.pop();
      continue;
    }
    left[level] = rest - 1;
    values += 1;
    if (values > maxValues) throw new PackedError(`more than ${maxValues} values`);
    const head = headAt(view, at);
    // A level of a map has an even rest before each key.
    if (isMap[level] === true && rest % 2 === 0 && head.kind !== 'string')
      throw new PackedError('a key that is no string');
    at += head.skip;
    if (at > bytes.length) throw new PackedError('cut off');
    if (head.kind !== 'array' && head.kind !== 'map') continue;
    // Each value takes a byte at least: a count is believed only as far as there are bytes.
    if (head.count > bytes.length - at) throw new PackedError(`a count of ${head.count} in too few bytes`);
    if (left.length > maxDepth) throw new PackedError(`nested deeper than ${maxDepth}`);
    left.push(head.count);
    isMap.push(head.kind === 'map');
  }
  if (at !== bytes.length) throw new PackedError('bytes after the value');
}

/** https://github.com/msgpack/msgpack/blob/master/spec.md, section "Formats". */
function headAt(view: DataView, at: number): Head {
  const size = (width: 1 | 2 | 4): number => {
    if (at + 1 + width > view.byteLength) throw new PackedError('cut off');
    return width === 1
      ? view.getUint8(at + 1)
      : width === 2
        ? view.getUint16(at + 1)
        : view.getUint32(at + 1);
  };
  if (at >= view.byteLength) throw new PackedError('cut off');
  const byte = view.getUint8(at);
  if (byte < 0x80 || byte >= 0xe0) return plain(1);
  if (byte < 0x90) return { skip: 1, kind: 'map', count: 2 * (byte & 0x0f) };
  if (byte < 0xa0) return { skip: 1, kind: 'array', count: byte & 0x0f };
  if (byte < 0xc0) return { skip: 1 + (byte & 0x1f), kind: 'string', count: 0 };
  switch (byte) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return plain(1);
    case 0xc4:
      return plain(2 + size(1));
    case 0xc5:
      return plain(3 + size(2));
    case 0xc6:
      return plain(5 + size(4));
    case 0xc7:
      size(1);
      return extension(view, at + 2, 3 + size(1));
    case 0xcc:
    case 0xd0:
      return plain(2);
    case 0xcd:
    case 0xd1:
      return plain(3);
    case 0xca:
    case 0xce:
    case 0xd2:
      return plain(5);
    case 0xcb:
    case 0xcf:
    case 0xd3:
      return plain(9);
    case 0xd6:
      return extension(view, at + 1, 6);
    case 0xd7:
      return extension(view, at + 1, 10);
    case 0xd9:
      return { skip: 2 + size(1), kind: 'string', count: 0 };
    case 0xda:
      return { skip: 3 + size(2), kind: 'string', count: 0 };
    case 0xdb:
      return { skip: 5 + size(4), kind: 'string', count: 0 };
    case 0xdc:
      return { skip: 3, kind: 'array', count: size(2) };
    case 0xdd:
      return { skip: 5, kind: 'array', count: size(4) };
    case 0xde:
      return { skip: 3, kind: 'map', count: 2 * size(2) };
    case 0xdf:
      return { skip: 5, kind: 'map', count: 2 * size(4) };
    default:
      throw new PackedError(`a head of 0x${byte.toString(16)}, which is not taken`);
  }
}

function plain(skip: number): Head {
  return { skip, kind: 'plain', count: 0 };
}

function extension(view: DataView, typeAt: number, skip: number): Head {
  if (typeAt >= view.byteLength) throw new PackedError('cut off');
  if (view.getInt8(typeAt) !== TIMESTAMP) throw new PackedError('an extension that is no timestamp');
  return plain(skip);
}
