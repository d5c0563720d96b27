/**
 * The names of several files looked up: which definition a name means, or that there is none, and the values of constants. Each file has a scope of its
 * own: a name that it uses is its own if it defines it, whatever other files call so. (A textual `#include` is part of
 * the file that includes it, as with cpp.)
 */

import type { Diagnostics, Span } from '../model/errors.js';
import type { Constant, EnumType, NumberRef } from '../model/model.js';
import type { Declaration, TypeNode, Value } from '../syntax/ast.js';
import { BUILTIN_CONSTANTS } from '../syntax/keywords.js';
import { Passed } from './passed.js';
import {
  type ConstantEntry,
  type EnumEntry,
  type Scope,
  scopeOf,
  type TypeBody,
  type TypeEntry,
  type Unit,
} from './scope.js';

/** `const A = B; const B = C; ...` is followed so far. */
const MAX_CONSTANT_CHAIN = 500;

/** A type of another file, and a second of that name that is not the same. */
interface Foreign {
  readonly first: TypeEntry | undefined;
  readonly rival: TypeEntry | undefined;
}

/** The names of the module that is compiled and of the modules it may take names from. */
export class Symbols {
  private readonly scopes: Scope[] = [];
  private readonly orders = new Map<Scope, readonly Scope[]>();
  private readonly foreigners = new Map<Scope, Map<string, Foreign>>();
  private readonly hoisted = new Map<TypeBody, string>();
  /** Constants whose value is being found, and those that turned out to have none. */
  private readonly open = new Set<ConstantEntry>();
  private readonly failed = new Set<ConstantEntry>();
  private readonly constants = new Map<ConstantEntry, Constant>();
  private readonly enumValues = new Map<TypeEntry, readonly bigint[]>();
  private readonly diagnostics: Diagnostics;
  private readonly passed: Passed;
  private depth = 0;
  /** Set by the one that makes types: an enum's checked form. */
  enumOf: (entry: TypeEntry) => EnumType | undefined = () => undefined;

  /** The first unit is the module that is compiled. */
  constructor(units: readonly Unit[], diagnostics: Diagnostics) {
    this.diagnostics = diagnostics;
    this.passed = new Passed(diagnostics, (name, scope) => this.known(name, scope));
    for (const unit of units) this.addUnit(unit);
  }

  /** Adds a module, in which others find what they do not define themselves. */
  addUnit(unit: Unit): Scope {
    const scope = scopeOf(unit, this.hoisted, this.diagnostics);
    this.scopes.push(scope);
    this.orders.clear();
    this.foreigners.clear();
    return scope;
  }

  /** The scope of the module that is compiled. */
  get own(): Scope {
    return this.scopes[0] as Scope;
  }

  /** The type that `name` is in `scope`: the file's own before those of others. With a use, says where it is two. */
  type(name: string, scope: Scope, use?: Span): TypeEntry | undefined {
    const own = scope.types.get(name);
    if (own !== undefined) return own;
    const { first, rival } = this.foreign(name, scope);
    if (first !== undefined && rival !== undefined && use !== undefined)
      this.ambiguous(`type ${name}`, use, [first.scope.file, rival.scope.file], rival.span);
    return first;
  }

  /** What other files call so: the first of them, and another that is not the same. */
  private foreign(name: string, scope: Scope): Foreign {
    const names = this.foreigners.get(scope) ?? new Map<string, Foreign>();
    this.foreigners.set(scope, names);
    const known = names.get(name);
    if (known !== undefined) return known;
    const [first, ...more] = this.others(scope).flatMap((other) => other.types.get(name) ?? []);
    // Types may lead to each other: until it is known, none has a rival.
    names.set(name, { first, rival: undefined });
    const rival = first === undefined ? undefined : more.find((each) => !this.isSame(each, first));
    const found = { first, rival };
    names.set(name, found);
    return found;
  }

  /** The type that `name` is by a `%#define` line of its file, or of one it may take names from. */
  passedType(name: string, scope: Scope, use: Span): { type: TypeNode; scope: Scope } | undefined {
    return this.passed.type(name, [scope, ...this.others(scope)], use);
  }

  /** Notes that nobody defines a type. */
  reportMissing(name: string, span: Span, scope: Scope): void {
    this.passed.reportMissing('type', name, span, scope);
  }

  /** Notes of a type that nobody defines, and that `declaration` leads to, that a union is switched by it. */
  noteDiscriminant(declaration: Declaration, scope: Scope): void {
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

  /** Whether two files' types say the same: the same text, of which every name is the same again. */
  private isSame(a: TypeEntry, b: TypeEntry): boolean {
    const open: [TypeEntry, TypeEntry][] = [[a, b]];
    const seen = new Map<TypeEntry, Set<TypeEntry>>();
    for (let pair = open.pop(); pair !== undefined; pair = open.pop()) {
      const [one, other] = pair;
      const rivals = seen.get(one) ?? new Set();
      if (one === other || rivals.has(other)) continue;
      seen.set(one, rivals.add(other));
      const [left, right] = [partsOf(one.node), partsOf(other.node)];
      if (left.text !== right.text) return false;
      for (const [i, value] of left.values.entries()) {
        const rival = right.values[i];
        if (rival === undefined || this.numberOf(value, one) !== this.numberOf(rival, other)) return false;
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

  /** The name an anonymous body goes by: its owner's and its member's. */
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

  /** The number a value stands for; undefined, with a diagnostic, where it stands for none. */
  evaluate(value: Value, scope: Scope): NumberRef | undefined {
    if (value.kind === 'number') return this.literal(value, scope);
    const found = this.find(value, scope);
    if (found === undefined) return undefined;
    return value.negative ? { value: -found.value } : found;
  }

  /**
   * The number of a case: a member of the discriminant's enum where it has one of that name, whatever else is called so
   * (another enum, another file's); else what the name is in `scope`.
   */
  evaluateCase(value: Value, scope: Scope, discriminant: TypeEntry | undefined): NumberRef | undefined {
    if (value.kind === 'name' && value.scope === undefined && !value.negative && discriminant !== undefined) {
      const member = memberOf(discriminant, value.name);
      if (member !== undefined) return this.entryValue(member, value);
    }
    return this.evaluate(value, scope);
  }

  /** The values of an enum's members; one more than the last where none is given (as in C). */
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
    // A macro that was redefined later has a name only for its last value.
    if (constant?.value !== value.value) return { value: value.value, text: value.text };
    return { value: value.value, text: value.text, symbol: { kind: 'const', constant } };
  }

  /** The constants of a name: the file's own, else those of the others, in their order. */
  private entry(name: string, scope: Scope): readonly ConstantEntry[] | undefined {
    const own = scope.constants.get(name);
    if (own !== undefined) return own;
    const found = this.others(scope).flatMap((other) => other.constants.get(name) ?? []);
    return found.length === 0 ? undefined : found;
  }

  /**
   * Where a name is looked for that `scope` does not define, the file that is compiled last. A file that is imported does
   * not know those that import it, as in C.
   */
  private others(scope: Scope): readonly Scope[] {
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
    const passed = this.passed.constant(value.name, [scope, ...this.others(scope)], value.span);
    if (passed !== undefined) return { value: passed };
    const builtin = BUILTIN_CONSTANTS.get(value.name);
    if (builtin !== undefined) return { value: builtin };
    for (const each of [scope, ...this.others(scope)]) {
      const number = each.numbers.get(value.name);
      if (number !== undefined && number !== value)
        return this.deeper(value, () => this.evaluate(number, each));
    }
    this.passed.reportMissing('constant', value.name, value.span, scope);
    return undefined;
  }

  /** The number of a constant or an enumerator, where the language defines one of that name. */
  private known(name: string, scope: Scope): bigint | undefined {
    const [entry] = this.entry(name, scope) ?? [];
    if (entry === undefined) return undefined;
    if (entry.kind === 'member') return this.valuesOf(entry.enumeration)[entry.index];
    const value = this.constant(entry)?.value;
    return typeof value === 'bigint' ? value : undefined;
  }

  /** Several constants of one name are one where they have one value; else the name says too little. */
  private checkAgreement(entries: readonly ConstantEntry[], use: Value & { kind: 'name' }): void {
    const values = entries.map((entry) =>
      entry.kind === 'const' ? this.constant(entry)?.value : this.memberValue(entry, use),
    );
    const rival = entries[values.findIndex((value) => value !== values[0])];
    const [first] = entries;
    if (rival === undefined || first === undefined) return;
    const span = rival.kind === 'const' ? rival.definition.span : rival.member.span;
    this.ambiguous(use.name, use.span, [placeOf(first), placeOf(rival)], span);
  }

  private ambiguous(what: string, use: Span, places: readonly string[], span: Span): void {
    const hint = places.every((place) => place.startsWith('enum ')) ? `; ENUM::${what} says which` : '';
    this.diagnostics.add('IDL_NAME', use, `${what} is defined in ${places.join(' and in ')}${hint}`, {
      message: 'it is also defined here',
      span,
    });
  }

  /** `Enum::MEMBER`, where the scope is an enum rather than a namespace. */
  private scoped(value: Value & { kind: 'name' }, scope: Scope): ConstantEntry | undefined {
    const type = value.scope === undefined ? undefined : this.type(value.scope, scope, value.span);
    return type === undefined ? undefined : memberOf(type, value.name);
  }

  private memberValue(entry: ConstantEntry & { kind: 'member' }, use: Value): bigint | undefined {
    return this.deeper(use, () => this.valuesOf(entry.enumeration)[entry.index]);
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
      this.diagnostics.add('IDL_TYPE', value.span, 'this constant is defined by itself');
      return undefined;
    }
    this.open.add(entry);
    const ref = this.deeper(value, () => this.evaluate(value, scope));
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

function placeOf(entry: ConstantEntry): string {
  return entry.kind === 'const'
    ? entry.scope.file
    : `enum ${entry.enumeration.name} of ${entry.enumeration.scope.file}`;
}

/** A definition as text without its values and comments, its values, and the names of types in it. */
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
