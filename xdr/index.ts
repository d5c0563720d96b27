/** XDR, the external data representation of RFC 4506. The public interface of this folder. */

export {
  bool,
  codec,
  decode,
  double,
  encode,
  fixedOpaque,
  float,
  hyper,
  type Infer,
  int,
  opaque,
  quadruple,
  string,
  uhyper,
  uint,
  voidCodec,
  withPath,
} from './codec.js';
export {
  array,
  enumeration,
  fixedArray,
  lazy,
  lenient,
  list,
  nonEmptyList,
  openEnumeration,
  optional,
  type StructValue,
  struct,
  structOf,
  unionOf,
} from './compound.js';
export { type Description, describe, type FieldSpec, type TypeSpec } from './describe.js';
export { XdrError, type XdrErrorCode, type XdrErrorOptions } from './errors.js';
export { fromJson, type Json, type JsonOptions, print, template, toJson } from './json.js';
export { DEFAULT_MAX_ELEMENTS, MAX_READER_BYTES, XdrReader, type XdrReaderOptions } from './reader.js';
export type { Arm, Codec, Field, Named, OtherBigint, OtherNumber, Shape } from './shape.js';
export type { StringMode } from './text.js';
export {
  DEFAULT_MAX_DEPTH,
  DEFAULT_MAX_MESSAGE_BYTES,
  MAX_LENGTH,
  XdrWriter,
  type XdrWriterOptions,
} from './writer.js';
