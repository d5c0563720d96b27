/**
 * The types of a generated module as data, and codecs that are made from them on demand. Generated codecs have no
 * shape; these do, so values can be converted to JSON and back, printed, and shown with the names of enum members,
 * without the `.x` at run time.
 */

import {
  bool,
  double,
  fixedOpaque,
  float,
  hyper,
  int,
  opaque,
  quadruple,
  string,
  uhyper,
  uint,
  voidCodec,
} from './codec.js';
import {
  array,
  enumeration,
  fixedArray,
  lazy,
  list,
  nonEmptyList,
  openEnumeration,
  optional,
  structOf,
  unionOf,
} from './compound.js';
import type { Arm, Codec, Field, Shape } from './shape.js';
import type { StringMode } from './text.js';

type ScalarName = 'int' | 'uint' | 'hyper' | 'uhyper' | 'float' | 'double' | 'quadruple' | 'bool' | 'void';

/** A field: its name and its type. */
export type FieldSpec = readonly [name: string, type: TypeSpec];

/** A type as data: a scalar by its name, a named type as `.name`, any other as an array that begins with its kind. */
export type TypeSpec =
  | ScalarName
  | `.${string}`
  | readonly ['string', max: number | null, mode: StringMode]
  | readonly ['opaque', max: number | null]
  | readonly ['fixedOpaque', size: number]
  | readonly ['array', element: TypeSpec, max: number | null]
  | readonly ['fixedArray', element: TypeSpec, size: number]
  | readonly ['optional', element: TypeSpec]
  | readonly ['list', node: `.${string}`, minLength: 0 | 1]
  | readonly ['enum', members: Readonly<Record<string, number>>, open?: 'open']
  | readonly ['struct', ...fields: readonly FieldSpec[]]
  | readonly [
      'union',
      discriminant: FieldSpec,
      arms: readonly (readonly [cases: Arm['cases'], field: FieldSpec | null])[],
      defaultArm?: FieldSpec | null,
    ];

/** Returns the types of an interface by their names in the `.x`, each as a codec with a shape. */
export type Description = () => ReadonlyMap<string, Codec<unknown>>;

const SCALARS: Readonly<Record<ScalarName, unknown>> = {
  int,
  uint,
  hyper,
  uhyper,
  float,
  double,
  quadruple,
  bool,
  void: voidCodec,
};

/**
 * Describes the types of `specs`. Codecs are made at the first call. Types of other modules are looked up in `others`
 * when they are used, since modules may import each other; a type that none has is a `TypeError`. The name of a type
 * in `nodes` (a node of a linked list) stands for the list that begins with it.
 */
export function describe(
  specs: Readonly<Record<string, TypeSpec>>,
  nodes: readonly string[] = [],
  others: () => readonly Description[] = () => [],
): Description {
  let types: ReadonlyMap<string, Codec<unknown>> | undefined;
  return () => {
    types ??= build(specs, nodes, others);
    return types;
  };
}

function build(
  specs: Readonly<Record<string, TypeSpec>>,
  nodes: readonly string[],
  others: () => readonly Description[],
): ReadonlyMap<string, Codec<unknown>> {
  const builder = new CodecBuilder(specs, others);
  const isNode = new Set(nodes);
  return new Map(
    Object.keys(specs).map((name): [string, Codec<unknown>] => {
      const own = builder.named(name);
      return [name, isNode.has(name) ? (nonEmptyList(own) as Codec<unknown>) : own];
    }),
  );
}

class CodecBuilder {
  private readonly specs: ReadonlyMap<string, TypeSpec>;
  private readonly others: () => readonly Description[];
  private readonly made = new Map<string, Codec<unknown>>();
  private readonly open = new Set<string>();

  constructor(specs: Readonly<Record<string, TypeSpec>>, others: () => readonly Description[]) {
    this.specs = new Map(Object.entries(specs));
    this.others = others;
  }

  named(name: string): Codec<unknown> {
    const known = this.made.get(name);
    if (known !== undefined) return known;
    const spec = this.specs.get(name);
    if (spec === undefined) return lazy(() => this.foreign(name));
    // A recursive type: it is looked up when it is used.
    if (this.open.has(name)) return lazy(() => this.made.get(name) as Codec<unknown>);
    this.open.add(name);
    const codec = this.codec(spec, name);
    this.open.delete(name);
    this.made.set(name, codec);
    return codec;
  }

  /** The node of a linked list. In another module its name stands for the list. */
  private node(name: string): Codec<unknown> {
    if (this.specs.has(name)) return this.named(name);
    return lazy(() => {
      const { shape } = this.foreign(name);
      if (shape?.kind !== 'list') throw new TypeError(`${name} is not described as a linked list`);
      return shape.element;
    });
  }

  private foreign(name: string): Codec<unknown> {
    for (const each of this.others()) {
      const found = each().get(name);
      if (found !== undefined) return found;
    }
    throw new TypeError(`type ${name} is in no description`);
  }

  private codec(spec: TypeSpec, name?: string): Codec<unknown> {
    const made = this.make(spec, name);
    if (name === undefined || made.shape === undefined) return made;
    if (made.shape.name !== undefined || made.shape.kind === 'lazy') return made;
    return { ...made, shape: { ...made.shape, name } as Shape };
  }

  private make(spec: TypeSpec, name: string | undefined): Codec<unknown> {
    if (typeof spec === 'string')
      return spec.startsWith('.')
        ? this.named(spec.slice(1))
        : (SCALARS[spec as ScalarName] as Codec<unknown>);
    const named = { name };
    switch (spec[0]) {
      case 'string':
        return string(spec[1] ?? undefined, spec[2]) as Codec<unknown>;
      case 'opaque':
        return opaque(spec[1] ?? undefined) as Codec<unknown>;
      case 'fixedOpaque':
        return fixedOpaque(spec[1]) as Codec<unknown>;
      case 'array':
        return array(this.codec(spec[1]), spec[2] ?? undefined) as Codec<unknown>;
      case 'fixedArray':
        return fixedArray(this.codec(spec[1]), spec[2]) as Codec<unknown>;
      case 'optional':
        return optional(this.codec(spec[1])) as Codec<unknown>;
      case 'list': {
        const node = this.node(spec[1].slice(1));
        return (spec[2] === 0 ? list(node) : nonEmptyList(node)) as Codec<unknown>;
      }
      case 'enum':
        return (spec[2] === 'open' ? openEnumeration : enumeration)(spec[1], named) as Codec<unknown>;
      case 'struct': {
        const [, ...fields] = spec;
        return structOf(
          fields.map((field) => this.field(field)),
          named,
        ) as Codec<unknown>;
      }
      case 'union': {
        const [, discriminant, arms, defaultArm] = spec;
        return unionOf(
          this.field(discriminant),
          arms.map(([cases, field]) => ({ cases, field: field === null ? null : this.field(field) })),
          defaultArm === undefined || defaultArm === null ? defaultArm : this.field(defaultArm),
          named,
        ) as Codec<unknown>;
      }
    }
  }

  private field([name, type]: FieldSpec): Field {
    return { name, type: this.codec(type) };
  }
}
