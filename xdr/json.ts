/**
 * Converts values to JSON and back, to readable text, and makes example values, all by the shape of a codec.
 *
 * The JSON form:
 *
 *   int, unsigned int        number
 *   hyper, unsigned hyper    decimal string; a number is accepted while it is exact
 *   float, double            number; "NaN", "Infinity", "-Infinity" and "-0" as strings
 *   bool                     true, false
 *   enum                     the member's name; its number is accepted; other numbers if the enum is open
 *   string                   string; a byte that is not UTF-8 as a lone surrogate, "\udc80" to "\udcff"
 *   opaque, quadruple        string of base64, or of hex digits with `opaque: 'hex'`
 *   arrays, linked lists     array
 *   optional                 null, or the value
 *   struct                   object with all members
 *   union                    object with the discriminant and, unless the arm is void, its field
 *   void                     null
 */

import { XdrError } from './errors.js';
import type { Arm, Codec, Field, Shape } from './shape.js';
import { DEFAULT_MAX_DEPTH } from './writer.js';

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Options of the conversion to and from JSON. */
export interface JsonOptions {
  /** How bytes are written. Default `base64`. */
  readonly opaque?: 'base64' | 'hex' | undefined;
  /** Maximum nesting of recursive types. Default {@link DEFAULT_MAX_DEPTH}. */
  readonly maxDepth?: number | undefined;
}

/**
 * Converts `value` to JSON. Throws {@link XdrError}: `XDR_DEPTH`, or `XDR_BAD_ENUM`, `XDR_BAD_UNION` and `XDR_RANGE` for
 * a value that the type cannot hold.
 */
export function toJson<T>(type: Codec<T>, value: T, options: JsonOptions = {}): Json {
  return new JsonConverter(options).toJson(type as Codec<unknown>, value, '');
}

/**
 * Converts JSON to a value. Throws {@link XdrError} with the path of a member that does not match the type. Ranges of
 * numbers and lengths are not checked here; encoding checks them.
 */
export function fromJson<T>(type: Codec<T>, json: Json, options: JsonOptions = {}): T {
  return new JsonConverter(options).fromJson(type as Codec<unknown>, json, '') as T;
}

/** Formats `value` as readable text: one line per member, indented, enums by name, bytes in hex. */
export function print<T>(type: Codec<T>, value: T, options: JsonOptions = {}): string {
  const json = new JsonConverter({ opaque: 'hex', ...options }).toJson(type as Codec<unknown>, value, '');
  return lines(json, '').join('\n');
}

/**
 * An example of the type as JSON, to be edited: optionals are present, arrays have one element, enums have their first
 * member, unions their first arm. Recursion ends after one level.
 */
export function template<T>(type: Codec<T>): Json {
  return example(type as Codec<unknown>, new Set());
}

function shapeOf(type: Codec<unknown>): Shape {
  if (type.shape === undefined)
    throw new TypeError(
      'this codec has no shape: use the codec of loadInterface or of the generated descriptions',
    );
  return type.shape;
}

class JsonConverter {
  private readonly opaque: 'base64' | 'hex';
  private readonly maxDepth: number;
  private depth = 0;

  constructor(options: JsonOptions) {
    this.opaque = options.opaque ?? 'base64';
    this.maxDepth = options.maxDepth ?? DEFAULT_MAX_DEPTH;
  }

  toJson(type: Codec<unknown>, value: unknown, path: string): Json {
    const shape = shapeOf(type);
    switch (shape.kind) {
      case 'void':
        return null;
      case 'int':
      case 'uint':
        return expect(value, 'number', path);
      case 'float':
      case 'double': {
        const number = expect(value, 'number', path);
        // JSON has neither these nor a negative zero.
        if (Object.is(number, -0)) return '-0';
        return Number.isFinite(number) ? number : String(number);
      }
      case 'bool':
        return expect(value, 'boolean', path);
      case 'string':
        return expect(value, 'string', path);
      case 'hyper':
      case 'uhyper':
        return String(expect(value, 'bigint', path));
      case 'quadruple':
      case 'opaque':
      case 'fixedOpaque':
        if (!(value instanceof Uint8Array)) return fail('XDR_RANGE', 'not a Uint8Array', path);
        return this.opaque === 'hex' ? toHex(value) : toBase64(value);
      case 'enum': {
        const name = Object.keys(shape.members).find((each) => shape.members[each] === value);
        if (name === undefined && shape.isOpen === true) return expect(value, 'number', path);
        return (
          name ?? fail('XDR_BAD_ENUM', `${String(value)} is not a member of enum ${shape.name ?? ''}`, path)
        );
      }
      case 'array':
      case 'fixedArray':
      case 'list':
        return items(value, path).map((item, i) => this.toJson(shape.element, item, `${path}[${i}]`));
      case 'optional':
        return value === null ? null : this.toJson(shape.element, value, path);
      case 'tuple': {
        const values = items(value, path);
        return shape.fields.map((field, i) => this.toJson(field.type, values[i], `${path}[${i}]`));
      }
      case 'struct':
        return record(shape.fields.map((field) => this.memberToJson(field, members(value, path), path)));
      case 'union': {
        const object = members(value, path);
        const which = object[shape.discriminant.name];
        const arm = armOf(shape, which, path);
        const parts = [this.memberToJson(shape.discriminant, object, path)];
        if (arm !== null) parts.push(this.memberToJson(arm, object, path));
        return record(parts);
      }
      case 'lazy':
        return this.nested(path, () => this.toJson(shape.target(), value, path));
    }
  }

  private memberToJson(
    field: Field,
    object: Readonly<Record<string, unknown>>,
    path: string,
  ): [string, Json] {
    return [field.name, this.toJson(field.type, object[field.name], join(path, field.name))];
  }

  fromJson(type: Codec<unknown>, json: Json | undefined, path: string): unknown {
    const shape = shapeOf(type);
    switch (shape.kind) {
      case 'void':
        return json === null ? undefined : fail('XDR_RANGE', 'void is null in JSON', path);
      case 'int':
      case 'uint':
        return expect(json, 'number', path);
      case 'float':
      case 'double':
        if (json === 'NaN' || json === 'Infinity' || json === '-Infinity' || json === '-0')
          return Number(json);
        return expect(json, 'number', path);
      case 'bool':
        return expect(json, 'boolean', path);
      case 'string':
        return expect(json, 'string', path);
      case 'hyper':
      case 'uhyper':
        if (typeof json === 'number' && Number.isSafeInteger(json)) return BigInt(json);
        if (typeof json === 'string' && /^-?\d{1,20}$/.test(json)) return BigInt(json);
        return fail('XDR_RANGE', 'a hyper is a string of decimal digits, or a number that is exact', path);
      case 'quadruple':
      case 'opaque':
      case 'fixedOpaque': {
        const text = expect(json, 'string', path);
        const bytes = this.opaque === 'hex' ? fromHex(text) : fromBase64(text);
        return bytes ?? fail('XDR_RANGE', `not a string of ${this.opaque}`, path);
      }
      case 'enum':
        return enumFromJson(shape, json, path);
      case 'array':
      case 'fixedArray':
      case 'list':
        return items(json, path).map((item, i) =>
          this.fromJson(shape.element, item as Json, `${path}[${i}]`),
        );
      case 'optional':
        return json === null ? null : this.fromJson(shape.element, json, path);
      case 'tuple': {
        const values = items(json, path);
        if (values.length !== shape.fields.length)
          fail('XDR_RANGE', `${values.length} arguments, ${shape.fields.length} expected`, path);
        return shape.fields.map((field, i) => this.fromJson(field.type, values[i] as Json, `${path}[${i}]`));
      }
      case 'struct': {
        const object = members(json, path) as Readonly<Record<string, Json>>;
        checkUnknown(object, shape.fields, path);
        return record(shape.fields.map((field) => this.memberFromJson(field, object, path)));
      }
      case 'union': {
        const object = members(json, path) as Readonly<Record<string, Json>>;
        const [name, which] = this.memberFromJson(shape.discriminant, object, path);
        const arm = armOf(shape, which, path);
        checkUnknown(object, arm === null ? [shape.discriminant] : [shape.discriminant, arm], path);
        if (arm === null) return { [name]: which };
        return record([[name, which], this.memberFromJson(arm, object, path)]);
      }
      case 'lazy':
        return this.nested(path, () => this.fromJson(shape.target(), json, path));
    }
  }

  private memberFromJson(
    field: Field,
    object: Readonly<Record<string, Json>>,
    path: string,
  ): [string, unknown] {
    const here = join(path, field.name);
    if (!Object.hasOwn(object, field.name)) fail('XDR_RANGE', 'is missing', here);
    return [field.name, this.fromJson(field.type, object[field.name], here)];
  }

  private nested<R>(path: string, part: () => R): R {
    this.depth += 1;
    if (this.depth > this.maxDepth) fail('XDR_DEPTH', `nested deeper than ${this.maxDepth} levels`, path);
    const result = part();
    this.depth -= 1;
    return result;
  }
}

interface Kinds {
  readonly number: number;
  readonly boolean: boolean;
  readonly string: string;
  readonly bigint: bigint;
}

function expect<K extends keyof Kinds>(value: unknown, kind: K, path: string): Kinds[K] {
  if (typeof value === kind) return value as Kinds[K];
  return fail('XDR_RANGE', value === undefined ? 'is missing' : `not a ${kind}`, path);
}

function items(value: unknown, path: string): readonly unknown[] {
  return Array.isArray(value) ? value : fail('XDR_RANGE', 'not an array', path);
}

function members(value: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  return fail('XDR_RANGE', 'not an object', path);
}

/** Refuses unknown members, so that a misspelt one is not silently ignored. */
function checkUnknown(
  object: Readonly<Record<string, unknown>>,
  fields: readonly Field[],
  path: string,
): void {
  for (const key of Object.keys(object))
    if (!fields.some((field) => field.name === key))
      fail(
        'XDR_RANGE',
        `unknown member; known are ${fields.map((field) => field.name).join(', ')}`,
        join(path, key),
      );
}

type Union = Shape & { kind: 'union' };

function armOf(shape: Union, which: unknown, path: string): Field | null {
  const arm = shape.arms.find(({ cases }) => (cases as readonly unknown[]).includes(which));
  const field = arm === undefined ? shape.defaultArm : arm.field;
  if (field !== undefined) return field;
  return fail('XDR_BAD_UNION', `union ${shape.name ?? ''} has no arm for ${String(which)}`, path);
}

function enumFromJson(shape: Shape & { kind: 'enum' }, json: Json | undefined, path: string): number {
  if (typeof json === 'string' && Object.hasOwn(shape.members, json)) return shape.members[json] as number;
  if (typeof json === 'number' && (shape.isOpen === true || Object.values(shape.members).includes(json)))
    return json;
  return fail('XDR_BAD_ENUM', `${JSON.stringify(json)} is not a member of enum ${shape.name ?? ''}`, path);
}

function example(type: Codec<unknown>, within: ReadonlySet<Codec<unknown>>): Json {
  const shape = shapeOf(type);
  switch (shape.kind) {
    case 'void':
      return null;
    case 'bool':
      return false;
    case 'string':
    case 'opaque':
      return '';
    case 'hyper':
    case 'uhyper':
      return '0';
    case 'quadruple':
      return toBase64(new Uint8Array(16));
    case 'fixedOpaque':
      return toBase64(new Uint8Array(Math.min(shape.size, 4096)));
    case 'enum':
      return Object.keys(shape.members)[0] ?? 0;
    case 'array':
    case 'list': {
      const element = shape.kind === 'array' && shape.max === 0 ? undefined : inner(shape.element, within);
      return element === undefined ? [] : [element];
    }
    case 'fixedArray': {
      const element = inner(shape.element, within) ?? null;
      return Array.from({ length: Math.min(shape.size, 4096) }, () => cloneJson(element));
    }
    case 'optional':
      return inner(shape.element, within) ?? null;
    case 'tuple':
      return shape.fields.map((field) => example(field.type, within));
    case 'struct':
      return record(shape.fields.map((field) => [field.name, example(field.type, within)]));
    case 'union': {
      // The first arm that is not recursive.
      const others: Arm[] = shape.defaultArm === undefined ? [] : [{ cases: [], field: shape.defaultArm }];
      for (const { cases, field } of [...shape.arms, ...others]) {
        const value = field === null ? null : inner(field.type, within);
        if (value === undefined) continue;
        const [which] = cases;
        const head = which === undefined ? example(shape.discriminant.type, within) : caseJson(shape, which);
        const parts: [string, Json][] = [[shape.discriminant.name, head]];
        return record(field === null ? parts : [...parts, [field.name, value]]);
      }
      return null;
    }
    case 'lazy': {
      const target = shape.target();
      return within.has(target) ? null : example(target, new Set([...within, target]));
    }
    default:
      return 0;
  }
}

/** An element that may be omitted: undefined if it is recursive. */
function inner(element: Codec<unknown>, within: ReadonlySet<Codec<unknown>>): Json | undefined {
  const shape = shapeOf(element);
  return shape.kind === 'lazy' && within.has(shape.target()) ? undefined : example(element, within);
}

function caseJson(shape: Union, which: number | bigint | boolean): Json {
  return new JsonConverter({}).toJson(shape.discriminant.type, which, shape.discriminant.name);
}

function cloneJson(json: Json): Json {
  return JSON.parse(JSON.stringify(json)) as Json;
}

/** Makes an object whose members are own properties, even one called `__proto__`. */
function record<V>(entries: readonly (readonly [string, V])[]): { [key: string]: V } {
  return Object.fromEntries(entries);
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function lines(json: Json, indent: string): string[] {
  if (typeof json !== 'object' || json === null) return [`${indent}${JSON.stringify(json)}`];
  const entries = Array.isArray(json)
    ? json.map((item): [string, Json] => ['-', item])
    : Object.entries(json);
  if (entries.length === 0) return [`${indent}${Array.isArray(json) ? '(none)' : '(empty)'}`];
  return entries.flatMap(([name, value]) => {
    const label = Array.isArray(json) ? '-' : `${name}:`;
    const inside = lines(value, `${indent}  `);
    return inside.length === 1
      ? [`${indent}${label} ${(inside[0] as string).trim()}`]
      : [`${indent}${label}`, ...inside];
  });
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function fromHex(text: string): Uint8Array | undefined {
  if (!/^(?:[0-9a-f]{2})*$/i.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(i * 2, i * 2 + 2), 16),
  );
}

/** Bytes converted per call: the number of arguments of a call is limited. */
const CHUNK = 0x2000;

function toBase64(bytes: Uint8Array): string {
  let binary = '';
  for (let at = 0; at < bytes.length; at += CHUNK)
    binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(binary);
}

function fromBase64(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

function fail(code: XdrError['code'], reason: string, path: string): never {
  throw new XdrError(code, reason, { path });
}
