/**
 * The names of a `.x`: who defines what, twice or not at all, and the values of constants.
 */

import type {
  Declaration,
  Definition,
  EnumBody,
  Member,
  Module,
  StructBody,
  TypeNode,
  UnionBody,
  Value,
} from './ast.js';
import type { Diagnostics, Span } from './errors.js';
import type { Constant, EnumType, NumberRef, Origin } from './model.js';
import { BUILTIN_CONSTANTS } from './words.js';

/** A module and where its definitions go. */
export interface Unit {
  readonly module: Module;
  readonly origin: Origin;
}

export type TypeBody = StructBody | UnionBody | EnumBody;

/** A type before it is resolved. */
export interface TypeEntry {
  readonly name: string;
  readonly span: Span;
  readonly doc: string | undefined;
  readonly origin: Origin;
  readonly node: { readonly kind: 'typedef'; readonly declaration: Declaration } | TypeBody;
}

type ConstantEntry =
  | {
      readonly kind: 'const';
      readonly definition: Definition & { kind: 'const' | 'text' };
      readonly origin: Origin;
    }
  | {
      readonly kind: 'member';
      readonly member: Member;
      readonly enumeration: string;
      readonly index: number;
    };

interface Scope {
  readonly types: Map<string, TypeEntry>;
  readonly constants: Map<string, ConstantEntry>;
}

/** `const A = B; const B = C; ...` is followed so far. */
const MAX_CONSTANT_CHAIN = 500;

/** The names of the module that is compiled, then those of the modules it may take names from. */
export class Symbols {
  private readonly scopes: Scope[] = [];
  private readonly hoisted = new Map<TypeBody, string>();
  /** Constants whose value is being found, and those that turned out to have none. */
  private readonly open = new Set<ConstantEntry>();
  private readonly failed = new Set<ConstantEntry>();
  private readonly constants = new Map<ConstantEntry, Constant>();
  private readonly enumValues = new Map<string, readonly bigint[]>();
  private readonly diagnostics: Diagnostics;
  private readonly missing = new Set<string>();
  /** Programs, versions and procedures: C has their numbers as constants, so real files use them as such. */
  private readonly numbers = new Map<string, Value>();
  private depth = 0;
  /** Set by the one that makes types: an enum's checked form. */
  enumOf: (name: string) => EnumType | undefined = () => undefined;

  constructor(units: readonly Unit[], diagnostics: Diagnostics) {
    this.diagnostics = diagnostics;
    for (const unit of units) this.addUnit(unit);
  }

  /** Adds a module whose names count after all others. */
  addUnit(unit: Unit): Scope {
    const scope: Scope = { types: new Map(), constants: new Map() };
    this.scopes.push(scope);
    for (const definition of unit.module.definitions) this.addDefinition(definition, unit.origin, scope);
    return scope;
  }

  /** The type of this name, the file's own before others'. */
  type(name: string): TypeEntry | undefined {
    for (const scope of this.scopes) {
      const entry = scope.types.get(name);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  /** The file's own types. */
  ownTypes(): TypeEntry[] {
    return [...(this.scopes[0]?.types.values() ?? [])];
  }

  /** The name an anonymous body goes by: its owner's and its member's. */
  nameOf(body: TypeBody): string {
    return this.hoisted.get(body) ?? body.tag ?? '';
  }

  /** The file's own constants, with their values. */
  ownConstants(): Constant[] {
    const found: Constant[] = [];
    for (const entry of this.scopes[0]?.constants.values() ?? []) {
      const constant = entry.kind === 'const' ? this.constant(entry) : undefined;
      if (constant !== undefined) found.push(constant);
    }
    return found;
  }

  /** The number a value stands for; undefined, with a diagnostic, where it stands for none. */
  evaluate(value: Value): NumberRef | undefined {
    if (value.kind === 'number') return this.literal(value);
    const found = this.find(value);
    if (found === undefined) return undefined;
    return value.negative ? { value: -found.value } : found;
  }

  /** The values of an enum's members; one more than the last where none is given (as in C). */
  valuesOf(name: string, body: EnumBody): readonly bigint[] {
    const known = this.enumValues.get(name);
    if (known !== undefined) return known;
    const values: bigint[] = [];
    this.enumValues.set(name, values);
    let next = 0n;
    for (const member of body.members) {
      const value = member.value === null ? next : (this.evaluate(member.value)?.value ?? next);
      values.push(this.enumValue(value, member.value?.span ?? member.span));
      next = value + 1n;
    }
    return values;
  }

  private enumValue(value: bigint, span: Span): bigint {
    if (value >= -(2n ** 31n) && value < 2n ** 32n) return BigInt.asIntN(32, value);
    this.diagnostics.add(
      'IDL_TYPE',
      span,
      `${value} does not fit an enum, which is 32 bits (RFC 4506 section 4.3)`,
    );
    return 0n;
  }

  private literal(value: Value & { kind: 'number' }): NumberRef {
    const entry = value.macro === undefined ? undefined : this.entry(value.macro);
    const constant = entry?.kind === 'const' ? this.constant(entry) : undefined;
    // A macro that was redefined later has a name only for its last value.
    if (constant?.value !== value.value) return { value: value.value, text: value.text };
    return { value: value.value, text: value.text, symbol: { kind: 'const', constant } };
  }

  private entry(name: string): ConstantEntry | undefined {
    for (const scope of this.scopes) {
      const entry = scope.constants.get(name);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  private find(value: Value & { kind: 'name' }): NumberRef | undefined {
    const entry = this.scoped(value) ?? this.entry(value.name);
    if (entry !== undefined) return this.entryValue(entry, value);
    const builtin = BUILTIN_CONSTANTS.get(value.name);
    if (builtin !== undefined) return { value: builtin };
    const number = this.numbers.get(value.name);
    if (number !== undefined && number !== value) return this.deeper(value, () => this.evaluate(number));
    this.reportMissing(
      value.name,
      value.span,
      `constant ${value.name} is defined nowhere: say --define ${value.name}=VALUE, or --import the .x that has it`,
    );
    return undefined;
  }

  /** `Enum::MEMBER`, where the scope is an enum rather than a namespace. */
  private scoped(value: Value & { kind: 'name' }): ConstantEntry | undefined {
    const type = value.scope === undefined ? undefined : this.type(value.scope);
    if (type?.node.kind !== 'enum') return undefined;
    const index = type.node.members.findIndex((member) => member.name === value.name);
    const member = type.node.members[index];
    return member === undefined ? undefined : { kind: 'member', member, enumeration: type.name, index };
  }

  private entryValue(entry: ConstantEntry, use: Value): NumberRef | undefined {
    if (entry.kind === 'const') {
      const constant = this.constant(entry);
      if (typeof constant?.value === 'bigint')
        return { value: constant.value, symbol: { kind: 'const', constant } };
      if (constant !== undefined)
        this.diagnostics.add('IDL_TYPE', use.span, `${constant.name} is a string, not a number`);
      return undefined;
    }
    const node = this.type(entry.enumeration)?.node;
    const value =
      node?.kind === 'enum'
        ? this.deeper(use, () => this.valuesOf(entry.enumeration, node)[entry.index])
        : undefined;
    if (value === undefined) {
      this.diagnostics.add('IDL_TYPE', use.span, `${entry.member.name} is used before it has a value`);
      return undefined;
    }
    const type = this.enumOf(entry.enumeration);
    return type === undefined
      ? { value }
      : { value, symbol: { kind: 'member', type, name: entry.member.name } };
  }

  private constant(entry: ConstantEntry & { kind: 'const' }): Constant | undefined {
    const done = this.constants.get(entry);
    if (done !== undefined) return done;
    const { definition, origin } = entry;
    const ref = definition.kind === 'text' ? undefined : this.deferred(entry, definition.value);
    const value = definition.kind === 'text' ? definition.text : ref?.value;
    if (value === undefined) return undefined;
    const { name, doc, span } = definition;
    const constant: Constant = { name, value, ref, doc, span, origin };
    this.constants.set(entry, constant);
    return constant;
  }

  private deferred(entry: ConstantEntry, value: Value): NumberRef | undefined {
    if (this.failed.has(entry)) return undefined;
    if (this.open.has(entry)) {
      this.diagnostics.add('IDL_TYPE', value.span, 'this constant is defined by itself');
      return undefined;
    }
    this.open.add(entry);
    const ref = this.deeper(value, () => this.evaluate(value));
    this.open.delete(entry);
    if (ref === undefined) this.failed.add(entry);
    return ref;
  }

  private deeper<T>(value: Value, part: () => T): T | undefined {
    if (this.depth > MAX_CONSTANT_CHAIN) {
      this.diagnostics.add('IDL_TYPE', value.span, `a chain of more than ${MAX_CONSTANT_CHAIN} constants`);
      return undefined;
    }
    this.depth += 1;
    const result = part();
    this.depth -= 1;
    return result;
  }

  /** Notes that nobody defines a name, once for each name. */
  reportMissing(name: string, span: Span, message: string): void {
    if (this.missing.has(name) || this.isBroken(name)) return;
    this.missing.add(name);
    this.diagnostics.add('IDL_NAME', span, message);
  }

  /** Names inside what did not parse; set by the checker. */
  isBroken: (name: string) => boolean = () => false;

  private addDefinition(definition: Definition, origin: Origin, scope: Scope): void {
    switch (definition.kind) {
      case 'const':
      case 'text':
        this.addConstant(definition.name, definition.span, { kind: 'const', definition, origin }, scope);
        return;
      case 'typedef': {
        const { declaration, doc, span } = definition;
        this.addNested(declaration.name, declaration, origin, scope, true);
        const node = { kind: 'typedef', declaration } as const;
        // `typedef struct foo foo;` says nothing new: C needs it, XDR does not.
        const { type } = declaration;
        if (type.kind === 'ref' && type.name === declaration.name && declaration.form === 'plain') return;
        this.addType({ name: declaration.name, span, doc, origin, node }, scope);
        return;
      }
      case 'type': {
        const { name, span, doc, body } = definition;
        this.addType({ name, span, doc, origin, node: body }, scope);
        this.addBody(name, body, origin, scope);
        return;
      }
      case 'program':
        this.addNumber(definition.name, definition.number);
        for (const version of definition.versions) {
          this.addNumber(version.name, version.number);
          for (const procedure of version.procedures) {
            this.addNumber(procedure.name, procedure.number);
            const parts = [...procedure.args, ...(procedure.result === null ? [] : [procedure.result])];
            for (const part of parts) this.addNested(procedure.name, part, origin, scope, false);
          }
        }
    }
  }

  private addBody(name: string, body: TypeBody, origin: Origin, scope: Scope): void {
    switch (body.kind) {
      case 'struct':
        for (const field of body.fields) this.addNested(name, field, origin, scope, false);
        return;
      case 'union': {
        this.addNested(name, body.discriminant, origin, scope, false);
        const arms = body.otherwise === null ? body.arms : [...body.arms, body.otherwise];
        for (const { declaration } of arms)
          if (declaration !== null) this.addNested(name, declaration, origin, scope, false);
        return;
      }
      case 'enum':
        body.members.forEach((member, index) => {
          this.addConstant(
            member.name,
            member.span,
            { kind: 'member', member, enumeration: name, index },
            scope,
          );
        });
    }
  }

  /** A body inside a declaration is a type of its own: by its tag, or as `Owner_member`. */
  private addNested(
    owner: string,
    declaration: Declaration,
    origin: Origin,
    scope: Scope,
    isTypedef: boolean,
  ): void {
    const node: TypeNode = declaration.type;
    if (node.kind === 'primitive' || node.kind === 'ref') return;
    let name = node.tag ?? (isTypedef ? `${owner}_body` : `${owner}_${declaration.name || 'value'}`);
    if (node.tag === undefined) while (scope.types.has(name)) name += '_';
    this.hoisted.set(node, name);
    this.addType({ name, span: node.span, doc: declaration.doc, origin, node }, scope);
    this.addBody(name, node, origin, scope);
  }

  private addNumber(name: string, number: Value): void {
    if (!this.numbers.has(name)) this.numbers.set(name, number);
  }

  private addType(entry: TypeEntry, scope: Scope): void {
    const before = scope.types.get(entry.name);
    if (before === undefined) scope.types.set(entry.name, entry);
    else if (!isSameTypedef(entry, before)) this.twice(`type ${entry.name}`, entry.span, before.span);
  }

  private addConstant(name: string, span: Span, entry: ConstantEntry, scope: Scope): void {
    const before = scope.constants.get(name);
    if (before === undefined) scope.constants.set(name, entry);
    else this.twice(name, span, before.kind === 'const' ? before.definition.span : before.member.span);
  }

  private twice(what: string, span: Span, first: Span): void {
    this.diagnostics.add('IDL_NAME', span, `${what} is defined twice`, {
      message: 'it is first defined here',
      span: first,
    });
  }
}

/** C allows a typedef to be repeated word for word, and real files (nfs4.x) do. */
function isSameTypedef(a: TypeEntry, b: TypeEntry): boolean {
  if (a.node.kind !== 'typedef' || b.node.kind !== 'typedef') return false;
  const [x, y] = [a.node.declaration, b.node.declaration];
  const isNamed = x.type.kind === 'ref' || x.type.kind === 'primitive';
  return (
    isNamed && x.form === y.form && textOf(x.type) === textOf(y.type) && textOf(x.size) === textOf(y.size)
  );
}

function textOf(node: { readonly span: Span } | null): string {
  return node === null ? '' : node.span.source.text.slice(node.span.start, node.span.end);
}
