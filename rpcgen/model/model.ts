/**
 * A checked interface: every name resolved, every constant a number, every type finite. What
 * emits, diffs, prints and makes live codecs works on this and can no longer fail.
 */

import type { Diagnostic, Span } from './errors.js';

/** What a constant's name stands for in the text it is used in. */
export type Symbol_ =
  | { readonly kind: 'const'; readonly constant: Constant }
  | { readonly kind: 'member'; readonly type: EnumType; readonly name: string };

/** A number and, where it was written by name, the name. */
export interface NumberRef {
  readonly value: bigint;
  /** As written, where it is a number: `0x10`. */
  readonly text?: string;
  readonly symbol?: Symbol_;
}

/** A length. */
export interface Bound extends NumberRef {
  readonly size: number;
}

/** const, `#define` of a number, or a string constant. */
export interface Constant {
  readonly name: string;
  readonly value: bigint | string;
  readonly ref: NumberRef | undefined;
  readonly doc: string | undefined;
  readonly span: Span;
  readonly origin: ReplyChannel;
}

/** Where a definition goes: into the output, or it is there already in another module. */
export type ReplyChannel =
  | { readonly kind: 'own' }
  /** Of C's headers: emitted only where used. */
  | { readonly kind: 'builtin' }
  | { readonly kind: 'module'; readonly specifier: string };

/** The largest unsigned int. */
export const MAX_UINT32 = 2n ** 32n - 1n;

/** What a string is in TypeScript: text by one of the ways of the codec library, or its bytes. */
export const STRING_MODES = ['utf8', 'strict', 'latin1', 'bytes'] as const;
export type StringMode = (typeof STRING_MODES)[number];

/** How codecs treat what peers send, where the file itself does not say so. */
export interface CodecOptions {
  /** Strings that have no mode of their own. Default `utf8`, which keeps bytes that are not UTF-8 as escapes. */
  readonly strings?: StringMode | undefined;
  /** `open` keeps numbers that are no members of their enum; `strict`, the default, refuses them. */
  readonly enums?: 'open' | 'strict' | undefined;
  /** Whether padding that is not zero and bools beyond 0 and 1 are accepted. Default false. */
  readonly lenient?: boolean | undefined;
}

/** What the annotations of one declaration, or of a file's head, say. */
export interface Annotations {
  /** `@rpc:idempotent`: to run the procedure twice is the same as to run it once. */
  readonly idempotent?: true;
  /** `@rpc:deadline 2s`: how long a call may take, in milliseconds. */
  readonly deadlineMs?: number;
  /** `@rpc:strings bytes`: what strings are in TypeScript. */
  readonly strings?: StringMode;
  /** `@rpc:uuid 8-4-4-4-12`: the interface's UUID, in lower case. */
  readonly uuid?: string;
}

export type Scalar = 'int' | 'uint' | 'hyper' | 'uhyper' | 'float' | 'double' | 'quadruple' | 'bool' | 'void';

/** A type as a member has it. */
export type Type =
  | { readonly kind: Scalar }
  | { readonly kind: 'string'; readonly max: Bound | null; readonly mode?: StringMode }
  | { readonly kind: 'opaque'; readonly max: Bound | null }
  | { readonly kind: 'fixedOpaque'; readonly size: Bound }
  | { readonly kind: 'array'; readonly element: Type; readonly max: Bound | null }
  | { readonly kind: 'fixedArray'; readonly element: Type; readonly size: Bound }
  | { readonly kind: 'optional'; readonly element: Type }
  /** A linked list (RFC 4506 section 4.19) by a pointer to its first node (0), or by the node (1). */
  | { readonly kind: 'list'; readonly node: StructType; readonly minLength: 0 | 1 }
  | { readonly kind: 'named'; readonly type: NamedType };

interface Named {
  readonly name: string;
  readonly doc: string | undefined;
  readonly span: Span;
  readonly origin: ReplyChannel;
  /** Least bytes on the wire. */
  minBytes: number;
  /** Whether a value of it can hold another value of it: such ones count depth. */
  recursive: boolean;
}

export type NamedType = EnumType | StructType | UnionType | AliasType | ExternalType;

export interface EnumType extends Named {
  readonly kind: 'enum';
  members: readonly { readonly name: string; readonly value: number; readonly doc: string | undefined }[];
}

export interface Field {
  /** Its name in the `.x`. */
  readonly name: string;
  /** Its name in values, which differs only where JavaScript cannot have it. */
  readonly key: string;
  readonly type: Type;
  readonly doc: string | undefined;
}

export interface StructType extends Named {
  readonly kind: 'struct';
  fields: readonly Field[];
  /** A node of a linked list; the link, its last member, is not among `fields`. */
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
  /** Undefined: no default. Null: the default is void. */
  otherwise: Field | null | undefined;
}

/** typedef. */
export interface AliasType extends Named {
  readonly kind: 'alias';
  readonly annotations: Annotations;
  type: Type;
}

/** A type of a module that rpcgen-ts has not read. */
export interface ExternalType extends Named {
  readonly kind: 'external';
}

export interface Procedure {
  readonly name: string;
  readonly number: NumberRef;
  /** None for void. */
  readonly args: readonly Field[];
  readonly result: Type;
  /** What holds for it: what its version's and its program's annotations say counts where its own say nothing. */
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

/** All of one `.x`. */
export interface Interface {
  /** The file, as the user named it. */
  readonly name: string;
  /** What it defines, in its order; types of C's headers that it uses come first. */
  readonly constants: readonly Constant[];
  readonly types: readonly NamedType[];
  readonly programs: readonly Program[];
  /** What the file's head says. */
  readonly annotations: Annotations;
  /** What may be meant, and is worth a look. */
  readonly warnings: readonly Diagnostic[];
}

/** The type behind all typedefs. */
export function unalias(type: Type): Type {
  let at = type;
  while (at.kind === 'named' && at.type.kind === 'alias') at = at.type.type;
  return at;
}

/** Least bytes of a type on the wire. */
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

/** Sums of sizes no message can have need not be exact. */
export function cap(bytes: number): number {
  return Math.min(bytes, Number.MAX_SAFE_INTEGER);
}
