/** The module that is being emitted: its lines, names and imports, and expressions for types, codecs and numbers. */

import {
  type Bound,
  type CodecOptions,
  type Constant,
  type EnumType,
  type Field,
  type Interface,
  type NamedType,
  type NumberRef,
  type StringMode,
  type Type,
  unalias,
} from '../model/model.js';
import { IMPORTABLE, isReserved, NameAllocator, type TypeNames, typeNames } from '../model/names.js';

/** Marks a call or `new` at the top level of a module: a bundler may remove it if the result is not used. */
export const PURE = '/* @__PURE__ */ ';

/** Longer lines are wrapped if possible. */
export const LINE_WIDTH = 110;

/** The modules that the output imports. */
export interface Specifiers {
  readonly xdr: string;
  readonly runtime: string;
}

/** Types that are encoded and decoded by one call of writer and reader. */
export const CALLS: Partial<
  Record<Type['kind'], { readonly call: string; readonly codec: string; readonly type: string }>
> = {
  int: { call: 'int32', codec: 'int', type: 'number' },
  uint: { call: 'uint32', codec: 'uint', type: 'number' },
  hyper: { call: 'int64', codec: 'hyper', type: 'bigint' },
  uhyper: { call: 'uint64', codec: 'uhyper', type: 'bigint' },
  float: { call: 'float32', codec: 'float', type: 'number' },
  double: { call: 'float64', codec: 'double', type: 'number' },
  bool: { call: 'bool', codec: 'bool', type: 'boolean' },
  string: { call: 'string', codec: 'string', type: 'string' },
  opaque: { call: 'opaque', codec: 'opaque', type: 'Uint8Array' },
  fixedOpaque: { call: 'fixedOpaque', codec: 'fixedOpaque', type: 'Uint8Array' },
  quadruple: { call: 'fixedOpaque', codec: 'quadruple', type: 'Uint8Array' },
};

/** Comments and strings of the output; a name in them is not a use of an import. */
const COMMENTS_AND_STRINGS = /\/\*.*?\*\/|'(?:\\.|[^'\\])*'/gs;

/** The module that is being emitted. */
export class Output {
  readonly names = new NameAllocator();
  readonly lines: string[] = [];
  private readonly types = new Map<NamedType, TypeNames>();
  private readonly constants = new Map<Constant, string>();
  private readonly numbers = new Map<string, { value: bigint; name: string }>();
  private readonly emitted = new Set<Constant>();
  private readonly imports = new Map<string, Map<string, { local: string; isType: boolean }>>();
  private readonly specifiers: Specifiers;
  private readonly strings: StringMode;
  /** Whether enums accept numbers that are not members. */
  readonly hasOpenEnums: boolean;
  private readonly isLenient: boolean;

  constructor(model: Interface, specifiers: Specifiers, options: CodecOptions = {}) {
    this.specifiers = specifiers;
    this.strings = options.strings ?? 'utf8';
    this.hasOpenEnums = options.enums === 'open';
    this.isLenient = options.lenient ?? false;
    for (const type of model.types)
      this.types.set(
        type,
        typeNames(type, (wanted) => this.names.allocate(wanted)),
      );
    for (const constant of model.constants) {
      const name = this.names.allocate(constant.name);
      this.constants.set(constant, name);
      if (typeof constant.value === 'bigint')
        this.numbers.set(constant.name, { value: constant.value, name });
    }
  }

  /** Adds lines of code. */
  write(...lines: string[]): void {
    this.lines.push(...lines);
  }

  /** The local name of an export of the codec library; adds the import. */
  xdr(name: string, isType = false): string {
    return this.importName(this.specifiers.xdr, name, isType, 'xdr_');
  }

  /** The local name of a type of the runtime; adds the import. */
  runtime(name: string): string {
    return this.importName(this.specifiers.runtime, name, true, 'rpc_');
  }

  /** The local name of an export of another generated module; adds the import. */
  imported(specifier: string, name: string): string {
    return this.importName(specifier, name, false, 'other_');
  }

  private importName(specifier: string, name: string, isType: boolean, prefix: string): string {
    const names = this.imports.get(specifier) ?? new Map<string, { local: string; isType: boolean }>();
    this.imports.set(specifier, names);
    const known = names.get(name);
    if (known !== undefined) {
      known.isType &&= isType;
      return known.local;
    }
    const ours = specifier === this.specifiers.xdr && IMPORTABLE.has(name);
    const isFree = !this.names.has(name) && (ours || !isReserved(name));
    const local = isFree ? name : this.names.allocate(`${prefix}${name}`);
    if (isFree && !ours) this.names.allocate(name);
    names.set(name, { local, isType });
    return local;
  }

  /** The generated names of a type. Names of another module are imported when they are read. */
  namesOf(type: NamedType): TypeNames {
    const own = this.types.get(type);
    if (own !== undefined) return own;
    const { origin } = type;
    const specifier = origin.kind === 'module' ? origin.specifier : '';
    const far = typeNames(type, (wanted) => (isReserved(wanted) ? `${wanted}_` : wanted));
    const near = Object.entries(far).map(([role, name]): [string, () => string] => [
      role,
      () => this.importName(specifier, name, role === 'type' && type.kind !== 'enum', 'other_'),
    ]);
    const names = Object.defineProperties(
      {},
      Object.fromEntries(near.map(([role, get]) => [role, { get, enumerable: true }])),
    ) as TypeNames;
    this.types.set(type, names);
    return names;
  }

  /** The constant for a number of a program. A constant of the same name and number is shared. */
  numberConstant(name: string, value: bigint): { name: string; isNew: boolean } {
    const known = this.numbers.get(name);
    if (known?.value === value) return { name: known.name, isNew: false };
    const given = this.names.allocate(name);
    if (known === undefined) this.numbers.set(name, { value, name: given });
    return { name: given, isNew: true };
  }

  /** Records that a constant is emitted, so that later ones may refer to it; returns its name. */
  markEmitted(constant: Constant): string {
    this.emitted.add(constant);
    return this.constants.get(constant) ?? constant.name;
  }

  /** A number as an expression: by its name, or as it was written. */
  number(ref: NumberRef): string {
    const { symbol } = ref;
    if (symbol?.kind === 'const') {
      const { constant } = symbol;
      const own = this.constants.get(constant);
      if (own !== undefined) return this.emitted.has(constant) && !isWide(ref.value) ? own : literal(ref);
      if (constant.origin.kind === 'module' && !isWide(ref.value))
        return this.importName(constant.origin.specifier, constant.name, false, 'other_');
    }
    if (symbol?.kind === 'member') return this.member(symbol.type, symbol.name);
    return literal(ref);
  }

  /** `nfsstat3.NFS3_OK` */
  member(type: EnumType, name: string): string {
    return `${this.namesOf(type).type}.${name}`;
  }

  bound(bound: Bound): string {
    return this.number(bound);
  }

  /** The TypeScript type of values. */
  typeOf(type: Type): string {
    switch (type.kind) {
      case 'void':
        return 'void';
      case 'array':
      case 'fixedArray':
        return `${parenthesized(this.typeOf(type.element))}[]`;
      case 'optional':
        return `${this.typeOf(type.element)} | null`;
      case 'list': {
        const { type: name } = this.namesOf(type.node);
        return type.minLength === 0 ? `${name}[]` : `[${name}, ...${name}[]]`;
      }
      case 'named':
        return this.namesOf(type.type).type;
      case 'string':
        return this.modeOf(type) === 'bytes' ? 'Uint8Array' : 'string';
      default:
        return (CALLS[type.kind] as { type: string }).type;
    }
  }

  /** The codec of a type as an expression. */
  codecOf(type: Type): string {
    switch (type.kind) {
      case 'void':
        return this.xdr('voidCodec');
      case 'named':
        return this.namesOf(type.type).codec;
      case 'list':
        return type.minLength === 0 ? this.namesOf(type.node).listCodec : this.namesOf(type.node).codec;
      case 'optional':
        return `${PURE}${this.xdr('optional')}(${this.codecOf(type.element)})`;
      case 'array': {
        const max = type.max === null ? '' : `, ${this.bound(type.max)}`;
        return `${PURE}${this.xdr('array')}(${this.codecOf(type.element)}${max})`;
      }
      case 'fixedArray':
        return `${PURE}${this.xdr('fixedArray')}(${this.codecOf(type.element)}, ${this.bound(type.size)})`;
      case 'string':
      case 'opaque': {
        const { codec, args } = this.bytesCall(type);
        return `${PURE}${this.xdr(codec)}(${args.join(', ')})`;
      }
      case 'fixedOpaque':
        return `${PURE}${this.xdr('fixedOpaque')}(${this.bound(type.size)})`;
      default:
        return this.xdr((CALLS[type.kind] as { codec: string }).codec);
    }
  }

  /** The codec of a type for use outside the module: lenient if the module is. */
  publicCodecOf(type: Type): string {
    const isOwn = type.kind === 'named' || type.kind === 'list' || type.kind === 'void';
    return isOwn ? this.codecOf(type) : this.lenientCodec(this.codecOf(type));
  }

  /** An expression for a codec, wrapped to be lenient if the module is. */
  lenientCodec(codec: string): string {
    return this.isLenient ? `${PURE}${this.xdr('lenient')}(${codec})` : codec;
  }

  /** The representation of a string type. */
  modeOf(type: Type & { kind: 'string' }): StringMode {
    return type.mode ?? this.strings;
  }

  /** For string and opaque, the name of the function or method to call, and its arguments after the value. */
  private bytesCall(type: Type & { kind: 'string' | 'opaque' }): { codec: string; args: string[] } {
    const max = type.max === null ? [] : [this.bound(type.max)];
    const mode = type.kind === 'opaque' ? 'bytes' : this.modeOf(type);
    if (mode === 'bytes') return { codec: 'opaque', args: max };
    if (mode === 'strict') return { codec: 'string', args: max };
    return { codec: 'string', args: [max[0] ?? this.xdr('MAX_LENGTH'), quote(mode)] };
  }

  /** The single call of writer or reader for a type, after resolving typedefs; undefined if there is none. */
  call(type: Type): { name: string; args: string[] } | undefined {
    const end = unalias(type);
    const call = CALLS[end.kind];
    if (call === undefined) return undefined;
    switch (end.kind) {
      case 'string':
      case 'opaque': {
        const { codec, args } = this.bytesCall(end);
        return { name: codec, args };
      }
      case 'fixedOpaque':
        return { name: call.call, args: [this.bound(end.size)] };
      case 'quadruple':
        return { name: call.call, args: ['16'] };
      default:
        return { name: call.call, args: [] };
    }
  }

  /**
   * The import declarations of the names that the emitted lines use. A name may have been requested and then not used,
   * for example if a constant of the same number exists already.
   */
  importLines(): string[] {
    const lines: string[] = [];
    const code = this.lines.join('\n').replaceAll(COMMENTS_AND_STRINGS, ' ');
    const used = new Set(code.match(/[A-Za-z_$][\w$]*/g));
    for (const [specifier, names] of [...this.imports].toSorted(([a], [b]) => compare(a, b))) {
      const sorted = [...names]
        .filter(([, { local }]) => used.has(local))
        .toSorted(([a], [b]) => compare(a.toLowerCase(), b.toLowerCase()) || compare(a, b));
      if (sorted.length === 0) continue;
      const allTypes = sorted.every(([, { isType }]) => isType);
      const parts = sorted.map(([name, { local, isType }]) => {
        const renamed = local === name ? name : `${name} as ${local}`;
        return isType && !allTypes ? `type ${renamed}` : renamed;
      });
      const keyword = allTypes ? 'import type' : 'import';
      const line = `${keyword} { ${parts.join(', ')} } from ${quote(specifier)};`;
      if (line.length <= LINE_WIDTH) lines.push(line);
      else lines.push(`${keyword} {`, ...parts.map((part) => `  ${part},`), `} from ${quote(specifier)};`);
    }
    return lines;
  }
}

/** Whether a value is beyond the exact integers of a JavaScript number, so that it must be a bigint. */
export function isWide(value: bigint): boolean {
  return BigInt.asIntN(54, value) !== value || value === -(2n ** 53n);
}

/** A number as it was written, in the syntax of TypeScript. */
export function literal(ref: NumberRef): string {
  const suffix = isWide(ref.value) ? 'n' : '';
  const text = ref.text?.toLowerCase();
  if (text === undefined || !/^-?0./.test(text)) return `${ref.value}${suffix}`;
  const octal = /^(-?)0([0-7]+)$/.exec(text);
  return `${octal === null ? text : `${octal[1]}0o${octal[2]}`}${suffix}`;
}

/** A string literal. */
export function quote(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
}

/** The lines of a doc comment; none for an empty text. */
export function docLines(doc: string | undefined, indent = ''): string[] {
  if (doc === undefined || doc === '') return [];
  const lines = doc.replaceAll('*/', '* /').split('\n');
  if (lines.length === 1) return [`${indent}/** ${lines[0]} */`];
  return [`${indent}/**`, ...lines.map((line) => `${indent} * ${line}`.trimEnd()), `${indent} */`];
}

/** `key: local`, or the shorthand if they are equal. */
export function property(field: Field, local: string): string {
  return field.key === local ? local : `${field.key}: ${local}`;
}

function parenthesized(type: string): string {
  return type.includes(' | ') ? `(${type})` : type;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
