/**
 * Makes codecs and procedures of a checked interface at run time, so that a program can be called without generated
 * code. They accept the same values, produce the same bytes and count depth like the generated ones. This is the only
 * file of this folder that imports the codec library.
 */

import {
  array,
  bool,
  type Codec,
  double,
  enumeration,
  fixedArray,
  fixedOpaque,
  float,
  hyper,
  int,
  lenient,
  list,
  type Named,
  nonEmptyList,
  opaque,
  openEnumeration,
  optional,
  quadruple,
  type Shape,
  string,
  structOf,
  uhyper,
  uint,
  unionOf,
  voidCodec,
  type Field as XdrField,
} from '../xdr/index.js';
import { isWide } from './emit/output.js';
import { components } from './model/graph.js';
import { referencedTypes, typesIn } from './model/layout.js';
import type {
  CodecOptions,
  Field,
  Interface,
  NamedType,
  NumberRef,
  Procedure,
  Scalar,
  Type,
} from './model/model.js';
import { methodNames } from './model/names.js';

/** A procedure; compatible with `Procedure` of the runtime, so that every client can call it. */
export interface LiveProcedure {
  readonly program: number;
  readonly version: number;
  readonly number: number;
  readonly name: string;
  /** Its method name in a generated client. */
  readonly method: string;
  readonly args: Codec<unknown>;
  readonly result: Codec<unknown>;
  readonly doc: string | undefined;
  /** Whether the `.x` declares it `@rpc:idempotent`. */
  readonly idempotent?: boolean | undefined;
  /** Maximum duration of one call, in milliseconds, as the `.x` declares it by `@rpc:deadline`. */
  readonly deadlineMs?: number | undefined;
}

export interface LiveVersion {
  readonly name: string;
  readonly number: number;
  readonly procedures: readonly LiveProcedure[];
  readonly doc: string | undefined;
}

export interface LiveProgram {
  readonly name: string;
  readonly number: number;
  readonly versions: readonly LiveVersion[];
  readonly doc: string | undefined;
}

/** An interface with codecs and procedures made at run time. */
export interface LiveInterface {
  readonly name: string;
  /** By the names in the `.x`. The name of a linked list's node stands for the list that begins with it. */
  readonly types: ReadonlyMap<string, Codec<unknown>>;
  readonly constants: ReadonlyMap<string, number | bigint | string>;
  readonly programs: readonly LiveProgram[];
}

/** Makes codecs of all types and procedures of all programs of a checked interface. */
export function live(model: Interface, options: CodecOptions = {}): LiveInterface {
  const builder = new CodecBuilder(model, options);
  const types = new Map<string, Codec<unknown>>();
  for (const type of model.types) types.set(type.name, builder.publicCodec(builder.codecOfName(type)));
  const constants = new Map(
    model.constants.map(({ name, value }): [string, number | bigint | string] => [
      name,
      typeof value === 'bigint' && !isWide(value) ? Number(value) : value,
    ]),
  );
  const programs = model.programs.map((program): LiveProgram => {
    const versions = program.versions.map((version): LiveVersion => {
      const methods = methodNames(version);
      const procedures = version.procedures.map(
        (procedure, i): LiveProcedure => ({
          program: numberOf(program.number),
          version: numberOf(version.number),
          number: numberOf(procedure.number),
          name: procedure.name,
          method: methods[i] as string,
          args: builder.publicCodec(builder.args(procedure)),
          result: builder.publicCodec(builder.codec(procedure.result)),
          doc: procedure.doc,
          idempotent: procedure.annotations.idempotent,
          deadlineMs: procedure.annotations.deadlineMs,
        }),
      );
      return { name: version.name, number: numberOf(version.number), procedures, doc: version.doc };
    });
    return { name: program.name, number: numberOf(program.number), versions, doc: program.doc };
  });
  return { name: model.name, types, constants, programs };
}

const SCALARS: Readonly<Record<Scalar, Codec<unknown>>> = {
  int,
  uint,
  hyper,
  uhyper,
  float,
  double,
  quadruple,
  bool,
  void: voidCodec,
} as Readonly<Record<Scalar, Codec<unknown>>>;

class CodecBuilder {
  private readonly codecs = new Map<NamedType, Codec<unknown>>();
  private readonly options: CodecOptions;

  constructor(model: Interface, options: CodecOptions) {
    this.options = options;
    // Dependencies are made first, except within a cycle.
    const calls = model.programs.flatMap(({ versions }) => versions.flatMap(({ procedures }) => procedures));
    const used = calls.flatMap(({ args, result }) =>
      [...args.map((arg) => arg.type), result].flatMap(typesIn),
    );
    for (const group of components([...model.types, ...used], referencedTypes))
      for (const type of group) this.codecs.set(type, this.make(type));
  }

  /** The codec that users get: lenient if the options say so. */
  publicCodec(codec: Codec<unknown>): Codec<unknown> {
    return this.options.lenient === true ? lenient(codec) : codec;
  }

  /** The codec of a type's name: for a node of a linked list, the list that begins with it. */
  codecOfName(type: NamedType): Codec<unknown> {
    const own = this.reference(type);
    return type.kind === 'struct' && type.link !== undefined ? (nonEmptyList(own) as Codec<unknown>) : own;
  }

  /** The arguments of a procedure: none, one, or several in sequence (rpcgen -N). */
  args(procedure: Procedure): Codec<unknown> {
    const [only] = procedure.args;
    if (only === undefined) return voidCodec as Codec<unknown>;
    if (procedure.args.length === 1) return this.codec(only.type);
    return tuple(procedure.args.map((arg, i) => ({ ...this.field(arg), name: arg.name || `arg${i + 1}` })));
  }

  codec(type: Type): Codec<unknown> {
    switch (type.kind) {
      case 'string':
        return this.string(type);
      case 'opaque':
        return opaque(type.max?.size) as Codec<unknown>;
      case 'fixedOpaque':
        return fixedOpaque(type.size.size) as Codec<unknown>;
      case 'array':
        return array(this.codec(type.element), type.max?.size) as Codec<unknown>;
      case 'fixedArray':
        return fixedArray(this.codec(type.element), type.size.size) as Codec<unknown>;
      case 'optional':
        return optional(this.codec(type.element));
      case 'list': {
        const node = this.reference(type.node);
        return (type.minLength === 0 ? list(node) : nonEmptyList(node)) as Codec<unknown>;
      }
      case 'named':
        return this.reference(type.type);
      default:
        return SCALARS[type.kind];
    }
  }

  private string(type: Type & { kind: 'string' }): Codec<unknown> {
    const mode = type.mode ?? this.options.strings ?? 'utf8';
    return (mode === 'bytes' ? opaque(type.max?.size) : string(type.max?.size, mode)) as Codec<unknown>;
  }

  private reference(type: NamedType): Codec<unknown> {
    return this.codecs.get(type) ?? this.lazyReference(type);
  }

  /** A type of the same cycle whose codec is not made yet. */
  private lazyReference(type: NamedType): Codec<unknown> {
    const target = (): Codec<unknown> => this.codecs.get(type) as Codec<unknown>;
    return {
      minBytes: type.minBytes,
      encode: (w, v) => target().encode(w, v),
      decode: (r) => target().decode(r),
      shape: { kind: 'lazy', target },
    };
  }

  private make(type: NamedType): Codec<unknown> {
    const named: Named = { name: type.name, doc: type.doc };
    switch (type.kind) {
      case 'enum': {
        const members = Object.fromEntries(type.members.map(({ name, value }) => [name, value]));
        const make = this.options.enums === 'open' ? openEnumeration : enumeration;
        return make(members, named) as Codec<unknown>;
      }
      case 'struct': {
        const fields = type.fields.map((field) => this.field(field));
        return this.withDepth(type, structOf(fields, named) as Codec<unknown>);
      }
      case 'union': {
        const arms = type.arms.map(({ cases, field }) => ({
          cases: cases.map((each) => each.value),
          field: field === null ? null : this.field(field),
        }));
        const { defaultArm } = type;
        const last = defaultArm === undefined || defaultArm === null ? defaultArm : this.field(defaultArm);
        return this.withDepth(
          type,
          unionOf(this.field(type.discriminant), arms, last, named) as Codec<unknown>,
        );
      }
      case 'alias': {
        const target = this.codec(type.type);
        // A typedef of a named type keeps the name of that type.
        if (target.shape === undefined || target.shape.name !== undefined || target.shape.kind === 'lazy')
          return target;
        return { ...target, shape: { ...target.shape, ...named } as Shape };
      }
      case 'external':
        throw new TypeError(`${type.name} is declared as external, so it has no codec at run time`);
    }
  }

  /** Recursive types count depth, as their generated functions do. */
  private withDepth(type: NamedType, inner: Codec<unknown>): Codec<unknown> {
    const shape = inner.shape as Shape;
    if (!type.recursive) return { ...inner, minBytes: type.minBytes, shape };
    return {
      minBytes: type.minBytes,
      encode(writer, value) {
        writer.enter();
        inner.encode(writer, value);
        writer.leave();
      },
      decode(reader) {
        reader.enter();
        const value = inner.decode(reader);
        reader.leave();
        return value;
      },
      shape,
    };
  }

  private field(field: Field): XdrField {
    const type = this.codec(field.type);
    return { name: field.key, type, doc: field.doc };
  }
}

/** Several values in sequence, as an array. */
function tuple(fields: readonly XdrField[]): Codec<unknown> {
  return {
    minBytes: fields.reduce((sum, field) => sum + field.type.minBytes, 0),
    encode(writer, value) {
      const values = value as readonly unknown[];
      writer.fixedCount(values.length, fields.length);
      fields.forEach((field, i) => {
        field.type.encode(writer, values[i]);
      });
    },
    decode: (reader) => fields.map((field) => field.type.decode(reader)),
    shape: { kind: 'tuple', fields },
  };
}

function numberOf(ref: NumberRef): number {
  return Number(ref.value);
}
