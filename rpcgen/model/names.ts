/**
 * Names in the generated TypeScript. Names of the `.x` are kept, so that they can be searched for; a reserved word, or
 * a name that is taken, gets `_` appended. Derived names (functions, classes) follow the conventions of TypeScript. The
 * rules are in docs/rpcgen.md.
 */

import type { NamedType, Program, Version } from './model.js';

/** Words that cannot be the name of a variable in a module, or of a type. */
const RESERVED = new Set(
  (
    'any arguments as async await bigint boolean break case catch class const continue debugger default delete do ' +
    'else enum eval export extends false finally for from function get if implements import in infer instanceof interface ' +
    'is keyof let never new null number object of package private protected public readonly return satisfies set static ' +
    'string super switch symbol this throw true try type typeof undefined unique unknown var void while with yield ' +
    // Globals that the output uses.
    'Array Error Exclude Object Promise ReadonlySet Record Set Uint8Array globalThis'
  ).split(' '),
);

/** Names of parameters and variables of generated functions. */
const LOCALS = new Set(['r', 'w', 'v', 'n', 'item']);

/** Whether a name cannot be declared at the top level of a module. */
export function isReserved(name: string): boolean {
  return RESERVED.has(name);
}

/** Allocates the names of one module, each once. */
export class NameAllocator {
  private readonly taken = new Set<string>();

  /** Allocates `wanted`, with `_` appended until it is unique. */
  allocate(wanted: string): string {
    let name = wanted;
    while (this.taken.has(name) || RESERVED.has(name)) name += '_';
    this.taken.add(name);
    return name;
  }

  /** Whether the name is allocated. */
  has(name: string): boolean {
    return this.taken.has(name);
  }

  /** A name for a local variable, which does not shadow any name that the function may use. */
  local(wanted: string): string {
    let name = wanted;
    while (this.taken.has(name) || RESERVED.has(name) || LOCALS.has(name) || IMPORTABLE.has(name))
      name += '_';
    return name;
  }
}

/** Names that the output may import from the codec library. */
export const IMPORTABLE: ReadonlySet<string> = new Set(
  (
    'Codec Description MAX_LENGTH OtherBigint OtherNumber XdrReader XdrWriter array bool codec describe double fixedArray fixedOpaque float hyper int lenient list ' +
    'nonEmptyList opaque optional quadruple string uhyper uint voidCodec'
  ).split(' '),
);

/** The generated names of a type. */
export interface TypeNames {
  readonly type: string;
  readonly codec: string;
  readonly encode: string;
  readonly decode: string;
  /** For a pointer to a node of a linked list. */
  readonly listCodec: string;
  readonly encodeList: string;
  readonly decodeList: string;
  /** For a linked list declared by its first node. */
  readonly encodeFirst: string;
  readonly decodeFirst: string;
  /** The set of an enum's values. */
  readonly values: string;
}

/** The names of a type. `allocate` makes each unique. */
export function typeNames(type: NamedType, allocate: (wanted: string) => string): TypeNames {
  const { name } = type;
  const upper = upperFirst(name);
  const isNode = type.kind === 'struct' && type.link !== undefined;
  const node = isNode ? `${upper}Node` : upper;
  const own = allocate(name);
  return {
    type: own,
    codec: allocate(`${name}Codec`),
    encode: allocate(`encode${node}`),
    decode: allocate(`decode${node}`),
    listCodec: isNode ? allocate(`${name}ListCodec`) : '',
    encodeList: isNode ? allocate(`encode${upper}List`) : '',
    decodeList: isNode ? allocate(`decode${upper}List`) : '',
    encodeFirst: isNode ? allocate(`encode${upper}`) : '',
    decodeFirst: isNode ? allocate(`decode${upper}`) : '',
    values: type.kind === 'enum' ? allocate(`${name}Values`) : '',
  };
}

/** `MESSAGEPROG` version 1 is `MessageprogV1`, `PMAP_PROG` version 2 is `PmapProgV2`. */
export function versionName(program: Program, version: Version): string {
  return `${upperFirst(camelCase(program.name))}V${version.number.value}`;
}

/**
 * The method names of the procedures: in camelCase, without the longest prefix ending in `_` that all procedures of the
 * version share. The only procedure of a version keeps its whole name. `new(...)` in an interface declares a construct
 * signature, so `new` gets a `_` as well.
 */
export function methodNames(version: Version): string[] {
  const names = version.procedures.map((procedure) => procedure.name);
  const prefix = sharedPrefix(names);
  const taken = new Set(['constructor', 'new', '__proto__', 'then']);
  return names.map((name) => {
    let method = camelCase(name.slice(prefix.length));
    while (taken.has(method)) method += '_';
    taken.add(method);
    return method;
  });
}

function sharedPrefix(names: readonly string[]): string {
  const [first = '', ...others] = names;
  if (others.length === 0) return '';
  for (let end = first.lastIndexOf('_') + 1; end > 0; end = first.lastIndexOf('_', end - 2) + 1) {
    const prefix = first.slice(0, end);
    const fits = (name: string): boolean => name.startsWith(prefix) && /^[A-Za-z]/.test(name.slice(end));
    if (names.every(fits)) return prefix;
  }
  return '';
}

/** `GET_MAPPED_IDS` to `getMappedIds`, `TADDR2UADDR` to `taddr2uaddr`, `GetBlock` to `getBlock`. */
export function camelCase(name: string): string {
  const words = name.split('_').filter((word) => word !== '');
  const humped = words.map((word, i) => {
    const lower = /[a-z]/.test(word) ? word : word.toLowerCase();
    return i === 0 ? lower.charAt(0).toLowerCase() + lower.slice(1) : upperFirst(lower);
  });
  return humped.join('') || name;
}

/** The word with its first letter in upper case. */
export function upperFirst(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
