/**
 * Codecs of the primitive types of RFC 4506, and the functions that encode and decode a whole message. Compound
 * types are in compound.ts.
 */

import { XdrError } from './errors.js';
import { XdrReader, type XdrReaderOptions } from './reader.js';
import type { Codec } from './shape.js';
import type { StringMode } from './text.js';
import { MAX_LENGTH, XdrWriter, type XdrWriterOptions } from './writer.js';

/** The value type of a codec: `Infer<typeof point>`. */
export type Infer<C> = C extends Codec<infer T> ? T : never;

/** Makes a codec of an encode and a decode function. Generated code uses it. */
export function codec<T>(
  minBytes: number,
  encode: (writer: XdrWriter, value: T) => void,
  decode: (reader: XdrReader) => T,
): Codec<T> {
  return { minBytes, encode, decode };
}

let sharedWriter: XdrWriter | undefined = /* @__PURE__ */ new XdrWriter();

/**
 * Encodes `value`. The result is a multiple of 4 bytes (RFC 4506 section 3).
 * Throws {@link XdrError} with the path of the field whose value is invalid.
 */
export function encode<T>(type: Codec<T>, value: T, options?: XdrWriterOptions): Uint8Array<ArrayBuffer> {
  // While the shared writer is in use it is not available to others: a getter of the value may call encode() itself.
  const writer = options === undefined ? (sharedWriter ?? new XdrWriter()) : new XdrWriter(options);
  if (writer === sharedWriter) sharedWriter = undefined;
  try {
    writer.reset();
    type.encode(writer, value);
    return writer.take();
  } catch (error) {
    throw withPath(error, type, value);
  } finally {
    if (options === undefined) sharedWriter = writer;
  }
}

/** Decodes `bytes`, which must hold one value and no bytes after it (else `XDR_TRAILING`). Throws {@link XdrError}. */
export function decode<T>(type: Codec<T>, bytes: Uint8Array, options?: XdrReaderOptions): T {
  const reader = new XdrReader(bytes, options);
  const value = type.decode(reader);
  reader.finish();
  return value;
}

/**
 * Adds the path of the invalid field to an error. Encoders do not track the path, so the value is encoded a second
 * time through a proxy that records which member was read last. Only the failing case pays for this.
 */
export function withPath<T>(error: unknown, type: Codec<T>, value: T): unknown {
  if (!(error instanceof XdrError)) return error;
  let path = '';
  const traced = (target: object, base: string): object =>
    new Proxy(target, {
      get(object, key, receiver): unknown {
        const member: unknown = Reflect.get(object, key, receiver);
        if (typeof key === 'symbol' || (Array.isArray(object) && !/^\d+$/.test(key))) return member;
        const here = Array.isArray(object) ? `${base}[${key}]` : base === '' ? key : `${base}.${key}`;
        path = here;
        const isPlain =
          typeof member === 'object' &&
          member !== null &&
          !ArrayBuffer.isView(member) &&
          !Object.isFrozen(member);
        return isPlain ? traced(member, here) : member;
      },
    });
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return error;
  try {
    type.encode(new XdrWriter(), traced(value, '') as T);
  } catch {
    // The same error as before; now the path is known.
  }
  return new XdrError(error.code, error.reason, {
    offset: error.offset,
    path: path + (error.path.startsWith('[') && !path.endsWith(error.path) ? error.path : ''),
    cause: error,
  });
}

/** int: a number, -2^31 to 2^31-1 (RFC 4506 section 4.1). */
export const int: Codec<number> = {
  minBytes: 4,
  encode: (w, v) => w.int32(v),
  decode: (r) => r.int32(),
  shape: { kind: 'int' },
};

/** unsigned int: a number, 0 to 2^32-1 (RFC 4506 section 4.2). */
export const uint: Codec<number> = {
  minBytes: 4,
  encode: (w, v) => w.uint32(v),
  decode: (r) => r.uint32(),
  shape: { kind: 'uint' },
};

/** hyper: a bigint, -2^63 to 2^63-1 (RFC 4506 section 4.5). */
export const hyper: Codec<bigint> = {
  minBytes: 8,
  encode: (w, v) => w.int64(v),
  decode: (r) => r.int64(),
  shape: { kind: 'hyper' },
};

/** unsigned hyper: a bigint, 0 to 2^64-1 (RFC 4506 section 4.5). */
export const uhyper: Codec<bigint> = {
  minBytes: 8,
  encode: (w, v) => w.uint64(v),
  decode: (r) => r.uint64(),
  shape: { kind: 'uhyper' },
};

/** float: a number, rounded to single precision (RFC 4506 section 4.6). */
export const float: Codec<number> = {
  minBytes: 4,
  encode: (w, v) => w.float32(v),
  decode: (r) => r.float32(),
  shape: { kind: 'float' },
};

/** double: a number (RFC 4506 section 4.7). */
export const double: Codec<number> = {
  minBytes: 8,
  encode: (w, v) => w.float64(v),
  decode: (r) => r.float64(),
  shape: { kind: 'double' },
};

/** quadruple: its 16 bytes unchanged, since no JavaScript number can hold it (RFC 4506 section 4.8). */
export const quadruple: Codec<Uint8Array> = {
  minBytes: 16,
  encode: (w, v) => w.fixedOpaque(v, 16),
  decode: (r) => r.fixedOpaque(16),
  shape: { kind: 'quadruple' },
};

/** bool: exactly 0 or 1 on the wire (RFC 4506 section 4.4). */
export const bool: Codec<boolean> = {
  minBytes: 4,
  encode: (w, v) => w.bool(v),
  decode: (r) => r.bool(),
  shape: { kind: 'bool' },
};

/** void: no bytes (RFC 4506 section 4.16). */
export const voidCodec: Codec<void> = {
  minBytes: 0,
  encode: () => undefined,
  decode: () => undefined,
  shape: { kind: 'void' },
};

/** Variable-length opaque of at most `max` bytes (RFC 4506 section 4.10). */
export function opaque(max: number = MAX_LENGTH): Codec<Uint8Array> {
  return {
    minBytes: 4,
    encode: (w, v) => w.opaque(v, max),
    decode: (r) => r.opaque(max),
    shape: { kind: 'opaque', max },
  };
}

/** Fixed-length opaque of exactly `size` bytes (RFC 4506 section 4.9). */
export function fixedOpaque(size: number): Codec<Uint8Array> {
  return {
    minBytes: size,
    encode: (w, v) => w.fixedOpaque(v, size),
    decode: (r) => r.fixedOpaque(size),
    shape: { kind: 'fixedOpaque', size },
  };
}

/** string of at most `max` bytes (RFC 4506 section 4.11). Strict UTF-8 by default; see {@link StringMode}. */
export function string(max: number = MAX_LENGTH, mode: StringMode = 'strict'): Codec<string> {
  return {
    minBytes: 4,
    encode: (w, v) => w.string(v, max, mode),
    decode: (r) => r.string(max, mode),
    shape: { kind: 'string', max, mode },
  };
}
