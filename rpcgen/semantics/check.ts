/**
 * Makes the checked interface of a syntax tree: resolves types and constants and recognizes linked lists. Whatever XDR
 * (RFC 4506) or RPC (RFC 5531) does not allow is an error, even if C's rpcgen accepts it. Names are looked up in
 * symbols.ts, sizes are computed in layout.ts.
 */

import { type Diagnostic, Diagnostics, type Span } from '../model/errors.js';
import { computeLayout, referencedTypes } from '../model/layout.js';
import type {
  AliasType,
  Annotations,
  Bound,
  EnumType,
  Field,
  Interface,
  NamedType,
  NumberRef,
  Procedure,
  Program,
  StringMode,
  StructType,
  Type,
  TypeOrigin,
  UnionType,
  Version,
} from '../model/model.js';
import { MAX_UINT32, unalias } from '../model/model.js';
import { inherited } from '../syntax/annotations.js';
import type {
  Declaration,
  EnumBody,
  Module,
  ProgramNode,
  StructBody,
  TypeNode,
  UnionBody,
  Value,
} from '../syntax/ast.js';
import { BUILTIN_DEFINITIONS, builtinType } from '../syntax/keywords.js';
import { parseModule } from '../syntax/parser.js';
import { casesOf } from './cases.js';
import { LinkedLists } from './links.js';
import type { CompilationUnit, Scope, TypeEntry } from './scope.js';
import { Symbols } from './symbols.js';

/** Sources of names that a `.x` uses and does not define. */
export interface CheckOptions {
  /** Other `.x`, each with the specifier of its generated module. */
  readonly imports?: readonly {
    readonly module: Module;
    readonly specifier: string;
    /** Whether it may use names of the checked module. Default false. */
    readonly seesInputs?: boolean | undefined;
  }[];
  /** Modules with types that are not read: those of `names`, or all missing types without it. */
  readonly externals?: readonly { readonly specifier: string; readonly names?: readonly string[] }[];
}

/** Maximum length of a chain `%#define A B`, `%#define B C`, ... */
const MAX_PASSED_CHAIN = 64;

/** Checks `module`. Errors are added to `diagnostics`; if there are any, the result must not be used. */
export function checkModule(module: Module, diagnostics: Diagnostics, options: CheckOptions = {}): Interface {
  return new Checker(module, diagnostics, options).run();
}

class Checker {
  private readonly module: Module;
  private readonly diagnostics: Diagnostics;
  private readonly options: CheckOptions;
  private readonly symbols: Symbols;
  private readonly named = new Map<TypeEntry, NamedType>();
  private readonly entries = new Map<NamedType, TypeEntry>();
  private readonly externals = new Map<string, NamedType>();
  private readonly linkedLists: LinkedLists;
  private readonly warnings: Diagnostic[] = [];
  private readonly queue: (() => void)[] = [];
  private readonly caseQueue: (() => void)[] = [];

  constructor(module: Module, diagnostics: Diagnostics, options: CheckOptions) {
    this.module = module;
    this.diagnostics = diagnostics;
    this.options = options;
    const imports = (options.imports ?? []).map(
      ({ module: from, specifier, seesInputs = false }): CompilationUnit => ({
        ...{ module: from, origin: { kind: 'module', specifier }, seesInputs },
      }),
    );
    this.symbols = new Symbols(
      [{ module, origin: { kind: 'own' }, seesInputs: true }, ...imports],
      diagnostics,
    );
    this.linkedLists = new LinkedLists(this.symbols);
    this.symbols.enumOf = (entry) => {
      const type = this.namedType(entry);
      return type.kind === 'enum' ? type : undefined;
    };
  }

  run(): Interface {
    const own = this.symbols.ownTypes().map((entry) => this.namedType(entry));
    const constants = this.symbols.ownConstants();
    const programs = this.module.definitions
      .filter((d) => d.kind === 'program')
      .map((node) => this.program(node));
    this.checkPrograms();
    this.runQueue();
    const all = [...this.named.values(), ...this.externals.values()];
    computeLayout(all, this.diagnostics);
    const annotations = annotationsOf(this.module);
    const builtins = all.filter((type) => type.origin.kind === 'builtin');
    return {
      name: this.module.name,
      constants,
      types: [...builtins, ...own],
      programs,
      annotations,
      warnings: this.warnings,
    };
  }

  /** Types are completed from a queue and not by recursion: a chain of types may have any length. */
  private runQueue(): void {
    for (;;) {
      const task = this.queue.pop() ?? this.caseQueue.pop();
      if (task === undefined) return;
      task();
    }
  }

  /** The type `name` in `scope`; undefined if no file defines it. */
  private find(name: string, scope: Scope, use: Span): NamedType | undefined {
    const entry = this.symbols.type(name, scope, use) ?? this.builtin(name);
    return entry === undefined ? this.external(name) : this.namedType(entry);
  }

  /** The checked form of a type, made at the first use. */
  private namedType(entry: TypeEntry): NamedType {
    const known = this.named.get(entry);
    if (known !== undefined) return known;
    const type = this.create(entry);
    this.named.set(entry, type);
    this.entries.set(type, entry);
    return type;
  }

  private builtin(name: string): TypeEntry | undefined {
    const text = BUILTIN_DEFINITIONS.get(name);
    if (text === undefined) return undefined;
    const module = parseModule({ name: 'built in', text }, new Diagnostics());
    return this.symbols.addUnit({ module, origin: { kind: 'builtin' }, seesInputs: false }).types.get(name);
  }

  private external(name: string): NamedType | undefined {
    const known = this.externals.get(name);
    if (known !== undefined) return known;
    const found = this.options.externals?.find(({ names }) => names === undefined || names.includes(name));
    if (found === undefined) return undefined;
    const origin: TypeOrigin = { kind: 'module', specifier: found.specifier };
    const span: Span = { source: { name: found.specifier, text: '' }, start: 0, end: 0 };
    const type: NamedType = {
      ...{ kind: 'external', name, doc: undefined, span, origin, minBytes: 0, recursive: false },
    };
    this.externals.set(name, type);
    return type;
  }

  private create(entry: TypeEntry): NamedType {
    const { name, doc, span, origin, scope, node } = entry;
    const base = { name, doc, span, origin, minBytes: 0, recursive: false };
    switch (node.kind) {
      case 'typedef': {
        const { annotations, declaration } = node;
        if (annotations.strings !== undefined && !isString(declaration))
          this.diagnostics.add(
            'IDL_TYPE',
            span,
            `@rpc:strings is for a typedef of string; ${name} is another type`,
          );
        const type: AliasType = { ...base, kind: 'alias', annotations, type: { kind: 'void' } };
        this.queue.push(() => {
          type.type = this.typeOf(node.declaration, scope, annotations.strings);
        });
        return type;
      }
      case 'enum': {
        const type: EnumType = { ...base, kind: 'enum', members: [] };
        this.queue.push(() => this.fillEnum(type, node, entry));
        return type;
      }
      case 'struct': {
        const type: StructType = {
          ...base,
          kind: 'struct',
          fields: [],
          link: this.linkedLists.linkOf(entry),
        };
        this.queue.push(() => this.fillStruct(type, node, scope));
        return type;
      }
      case 'union': {
        const discriminant: Field = { name: '', key: '', type: { kind: 'int' }, doc: undefined };
        const type: UnionType = { ...base, kind: 'union', discriminant, arms: [], defaultArm: undefined };
        this.queue.push(() => this.fillUnion(type, node, scope));
        return type;
      }
    }
  }

  private fillEnum(type: EnumType, node: EnumBody, entry: TypeEntry): void {
    const values = this.symbols.valuesOf(entry);
    type.members = node.members.map(({ name, doc }, i) => ({ name, doc, value: Number(values[i] ?? 0n) }));
    if (node.members.length === 0)
      this.diagnostics.add('IDL_TYPE', node.span, `enum ${type.name} has no members`);
  }

  private fillStruct(type: StructType, node: StructBody, scope: Scope): void {
    const all = this.fields(node.fields, scope);
    type.fields = type.link === undefined ? all : all.slice(0, -1);
  }

  private fields(nodes: readonly Declaration[], scope: Scope): Field[] {
    const seen = new Map<string, Span>();
    return nodes.map((node) => {
      const first = seen.get(node.name);
      if (first === undefined) seen.set(node.name, node.span);
      else this.reportDuplicate(`member ${node.name}`, node.span, first);
      return this.field(node, scope);
    });
  }

  private field(node: Declaration, scope: Scope): Field {
    // `__proto__` in an object literal sets the prototype.
    const key = node.name === '__proto__' ? '__proto___' : node.name;
    return { name: node.name, key, type: this.typeOf(node, scope), doc: node.doc };
  }

  private fillUnion(type: UnionType, node: UnionBody, scope: Scope): void {
    type.discriminant = this.field(node.discriminant, scope);
    const arm = (declaration: Declaration | null): Field | null => {
      if (declaration === null) return null;
      const field = this.field(declaration, scope);
      return field.key === type.discriminant.key ? { ...field, key: `${field.key}_` } : field;
    };
    // The type of the discriminant may still be in the queue, so cases are checked after it.
    const arms = node.arms.map((each) => arm(each.declaration));
    type.defaultArm = node.defaultArm === null ? undefined : arm(node.defaultArm.declaration);
    if (node.arms.length === 0 && node.defaultArm === null)
      this.diagnostics.add('IDL_TYPE', node.span, `union ${type.name} has no arms`);
    this.caseQueue.push(() => {
      const of = unalias(type.discriminant.type);
      if (of.kind === 'void') this.symbols.markDiscriminant(node.discriminant, scope);
      const entry = of.kind === 'named' ? this.entries.get(of.type) : undefined;
      const cases = casesOf(type, node, {
        symbols: this.symbols,
        diagnostics: this.diagnostics,
        scope,
        entry,
      });
      type.arms = arms.map((field, i) => ({ field, cases: cases[i] ?? [] }));
    });
  }

  private typeOf(node: Declaration, scope: Scope, strings?: StringMode): Type {
    const { form, size, type } = node;
    if (type.kind === 'primitive') {
      if (type.primitive === 'string')
        return withMode(
          this.bytes(node, 'string', scope),
          strings ?? scope.fileAnnotations.get(type.span.source)?.strings,
        );
      if (type.primitive === 'opaque') return this.bytes(node, 'opaque', scope);
      if (type.primitive === 'void') {
        this.diagnostics.add(
          'IDL_TYPE',
          type.span,
          'void is allowed only as an arm, an argument or a result',
        );
        return { kind: 'void' };
      }
    }
    const element = this.base(type, scope);
    switch (form) {
      case 'plain':
        return element;
      case 'optional':
        return this.optional(element);
      case 'fixed':
        return { kind: 'fixedArray', element, size: this.bound(size as Value, scope) };
      case 'variable':
        return { kind: 'array', element, max: size === null ? null : this.bound(size, scope) };
    }
  }

  /** For string and opaque, brackets give the number of bytes and do not declare an array. */
  private bytes({ form, size, span, name }: Declaration, kind: 'string' | 'opaque', scope: Scope): Type {
    if (form === 'variable') return { kind, max: size === null ? null : this.bound(size, scope) };
    if (form === 'fixed' && kind === 'opaque')
      return { kind: 'fixedOpaque', size: this.bound(size as Value, scope) };
    if (form === 'plain' && kind === 'string') return { kind, max: null };
    if (form === 'optional' && kind === 'string') return { kind: 'optional', element: { kind, max: null } };
    const shown = name === '' ? 'name' : name;
    const right = kind === 'string' ? `string ${shown}<>` : `opaque ${shown}[n] or opaque ${shown}<>`;
    this.diagnostics.add(
      'IDL_TYPE',
      span,
      `${kind} must be declared as ${right} (RFC 4506 sections 4.9 to 4.11)`,
    );
    return { kind, max: null };
  }

  private base(type: TypeNode, scope: Scope): Type {
    if (type.kind === 'primitive') return { kind: type.primitive } as Type;
    const name = type.kind === 'ref' ? type.name : this.symbols.nameOf(type);
    return this.reference(name, type.span, scope);
  }

  private reference(name: string, span: Span, scope: Scope, depth = 0): Type {
    if (this.symbols.type(name, scope) === undefined) {
      const passed = depth >= MAX_PASSED_CHAIN ? undefined : this.symbols.passedType(name, scope, span);
      if (passed?.type.kind === 'ref') return this.reference(passed.type.name, span, passed.scope, depth + 1);
      if (passed !== undefined) return this.base(passed.type, passed.scope);
      const primitive = builtinType(name);
      if (primitive !== undefined) return { kind: primitive } as Type;
    }
    const type = this.find(name, scope, span);
    if (type === undefined) {
      this.symbols.reportMissing(name, span, scope);
      return { kind: 'void' };
    }
    if (type.kind === 'struct' && type.link !== undefined) return { kind: 'list', node: type, minLength: 1 };
    return { kind: 'named', type };
  }

  private optional(element: Type): Type {
    const node = this.listNode(element);
    if (node !== undefined) return { kind: 'list', node, minLength: 0 };
    // In an optional of an optional, null would be ambiguous: the inner one becomes an array of one element, which has
    // the same encoding.
    if (this.isOptional(element))
      return { kind: 'optional', element: { kind: 'fixedArray', element, size: { value: 1n, size: 1 } } };
    return { kind: 'optional', element };
  }

  /** The node, if `element` is a linked list declared by its first node, directly or by a typedef. */
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

  /** Resolves typedefs by the syntax tree, since the types may not be complete yet. */
  private aliasEnd(element: Type): { form: Declaration['form']; type: NamedType } | undefined {
    let type = element.kind === 'named' ? element.type : undefined;
    for (const seen = new Set<NamedType>(); type !== undefined && !seen.has(type); ) {
      seen.add(type);
      const entry = this.entries.get(type);
      if (entry?.node.kind !== 'typedef') return { form: 'plain', type };
      const { declaration } = entry.node;
      const name = declaration.type.kind === 'ref' ? declaration.type.name : undefined;
      const target = name === undefined ? undefined : this.symbols.type(name, entry.scope);
      if (declaration.form !== 'plain') {
        const isList = target !== undefined && this.linkedLists.linkOf(target) !== undefined;
        return isList ? undefined : { form: declaration.form, type };
      }
      type = target === undefined ? undefined : this.namedType(target);
    }
    return undefined;
  }

  private bound(value: Value, scope: Scope): Bound {
    const ref = this.symbols.evaluate(value, scope) ?? { value: 0n };
    if (ref.value < 0n || ref.value > MAX_UINT32) {
      this.diagnostics.add('IDL_TYPE', value.span, `length ${ref.value} is not in the range 0 to 4294967295`);
      return { value: 0n, size: 0 };
    }
    return { ...ref, size: Number(ref.value) };
  }

  private program(node: ProgramNode): Program {
    const { own } = this.symbols;
    const numbers = new Map<bigint, Span>();
    const names = new Map<string, Span>();
    const versions = node.versions.map((version): Version => {
      const number = this.number(version.number, 'version');
      this.unique(numbers, number.value, `version ${number.value}`, version.span);
      this.unique(names, version.name, `version ${version.name}`, version.span);
      const procedureNumbers = new Map<bigint, Span>();
      const procedureNames = new Map<string, Span>();
      const procedures = version.procedures.map((procedure): Procedure => {
        const of = this.number(procedure.number, 'procedure');
        this.unique(procedureNumbers, of.value, `procedure ${of.value}`, procedure.span);
        this.unique(procedureNames, procedure.name, `procedure ${procedure.name}`, procedure.span);
        const { name, doc } = procedure;
        const args = procedure.args.map((arg) => this.field(arg, own));
        const result: Type =
          procedure.result === null ? { kind: 'void' } : this.typeOf(procedure.result, own);
        const annotations = inherited(procedure.annotations, version.annotations, node.annotations);
        return { name, number: of, args, result, annotations, doc };
      });
      const { name, annotations, doc } = version;
      return { name, number, procedures, annotations, doc };
    });
    const { name, annotations, doc } = node;
    return { name, number: this.number(node.number, 'program'), versions, annotations, doc };
  }

  private checkPrograms(): void {
    const names = new Map<string, Span>();
    const numbers = new Map<bigint, Span>();
    for (const definition of this.module.definitions) {
      if (definition.kind !== 'program') continue;
      this.unique(names, definition.name, `program ${definition.name}`, definition.span);
      const number = this.symbols.evaluate(definition.number, this.symbols.own)?.value;
      if (number === undefined) continue;
      const first = numbers.get(number);
      if (first === undefined) numbers.set(number, definition.number.span);
      else
        this.warnings.push({
          code: 'IDL_NAME',
          severity: 'warning',
          span: definition.number.span,
          message: `two programs have the number ${number}: services are found by program and version number`,
          note: { message: 'first used here', span: first },
        });
    }
  }

  /** Program, version and procedure numbers are unsigned (RFC 5531 section 12.4). */
  private number(value: Value, what: string): NumberRef {
    const ref = this.symbols.evaluate(value, this.symbols.own) ?? { value: 0n };
    if (ref.value >= 0n && ref.value <= MAX_UINT32) return ref;
    this.diagnostics.add(
      'IDL_TYPE',
      value.span,
      `${what} number ${ref.value} is not in the range 0 to 4294967295`,
    );
    return { value: 0n };
  }

  private unique<K>(seen: Map<K, Span>, key: K, what: string, span: Span): void {
    const first = seen.get(key);
    if (first === undefined) seen.set(key, span);
    else this.reportDuplicate(what, span, first);
  }

  private reportDuplicate(what: string, span: Span, first: Span): void {
    this.diagnostics.add('IDL_NAME', span, `duplicate ${what}`, {
      message: 'first used here',
      span: first,
    });
  }
}

function isString({ type }: Declaration): boolean {
  return type.kind === 'primitive' && type.primitive === 'string';
}

/** Sets the mode of a string or an optional string. */
function withMode(type: Type, mode: StringMode | undefined): Type {
  if (mode === undefined) return type;
  if (type.kind === 'string') return { ...type, mode };
  return type.kind === 'optional' ? { ...type, element: withMode(type.element, mode) } : type;
}

/** The annotations of the file itself, not of the files it includes. */
function annotationsOf(module: Module): Annotations {
  for (const [{ name }, annotations] of module.fileAnnotations) if (name === module.name) return annotations;
  return {};
}

/** `types` and all named types that they refer to, transitively. */
export function closure(types: Iterable<NamedType>): Set<NamedType> {
  const found = new Set(types);
  for (const type of found) for (const next of referencedTypes(type)) found.add(next);
  return found;
}
