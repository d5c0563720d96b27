/**
 * A checked interface: all names are resolved, all constants are evaluated, all types have finite size. Emitters, diff,
 * print and run-time codecs work on this model and report no errors of their own.
 */

import type { Diagnostic, Span } from './errors.js';

/** The definition that the name of a number refers to. */
export type NumberSymbol =
  | { readonly kind: 'const'; readonly constant: Constant }
  | { readonly kind: 'member'; readonly type: EnumType; readonly name: string };

/** A number, and the name or the text by which it was written. */
export interface NumberRef {
  readonly value: bigint;
  /** The literal as written: `0x10`. */
  readonly text?: string | undefined;
  readonly symbol?: NumberSymbol | undefined;
}

/** A length or maximum length. */
export interface Bound extends NumberRef {
  readonly size: number;
}

/** A `const`, a `#define` of a number, or a string constant. */
export interface Constant {
  readonly name: string;
  readonly value: bigint | string;
  readonly ref: NumberRef | undefined;
  readonly doc: string | undefined;
  readonly span: Span;
  readonly origin: TypeOrigin;
}

/** Where a definition comes from. `own` and `builtin` are emitted; `module` is imported. */
export type TypeOrigin =
  | { readonly kind: 'own' }
  /** A type of C's headers: emitted only if it is used. */
  | { readonly kind: 'builtin' }
  | { readonly kind: 'module'; readonly specifier: string };

/** The largest unsigned int. */
export const MAX_UINT32 = 2n ** 32n - 1n;

/** How a string is represented in TypeScript: as text, by a mode of the codec library, or as bytes. */
export const STRING_MODES = ['utf8', 'strict', 'latin1', 'bytes'] as const;
export type StringMode = (typeof STRING_MODES)[number];

/** Options of codecs. Annotations of the file take precedence. */
export interface CodecOptions {
  /** Representation of strings without an annotation. Default `utf8`, which keeps bytes that are not UTF-8 as escapes. */
  readonly strings?: StringMode | undefined;
  /** `open` accepts numbers that are not members of their enum; `strict`, the default, refuses them. */
  readonly enums?: 'open' | 'strict' | undefined;
  /** Accept nonzero padding, and bools other than 0 and 1. Default false. */
  readonly lenient?: boolean | undefined;
}

/** The annotations of one declaration, or of a whole file. */
export interface Annotations {
  /** `@rpc:idempotent`: running the procedure twice has the same effect as running it once. */
  readonly idempotent?: true | undefined;
  /** `@rpc:deadline 2s`: maximum duration of a call, in milliseconds. */
  readonly deadlineMs?: number | undefined;
  /** `@rpc:strings bytes`: representation of strings in TypeScript. */
  readonly strings?: StringMode | undefined;
  /** `@rpc:uuid 8-4-4-4-12`: the UUID of the interface, in lower case. */
  readonly uuid?: string | undefined;
}

export type Scalar = 'int' | 'uint' | 'hyper' | 'uhyper' | 'float' | 'double' | 'quadruple' | 'bool' | 'void';

/** The type of a member. */
export type Type =
  | { readonly kind: Scalar }
  | { readonly kind: 'string'; readonly max: Bound | null; readonly mode?: StringMode | undefined }
  | { readonly kind: 'opaque'; readonly max: Bound | null }
  | { readonly kind: 'fixedOpaque'; readonly size: Bound }
  | { readonly kind: 'array'; readonly element: Type; readonly max: Bound | null }
  | { readonly kind: 'fixedArray'; readonly element: Type; readonly size: Bound }
  | { readonly kind: 'optional'; readonly element: Type }
  /** A linked list (RFC 4506 section 4.19), declared by a pointer to its first node (0) or by the node itself (1). */
  | { readonly kind: 'list'; readonly node: StructType; readonly minLength: 0 | 1 }
  | { readonly kind: 'named'; readonly type: NamedType };

interface Named {
  readonly name: string;
  readonly doc: string | undefined;
  readonly span: Span;
  readonly origin: TypeOrigin;
  /** Smallest encoded size, in bytes. */
  minBytes: number;
  /** Whether a value can contain another value of the same type; such types count depth. */
  recursive: boolean;
}

export type NamedType = EnumType | StructType | UnionType | AliasType | ExternalType;

export interface EnumType extends Named {
  readonly kind: 'enum';
  members: readonly { readonly name: string; readonly value: number; readonly doc: string | undefined }[];
}

export interface Field {
  /** The name in the `.x`. */
  readonly name: string;
  /** The property name in values. It differs from `name` only if JavaScript does not allow that. */
  readonly key: string;
  readonly type: Type;
  readonly doc: string | undefined;
}

export interface StructType extends Named {
  readonly kind: 'struct';
  fields: readonly Field[];
  /** For a node of a linked list, the name of its last member, the pointer to the next node. It is not in `fields`. */
  readonly link: string | undefined;
}

export interface Case {
  readonly value: number | bigint | boolean;
  readonly ref: NumberRef;
}

export interface UnionArm {
  readonly cases: readonly Case[];
  readonly field: Field | null;
}

export interface UnionType extends Named {
  readonly kind: 'union';
  discriminant: Field;
  arms: readonly UnionArm[];
  /** Undefined if there is no default arm, null for `default: void`. */
  defaultArm: Field | null | undefined;
}

/** typedef. */
export interface AliasType extends Named {
  readonly kind: 'alias';
  readonly annotations: Annotations;
  type: Type;
}

/** A type of a module that the compiler has not read. */
export interface ExternalType extends Named {
  readonly kind: 'external';
}

export interface Procedure {
  readonly name: string;
  readonly number: NumberRef;
  /** Empty for void. */
  readonly args: readonly Field[];
  readonly result: Type;
  /** Its own annotations and those inherited from its version and program. */
  readonly annotations: Annotations;
  readonly doc: string | undefined;
}

export interface Version {
  readonly name: string;
  readonly number: NumberRef;
  readonly procedures: readonly Procedure[];
  readonly annotations: Annotations;
  readonly doc: string | undefined;
}

export interface Program {
  readonly name: string;
  readonly number: NumberRef;
  readonly versions: readonly Version[];
  readonly annotations: Annotations;
  readonly doc: string | undefined;
}

/** All definitions of one `.x`. */
export interface Interface {
  /** The file name, as the user gave it. */
  readonly name: string;
  /** Definitions in the order of the file; types of C's headers that it uses come first. */
  readonly constants: readonly Constant[];
  readonly types: readonly NamedType[];
  readonly programs: readonly Program[];
  /** The annotations of the whole file. */
  readonly annotations: Annotations;
  readonly warnings: readonly Diagnostic[];
}

/** Resolves typedefs. */
export function unalias(type: Type): Type {
  let at = type;
  while (at.kind === 'named' && at.type.kind === 'alias') at = at.type.type;
  return at;
}

/** Smallest encoded size of a type, in bytes. */
export function minBytesOf(type: Type): number {
  switch (type.kind) {
    case 'void':
      return 0;
    case 'hyper':
    case 'uhyper':
    case 'double':
      return 8;
    case 'quadruple':
      return 16;
    case 'fixedOpaque':
      return type.size.size + (-type.size.size & 3);
    case 'fixedArray':
      return cap(type.size.size * minBytesOf(type.element));
    case 'list':
      return type.minLength === 0 ? 4 : cap(type.node.minBytes + 4);
    case 'named':
      return type.type.minBytes;
    default:
      return 4;
  }
}

/** Limits a size to the range of exact integers. Larger sizes are beyond any message. */
export function cap(bytes: number): number {
  return Math.min(bytes, Number.MAX_SAFE_INTEGER);
}
