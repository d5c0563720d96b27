/**
 * Keys of wire formats: two types with the same key have the same encoding, whatever the names of types and members.
 * `string` and `opaque`, `T *` and `T<1>`, a struct of one member and that member, an enum of 0 and 1 and a bool have
 * the same key.
 */

import { createHash } from 'node:crypto';
import { components } from './graph.js';
import { referencedTypes, typesIn } from './layout.js';
import {
  type EnumType,
  type Interface,
  type NamedType,
  type Type,
  type UnionType,
  unalias,
} from './model.js';

/** Characters of a key: 96 bits of SHA-256. Keys are only compared; they are not used for authentication. */
const KEY_LENGTH = 24;

/** The keys of all types that an interface defines or uses. */
export class WireKeys {
  private readonly known = new Map<NamedType, string>();

  constructor(model: Interface) {
    const used = model.programs.flatMap(({ versions }) =>
      versions.flatMap(({ procedures }) =>
        procedures.flatMap(({ args, result }) => [...args.map(({ type }) => type), result].flatMap(typesIn)),
      ),
    );
    for (const group of components(new Set([...model.types, ...used]), referencedTypes)) {
      // Types of a cycle are distinguished by refinement: n rounds for n types.
      const rounds =
        group.length > 1 || referencedTypes(group[0] as NamedType).includes(group[0] as NamedType);
      for (const type of group) this.known.set(type, '');
      for (let round = 0; round <= (rounds ? group.length : 0); round++) {
        const next = group.map((type): [NamedType, string] => [type, this.describe(type)]);
        for (const [type, key] of next) this.known.set(type, key);
      }
    }
  }

  /** The key of a type; empty for a type without bytes. */
  of(type: Type): string {
    const end = unalias(type);
    switch (end.kind) {
      case 'void':
        return '';
      case 'bool':
        return values([0, 1]);
      case 'string':
      case 'opaque':
        return `bytes<${end.max?.size ?? ''}>`;
      case 'fixedOpaque':
        return end.size.size === 0 ? '' : `bytes[${end.size.size}]`;
      case 'quadruple':
        return 'bytes[16]';
      case 'array':
        return digest(`array<${end.max?.size ?? ''}>${this.of(end.element)}`);
      case 'optional':
        return digest(`array<1>${this.of(end.element)}`);
      case 'fixedArray': {
        if (end.size.size === 0) return '';
        const element = this.of(end.element);
        return end.size.size === 1 ? element : digest(`array[${end.size.size}]${element}`);
      }
      case 'list': {
        const node = this.known.get(end.node) ?? this.describe(end.node);
        return end.minLength === 1 ? node : digest(`array<1>${node}`);
      }
      case 'named':
        return this.known.get(end.type) ?? this.describe(end.type);
      default:
        return end.kind;
    }
  }

  private describe(type: NamedType): string {
    switch (type.kind) {
      case 'enum':
        return values(type.members.map(({ value }) => value));
      case 'struct': {
        const link = type.link === undefined ? [] : [`link ${digest(this.known.get(type) ?? '')}`];
        const parts = [...type.fields.map((field) => this.of(field.type)), ...link].filter(
          (key) => key !== '',
        );
        return parts.length === 1 ? (parts[0] as string) : digest(`struct ${parts.join(' ')}`);
      }
      case 'union':
        return this.union(type);
      case 'alias':
        return this.of(type.type);
      case 'external':
        return `external ${type.name}`;
    }
  }

  private union(type: UnionType): string {
    const discriminant = this.of(type.discriminant.type);
    const arms = new Map<string, string>();
    for (const { cases, field } of type.arms)
      for (const each of cases)
        arms.set(String(Number(each.value)), field === null ? '' : this.of(field.type));
    const { defaultArm } = type;
    const rest = defaultArm === undefined ? undefined : defaultArm === null ? '' : this.of(defaultArm.type);
    const legal = legalValues(type.discriminant.type);
    for (const value of legal ?? [])
      if (rest !== undefined && !arms.has(String(value))) arms.set(String(value), rest);
    if (discriminant === values([0, 1]) && arms.get('0') === '' && arms.has('1') && arms.get('1') !== '')
      return digest(`array<1>${arms.get('1')}`);
    const sorted = [...arms]
      .toSorted(([a], [b]) => Number(a) - Number(b))
      .map(([value, key]) => `${value}:${key}`);
    const last = legal === undefined && rest !== undefined ? [`default:${rest}`] : [];
    return digest(`union ${discriminant} ${[...sorted, ...last].join(' ')}`);
  }
}

/** The values of a discriminant: the members of an enum, 0 and 1 of a bool; undefined for an integer type. */
export function legalValues(type: Type): readonly number[] | undefined {
  const end = unalias(type);
  if (end.kind === 'bool') return [0, 1];
  return end.kind === 'named' && end.type.kind === 'enum' ? valuesOf(end.type) : undefined;
}

/** The distinct values of an enum, in ascending order. */
export function valuesOf(type: EnumType): number[] {
  return [...new Set(type.members.map(({ value }) => value))].toSorted((a, b) => a - b);
}

function values(numbers: readonly number[]): string {
  return digest(`enum ${[...new Set(numbers)].toSorted((a, b) => a - b).join(' ')}`);
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, KEY_LENGTH);
}

/** The fingerprint of an interface's wire format: of its programs or, if it has none, of its types. */
export function fingerprint(model: Interface): string {
  const keys = new WireKeys(model);
  const lines = model.programs.flatMap((program) =>
    program.versions.flatMap((version) =>
      version.procedures.map(({ number, args, result }) => {
        const parts = args.map(({ type }) => keys.of(type)).filter((key) => key !== '');
        return `${program.number.value}.${version.number.value}.${number.value} ${parts.join(' ')} -> ${keys.of(result)}`;
      }),
    ),
  );
  const types = model.types.map((type) => keys.of({ kind: 'named', type }));
  return digest([...new Set(model.programs.length > 0 ? lines : types)].toSorted().join('\n'));
}
