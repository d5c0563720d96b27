/**
 * Big-endian writer for XDR (RFC 4506) with one growable buffer that is reused for each message. It encodes primitives
 * and refuses values that do not fit; it does not know compound types.
 */

import { XdrError } from './errors.js';
import { bytesOfEscaped, bytesOfLatin1, type StringMode } from './text.js';

/** Limits of one message; see {@link XdrWriter}. */
export interface XdrWriterOptions {
  /** Maximum size of one message, in bytes. Default {@link DEFAULT_MAX_MESSAGE_BYTES}. */
  readonly maxBytes?: number | undefined;
  /** Maximum nesting of recursive types. Default {@link DEFAULT_MAX_DEPTH}. */
  readonly maxDepth?: number | undefined;
}

/** Default maximum size of one encoded message: 64 MiB. */
export const DEFAULT_MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** Default maximum nesting of recursive types, for encoding and decoding. */
export const DEFAULT_MAX_DEPTH = 128;
/** The largest length that XDR can encode (RFC 4506 section 4.10): the bound of types that declare none. */
export const MAX_LENGTH = 0xffff_ffff;

const INITIAL_BYTES = 1024;
/** A buffer that grew beyond this size is released by {@link XdrWriter.reset}. */
const KEEP_BYTES = 1024 * 1024;
/** Up to this length a loop over character codes is faster than a call of TextEncoder. */
const SHORT_STRING = 48;

/** Eight bytes in host byte order. Splitting a bigint into two words here is faster than DataView.setBigInt64. */
const words = /* @__PURE__ */ new Int32Array(2);
const bigInts = /* @__PURE__ */ new BigInt64Array(words.buffer);
const bigUints = /* @__PURE__ */ new BigUint64Array(words.buffer);
/** Index of the more significant word: 1 on little-endian hosts, 0 on big-endian ones. */
const HIGH = /* @__PURE__ */ highWordIndex();

const utf8 = /* @__PURE__ */ new TextEncoder();

/** Writes XDR. Every method throws {@link XdrError} `XDR_RANGE` for a value of the wrong type or range. */
export class XdrWriter {
  private bytes: Uint8Array<ArrayBuffer>;
  private view: DataView<ArrayBuffer>;
  private capacity: number;
  /** The last result of {@link peek}, reused while the length is the same: making a view is expensive. */
  private peeked: Uint8Array<ArrayBuffer> | undefined;
  private at = 0;
  private depth = 0;
  private readonly maxBytes: number;
  private readonly maxDepth: number;

  constructor(options: XdrWriterOptions = {}) {
    this.maxBytes = options.maxBytes ?? DEFAULT_MAX_MESSAGE_BYTES;
    this.maxDepth = options.maxDepth ?? DEFAULT_MAX_DEPTH;
    this.capacity = Math.min(INITIAL_BYTES, this.maxBytes);
    this.bytes = new Uint8Array(this.capacity);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Bytes written since the last {@link reset}. */
  get length(): number {
    return this.at;
  }

  /** Starts a new message. A large buffer is released, so that one large message does not hold its memory. */
  reset(): void {
    this.at = 0;
    this.depth = 0;
    if (this.capacity > KEEP_BYTES) {
      this.capacity = Math.min(INITIAL_BYTES, this.maxBytes);
      this.bytes = new Uint8Array(this.capacity);
      this.view = new DataView(this.bytes.buffer);
      this.peeked = undefined;
    }
  }

  /** Discards everything written after `length`, for example a result that does not fit its type. */
  truncate(length: number): void {
    if (length < this.at) this.at = length;
    this.depth = 0;
  }

  /** The message so far, as a view that is valid until the next write: copy it or send it at once. */
  peek(): Uint8Array<ArrayBuffer> {
    const { peeked } = this;
    if (peeked !== undefined && peeked.length === this.at) return peeked;
    this.peeked = this.bytes.subarray(0, this.at);
    return this.peeked;
  }

  /** The message so far, as a copy. */
  take(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.at);
  }

  /** int (RFC 4506 section 4.1), 4 bytes. */
  int32(value: number): void {
    if ((value | 0) !== value) this.badValue('an integer from -2147483648 to 2147483647', value);
    const at = this.at;
    if (at + 4 > this.capacity) this.grow(4);
    this.view.setInt32(at, value);
    this.at = at + 4;
  }

  /** unsigned int (RFC 4506 section 4.2), 4 bytes. */
  uint32(value: number): void {
    if (value >>> 0 !== value) this.badValue('an integer from 0 to 4294967295', value);
    const at = this.at;
    if (at + 4 > this.capacity) this.grow(4);
    this.view.setUint32(at, value);
    this.at = at + 4;
  }

  /** hyper (RFC 4506 section 4.5), 8 bytes. */
  int64(value: bigint): void {
    if (typeof value !== 'bigint' || BigInt.asIntN(64, value) !== value)
      this.badValue('a bigint from -2^63 to 2^63-1', value);
    const at = this.at;
    if (at + 8 > this.capacity) this.grow(8);
    bigInts[0] = value;
    this.view.setInt32(at, words[HIGH] as number);
    this.view.setInt32(at + 4, words[1 - HIGH] as number);
    this.at = at + 8;
  }

  /** unsigned hyper (RFC 4506 section 4.5), 8 bytes. */
  uint64(value: bigint): void {
    if (typeof value !== 'bigint' || BigInt.asUintN(64, value) !== value)
      this.badValue('a bigint from 0 to 2^64-1', value);
    const at = this.at;
    if (at + 8 > this.capacity) this.grow(8);
    bigUints[0] = value;
    this.view.setInt32(at, words[HIGH] as number);
    this.view.setInt32(at + 4, words[1 - HIGH] as number);
    this.at = at + 8;
  }

  /** float (RFC 4506 section 4.6), 4 bytes. Rounds to the nearest single; NaN and infinities pass. */
  float32(value: number): void {
    if (typeof value !== 'number') this.badValue('a number', value);
    const at = this.at;
    if (at + 4 > this.capacity) this.grow(4);
    this.view.setFloat32(at, value);
    this.at = at + 4;
  }

  /** double (RFC 4506 section 4.7), 8 bytes. */
  float64(value: number): void {
    if (typeof value !== 'number') this.badValue('a number', value);
    const at = this.at;
    if (at + 8 > this.capacity) this.grow(8);
    this.view.setFloat64(at, value);
    this.at = at + 8;
  }

  /** bool (RFC 4506 section 4.4), 4 bytes. */
  bool(value: boolean): void {
    if (value !== true && value !== false) this.badValue('true or false', value);
    const at = this.at;
    if (at + 4 > this.capacity) this.grow(4);
    this.view.setInt32(at, value ? 1 : 0);
    this.at = at + 4;
  }

  /** Fixed-length opaque (RFC 4506 section 4.9): exactly `size` bytes, zero-padded to a multiple of 4. */
  fixedOpaque(value: Uint8Array, size: number): void {
    if (!(value instanceof Uint8Array)) this.badValue('a Uint8Array', value);
    if (value.length !== size) this.fail('XDR_RANGE', `${value.length} bytes, exactly ${size} expected`);
    this.raw(value);
  }

  /** Variable-length opaque (RFC 4506 section 4.10): a length, then the bytes, zero-padded to a multiple of 4. */
  opaque(value: Uint8Array, max: number = MAX_LENGTH): void {
    if (!(value instanceof Uint8Array)) this.badValue('a Uint8Array', value);
    if (value.length > max) this.fail('XDR_LIMIT', `${value.length} bytes, at most ${max} allowed`);
    this.uint32(value.length);
    this.raw(value);
  }

  /**
   * string (RFC 4506 section 4.11), UTF-8 by default; `max` counts bytes. A lone surrogate is refused, not replaced,
   * unless it is an escape of {@link StringMode} `utf8`.
   */
  string(value: string, max: number = MAX_LENGTH, mode?: StringMode): void {
    if (typeof value !== 'string') this.badValue('a string', value);
    const units = value.length;
    if (units > max) this.fail('XDR_LIMIT', `a string of ${units} bytes or more, at most ${max} allowed`);
    const start = this.at + 4;
    // At most three bytes per UTF-16 unit, and 4 bytes for length and padding each.
    if (start + units * 3 + 4 > this.capacity) {
      if (start + units * 3 + 4 > this.maxBytes) {
        this.copyString(value, max, mode);
        return;
      }
      this.grow(units * 3 + 8);
    }
    const bytes = this.bytes;
    let size = 0;
    if (units <= SHORT_STRING) {
      while (size < units) {
        const unit = value.charCodeAt(size);
        if (unit > 0x7f) break;
        bytes[start + size] = unit;
        size += 1;
      }
    }
    if (size < units) {
      size = this.encodeString(value, max, mode);
      if (size < 0) return;
    }
    this.view.setUint32(start - 4, size);
    this.at = start + size;
    this.pad(size);
  }

  /** The length of a variable-length array (RFC 4506 section 4.13). */
  count(length: number, max: number = MAX_LENGTH): void {
    if (length > max) this.fail('XDR_LIMIT', `${length} elements, at most ${max} allowed`);
    this.uint32(length);
  }

  /** Checks the length of a fixed-length array (RFC 4506 section 4.12), which is not encoded. */
  fixedCount(length: number, size: number): void {
    if (length !== size) this.fail('XDR_RANGE', `${length} elements, exactly ${size} expected`);
  }

  /** Variable-length array of int: the length, then 4 bytes each. */
  int32s(values: readonly number[], max: number = MAX_LENGTH): void {
    const length = values.length;
    this.count(length, max);
    let at = this.at;
    if (at + length * 4 > this.capacity) this.grow(length * 4);
    const view = this.view;
    for (let i = 0; i < length; i++) {
      const value = values[i] as number;
      if ((value | 0) !== value) this.badValue('an integer from -2147483648 to 2147483647', value, `[${i}]`);
      view.setInt32(at, value);
      at += 4;
    }
    this.at = at;
  }

  /** Variable-length array of unsigned int: the length, then 4 bytes each. */
  uint32s(values: readonly number[], max: number = MAX_LENGTH): void {
    const length = values.length;
    this.count(length, max);
    let at = this.at;
    if (at + length * 4 > this.capacity) this.grow(length * 4);
    const view = this.view;
    for (let i = 0; i < length; i++) {
      const value = values[i] as number;
      if (value >>> 0 !== value) this.badValue('an integer from 0 to 4294967295', value, `[${i}]`);
      view.setUint32(at, value);
      at += 4;
    }
    this.at = at;
  }

  /** Fixed-length array of int: `size` times 4 bytes. */
  fixedInt32s(values: readonly number[], size: number): void {
    this.fixedCount(values.length, size);
    let at = this.at;
    if (at + size * 4 > this.capacity) this.grow(size * 4);
    const view = this.view;
    for (let i = 0; i < size; i++) {
      const value = values[i] as number;
      if ((value | 0) !== value) this.badValue('an integer from -2147483648 to 2147483647', value, `[${i}]`);
      view.setInt32(at, value);
      at += 4;
    }
    this.at = at;
  }

  /** Fixed-length array of unsigned int: `size` times 4 bytes. */
  fixedUint32s(values: readonly number[], size: number): void {
    this.fixedCount(values.length, size);
    let at = this.at;
    if (at + size * 4 > this.capacity) this.grow(size * 4);
    const view = this.view;
    for (let i = 0; i < size; i++) {
      const value = values[i] as number;
      if (value >>> 0 !== value) this.badValue('an integer from 0 to 4294967295', value, `[${i}]`);
      view.setUint32(at, value);
      at += 4;
    }
    this.at = at;
  }

  /** Copies bytes that are XDR already: an encoded result, forwarded arguments. */
  encoded(value: Uint8Array): void {
    const at = this.at;
    if (at + value.length > this.capacity) this.grow(value.length);
    this.bytes.set(value, at);
    this.at = at + value.length;
  }

  /** Enters one level of a recursive type; throws `XDR_DEPTH` beyond maxDepth. */
  enter(): void {
    this.depth += 1;
    if (this.depth > this.maxDepth) this.fail('XDR_DEPTH', `nested deeper than ${this.maxDepth} levels`);
  }

  /** Leaves the level that {@link enter} entered. */
  leave(): void {
    this.depth -= 1;
  }

  /** Throws `XDR_BAD_ENUM`: the value is not a member of the enum (RFC 4506 section 4.3). */
  badEnum(type: string, value: unknown): never {
    this.fail('XDR_BAD_ENUM', `${show(value)} is not a member of enum ${type}`);
  }

  /** Throws `XDR_BAD_UNION`: the union has no arm for the discriminant (RFC 4506 section 4.15). */
  badUnion(type: string, value: unknown): never {
    this.fail('XDR_BAD_UNION', `union ${type} has no arm for ${show(value)}`);
  }

  /** Writes the bytes of a string behind space for its length and returns their number; -1 if it wrote the length too. */
  private encodeString(value: string, max: number, mode: StringMode | undefined): number {
    const size = mode === 'latin1' ? -1 : utf8.encodeInto(value, this.bytes.subarray(this.at + 4)).written;
    if (size < 0 || (size !== value.length && !value.isWellFormed())) {
      this.copyString(value, max, mode);
      return -1;
    }
    if (size > max) this.fail('XDR_LIMIT', `a string of ${size} bytes, at most ${max} allowed`);
    return size;
  }

  /** Writes a string with escapes or in Latin-1, or one close to the maximum message size, by way of a copy. */
  private copyString(value: string, max: number, mode: StringMode | undefined): void {
    const encoded =
      mode === 'latin1'
        ? bytesOfLatin1(value)
        : value.isWellFormed()
          ? utf8.encode(value)
          : mode === 'utf8'
            ? bytesOfEscaped(value)
            : undefined;
    if (encoded === undefined)
      this.fail(
        'XDR_RANGE',
        mode === 'latin1'
          ? 'a string with a character that is not in Latin-1'
          : 'a string with a lone surrogate, which UTF-8 cannot encode',
      );
    if (encoded.length > max)
      this.fail('XDR_LIMIT', `a string of ${encoded.length} bytes, at most ${max} allowed`);
    this.opaque(encoded);
  }

  private raw(value: Uint8Array): void {
    const at = this.at;
    const size = value.length;
    const padded = (size + 3) & ~3;
    if (at + padded > this.capacity) this.grow(padded);
    this.bytes.set(value, at);
    this.at = at + size;
    this.pad(size);
  }

  /** Writes zero bytes up to the next multiple of 4 (RFC 4506 section 3). The caller has ensured the capacity. */
  private pad(size: number): void {
    let missing = -size & 3;
    while (missing > 0) {
      this.bytes[this.at] = 0;
      this.at += 1;
      missing -= 1;
    }
  }

  private grow(extra: number): void {
    const needed = this.at + extra;
    if (needed > this.maxBytes) this.fail('XDR_LIMIT', `a message of more than ${this.maxBytes} bytes`);
    this.capacity = Math.min(Math.max(this.capacity * 2, needed), this.maxBytes);
    const larger = new Uint8Array(this.capacity);
    larger.set(this.bytes.subarray(0, this.at));
    this.bytes = larger;
    this.peeked = undefined;
    this.view = new DataView(larger.buffer);
  }

  private badValue(expected: string, value: unknown, path = ''): never {
    this.fail('XDR_RANGE', `${show(value)} is not ${expected}`, path);
  }

  private fail(code: XdrError['code'], reason: string, path = ''): never {
    throw new XdrError(code, reason, { offset: this.at, path });
  }
}

function highWordIndex(): 0 | 1 {
  return new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 1 : 0;
}

/** Formats a value for an error message, in a few characters. */
function show(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'string')
    return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return String(value);
}
