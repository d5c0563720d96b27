/**
 * Codecs of compound types: enum, array, list, optional, struct, union and lazy. Generated code calls the writer and
 * the reader directly instead; both must produce the same bytes.
 */

import type { Infer } from './codec.js';
import type { XdrReader } from './reader.js';
import type { Arm, Codec, Field, Named, OtherNumber } from './shape.js';
import { MAX_LENGTH, type XdrWriter } from './writer.js';

/**
 * Makes `inner` accept nonzero padding and any nonzero bool anywhere in the value; see `lenient` of
 * {@link XdrReaderOptions}. Encoding stays strict.
 */
export function lenient<T>(inner: Codec<T>): Codec<T> {
  return { ...inner, decode: (reader) => reader.leniently(inner.decode) };
}

/** enum that also accepts numbers that are not members, such as those of a newer version of the interface. */
export function openEnumeration<const M extends Readonly<Record<string, number>>>(
  members: M,
  named: Named = {},
): Codec<M[keyof M] | OtherNumber> {
  return {
    minBytes: 4,
    encode: (writer, value) => writer.int32(value),
    decode: (reader) => reader.int32(),
    shape: { ...named, kind: 'enum', members, isOpen: true },
  };
}

/** enum (RFC 4506 section 4.3): other numbers than members are refused. `members` maps names to values. */
export function enumeration<const M extends Readonly<Record<string, number>>>(
  members: M,
  named: Named = {},
): Codec<M[keyof M]> {
  const values = new Set<number>(Object.values(members));
  const name = named.name ?? '(unnamed)';
  return {
    minBytes: 4,
    encode(writer, value) {
      if (!values.has(value as number)) writer.badEnum(name, value);
      writer.int32(value as number);
    },
    decode(reader) {
      const value = reader.int32();
      if (!values.has(value)) reader.badEnum(name, value);
      return value as M[keyof M];
    },
    shape: { ...named, kind: 'enum', members },
  };
}

/** Variable-length array of at most `max` elements (RFC 4506 section 4.13). */
export function array<T>(element: Codec<T>, max: number = MAX_LENGTH): Codec<T[]> {
  return {
    minBytes: 4,
    encode(writer, value) {
      writer.count(value.length, max);
      for (const item of value) element.encode(writer, item);
    },
    decode(reader) {
      const count = reader.count(max, element.minBytes);
      const items: T[] = [];
      for (let i = 0; i < count; i++) items.push(element.decode(reader));
      return items;
    },
    shape: { kind: 'array', element: element as Codec<unknown>, max },
  };
}

/** Fixed-length array of exactly `size` elements (RFC 4506 section 4.12). */
export function fixedArray<T>(element: Codec<T>, size: number): Codec<T[]> {
  return {
    minBytes: size * element.minBytes,
    encode(writer, value) {
      writer.fixedCount(value.length, size);
      for (const item of value) element.encode(writer, item);
    },
    decode(reader) {
      const items: T[] = [];
      for (let i = 0; i < size; i++) items.push(element.decode(reader));
      return items;
    },
    shape: { kind: 'fixedArray', element: element as Codec<unknown>, size },
  };
}

/** optional-data (RFC 4506 section 4.19): the value or null. */
export function optional<T>(element: Codec<T>): Codec<T | null> {
  return {
    minBytes: 4,
    encode(writer, value) {
      writer.bool(value !== null);
      if (value !== null) element.encode(writer, value);
    },
    decode: (reader) => (reader.bool() ? element.decode(reader) : null),
    shape: { kind: 'optional', element: element as Codec<unknown> },
  };
}

/**
 * Linked list (RFC 4506 section 4.19, the "stringlist" example) as an array. On the wire, true precedes each node and
 * false follows the last. It is encoded and decoded in a loop, so the length is not limited by the stack.
 */
export function list<T>(element: Codec<T>): Codec<T[]> {
  return {
    minBytes: 4,
    encode(writer, value) {
      for (const item of value) {
        writer.bool(true);
        element.encode(writer, item);
      }
      writer.bool(false);
    },
    decode(reader) {
      const items: T[] = [];
      while (reader.more()) items.push(element.decode(reader));
      return items;
    },
    shape: { kind: 'list', element: element as Codec<unknown>, minLength: 0 },
  };
}

/** A linked list that is declared by its first node and not by a pointer to it, so it is never empty. */
export function nonEmptyList<T>(element: Codec<T>): Codec<[T, ...T[]]> {
  return {
    minBytes: element.minBytes + 4,
    encode(writer, value) {
      // XDR_RANGE for an empty array, which has no encoding.
      if (value.length === 0) writer.fixedCount(0, 1);
      value.forEach((item, i) => {
        if (i > 0) writer.bool(true);
        element.encode(writer, item);
      });
      writer.bool(false);
    },
    decode(reader) {
      const items: [T, ...T[]] = [element.decode(reader)];
      while (reader.more()) items.push(element.decode(reader));
      return items;
    },
    shape: { kind: 'list', element: element as Codec<unknown>, minLength: 1 },
  };
}

type Members = Readonly<Record<string, Codec<unknown>>>;
/** The object type of a record of codecs. */
export type StructValue<F extends Members> = { [K in keyof F]: Infer<F[K]> };

/** struct (RFC 4506 section 4.14): the members in the order of `members`. */
export function struct<F extends Members>(members: F, named: Named = {}): Codec<StructValue<F>> {
  const fields = Object.entries(members).map(([name, type]): Field => ({ name, type }));
  return structOf(fields, named) as Codec<StructValue<F>>;
}

/** struct from a list of fields, whose names are known only at run time. */
export function structOf(fields: readonly Field[], named: Named = {}): Codec<Record<string, unknown>> {
  return {
    minBytes: fields.reduce((sum, field) => sum + field.type.minBytes, 0),
    encode(writer, value) {
      for (const { name, type } of fields) type.encode(writer, value[name]);
    },
    decode(reader) {
      const value: Record<string, unknown> = {};
      for (const { name, type } of fields) value[name] = type.decode(reader);
      return value;
    },
    shape: { ...named, kind: 'struct', fields },
  };
}

/**
 * Discriminated union (RFC 4506 section 4.15). The value is an object with two members, the discriminant and the
 * field of the arm: `{ status: 0, data: 'x' }`.
 */
export function unionOf(
  discriminant: Field,
  arms: readonly Arm[],
  defaultArm: Field | null | undefined,
  named: Named = {},
): Codec<Record<string, unknown>> {
  const table = new Map<unknown, Field | null>();
  for (const { cases, field } of arms) for (const value of cases) table.set(value, field);
  const armOf = (value: unknown): Field | null | undefined => {
    const arm = table.get(value);
    return arm === undefined ? defaultArm : arm;
  };
  const armSizes = [...table.values(), ...(defaultArm === undefined ? [] : [defaultArm])].map(
    (field) => field?.type.minBytes ?? 0,
  );
  const name = named.name ?? '(unnamed)';
  return {
    minBytes: discriminant.type.minBytes + (armSizes.length === 0 ? 0 : Math.min(...armSizes)),
    encode(writer: XdrWriter, value) {
      const which = value[discriminant.name];
      const arm = armOf(which);
      if (arm === undefined) writer.badUnion(name, which);
      discriminant.type.encode(writer, which);
      if (arm !== null) arm.type.encode(writer, value[arm.name]);
    },
    decode(reader: XdrReader) {
      const which = discriminant.type.decode(reader) as number | bigint | boolean;
      const arm = armOf(which);
      if (arm === undefined) reader.badUnion(name, which);
      const value: Record<string, unknown> = { [discriminant.name]: which };
      if (arm !== null) value[arm.name] = arm.type.decode(reader);
      return value;
    },
    shape: { ...named, kind: 'union', discriminant, arms, defaultArm },
  };
}

/** A codec that is looked up when it is used, for recursive types. Each use counts as one level of depth. */
export function lazy<T>(target: () => Codec<T>, minBytes = 0): Codec<T> {
  return {
    minBytes,
    encode(writer, value) {
      writer.enter();
      target().encode(writer, value);
      writer.leave();
    },
    decode(reader) {
      reader.enter();
      const value = target().decode(reader);
      reader.leave();
      return value;
    },
    shape: { kind: 'lazy', target: target as () => Codec<unknown> },
  };
}
