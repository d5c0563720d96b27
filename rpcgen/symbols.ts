/**
 * The names of a `.x`: who defines what, twice or not at all, and the values of constants. Each file has a scope of its
 * own: a name that it uses is its own if it defines it, whatever other files call so. (A textual `#include` is part of
 * the file that includes it, as with cpp.)
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
import type { Annotations, Constant, EnumType, NumberRef, Origin } from './model.js';
import { BUILTIN_CONSTANTS } from './words.js';

/** A module and where its definitions go. */
export interface Unit {
  readonly module: Module;
  readonly origin: Origin;
}

export type TypeBody = StructBody | UnionBody | EnumBody;

/** A typedef, whose documentation stands beside it. */
export interface Typedef {
  readonly kind: 'typedef';
  readonly declaration: Declaration;
  readonly annotations: Annotations;
}

/** A type before it is resolved. */
export interface TypeEntry {
  readonly name: string;
  readonly span: Span;
  readonly doc: string | undefined;
  readonly origin: Origin;
  /** Where the names in it are looked up. */
  readonly scope: Scope;
  readonly node: Typedef | TypeBody;
}

type EnumEntry = TypeEntry & { readonly node: EnumBody };

type ConstantEntry =
  | {
      readonly kind: 'const';
      readonly definition: Definition & { kind: 'const' | 'text' };
      readonly scope: Scope;
    }
  | {
      readonly kind: 'member';
      readonly member: Member;
      readonly enumeration: EnumEntry;
      readonly index: number;
    };

/** The names that one file defines. */
export interface Scope {
  /** The file, for messages. */
  readonly file: string;
  readonly origin: Origin;
  readonly types: Map<string, TypeEntry>;
  /** Members of several enums may have one name: the output keeps them apart. */
  readonly constants: Map<string, ConstantEntry[]>;
  /** Programs, versions and procedures: C has their numbers as constants, so real files use them as such. */
  readonly numbers: Map<string, Value>;
  /** Names inside what did not parse: that they are undefined is no second error. */
  readonly broken: ReadonlySet<string>;
  /** What the heads of its texts say. */
  readonly heads: Module['heads'];
  /** Names of which it was said that nobody defines them. */
  readonly missing: Set<string>;
}

/** `const A = B; const B = C; ...` is followed so far. */
const MAX_CONSTANT_CHAIN = 500;

/** The names of the module that is compiled and of the modules it may take names from. */
export class Symbols {
  private readonly scopes: Scope[] = [];
  private readonly orders = new Map<Scope, readonly Scope[]>();
  private readonly hoisted = new Map<TypeBody, string>();
  /** Constants whose value is being found, and those that turned out to have none. */
  private readonly open = new Set<ConstantEntry>();
  private readonly failed = new Set<ConstantEntry>();
  private readonly constants = new Map<ConstantEntry, Constant>();
  private readonly enumValues = new Map<TypeEntry, readonly bigint[]>();
  private readonly diagnostics: Diagnostics;
  private depth = 0;
  /** Set by the one that makes types: an enum's checked form. */
  enumOf: (entry: TypeEntry) => EnumType | undefined = () => undefined;

  /** The first unit is the module that is compiled. */
  constructor(units: readonly Unit[], diagnostics: Diagnostics) {
    this.diagnostics = diagnostics;
    for (const unit of units) this.addUnit(unit);
  }

  /** Adds a module, in which others find what they do not define themselves. */
  addUnit({ module, origin }: Unit): Scope {
    const scope: Scope = {
      ...{ file: module.name, origin, types: new Map(), constants: new Map(), numbers: new Map() },
      ...{ broken: module.broken, heads: module.heads, missing: new Set() },
    };
    this.scopes.push(scope);
    this.orders.clear();
    for (const definition of module.definitions) this.addDefinition(definition, scope);
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
    const found = this.others(scope).flatMap((other) => other.types.get(name) ?? []);
    const [first, ...more] = found;
    const rival = use === undefined ? undefined : more.find((each) => !isSame(each.node, first?.node));
    if (first !== undefined && rival !== undefined && use !== undefined)
      this.ambiguous(`type ${name}`, use, [first.scope.file, rival.scope.file], rival.span);
    return first;
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

  /** Where a name is looked for that `scope` does not define: the file that is compiled comes last. */
  private others(scope: Scope): readonly Scope[] {
    const known = this.orders.get(scope);
    if (known !== undefined) return known;
    const [first, ...rest] = this.scopes;
    const order = [...rest, ...(first === undefined ? [] : [first])].filter((each) => each !== scope);
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
    const builtin = BUILTIN_CONSTANTS.get(value.name);
    if (builtin !== undefined) return { value: builtin };
    for (const each of [scope, ...this.others(scope)]) {
      const number = each.numbers.get(value.name);
      if (number !== undefined && number !== value)
        return this.deeper(value, () => this.evaluate(number, each));
    }
    this.reportMissing(
      value.name,
      value.span,
      scope,
      `constant ${value.name} is defined nowhere: say --define ${value.name}=VALUE, or --import the .x that has it`,
    );
    return undefined;
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
    const hint = what.startsWith('type ') ? '' : `; ENUM::${what} says which`;
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

  /** Notes that nobody defines a name, once for each name and file. */
  reportMissing(name: string, span: Span, scope: Scope, message: string): void {
    if (scope.missing.has(name) || scope.broken.has(name)) return;
    scope.missing.add(name);
    this.diagnostics.add('IDL_NAME', span, message);
  }

  private addDefinition(definition: Definition, scope: Scope): void {
    const { origin } = scope;
    switch (definition.kind) {
      case 'const':
      case 'text':
        this.addConstant(definition.name, definition.span, { kind: 'const', definition, scope }, scope);
        return;
      case 'typedef': {
        const { declaration, annotations, doc, span } = definition;
        this.addNested(declaration.name, declaration, scope, true);
        const node = { kind: 'typedef', declaration, annotations } as const;
        // `typedef struct foo foo;` says nothing new: C needs it, XDR does not.
        const { type } = declaration;
        if (type.kind === 'ref' && type.name === declaration.name && declaration.form === 'plain') return;
        this.addType({ name: declaration.name, span, doc, origin, scope, node });
        return;
      }
      case 'type': {
        const { name, span, doc, body } = definition;
        const entry = { name, span, doc, origin, scope, node: body };
        this.addType(entry);
        this.addBody(entry);
        return;
      }
      case 'program':
        this.addNumber(definition.name, definition.number, scope);
        for (const version of definition.versions) {
          this.addNumber(version.name, version.number, scope);
          for (const procedure of version.procedures) {
            this.addNumber(procedure.name, procedure.number, scope);
            const parts = [...procedure.args, ...(procedure.result === null ? [] : [procedure.result])];
            for (const part of parts) this.addNested(procedure.name, part, scope, false);
          }
        }
    }
  }

  private addBody(entry: TypeEntry): void {
    const { name, node, scope } = entry;
    switch (node.kind) {
      case 'struct':
        for (const field of node.fields) this.addNested(name, field, scope, false);
        return;
      case 'union': {
        this.addNested(name, node.discriminant, scope, false);
        const arms = node.otherwise === null ? node.arms : [...node.arms, node.otherwise];
        for (const { declaration } of arms)
          if (declaration !== null) this.addNested(name, declaration, scope, false);
        return;
      }
      case 'enum': {
        const enumeration = entry as EnumEntry;
        node.members.forEach((member, index) => {
          const constant = { kind: 'member', member, enumeration, index } as const;
          this.addConstant(member.name, member.span, constant, scope);
        });
      }
    }
  }

  /** A body inside a declaration is a type of its own: by its tag, or as `Owner_member`. */
  private addNested(owner: string, declaration: Declaration, scope: Scope, isTypedef: boolean): void {
    const node: TypeNode = declaration.type;
    if (node.kind === 'primitive' || node.kind === 'ref') return;
    let name = node.tag ?? (isTypedef ? `${owner}_body` : `${owner}_${declaration.name || 'value'}`);
    if (node.tag === undefined) while (scope.types.has(name)) name += '_';
    this.hoisted.set(node, name);
    const entry = { name, span: node.span, doc: declaration.doc, origin: scope.origin, scope, node };
    this.addType(entry);
    this.addBody(entry);
  }

  private addNumber(name: string, number: Value, scope: Scope): void {
    if (!scope.numbers.has(name)) scope.numbers.set(name, number);
  }

  private addType(entry: TypeEntry): void {
    const { types } = entry.scope;
    const before = types.get(entry.name);
    if (before === undefined) types.set(entry.name, entry);
    else if (!isSameTypedef(entry, before)) this.twice(`type ${entry.name}`, entry.span, before.span);
  }

  private addConstant(name: string, span: Span, entry: ConstantEntry, scope: Scope): void {
    const before = scope.constants.get(name);
    if (before === undefined) {
      scope.constants.set(name, [entry]);
      return;
    }
    const rival = before.find(
      (each) => each.kind === 'const' || entry.kind === 'const' || each.enumeration === entry.enumeration,
    );
    if (rival === undefined) before.push(entry);
    else this.twice(name, span, rival.kind === 'const' ? rival.definition.span : rival.member.span);
  }

  private twice(what: string, span: Span, first: Span): void {
    this.diagnostics.add('IDL_NAME', span, `${what} is defined twice`, {
      message: 'it is first defined here',
      span: first,
    });
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

/** Whether two definitions say the same, wherever they stand. */
function isSame(a: TypeEntry['node'], b: TypeEntry['node'] | undefined): boolean {
  const text = (node: unknown): string =>
    JSON.stringify(node, (key, value: unknown) =>
      key === 'span' || key === 'doc' ? undefined : typeof value === 'bigint' ? String(value) : value,
    );
  return text(a) === text(b);
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
