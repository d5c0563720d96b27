/**
 * From the tree to the checked interface: names become types, constants numbers, pointers to
 * oneself lists; whatever XDR (RFC 4506) or RPC (RFC 5531) cannot have is an error, even where
 * C's rpcgen lets it pass. Names are looked up in symbols.ts, sizes computed in layout.ts.
 */

import type {
  Declaration,
  EnumBody,
  Module,
  ProgramNode,
  StructBody,
  TypeNode,
  UnionBody,
  Value,
} from './ast.js';
import { Diagnostics, type Span } from './errors.js';
import { anyHold, layOut } from './layout.js';
import type {
  AliasType,
  Bound,
  Case,
  EnumType,
  Field,
  Interface,
  NamedType,
  NumberRef,
  Origin,
  Procedure,
  Program,
  StructType,
  Type,
  UnionType,
  Version,
} from './model.js';
import { unalias } from './model.js';
import { parseModule } from './parser.js';
import { Symbols, type TypeEntry, type Unit } from './symbols.js';
import { BUILTIN_DEFINITIONS, builtinType } from './words.js';

/** Where names come from that a `.x` uses and does not define. */
export interface CheckOptions {
  /** Other `.x`, and the module that has what was generated from each. */
  readonly imports?: readonly { readonly module: Module; readonly specifier: string }[];
  /** Modules that have the types named, or any type still undefined where none are named. */
  readonly externals?: readonly { readonly specifier: string; readonly names?: readonly string[] }[];
}

const MAX_UINT32 = 2n ** 32n - 1n;

/** The checked form of `module`. Errors go to `diagnostics`; with any of them the result is not to be used. */
export function checkModule(module: Module, diagnostics: Diagnostics, options: CheckOptions = {}): Interface {
  return new Checker(module, diagnostics, options).run();
}

class Checker {
  private readonly module: Module;
  private readonly diagnostics: Diagnostics;
  private readonly options: CheckOptions;
  private readonly symbols: Symbols;
  private readonly named = new Map<string, NamedType>();
  private readonly links = new Map<string, string | undefined>();
  private readonly queue: (() => void)[] = [];
  private readonly late: (() => void)[] = [];

  constructor(module: Module, diagnostics: Diagnostics, options: CheckOptions) {
    this.module = module;
    this.diagnostics = diagnostics;
    this.options = options;
    const imports = (options.imports ?? []).map(
      (each): Unit => ({ module: each.module, origin: { kind: 'module', specifier: each.specifier } }),
    );
    this.symbols = new Symbols([{ module, origin: { kind: 'own' } }, ...imports], diagnostics);
    this.symbols.isBroken = (name) => module.broken.has(name);
    this.symbols.enumOf = (name) => {
      const type = this.find(name);
      return type?.kind === 'enum' ? type : undefined;
    };
  }

  run(): Interface {
    const own = this.symbols.ownTypes().map((entry) => this.find(entry.name) as NamedType);
    const constants = this.symbols.ownConstants();
    const programs = this.module.definitions
      .filter((d) => d.kind === 'program')
      .map((node) => this.program(node));
    this.checkPrograms();
    this.drain();
    const all = [...this.named.values()];
    layOut(all, this.diagnostics);
    const builtins = all.filter((type) => type.origin.kind === 'builtin');
    return { name: this.module.name, constants, types: [...builtins, ...own], programs };
  }

  /** Types are filled in from a queue, not on the way down: a chain of them may be any length. */
  private drain(): void {
    for (;;) {
      const task = this.queue.pop() ?? this.late.pop();
      if (task === undefined) return;
      task();
    }
  }

  /** The named type, made when first asked for; undefined where nobody defines it. */
  private find(name: string): NamedType | undefined {
    const known = this.named.get(name);
    if (known !== undefined) return known;
    const entry = this.symbols.type(name) ?? this.builtin(name);
    const type = entry === undefined ? this.external(name) : this.create(entry);
    if (type !== undefined) this.named.set(name, type);
    return type;
  }

  private builtin(name: string): TypeEntry | undefined {
    const text = BUILTIN_DEFINITIONS.get(name);
    if (text === undefined) return undefined;
    const module = parseModule({ name: 'built in', text }, new Diagnostics());
    this.symbols.addUnit({ module, origin: { kind: 'builtin' } });
    return this.symbols.type(name);
  }

  private external(name: string): NamedType | undefined {
    const found = this.options.externals?.find(({ names }) => names === undefined || names.includes(name));
    if (found === undefined) return undefined;
    const origin: Origin = { kind: 'module', specifier: found.specifier };
    const span: Span = { source: { name: found.specifier, text: '' }, start: 0, end: 0 };
    return { kind: 'external', name, doc: undefined, span, origin, minBytes: 0, recursive: false };
  }

  private create(entry: TypeEntry): NamedType {
    const { name, doc, span, origin, node } = entry;
    const base = { name, doc, span, origin, minBytes: 0, recursive: false };
    switch (node.kind) {
      case 'typedef': {
        const type: AliasType = { ...base, kind: 'alias', type: { kind: 'void' } };
        this.queue.push(() => {
          type.type = this.typeOf(node.declaration);
        });
        return type;
      }
      case 'enum': {
        const type: EnumType = { ...base, kind: 'enum', members: [] };
        this.queue.push(() => this.fillEnum(type, node));
        return type;
      }
      case 'struct': {
        const type: StructType = { ...base, kind: 'struct', fields: [], link: this.linkOf(name) };
        this.queue.push(() => this.fillStruct(type, node));
        return type;
      }
      case 'union': {
        const discriminant: Field = { name: '', key: '', type: { kind: 'int' }, doc: undefined };
        const type: UnionType = { ...base, kind: 'union', discriminant, arms: [], otherwise: undefined };
        this.queue.push(() => this.fillUnion(type, node));
        return type;
      }
    }
  }

  /**
   * The last member of a struct if it is an optional pointer to the struct itself, directly or
   * by a typedef: then the struct is a node of a linked list (RFC 4506 section 4.19).
   */
  private linkOf(name: string): string | undefined {
    if (this.links.has(name)) return this.links.get(name);
    const node = this.symbols.type(name)?.node;
    const last = node?.kind === 'struct' ? node.fields.at(-1) : undefined;
    const link = last !== undefined && this.pointee(last) === name ? last.name : undefined;
    this.links.set(name, link);
    return link;
  }

  /** What `T *x` or a typedef of it points to. */
  private pointee(declaration: Declaration): string | undefined {
    let at: Declaration | undefined = declaration;
    let isPointer = false;
    for (const seen = new Set<Declaration>(); at !== undefined && !seen.has(at); ) {
      seen.add(at);
      if (at.type.kind !== 'ref' || (at.form !== 'plain' && (at.form !== 'optional' || isPointer)))
        return undefined;
      isPointer ||= at.form === 'optional';
      const node: TypeEntry['node'] | undefined = this.symbols.type(at.type.name)?.node;
      if (node?.kind !== 'typedef') return isPointer ? at.type.name : undefined;
      at = node.declaration;
    }
    return undefined;
  }

  private fillEnum(type: EnumType, node: EnumBody): void {
    const values = this.symbols.valuesOf(type.name, node);
    type.members = node.members.map(({ name, doc }, i) => ({ name, doc, value: Number(values[i] ?? 0n) }));
    if (node.members.length === 0)
      this.diagnostics.add('IDL_TYPE', node.span, `enum ${type.name} has no members, so no values`);
  }

  private fillStruct(type: StructType, node: StructBody): void {
    const all = this.fields(node.fields);
    type.fields = type.link === undefined ? all : all.slice(0, -1);
  }

  private fields(nodes: readonly Declaration[]): Field[] {
    const seen = new Map<string, Span>();
    return nodes.map((node) => {
      const first = seen.get(node.name);
      if (first === undefined) seen.set(node.name, node.span);
      else this.twice(`member ${node.name}`, node.span, first);
      return this.field(node);
    });
  }

  private field(node: Declaration): Field {
    // An object literal takes `__proto__` for its prototype.
    const key = node.name === '__proto__' ? '__proto___' : node.name;
    return { name: node.name, key, type: this.typeOf(node), doc: node.doc };
  }

  private fillUnion(type: UnionType, node: UnionBody): void {
    type.discriminant = this.field(node.discriminant);
    const arm = (declaration: Declaration | null): Field | null => {
      if (declaration === null) return null;
      const field = this.field(declaration);
      return field.key === type.discriminant.key ? { ...field, key: `${field.key}_` } : field;
    };
    // The discriminant's own type may still be in the queue, so its cases are judged behind it.
    const arms = node.arms.map((each) => arm(each.declaration));
    type.otherwise = node.otherwise === null ? undefined : arm(node.otherwise.declaration);
    if (node.arms.length === 0 && node.otherwise === null)
      this.diagnostics.add('IDL_TYPE', node.span, `union ${type.name} has no arms`);
    this.late.push(() => {
      const cases = this.casesOf(type, node);
      type.arms = arms.map((field, i) => ({ field, cases: cases[i] ?? [] }));
    });
  }

  private casesOf(type: UnionType, node: UnionBody): Case[][] {
    const of = unalias(type.discriminant.type);
    const enumeration = of.kind === 'named' && of.type.kind === 'enum' ? of.type : undefined;
    const isExternal = of.kind === 'named' && of.type.kind === 'external';
    if (
      enumeration === undefined &&
      !isExternal &&
      !['int', 'uint', 'hyper', 'uhyper', 'bool'].includes(of.kind)
    ) {
      // void: the type is defined nowhere, which was said.
      if (of.kind !== 'void')
        this.diagnostics.add(
          'IDL_TYPE',
          node.discriminant.span,
          `a union is switched by int, unsigned, hyper, bool or an enum (RFC 4506 section 4.15)`,
        );
      return [];
    }
    const members = enumeration === undefined ? undefined : new Set(this.enumValues(enumeration));
    const seen = new Map<bigint, Span>();
    return node.arms.map((arm) =>
      arm.cases.flatMap((value): Case[] => {
        const ref = this.symbols.evaluate(value);
        if (ref === undefined) return [];
        const problem = caseProblem(ref.value, of.kind, members, enumeration?.name ?? '');
        if (problem !== undefined) this.diagnostics.add('IDL_TYPE', value.span, problem);
        const first = seen.get(ref.value);
        if (first === undefined) seen.set(ref.value, value.span);
        else this.twice(`case ${ref.value}`, value.span, first);
        return [{ ref, value: caseValue(ref.value, of.kind) }];
      }),
    );
  }

  private enumValues(type: EnumType): readonly bigint[] {
    const node = this.symbols.type(type.name)?.node;
    return node?.kind === 'enum' ? this.symbols.valuesOf(type.name, node) : [];
  }

  private typeOf(node: Declaration): Type {
    const { form, size } = node;
    const { type } = node;
    if (type.kind === 'primitive') {
      if (type.primitive === 'string' || type.primitive === 'opaque') return this.bytes(node, type.primitive);
      if (type.primitive === 'void') {
        this.diagnostics.add(
          'IDL_TYPE',
          type.span,
          'void is a type only for an arm, an argument or a result',
        );
        return { kind: 'void' };
      }
    }
    const element = this.base(type);
    switch (form) {
      case 'plain':
        return element;
      case 'optional':
        return this.optional(element);
      case 'fixed':
        return { kind: 'fixedArray', element, size: this.bound(size as Value) };
      case 'variable':
        return { kind: 'array', element, max: size === null ? null : this.bound(size) };
    }
  }

  /** string and opaque take brackets as their own size, not as an array's. */
  private bytes({ form, size, span, name }: Declaration, kind: 'string' | 'opaque'): Type {
    if (form === 'variable') return { kind, max: size === null ? null : this.bound(size) };
    if (form === 'fixed' && kind === 'opaque')
      return { kind: 'fixedOpaque', size: this.bound(size as Value) };
    if (form === 'plain' && kind === 'string') return { kind, max: null };
    if (form === 'optional' && kind === 'string') return { kind: 'optional', element: { kind, max: null } };
    const shown = name === '' ? 'name' : name;
    const right = kind === 'string' ? `string ${shown}<>` : `opaque ${shown}[n] or opaque ${shown}<>`;
    this.diagnostics.add('IDL_TYPE', span, `${kind} is declared as ${right} (RFC 4506 sections 4.9 to 4.11)`);
    return { kind, max: null };
  }

  private base(type: TypeNode): Type {
    if (type.kind === 'primitive') return { kind: type.primitive } as Type;
    return this.reference(type.kind === 'ref' ? type.name : this.symbols.nameOf(type), type.span);
  }

  private reference(name: string, span: Span): Type {
    if (this.symbols.type(name) === undefined) {
      const primitive = builtinType(name);
      if (primitive !== undefined) return { kind: primitive } as Type;
    }
    const type = this.find(name);
    if (type === undefined) {
      this.symbols.reportMissing(
        name,
        span,
        `type ${name} is defined nowhere: define it, or --import the .x or module that has it`,
      );
      return { kind: 'void' };
    }
    if (type.kind === 'struct' && type.link !== undefined) return { kind: 'list', node: type, minLength: 1 };
    return { kind: 'named', type };
  }

  private optional(element: Type): Type {
    const node = this.listNode(element);
    if (node !== undefined) return { kind: 'list', node, minLength: 0 };
    // An optional of an optional has two kinds of nothing; the inner one goes into an array of one,
    // which is the same on the wire.
    if (this.isOptional(element))
      return { kind: 'optional', element: { kind: 'fixedArray', element, size: { value: 1n, size: 1 } } };
    return { kind: 'optional', element };
  }

  /** The node, where `element` is a linked list by its first node, be it by a typedef. */
  private listNode(element: Type): StructType | undefined {
    if (element.kind === 'list') return element.minLength === 1 ? element.node : undefined;
    const end = this.aliasEnd(element);
    return end !== undefined &&
      end.form === 'plain' &&
      end.type.kind === 'struct' &&
      end.type.link !== undefined
      ? end.type
      : undefined;
  }

  private isOptional(element: Type): boolean {
    return this.aliasEnd(element)?.form === 'optional';
  }

  /** What typedefs lead to, by their text: they may not be filled in yet. */
  private aliasEnd(element: Type): { form: Declaration['form']; type: NamedType } | undefined {
    let name = element.kind === 'named' ? element.type.name : undefined;
    for (const seen = new Set<string>(); name !== undefined && !seen.has(name); ) {
      seen.add(name);
      const node: TypeEntry['node'] | undefined = this.symbols.type(name)?.node;
      const type = this.named.get(name);
      if (node?.kind !== 'typedef') return type === undefined ? undefined : { form: 'plain', type };
      const { declaration } = node;
      const target = declaration.type.kind === 'ref' ? declaration.type.name : undefined;
      if (declaration.form !== 'plain') {
        const isList = target !== undefined && this.linkOf(target) !== undefined;
        return type === undefined || isList ? undefined : { form: declaration.form, type };
      }
      if (target !== undefined) this.find(target);
      name = target;
    }
    return undefined;
  }

  private bound(value: Value): Bound {
    const ref = this.symbols.evaluate(value) ?? { value: 0n };
    if (ref.value < 0n || ref.value > MAX_UINT32) {
      this.diagnostics.add('IDL_TYPE', value.span, `a length is from 0 to 4294967295, not ${ref.value}`);
      return { value: 0n, size: 0 };
    }
    return { ...ref, size: Number(ref.value) };
  }

  private program(node: ProgramNode): Program {
    const numbers = new Map<bigint, Span>();
    const names = new Map<string, Span>();
    const versions = node.versions.map((version): Version => {
      const number = this.number(version.number, 'a version');
      this.unique(numbers, number.value, `version ${number.value}`, version.span);
      this.unique(names, version.name, `version ${version.name}`, version.span);
      const procedureNumbers = new Map<bigint, Span>();
      const procedureNames = new Map<string, Span>();
      const procedures = version.procedures.map((procedure): Procedure => {
        const of = this.number(procedure.number, 'a procedure');
        this.unique(procedureNumbers, of.value, `procedure ${of.value}`, procedure.span);
        this.unique(procedureNames, procedure.name, `procedure ${procedure.name}`, procedure.span);
        const { name, doc } = procedure;
        const args = procedure.args.map((arg) => this.field(arg));
        const result: Type = procedure.result === null ? { kind: 'void' } : this.typeOf(procedure.result);
        return { name, number: of, args, result, doc };
      });
      return { name: version.name, number, procedures, doc: version.doc };
    });
    return { name: node.name, number: this.number(node.number, 'a program'), versions, doc: node.doc };
  }

  private checkPrograms(): void {
    const names = new Map<string, Span>();
    const numbers = new Map<bigint, Span>();
    for (const definition of this.module.definitions) {
      if (definition.kind !== 'program') continue;
      this.unique(names, definition.name, `program ${definition.name}`, definition.span);
      const number = this.symbols.evaluate(definition.number)?.value;
      if (number !== undefined)
        this.unique(numbers, number, `program number ${number}`, definition.number.span);
    }
  }

  /** Program, version and procedure numbers are unsigned (RFC 5531 section 12.4). */
  private number(value: Value, what: string): NumberRef {
    const ref = this.symbols.evaluate(value) ?? { value: 0n };
    if (ref.value >= 0n && ref.value <= MAX_UINT32) return ref;
    this.diagnostics.add(
      'IDL_TYPE',
      value.span,
      `${what} has a number from 0 to 4294967295, not ${ref.value}`,
    );
    return { value: 0n };
  }

  private unique<K>(seen: Map<K, Span>, key: K, what: string, span: Span): void {
    const first = seen.get(key);
    if (first === undefined) seen.set(key, span);
    else this.twice(what, span, first);
  }

  private twice(what: string, span: Span, first: Span): void {
    this.diagnostics.add('IDL_NAME', span, `${what} is there twice`, {
      message: 'it is first here',
      span: first,
    });
  }
}

function caseProblem(
  value: bigint,
  kind: Type['kind'],
  members: ReadonlySet<bigint> | undefined,
  name: string,
): string | undefined {
  const [low, high] = RANGES[kind] ?? [-(2n ** 31n), 2n ** 31n - 1n];
  if (value < low || value > high) return `case ${value} is beyond the discriminant's type`;
  if (members !== undefined && !members.has(value)) return `case ${value} is no member of enum ${name}`;
  return undefined;
}

const RANGES: Partial<Record<Type['kind'], readonly [bigint, bigint]>> = {
  uint: [0n, MAX_UINT32],
  hyper: [-(2n ** 63n), 2n ** 63n - 1n],
  uhyper: [0n, 2n ** 64n - 1n],
  bool: [0n, 1n],
};

function caseValue(value: bigint, kind: Type['kind']): number | bigint | boolean {
  if (kind === 'bool') return value !== 0n;
  return kind === 'hyper' || kind === 'uhyper' ? value : Number(value);
}

/** The named types that `types` need, themselves included. */
export function closure(types: Iterable<NamedType>): Set<NamedType> {
  const found = new Set(types);
  for (const type of found) for (const next of anyHold(type)) found.add(next);
  return found;
}
