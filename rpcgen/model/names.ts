/**
 * What things are called in TypeScript. Names of the `.x` stay as they are, so that they can
 * be searched for; one that TypeScript cannot have, or that is taken, gets `_` behind it.
 * Names made from names (functions, classes) are TypeScript-like. docs/rpcgen.md has the rules.
 */

import type { NamedType, Program, Version } from './model.js';

/** Words that cannot be the name of a variable in a module, or of a type. */
const RESERVED = new Set(
  (
    'any arguments as async await bigint boolean break case catch class const continue debugger default delete do ' +
    'else enum eval export extends false finally for from function get if implements import in infer instanceof interface ' +
    'is keyof let never new null number object of package private protected public readonly return satisfies set static ' +
    'string super switch symbol this throw true try type typeof undefined unique unknown var void while with yield ' +
    // What the output itself calls by these names.
    'Array Error Exclude Object Promise ReadonlySet Record Set Uint8Array globalThis'
  ).split(' '),
);

/** Names of parameters and counters in generated functions. */
const LOCALS = new Set(['r', 'w', 'v', 'n', 'item']);

/** Whether a name cannot be declared in a module. */
export function isReserved(name: string): boolean {
  return RESERVED.has(name);
}

/** The names of one module, each given once. */
export class Names {
  private readonly taken = new Set<string>();

  /** `wanted`, or with as many `_` behind it as it takes to be free. */
  give(wanted: string): string {
    let name = wanted;
    while (this.taken.has(name) || RESERVED.has(name)) name += '_';
    this.taken.add(name);
    return name;
  }

  /** Whether something in the module has this name. */
  has(name: string): boolean {
    return this.taken.has(name);
  }

  /** A name for a variable inside a function, that hides nothing the function may use. */
  local(wanted: string): string {
    let name = wanted;
    while (this.taken.has(name) || RESERVED.has(name) || LOCALS.has(name) || IMPORTABLE.has(name))
      name += '_';
    return name;
  }
}

/** What the output may import from the codec library. */
export const IMPORTABLE: ReadonlySet<string> = new Set(
  (
    'Codec Description MAX_LENGTH OtherBigint OtherNumber XdrReader XdrWriter array bool codec describe double fixedArray fixedOpaque float hyper int lenient list ' +
    'nonEmptyList opaque optional quadruple string uhyper uint voidCodec'
  ).split(' '),
);

/** How a type is called in all its roles. */
export interface TypeNames {
  readonly type: string;
  readonly codec: string;
  readonly encode: string;
  readonly decode: string;
  /** Of a linked list by a pointer to it. */
  readonly listCodec: string;
  readonly encodeList: string;
  readonly decodeList: string;
  /** Of a linked list by its first node. */
  readonly encodeFirst: string;
  readonly decodeFirst: string;
  /** The set of an enum's values. */
  readonly values: string;
}

/** The names of a type by the rules alone, before any that is taken is changed. */
export function typeNames(type: NamedType, give: (wanted: string) => string): TypeNames {
  const { name } = type;
  const upper = upperFirst(name);
  const isNode = type.kind === 'struct' && type.link !== undefined;
  const node = isNode ? `${upper}Node` : upper;
  const own = give(name);
  return {
    type: own,
    codec: give(`${name}Codec`),
    encode: give(`encode${node}`),
    decode: give(`decode${node}`),
    listCodec: isNode ? give(`${name}ListCodec`) : '',
    encodeList: isNode ? give(`encode${upper}List`) : '',
    decodeList: isNode ? give(`decode${upper}List`) : '',
    encodeFirst: isNode ? give(`encode${upper}`) : '',
    decodeFirst: isNode ? give(`decode${upper}`) : '',
    values: type.kind === 'enum' ? give(`${name}Values`) : '',
  };
}

/** `MESSAGEPROG` version 1 is `MessageprogV1`, `PMAP_PROG` version 2 is `PmapProgV2`. */
export function versionName(program: Program, version: Version): string {
  return `${upperFirst(camelCase(program.name))}V${version.number.value}`;
}

/**
 * The method of each procedure: without the longest prefix ending in `_` that all of the version
 * share, in camelCase. A lone procedure shares nothing and stays whole. `new(...)` in an interface is no
 * method but what makes the object, so it gets a `_` as well; get, set, async and static are fine.
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

/** The word with its first letter large. */
export function upperFirst(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
