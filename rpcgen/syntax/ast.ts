/**
 * The syntax tree of a `.x`: names are not resolved, nothing is checked. The grammar is in RFC 4506 section 6.3 and
 * RFC 5531 section 12.2.
 */

import type { Source, Span } from '../model/errors.js';
import type { Annotations } from '../model/model.js';

/** A number or the name of a constant. */
export type Value =
  | {
      readonly kind: 'number';
      readonly value: bigint;
      /** As written, `0x2A`; generated code keeps the base. */
      readonly text: string;
      /** The `#define` that it comes from. */
      readonly macro?: string | undefined;
      readonly span: Span;
    }
  | {
      readonly kind: 'name';
      readonly name: string;
      /** The name before the last `::`, as in `A::NAME`. */
      readonly scope?: string | undefined;
      readonly negative: boolean;
      readonly span: Span;
    };

/** The primitive types of XDR. */
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
  /** The name between `struct` and the body, if there is one. */
  readonly tag?: string | undefined;
}

export interface UnionBody {
  readonly kind: 'union';
  readonly discriminant: Declaration;
  readonly arms: readonly ArmNode[];
  /** The default arm; null if there is none. */
  readonly defaultArm: ArmNode | null;
  readonly span: Span;
  readonly tag?: string | undefined;
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
  readonly tag?: string | undefined;
}

export interface Member {
  readonly name: string;
  /** Null if it is one more than the member before. */
  readonly value: Value | null;
  readonly doc?: string | undefined;
  readonly span: Span;
}

/** declaration: a type, a name and the form of the declarator. */
export interface Declaration {
  readonly name: string;
  readonly type: TypeNode;
  readonly form: 'plain' | 'fixed' | 'variable' | 'optional';
  /** The number between the brackets; null for `<>` and without brackets. */
  readonly size: Value | null;
  readonly doc?: string | undefined;
  readonly span: Span;
}

export type Definition =
  | {
      readonly kind: 'const';
      readonly name: string;
      readonly value: Value;
      readonly doc?: string | undefined;
      readonly span: Span;
    }
  | {
      readonly kind: 'text';
      readonly name: string;
      readonly text: string;
      readonly doc?: string | undefined;
      readonly span: Span;
    }
  | {
      readonly kind: 'typedef';
      readonly declaration: Declaration;
      readonly annotations: Annotations;
      readonly doc?: string | undefined;
      readonly span: Span;
    }
  | {
      readonly kind: 'type';
      readonly name: string;
      readonly body: StructBody | UnionBody | EnumBody;
      readonly doc?: string | undefined;
      readonly span: Span;
    }
  | ProgramNode;

export interface ProgramNode {
  readonly kind: 'program';
  readonly name: string;
  readonly number: Value;
  readonly versions: readonly VersionNode[];
  readonly annotations: Annotations;
  readonly doc?: string | undefined;
  readonly span: Span;
}

export interface VersionNode {
  readonly name: string;
  readonly number: Value;
  readonly procedures: readonly ProcedureNode[];
  readonly annotations: Annotations;
  readonly doc?: string | undefined;
  readonly span: Span;
}

export interface ProcedureNode {
  readonly name: string;
  readonly number: Value;
  /** Empty for void; several as with rpcgen -N. The name of an unnamed argument is empty. */
  readonly args: readonly Declaration[];
  /** Null for void. */
  readonly result: Declaration | null;
  readonly annotations: Annotations;
  readonly doc?: string | undefined;
  readonly span: Span;
}

/** `%#define NAME value`: a macro for the C compiler; the `.x` may use its name. */
export interface PassedDefine {
  readonly name: string;
  /** Its replacement text, in C. */
  readonly body: string;
  readonly span: Span;
}

/** `%#include "name"` or `<name>`: a header for the C compiler, which may define names that the `.x` uses. */
export interface PassedInclude {
  readonly name: string;
  readonly system: boolean;
  readonly span: Span;
}

/** A parsed `.x`, with the files it includes. */
export interface Module {
  /** The name as the user gave it. */
  readonly name: string;
  readonly definitions: readonly Definition[];
  /** Names inside definitions with syntax errors: they are not reported as missing. */
  readonly unparsedNames: ReadonlySet<string>;
  /** What the head of each text says that has such annotations: of the file itself and of what it includes. */
  readonly fileAnnotations: ReadonlyMap<Source, Annotations>;
  /** Its `%#define` lines. */
  readonly passedDefines: readonly PassedDefine[];
  /** Its `%#include` lines. */
  readonly passedIncludes: readonly PassedInclude[];
}
