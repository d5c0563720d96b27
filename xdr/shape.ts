/**
 * Codec<T> encodes and decodes one type. Shape describes the structure of a type as data: JSON conversion and printing
 * use it; encoding and decoding do not.
 */

import type { XdrReader } from './reader.js';
import type { StringMode } from './text.js';
import type { XdrWriter } from './writer.js';

/**
 * Encodes and decodes one XDR type. Codecs written by hand, generated, and made at run time share this interface.
 * `encode` and `decode` throw {@link XdrError}.
 */
export interface Codec<T> {
  /** The smallest encoded size of any value, in bytes. The announced length of an array is checked against it. */
  readonly minBytes: number;
  encode(writer: XdrWriter, value: T): void;
  decode(reader: XdrReader): T;
  /** The structure of the type, for JSON and printing. Generated codecs have none; see {@link describe}. */
  readonly shape?: Shape;
}

/**
 * The discriminants of the default arm of a union over int or unsigned: any number that no case names. This is a type
 * only; there is no such object at run time. TypeScript cannot express "number except 0". An enum accepts any `number`
 * but no literal, so `status === 0` narrows to the arm of 0, and `{ status: 0 }` without the member of that arm is an
 * error. Write a literal as `2 as number`, and compare it as `(status as number) === 2`.
 */
export declare enum OtherNumber {
  any = 0.5,
  other = 0.25,
}

/**
 * The same for a union over hyper, so that `status === 0n` narrows to the arm of 0. TypeScript narrows by literals
 * only, so the type consists of two numbers outside the range of hyper, which represent all values that no case names.
 * A plain `bigint` is not assignable: write `status as OtherBigint`, and compare as `(status as bigint) === 2n`.
 */
export type OtherBigint = 18446744073709551616n | -18446744073709551616n;

/** A member of a struct, or the value of a union arm. */
export interface Field {
  readonly name: string;
  readonly type: Codec<unknown>;
  /** Its comment in the `.x`. */
  readonly doc?: string | undefined;
}

/** An arm of a union: the discriminants that select it, and its field, or null for void. */
export interface Arm {
  readonly cases: readonly (number | bigint | boolean)[];
  readonly field: Field | null;
}

/** What every shape may have: its name and its comment in the `.x`. */
export interface Named {
  readonly name?: string | undefined;
  readonly doc?: string | undefined;
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
    /** An open enum accepts numbers that are not members. */
    | { readonly kind: 'enum'; readonly members: Readonly<Record<string, number>>; readonly isOpen?: boolean }
    | { readonly kind: 'fixedOpaque'; readonly size: number }
    | { readonly kind: 'opaque'; readonly max: number }
    | { readonly kind: 'string'; readonly max: number; readonly mode: StringMode }
    | { readonly kind: 'fixedArray'; readonly element: Codec<unknown>; readonly size: number }
    | { readonly kind: 'array'; readonly element: Codec<unknown>; readonly max: number }
    | { readonly kind: 'list'; readonly element: Codec<unknown>; readonly minLength: 0 | 1 }
    | { readonly kind: 'optional'; readonly element: Codec<unknown> }
    | { readonly kind: 'struct'; readonly fields: readonly Field[] }
    /** The arguments of a procedure with several of them, encoded one after the other. */
    | { readonly kind: 'tuple'; readonly fields: readonly Field[] }
    | {
        readonly kind: 'union';
        readonly discriminant: Field;
        readonly arms: readonly Arm[];
        /** Undefined if there is no default arm: other discriminants are refused. Null for `default: void`. */
        readonly defaultArm: Field | null | undefined;
      }
    | { readonly kind: 'lazy'; readonly target: () => Codec<unknown> }
  );
