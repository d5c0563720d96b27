/**
 * What a `.x` says, as the parser understood it: nothing is resolved, nothing is checked.
 * The grammar is RFC 4506 section 6.3 and RFC 5531 section 12.2.
 */

import type { Source, Span } from '../model/errors.js';
import type { Annotations } from '../model/model.js';

/** A constant or the name of one, where a value is due. */
export type Value =
  | {
      readonly kind: 'number';
      readonly value: bigint;
      /** As written, `0x2A`; generated code keeps the base. */
      readonly text: string;
      /** The `#define` it came from. */
      readonly macro?: string;
      readonly span: Span;
    }
  | {
      readonly kind: 'name';
      readonly name: string;
      /** `A::NAME`: what stands before the last `::`. */
      readonly scope?: string;
      readonly negative: boolean;
      readonly span: Span;
    };

/** Types that XDR itself has and that have no parts. */
export type Primitive =
  | 'int'
  | 'uint'
  | 'hyper'
  | 'uhyper'
  | 'float'
  | 'double'
  | 'quadruple'
  | 'bool'
  | 'string'
  | 'opaque'
  | 'void';

/** type-specifier. */
export type TypeNode =
  | { readonly kind: 'primitive'; readonly primitive: Primitive; readonly span: Span }
  | { readonly kind: 'ref'; readonly name: string; readonly span: Span }
  | StructBody
  | UnionBody
  | EnumBody;

export interface StructBody {
  readonly kind: 'struct';
  readonly fields: readonly Declaration[];
  readonly span: Span;
  /** The name between `struct` and its body, where it has one. */
  readonly tag?: string;
}

export interface UnionBody {
  readonly kind: 'union';
  readonly discriminant: Declaration;
  readonly arms: readonly ArmNode[];
  /** The default arm; null where there is none. */
  readonly otherwise: ArmNode | null;
  readonly span: Span;
  readonly tag?: string;
}

/** An arm of a union; `declaration` is null for void. */
export interface ArmNode {
  readonly cases: readonly Value[];
  readonly declaration: Declaration | null;
  readonly span: Span;
}

export interface EnumBody {
  readonly kind: 'enum';
  readonly members: readonly Member[];
  readonly span: Span;
  readonly tag?: string;
}

export interface Member {
  readonly name: string;
  /** Null where it is one more than the member before. */
  readonly value: Value | null;
  readonly doc?: string;
  readonly span: Span;
}

/** declaration: a type, a name and how many of it. */
export interface Declaration {
  readonly name: string;
  readonly type: TypeNode;
  readonly form: 'plain' | 'fixed' | 'variable' | 'optional';
  /** The number between the brackets; null for `<>` and where there are none. */
  readonly size: Value | null;
  readonly doc?: string;
  readonly span: Span;
}

export type Definition =
  | {
      readonly kind: 'const';
      readonly name: string;
      readonly value: Value;
      readonly doc?: string;
      readonly span: Span;
    }
  | {
      readonly kind: 'text';
      readonly name: string;
      readonly text: string;
      readonly doc?: string;
      readonly span: Span;
    }
  | {
      readonly kind: 'typedef';
      readonly declaration: Declaration;
      readonly annotations: Annotations;
      readonly doc?: string;
      readonly span: Span;
    }
  | {
      readonly kind: 'type';
      readonly name: string;
      readonly body: StructBody | UnionBody | EnumBody;
      readonly doc?: string;
      readonly span: Span;
    }
  | ProgramNode;

export interface ProgramNode {
  readonly kind: 'program';
  readonly name: string;
  readonly number: Value;
  readonly versions: readonly VersionNode[];
  readonly annotations: Annotations;
  readonly doc?: string;
  readonly span: Span;
}

export interface VersionNode {
  readonly name: string;
  readonly number: Value;
  readonly procedures: readonly ProcedureNode[];
  readonly annotations: Annotations;
  readonly doc?: string;
  readonly span: Span;
}

export interface ProcedureNode {
  readonly name: string;
  readonly number: Value;
  /** None for void; several as rpcgen -N has it. Names are empty where the `.x` gives none. */
  readonly args: readonly Declaration[];
  /** Null for void. */
  readonly result: Declaration | null;
  readonly annotations: Annotations;
  readonly doc?: string;
  readonly span: Span;
}

/** `%#define NAME value`: a macro of C, of which the `.x` may use the name. */
export interface PassedDefine {
  readonly name: string;
  /** What it stands for, as C's text. */
  readonly body: string;
  readonly span: Span;
}

/** `%#include "name"` or `<name>`: where C would find what the file does not define. */
export interface PassedInclude {
  readonly name: string;
  readonly system: boolean;
  readonly span: Span;
}

/** One parsed `.x`, with what it includes. */
export interface Module {
  /** As the user named it. */
  readonly name: string;
  readonly definitions: readonly Definition[];
  /** Names inside definitions that did not parse: that they are undefined is no second error. */
  readonly broken: ReadonlySet<string>;
  /** What the head of each text says that has such annotations: of the file itself and of what it includes. */
  readonly heads: ReadonlyMap<Source, Annotations>;
  /** Its `%#define` lines, which are for C. */
  readonly passedDefines: readonly PassedDefine[];
  /** Its `%#include` lines. */
  readonly passedIncludes: readonly PassedInclude[];
}
