/**
 * Codec<T>: how one type of value lies on the wire, as a value of its own; and Shape: what its
 * type is made of, as data. Those that walk values without knowing their types (JSON, printing,
 * templates) read the shape; encoding and decoding never do.
 */

import type { XdrReader } from './reader.js';
import type { StringMode } from './text.js';
import type { XdrWriter } from './writer.js';

/**
 * One XDR type. Hand-written, generated and made at run time, all are this.
 * `encode` and `decode` throw {@link XdrError}.
 */
export interface Codec<T> {
  /** The least bytes any value takes on the wire: what a count of elements is checked against. */
  readonly minBytes: number;
  encode(writer: XdrWriter, value: T): void;
  decode(reader: XdrReader): T;
  /** What the type is made of, for those that walk it (JSON, printing). Generated codecs have none. */
  readonly shape?: Shape;
}

/**
 * The discriminants of a union's default, where the union is switched by an integer: any number that no case names.
 * It exists as a type only. TypeScript has no "number, but not 0"; an enum is the one type that takes any `number`,
 * yet no literal, so that `status === 0` chooses the arm of 0, and `{ status: 0 }` without that arm's member is an
 * error. A literal of one's own is written `2 as number`, and compared as `(status as number) === 2`.
 */
export declare enum OtherNumber {
  any = 0.5,
  other = 0.25,
}

/**
 * The same where the union is switched by a hyper, so that `status === 0n` chooses the arm of 0. TypeScript narrows by
 * literals alone, so these are two numbers that no hyper can have, and stand for all that no case names. No plain
 * `bigint` fits: one is written `status as OtherBigint`, and compared as `(status as bigint) === 2n`.
 */
export type OtherBigint = 18446744073709551616n | -18446744073709551616n;

/** A member of a struct, or the value of a union's arm. */
export interface Field {
  readonly name: string;
  readonly type: Codec<unknown>;
  /** The comment that stood beside it in the `.x`. */
  readonly doc?: string;
}

/** The arm of a union: the discriminants that choose it, and its value, or null for void. */
export interface Arm {
  readonly cases: readonly (number | bigint | boolean)[];
  readonly field: Field | null;
}

/** What every shape may carry: the name it was declared by and the comment beside it. */
export interface Named {
  readonly name?: string;
  readonly doc?: string;
}

export type Shape = Named &
  (
    | {
        readonly kind:
          | 'int'
          | 'uint'
          | 'hyper'
          | 'uhyper'
          | 'float'
          | 'double'
          | 'quadruple'
          | 'bool'
          | 'void';
      }
    /** Of an open one, numbers that are no members are values too. */
    | { readonly kind: 'enum'; readonly members: Readonly<Record<string, number>>; readonly isOpen?: boolean }
    | { readonly kind: 'fixedOpaque'; readonly size: number }
    | { readonly kind: 'opaque'; readonly max: number }
    | { readonly kind: 'string'; readonly max: number; readonly mode: StringMode }
    | { readonly kind: 'fixedArray'; readonly element: Codec<unknown>; readonly size: number }
    | { readonly kind: 'array'; readonly element: Codec<unknown>; readonly max: number }
    | { readonly kind: 'list'; readonly element: Codec<unknown>; readonly minLength: 0 | 1 }
    | { readonly kind: 'optional'; readonly element: Codec<unknown> }
    | { readonly kind: 'struct'; readonly fields: readonly Field[] }
    /** Several arguments of a procedure, one after the other: an array of fixed types. */
    | { readonly kind: 'tuple'; readonly fields: readonly Field[] }
    | {
        readonly kind: 'union';
        readonly discriminant: Field;
        readonly arms: readonly Arm[];
        /** Undefined where there is no default: other discriminants are refused. Null for `default: void`. */
        readonly otherwise: Field | null | undefined;
      }
    | { readonly kind: 'lazy'; readonly target: () => Codec<unknown> }
  );
