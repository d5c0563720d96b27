/**
 * Looks names up in several files and evaluates constants. Each file has its own scope: a name refers to the definition
 * in the same file if there is one, and to those of other files otherwise. (A textual `#include` is part of the file
 * that includes it, as with cpp.)
 */

import type { Diagnostics, Span } from '../model/errors.js';
import type { Constant, EnumType, NumberRef } from '../model/model.js';
import type { Declaration, TypeNode, Value } from '../syntax/ast.js';
import { BUILTIN_CONSTANTS } from '../syntax/keywords.js';
import { PassedDefines } from './passed.js';
import {
  type CompilationUnit,
  type ConstantEntry,
  type EnumEntry,
  type Scope,
  scopeOf,
  type TypeBody,
  type TypeEntry,
} from './scope.js';

/** Maximum length of a chain `const A = B; const B = C; ...`. */
const MAX_CONSTANT_CHAIN = 500;

/** The type that a name has in other files, and a different one of the same name, if there is one. */
interface ImportedType {
  readonly first: TypeEntry | undefined;
  readonly conflict: TypeEntry | undefined;
}

/** The names of the compiled module and of the modules whose names it may use. */
export class Symbols {
  private readonly scopes: Scope[] = [];
  private readonly orders = new Map<Scope, readonly Scope[]>();
  private readonly importedTypes = new Map<Scope, Map<string, ImportedType>>();
  private readonly hoisted = new Map<TypeBody, string>();
  /** Constants that are being evaluated, and those whose evaluation failed. */
  private readonly open = new Set<ConstantEntry>();
  private readonly failed = new Set<ConstantEntry>();
  private readonly constants = new Map<ConstantEntry, Constant>();
  private readonly enumValues = new Map<TypeEntry, readonly bigint[]>();
  private readonly diagnostics: Diagnostics;
  private readonly passed: PassedDefines;
  private depth = 0;
  /** Returns the checked form of an enum. Set by the checker. */
  enumOf: (entry: TypeEntry) => EnumType | undefined = () => undefined;

  /** The first unit is the compiled module. */
  constructor(units: readonly CompilationUnit[], diagnostics: Diagnostics) {
    this.diagnostics = diagnostics;
    this.passed = new PassedDefines(diagnostics, (name, scope) => this.constantValue(name, scope));
    for (const unit of units) this.addUnit(unit);
  }

  /** Adds a module whose names others may use. */
  addUnit(unit: CompilationUnit): Scope {
    const scope = scopeOf(unit, this.hoisted, this.diagnostics);
    this.scopes.push(scope);
    this.orders.clear();
    this.importedTypes.clear();
    return scope;
  }

  /** The scope of the compiled module. */
  get own(): Scope {
    return this.scopes[0] as Scope;
  }

  /** The type `name` in `scope`: its own, else one of another file. With `use`, an ambiguous name is reported there. */
  type(name: string, scope: Scope, use?: Span): TypeEntry | undefined {
    const own = scope.types.get(name);
    if (own !== undefined) return own;
    const { first, conflict } = this.imported(name, scope);
    if (first !== undefined && conflict !== undefined && use !== undefined)
      this.ambiguous(`type ${name}`, use, [first.scope.file, conflict.scope.file], conflict.span);
    return first;
  }

  /** The type of that name in other files, and a different one of the same name. */
  private imported(name: string, scope: Scope): ImportedType {
    const names = this.importedTypes.get(scope) ?? new Map<string, ImportedType>();
    this.importedTypes.set(scope, names);
    const known = names.get(name);
    if (known !== undefined) return known;
    const [first, ...more] = this.importedScopes(scope).flatMap((other) => other.types.get(name) ?? []);
    // isSame() may come back to this name: until the result is known, there is no conflict.
    names.set(name, { first, conflict: undefined });
    const conflict = first === undefined ? undefined : more.find((each) => !this.isSame(each, first));
    const found = { first, conflict };
    names.set(name, found);
    return found;
  }

  /** The type that a `%#define` line of the file, or of one whose names it may use, defines. */
  passedType(name: string, scope: Scope, use: Span): { type: TypeNode; scope: Scope } | undefined {
    return this.passed.type(name, [scope, ...this.importedScopes(scope)], use);
  }

  /** Reports that no file defines a type. */
  reportMissing(name: string, span: Span, scope: Scope): void {
    this.passed.reportMissing('type', name, span, scope);
  }

  /** Marks the missing type of `declaration`, through typedefs, as the discriminant of a union. */
  markDiscriminant(declaration: Declaration, scope: Scope): void {
    let at = { declaration, scope };
    for (const seen = new Set<Declaration>(); !seen.has(at.declaration); ) {
      seen.add(at.declaration);
      const { type } = at.declaration;
      if (type.kind !== 'ref') return;
      const entry = this.type(type.name, at.scope);
      if (entry?.node.kind === 'typedef') at = { declaration: entry.node.declaration, scope: entry.scope };
      const missing = entry === undefined ? at.scope.missing.get(type.name) : undefined;
      if (missing !== undefined) missing.isDiscriminant = true;
    }
  }

  /** Whether two types are equal: they have the same text, and all names in it refer to equal definitions. */
  private isSame(a: TypeEntry, b: TypeEntry): boolean {
    const open: [TypeEntry, TypeEntry][] = [[a, b]];
    const seen = new Map<TypeEntry, Set<TypeEntry>>();
    for (let pair = open.pop(); pair !== undefined; pair = open.pop()) {
      const [one, other] = pair;
      const compared = seen.get(one) ?? new Set();
      if (one === other || compared.has(other)) continue;
      seen.set(one, compared.add(other));
      const [left, right] = [partsOf(one.node), partsOf(other.node)];
      if (left.text !== right.text) return false;
      for (const [i, value] of left.values.entries()) {
        const conflict = right.values[i];
        if (conflict === undefined || this.numberOf(value, one) !== this.numberOf(conflict, other))
          return false;
      }
      for (const name of left.types) {
        const [mine, theirs] = [this.type(name, one.scope), this.type(name, other.scope)];
        if (mine !== undefined && theirs !== undefined) open.push([mine, theirs]);
        else if (mine !== theirs) return false;
      }
    }
    return true;
  }

  private numberOf(value: Value, { scope }: TypeEntry): bigint | undefined {
    return this.evaluate(value, scope)?.value;
  }

  /** The file's own types. */
  ownTypes(): TypeEntry[] {
    return [...this.own.types.values()];
  }

  /** The name of a body: its tag, or the name that it was given. */
  nameOf(body: TypeBody): string {
    return this.hoisted.get(body) ?? body.tag ?? '';
  }

  /** The file's own constants, with their values. */
  ownConstants(): Constant[] {
    return [...this.own.constants.values()].flat().flatMap((entry) => {
      const constant = entry.kind === 'const' ? this.constant(entry) : undefined;
      return constant ?? [];
    });
  }

  /** The value of a number or a name; undefined, with a diagnostic, if it has none. */
  evaluate(value: Value, scope: Scope): NumberRef | undefined {
    if (value.kind === 'number') return this.literal(value, scope);
    const found = this.find(value, scope);
    if (found === undefined) return undefined;
    return value.negative ? { value: -found.value } : found;
  }

  /**
   * The value of a case: the member of that name of the discriminant's enum, if there is one; otherwise as for other
   * values. Other enums and files may define the same name.
   */
  evaluateCase(value: Value, scope: Scope, discriminant: TypeEntry | undefined): NumberRef | undefined {
    if (value.kind === 'name' && value.scope === undefined && !value.negative && discriminant !== undefined) {
      const member = memberOf(discriminant, value.name);
      if (member !== undefined) return this.entryValue(member, value);
    }
    return this.evaluate(value, scope);
  }

  /** The values of an enum's members; a member without a value is one more than the member before (as in C). */
  valuesOf(entry: TypeEntry): readonly bigint[] {
    const known = this.enumValues.get(entry);
    if (known !== undefined) return known;
    const values: bigint[] = [];
    this.enumValues.set(entry, values);
    let next = 0n;
    for (const member of entry.node.kind === 'enum' ? entry.node.members : []) {
      const value = member.value === null ? next : (this.evaluate(member.value, entry.scope)?.value ?? next);
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

  private literal(value: Value & { kind: 'number' }, scope: Scope): NumberRef {
    const entry = value.macro === undefined ? undefined : this.entry(value.macro, scope)?.[0];
    const constant = entry?.kind === 'const' ? this.constant(entry) : undefined;
    // A redefined macro: only its last value has a name.
    if (constant?.value !== value.value) return { value: value.value, text: value.text };
    return { value: value.value, text: value.text, symbol: { kind: 'const', constant } };
  }

  /** The constants of that name: those of the file, else those of other files. */
  private entry(name: string, scope: Scope): readonly ConstantEntry[] | undefined {
    const own = scope.constants.get(name);
    if (own !== undefined) return own;
    const found = this.importedScopes(scope).flatMap((other) => other.constants.get(name) ?? []);
    return found.length === 0 ? undefined : found;
  }

  /**
   * The scopes in which a name is looked up that `scope` does not define; the compiled file is the last. An imported file
   * does not see the names of files that import it, as in C.
   */
  private importedScopes(scope: Scope): readonly Scope[] {
    const known = this.orders.get(scope);
    if (known !== undefined) return known;
    const [first, ...rest] = this.scopes;
    const all = [...rest, ...(first === undefined ? [] : [first])];
    const order = all.filter((each) => each !== scope && (scope.seesInputs || !each.seesInputs));
    this.orders.set(scope, order);
    return order;
  }

  private find(value: Value & { kind: 'name' }, scope: Scope): NumberRef | undefined {
    const scoped = this.scoped(value, scope);
    const entries = scoped === undefined ? this.entry(value.name, scope) : [scoped];
    const [entry] = entries ?? [];
    if (entries !== undefined && entry !== undefined) {
      if (entries.length > 1) this.checkAgreement(entries, value);
      return this.entryValue(entry, value);
    }
    const passed = this.passed.constant(value.name, [scope, ...this.importedScopes(scope)], value.span);
    if (passed !== undefined) return { value: passed };
    const builtin = BUILTIN_CONSTANTS.get(value.name);
    if (builtin !== undefined) return { value: builtin };
    for (const each of [scope, ...this.importedScopes(scope)]) {
      const number = each.numbers.get(value.name);
      if (number !== undefined && number !== value)
        return this.nested(value, () => this.evaluate(number, each));
    }
    this.passed.reportMissing('constant', value.name, value.span, scope);
    return undefined;
  }

  /** The value of the constant or enumerator `name`, if it is defined in the language itself. */
  private constantValue(name: string, scope: Scope): bigint | undefined {
    const [entry] = this.entry(name, scope) ?? [];
    if (entry === undefined) return undefined;
    if (entry.kind === 'member') return this.valuesOf(entry.enumeration)[entry.index];
    const value = this.constant(entry)?.value;
    return typeof value === 'bigint' ? value : undefined;
  }

  /** Reports an ambiguous name: several constants have it, with different values. */
  private checkAgreement(entries: readonly ConstantEntry[], use: Value & { kind: 'name' }): void {
    const values = entries.map((entry) =>
      entry.kind === 'const' ? this.constant(entry)?.value : this.memberValue(entry, use),
    );
    const conflict = entries[values.findIndex((value) => value !== values[0])];
    const [first] = entries;
    if (conflict === undefined || first === undefined) return;
    const span = conflict.kind === 'const' ? conflict.definition.span : conflict.member.span;
    this.ambiguous(use.name, use.span, [locationOf(first), locationOf(conflict)], span);
  }

  private ambiguous(what: string, use: Span, locations: readonly string[], span: Span): void {
    const hint = locations.every((location) => location.startsWith('enum ')) ? `; write ENUM::${what}` : '';
    this.diagnostics.add('IDL_NAME', use, `${what} is defined in ${locations.join(' and in ')}${hint}`, {
      message: 'also defined here',
      span,
    });
  }

  /** `Enum::MEMBER`, if the name before `::` is an enum and not a namespace. */
  private scoped(value: Value & { kind: 'name' }, scope: Scope): ConstantEntry | undefined {
    const type = value.scope === undefined ? undefined : this.type(value.scope, scope, value.span);
    return type === undefined ? undefined : memberOf(type, value.name);
  }

  private memberValue(entry: ConstantEntry & { kind: 'member' }, use: Value): bigint | undefined {
    return this.nested(use, () => this.valuesOf(entry.enumeration)[entry.index]);
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
    const value = this.memberValue(entry, use);
    if (value === undefined) {
      this.diagnostics.add('IDL_TYPE', use.span, `${entry.member.name} is used in its own definition`);
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
    const { definition, scope } = entry;
    const { origin } = scope;
    const ref = definition.kind === 'text' ? undefined : this.deferred(entry, definition.value, scope);
    const value = definition.kind === 'text' ? definition.text : ref?.value;
    if (value === undefined) return undefined;
    const { name, doc, span } = definition;
    const constant: Constant = { name, value, ref, doc, span, origin };
    this.constants.set(entry, constant);
    return constant;
  }

  private deferred(entry: ConstantEntry, value: Value, scope: Scope): NumberRef | undefined {
    if (this.failed.has(entry)) return undefined;
    if (this.open.has(entry)) {
      this.diagnostics.add('IDL_TYPE', value.span, 'the definition of this constant refers to itself');
      return undefined;
    }
    this.open.add(entry);
    const ref = this.nested(value, () => this.evaluate(value, scope));
    this.open.delete(entry);
    if (ref === undefined) this.failed.add(entry);
    return ref;
  }

  private nested<T>(value: Value, part: () => T): T | undefined {
    if (this.depth > MAX_CONSTANT_CHAIN) {
      this.diagnostics.add('IDL_TYPE', value.span, `a chain of more than ${MAX_CONSTANT_CHAIN} constants`);
      return undefined;
    }
    this.depth += 1;
    const result = part();
    this.depth -= 1;
    return result;
  }
}

function isEnum(entry: TypeEntry): entry is EnumEntry {
  return entry.node.kind === 'enum';
}

function memberOf(entry: TypeEntry, name: string): (ConstantEntry & { kind: 'member' }) | undefined {
  if (!isEnum(entry)) return undefined;
  const index = entry.node.members.findIndex((member) => member.name === name);
  const member = entry.node.members[index];
  return member === undefined ? undefined : { kind: 'member', member, enumeration: entry, index };
}

function locationOf(entry: ConstantEntry): string {
  return entry.kind === 'const'
    ? entry.scope.file
    : `enum ${entry.enumeration.name} of ${entry.enumeration.scope.file}`;
}

/** A definition as text without its values and comments; its values; and the names of types in it. */
function partsOf(node: TypeEntry['node']): { text: string; values: Value[]; types: string[] } {
  const values: Value[] = [];
  const types: string[] = [];
  const text = JSON.stringify(node, (key, part: unknown) => {
    if (key === 'span' || key === 'doc') return undefined;
    if (isValue(part)) return values.push(part);
    if (isReference(part)) types.push(part.name);
    return part;
  });
  return { text, values, types };
}

function isValue(part: unknown): part is Value {
  return (
    typeof part === 'object' &&
    part !== null &&
    'kind' in part &&
    (part.kind === 'number' || part.kind === 'name')
  );
}

function isReference(part: unknown): part is TypeNode & { kind: 'ref' } {
  return typeof part === 'object' && part !== null && 'kind' in part && part.kind === 'ref';
}
