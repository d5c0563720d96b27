/**
 * Bounded reader for XDR (RFC 4506). It checks each length against the bytes that are left before it allocates,
 * requires zero padding, and limits depth and number of elements, so that a small message cannot cause large use of
 * memory or stack. It decodes primitives and does not know compound types.
 */

import { XdrError } from './errors.js';
import { fewInts } from './ints.js';
import { escapedFrom, latin1From, type StringMode } from './text.js';
import { DEFAULT_MAX_DEPTH } from './writer.js';

/** Limits of one message; see {@link XdrReader}. */
export interface XdrReaderOptions {
  /** Maximum nesting of recursive types. Default {@link DEFAULT_MAX_DEPTH}. */
  readonly maxDepth?: number | undefined;
  /** Maximum total number of elements of arrays and linked lists in one message. Default {@link DEFAULT_MAX_ELEMENTS}. */
  readonly maxElements?: number | undefined;
  /**
   * Accepts nonzero padding, and any nonzero bool as true, from peers that are known to send them. Different bytes then
   * decode to the same value, so messages must not be signed or compared as bytes. Default false.
   */
  readonly lenient?: boolean | undefined;
}

/** Default maximum number of elements of arrays and lists in one message. */
export const DEFAULT_MAX_ELEMENTS = 131_072;

/** Up to here a string is built from char codes; beyond it the decoder's set-up pays off. All ones, to mask with. */
const SHORT_STRING = 31;

/** Up to here ints are read by {@link fewInts}; all ones, to mask with. */
const FEW_INTS = 63;

/** Maximum size of a message, in bytes: 1 GiB minus 1. */
export const MAX_READER_BYTES = 0x3fff_ffff;

/** As in writer.ts. Repeated here because V8 does not treat an imported constant as a constant. */
const MAX_LENGTH = 0xffff_ffff;

/** All valid offsets are below this mask. Masking lets V8 omit overflow checks in the additions that follow. */
const OFFSET_MASK = MAX_READER_BYTES;

/** Eight bytes in host byte order, viewed as several types: faster than DataView for a single number. */
const words = /* @__PURE__ */ new Int32Array(2);
const floats = /* @__PURE__ */ new Float32Array(words.buffer);
const doubles = /* @__PURE__ */ new Float64Array(words.buffer);
const bigInts = /* @__PURE__ */ new BigInt64Array(words.buffer);
const bigUints = /* @__PURE__ */ new BigUint64Array(words.buffer);
/** Index of the more significant word: 1 on little-endian hosts, 0 on big-endian ones. */
const HIGH = /* @__PURE__ */ highWordIndex();

const utf8 = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads XDR. It reads from the given array directly and makes a DataView only if it needs one: making a DataView, or
 * getting the buffer of a typed array, costs as much as decoding a small message.
 */
export class XdrReader {
  private bytes: Uint8Array;
  private view: DataView | undefined;
  private at = 0;
  private end: number;
  private depth = 0;
  private elements = 0;
  private readonly maxDepth: number;
  private readonly maxElements: number;
  private isLenient: boolean;

  /** Reads a message of at most {@link MAX_READER_BYTES} bytes, else `XDR_LIMIT`. */
  constructor(bytes: Uint8Array, options: XdrReaderOptions = {}) {
    if (bytes.length > MAX_READER_BYTES) tooLong(bytes.length);
    this.bytes = bytes;
    this.end = bytes.length;
    this.maxDepth = options.maxDepth ?? DEFAULT_MAX_DEPTH;
    this.maxElements = options.maxElements ?? DEFAULT_MAX_ELEMENTS;
    this.isLenient = options.lenient ?? false;
  }

  /** Starts a new message, with the same limits. */
  reset(bytes: Uint8Array): void {
    if (bytes.length > MAX_READER_BYTES) tooLong(bytes.length);
    this.bytes = bytes;
    this.view = undefined;
    this.at = 0;
    this.end = bytes.length;
    this.depth = 0;
    this.elements = 0;
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.at;
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.end - this.at;
  }

  /** int (RFC 4506 section 4.1). */
  int32(): number {
    const at = this.at & OFFSET_MASK;
    if (at + 4 > this.end) this.truncated(4);
    this.at = at + 4;
    return word(this.bytes, at);
  }

  /** unsigned int (RFC 4506 section 4.2). */
  uint32(): number {
    return this.int32() >>> 0;
  }

  /** The next unsigned int, without consuming it. */
  peekUint32(): number {
    const value = this.uint32();
    this.at -= 4;
    return value;
  }

  /** hyper (RFC 4506 section 4.5). */
  int64(): bigint {
    this.eightBytes();
    return bigInts[0] as bigint;
  }

  /** unsigned hyper (RFC 4506 section 4.5). */
  uint64(): bigint {
    this.eightBytes();
    return bigUints[0] as bigint;
  }

  /** float (RFC 4506 section 4.6). */
  float32(): number {
    words[0] = this.int32();
    return floats[0] as number;
  }

  /** double (RFC 4506 section 4.7). */
  float64(): number {
    this.eightBytes();
    return doubles[0] as number;
  }

  /** bool (RFC 4506 section 4.4): 0 or 1; other values are `XDR_BAD_ENUM` unless the reader is lenient. */
  bool(): boolean {
    const value = this.uint32();
    if (value > 1 && !this.isLenient)
      this.fail('XDR_BAD_ENUM', `${value} is neither 0 (false) nor 1 (true)`, 4);
    return value !== 0;
  }

  /** Fixed-length opaque (RFC 4506 section 4.9), as a copy. */
  fixedOpaque(size: number): Uint8Array<ArrayBuffer> {
    return this.copy(size);
  }

  /** Variable-length opaque (RFC 4506 section 4.10), as a copy. */
  opaque(max: number = MAX_LENGTH): Uint8Array<ArrayBuffer> {
    return this.copy(this.size(max));
  }

  /** string (RFC 4506 section 4.11), strict UTF-8 by default; `max` counts bytes. See {@link StringMode}. */
  string(max: number = MAX_LENGTH, mode?: StringMode): string {
    const at = (this.at & OFFSET_MASK) + 4;
    if (at > this.end) this.truncated(4);
    const announced = word(this.bytes, at - 4);
    // Fast path for short ASCII strings without padding; all others go through anyString().
    const size = announced & SHORT_STRING;
    const next = at + ((size + 3) & ~3);
    if (size === announced && size <= max && next <= this.end && (size & 3) === 0) {
      const text = shortAscii(this.bytes, at, size);
      if (text !== undefined) {
        this.at = next;
        return text;
      }
    }
    return this.anyString(max, mode);
  }

  /**
   * The length of a variable-length array (RFC 4506 section 4.13). `minBytes` is the smallest encoded size of an
   * element: a count for which too few bytes are left is `XDR_TRUNCATED`, before anything is allocated.
   */
  count(max: number, minBytes: number): number {
    const count = this.uint32();
    if (count > max) this.fail('XDR_LIMIT', `${count} elements, at most ${max} allowed`, 4);
    if (count * minBytes > this.end - this.at)
      this.fail('XDR_TRUNCATED', `${count} elements announced, ${this.end - this.at} bytes left`, 4);
    this.addElements(count);
    return count;
  }

  /** Whether another node of a linked list follows. Each node counts as an element. */
  more(): boolean {
    if (!this.bool()) return false;
    this.addElements(1);
    return true;
  }

  /** Variable-length array of int. */
  int32s(max: number = MAX_LENGTH): number[] {
    const at = (this.at & OFFSET_MASK) + 4;
    if (at > this.end) this.truncated(4);
    const announced = word(this.bytes, at - 4);
    // Fast path for short arrays within all limits.
    const count = announced & FEW_INTS;
    const next = at + count * 4;
    const elements = this.elements + count;
    if (count === announced && count <= max && next <= this.end && elements <= this.maxElements) {
      this.at = next;
      this.elements = elements;
      return fewInts(this.bytes, at, count);
    }
    return this.ints(this.count(max, 4));
  }

  /** Fixed-length array of int. */
  fixedInt32s(size: number): number[] {
    if (size * 4 > this.end - this.at) this.truncated(size * 4);
    return this.ints(size);
  }

  /** Variable-length array of unsigned int. */
  uint32s(max: number = MAX_LENGTH): number[] {
    return this.uints(this.count(max, 4));
  }

  /** Fixed-length array of unsigned int. */
  fixedUint32s(size: number): number[] {
    if (size * 4 > this.end - this.at) this.truncated(size * 4);
    return this.uints(size);
  }

  /** All bytes that are left, as a view, for a payload that is passed on without decoding. */
  rest(): Uint8Array {
    const { buffer, byteOffset } = this.bytes;
    const rest = new Uint8Array(buffer, byteOffset + this.at, this.end - this.at);
    this.at = this.end;
    return rest;
  }

  /** Decodes a part of the message leniently; see {@link XdrReaderOptions}. */
  leniently<T>(decode: (reader: XdrReader) => T): T {
    const before = this.isLenient;
    this.isLenient = true;
    try {
      return decode(this);
    } finally {
      this.isLenient = before;
    }
  }

  /** Throws `XDR_TRAILING` unless the message ends here. */
  finish(): void {
    if (this.at !== this.end)
      this.fail('XDR_TRAILING', `${this.end - this.at} bytes after the end of the value`, 0);
  }

  /** Enters one level of a recursive type; throws `XDR_DEPTH` beyond maxDepth. */
  enter(): void {
    this.depth += 1;
    if (this.depth > this.maxDepth) this.fail('XDR_DEPTH', `nested deeper than ${this.maxDepth} levels`, 0);
  }

  /** Leaves the level that {@link enter} entered. */
  leave(): void {
    this.depth -= 1;
  }

  /** Throws `XDR_BAD_ENUM`: the value just read is not a member of the enum (RFC 4506 section 4.3). */
  badEnum(type: string, value: number): never {
    this.fail('XDR_BAD_ENUM', `${value} is not a member of enum ${type}`, 4);
  }

  /** Throws `XDR_BAD_UNION`: the union has no arm for the discriminant just read (RFC 4506 section 4.15). */
  badUnion(type: string, value: number | bigint | boolean): never {
    this.fail('XDR_BAD_UNION', `union ${type} has no arm for ${value}`, typeof value === 'bigint' ? 8 : 4);
  }

  /** Reads a string of any length and content. */
  private anyString(max: number, mode: StringMode | undefined): string {
    const size = this.size(max);
    const at = this.at;
    this.skip(size);
    if (size <= SHORT_STRING) {
      const text = shortAscii(this.bytes, at, size);
      if (text !== undefined) return text;
    }
    const bytes = this.bytes.subarray(at, at + size);
    if (mode === 'latin1') return latin1From(bytes);
    try {
      return utf8.decode(bytes);
    } catch (cause) {
      if (mode === 'utf8') return escapedFrom(bytes);
      throw new XdrError('XDR_RANGE', 'a string that is not UTF-8', { offset: at, cause });
    }
  }

  /** Reads the next eight bytes into {@link words}. */
  private eightBytes(): void {
    const at = this.at & OFFSET_MASK;
    if (at + 8 > this.end) this.truncated(8);
    this.at = at + 8;
    words[HIGH] = word(this.bytes, at);
    words[1 - HIGH] = word(this.bytes, at + 4);
  }

  /** Reads `count` ints; the caller has checked that they are present. */
  private ints(count: number): number[] {
    const at = this.at;
    this.at = at + count * 4;
    if (count <= FEW_INTS) return fewInts(this.bytes, at, count);
    const values = new Array<number>(count);
    const view = this.dataView();
    for (let i = 0; i < count; i++) values[i] = view.getInt32(at + i * 4);
    return values;
  }

  private uints(count: number): number[] {
    const values = new Array<number>(count);
    if (count <= FEW_INTS) {
      for (let i = 0; i < count; i++) values[i] = this.int32() >>> 0;
      return values;
    }
    const view = this.dataView();
    let at = this.at;
    for (let i = 0; i < count; i++) {
      values[i] = view.getUint32(at);
      at += 4;
    }
    this.at = at;
    return values;
  }

  private dataView(): DataView {
    if (this.view !== undefined) return this.view;
    const { buffer, byteOffset, length } = this.bytes;
    this.view = new DataView(buffer, byteOffset, length);
    return this.view;
  }

  /** A copy of the next `size` bytes. (`slice` of a Node Buffer would share the memory.) */
  private copy(size: number): Uint8Array<ArrayBuffer> {
    const at = this.at;
    this.skip(size);
    const copy = new Uint8Array(size);
    if (size > 0) copy.set(this.bytes.subarray(at, at + size));
    return copy;
  }

  private size(max: number): number {
    const size = this.uint32();
    if (size > max) this.fail('XDR_LIMIT', `${size} bytes, at most ${max} allowed`, 4);
    return size;
  }

  /** Skips `size` bytes and their padding, which must be zero (RFC 4506 section 3). */
  private skip(size: number): void {
    const padded = this.at + size + (-size & 3);
    if (padded > this.end) this.truncated(size);
    for (let at = this.at + size; at < padded; at++) {
      if (this.bytes[at] !== 0 && !this.isLenient) {
        this.at = at;
        this.fail('XDR_PADDING', `padding byte 0x${this.bytes[at]?.toString(16)}, zero expected`, 0);
      }
    }
    this.at = padded;
  }

  private addElements(count: number): void {
    this.elements += count;
    if (this.elements > this.maxElements)
      this.fail('XDR_LIMIT', `more than ${this.maxElements} elements in one message`, 4);
  }

  private truncated(size: number): never {
    this.fail('XDR_TRUNCATED', `${size} bytes expected, ${this.end - this.at} left`, 0);
  }

  private fail(code: XdrError['code'], reason: string, back: number): never {
    throw new XdrError(code, reason, { offset: this.at - back });
  }
}

function highWordIndex(): 0 | 1 {
  return new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 1 : 0;
}

function tooLong(length: number): never {
  throw new XdrError('XDR_LIMIT', `a message of ${length} bytes, at most ${MAX_READER_BYTES} allowed`);
}

/** The int at `at`; the caller has checked that its four bytes are present. */
function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

/** Room for the codes of a string of each short length: a call is spread from such an array without making one. */
const codes = /* @__PURE__ */ Array.from({ length: SHORT_STRING + 1 }, (_, length) =>
  new Array<number>(length).fill(0),
);

/**
 * At most {@link SHORT_STRING} characters of ASCII, or undefined where a byte is beyond it. One call of fromCharCode
 * with many codes beats a call into the decoder; and pieces that are joined would cost whoever reads the string.
 */
function shortAscii(bytes: Uint8Array, offset: number, size: number): string | undefined {
  return size === 16 ? ascii16(bytes, offset) : asciiOf(bytes, offset, codes[size] as number[]);
}

/** As many characters as there is room for in `room`. */
function asciiOf(bytes: Uint8Array, offset: number, room: number[]): string | undefined {
  const at = offset & OFFSET_MASK;
  let all = 0;
  for (let i = 0; i < room.length; i++) {
    const code = bytes[at + i] as number;
    all |= code;
    room[i] = code;
  }
  return all > 0x7f ? undefined : String.fromCharCode(...room);
}

/** The length that is in most need, without the array. */
function ascii16(bytes: Uint8Array, offset: number): string | undefined {
  const at = offset & OFFSET_MASK;
  const a = bytes[at] as number;
  const b = bytes[at + 1] as number;
  const c = bytes[at + 2] as number;
  const d = bytes[at + 3] as number;
  const e = bytes[at + 4] as number;
  const f = bytes[at + 5] as number;
  const g = bytes[at + 6] as number;
  const h = bytes[at + 7] as number;
  const i = bytes[at + 8] as number;
  const j = bytes[at + 9] as number;
  const k = bytes[at + 10] as number;
  const l = bytes[at + 11] as number;
  const m = bytes[at + 12] as number;
  const n = bytes[at + 13] as number;
  const o = bytes[at + 14] as number;
  const p = bytes[at + 15] as number;
  if ((a | b | c | d | e | f | g | h | i | j | k | l | m | n | o | p) > 0x7f) return undefined;
  return String.fromCharCode(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p);
}
