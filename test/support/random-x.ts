/**
 * Random `.x` files that C's rpcgen and a C compiler take: two of them, of which the second uses the types of the
 * first, and calls its own constants by the same names. Types refer to earlier ones by a number that is taken modulo
 * how many there are, so that whatever fast-check leaves out while it shrinks, the rest still stands.
 */

import fc from 'fast-check';

/** A pair of files; each has its text and the names of its types. */
export interface RandomFiles {
  readonly lib: RandomFile;
  readonly main: RandomFile;
}

export interface RandomFile {
  readonly text: string;
  readonly types: readonly string[];
}

const SCALARS = [
  'int',
  'unsigned int',
  'hyper',
  'unsigned hyper',
  'float',
  'double',
  'bool',
  'unsigned',
  'long',
];
/** The same in both files, with other values. */
const CONSTANTS = ['N', 'SIZE', 'MAX_LEN'];
const MAX_DEFINITIONS = 6;

/** An earlier type, a constant or a scalar, by a number that always fits. */
type Pick = number;

interface Size {
  /** 0: no bound; 1: a number; 2: a constant. */
  readonly how: number;
  readonly pick: Pick;
}

interface Declared {
  readonly form: 'plain' | 'optional' | 'fixed' | 'variable' | 'string' | 'opaque' | 'fixedOpaque';
  readonly isScalar: boolean;
  readonly pick: Pick;
  readonly size: Size;
}

type Definition =
  | {
      readonly kind: 'struct';
      readonly fields: readonly Declared[];
      readonly self: 'none' | 'list' | 'tree' | 'array';
    }
  | { readonly kind: 'enum'; readonly values: readonly number[] }
  | { readonly kind: 'typedef'; readonly declared: Declared }
  | {
      readonly kind: 'union';
      readonly of: 'int' | 'unsigned' | 'bool' | 'enum';
      readonly pick: Pick;
      readonly arms: readonly (Declared | null)[];
      /** Null: no default. */
      readonly defaultArm: { readonly declared: Declared | null } | null;
      /** How many cases each arm has, one or two. */
      readonly stacked: boolean;
    };

const pick = fc.nat(99);
const declared: fc.Arbitrary<Declared> = fc.record({
  form: fc.constantFrom('plain', 'plain', 'optional', 'fixed', 'variable', 'string', 'opaque', 'fixedOpaque'),
  isScalar: fc.boolean(),
  pick,
  size: fc.record({ how: fc.nat(2), pick }),
});
const definition: fc.Arbitrary<Definition> = fc.oneof(
  fc.record({
    kind: fc.constant('struct' as const),
    fields: fc.array(declared, { minLength: 1, maxLength: 4 }),
    self: fc.constantFrom(
      'none' as const,
      'none' as const,
      'list' as const,
      'tree' as const,
      'array' as const,
    ),
  }),
  fc.record({
    kind: fc.constant('enum' as const),
    values: fc.uniqueArray(fc.integer({ min: -3, max: 300 }), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant('typedef' as const), declared }),
  fc.record({
    kind: fc.constant('union' as const),
    of: fc.constantFrom('int' as const, 'unsigned' as const, 'bool' as const, 'enum' as const),
    pick,
    arms: fc.array(fc.option(declared), { minLength: 1, maxLength: 3 }),
    defaultArm: fc.option(fc.record({ declared: fc.option(declared) })),
    stacked: fc.boolean(),
  }),
);
const file = fc.record({
  constants: fc.array(fc.integer({ min: 1, max: 5 }), {
    minLength: CONSTANTS.length,
    maxLength: CONSTANTS.length,
  }),
  definitions: fc.array(definition, { minLength: 1, maxLength: MAX_DEFINITIONS }),
});

/** Random pairs of files. */
export const randomFiles: fc.Arbitrary<RandomFiles> = fc
  .record({ lib: file, main: file })
  .map(({ lib, main }) => {
    const first = new Writer('L', lib.constants, []);
    for (const each of lib.definitions) first.define(each);
    const second = new Writer('M', main.constants, first.known);
    for (const each of main.definitions) second.define(each);
    return {
      lib: first.file(),
      main: { ...second.file(), text: `%#include "lib.h"\n${second.file().text}` },
    };
  });

interface Known {
  readonly name: string;
  /** Of an enum. */
  readonly members?: readonly string[];
}

class Writer {
  readonly known: Known[];
  private readonly lines: string[] = [];
  private readonly own: string[] = [];
  private readonly prefix: string;

  constructor(prefix: string, constants: readonly number[], earlier: readonly Known[]) {
    this.prefix = prefix;
    this.known = [...earlier];
    constants.forEach((value, i) => {
      this.lines.push(`const ${CONSTANTS[i]} = ${value};`);
    });
  }

  file(): RandomFile {
    return { text: `${this.lines.join('\n')}\n`, types: this.own };
  }

  define(of: Definition): void {
    const name = `${this.prefix}${this.own.length}`;
    const members = of.kind === 'enum' ? of.values.map((_, i) => `${name}_${'ABCD'[i]}`) : undefined;
    this.lines.push(this.text(of, name, members ?? []));
    this.own.push(name);
    this.known.push(members === undefined ? { name } : { name, members });
  }

  private text(of: Definition, name: string, members: readonly string[]): string {
    switch (of.kind) {
      case 'enum':
        return `enum ${name} { ${members.map((member, i) => `${member} = ${of.values[i]}`).join(', ')} };`;
      case 'typedef':
        return `typedef ${this.declaration(of.declared, name)};`;
      case 'struct': {
        const fields = of.fields.map((field, i) => `${this.declaration(field, `f${i}`)};`);
        const self = {
          none: [],
          list: [`struct ${name} *next;`],
          tree: [`struct ${name} *left;`, `struct ${name} *right;`],
          array: [`struct ${name} inner<2>;`],
        }[of.self];
        return `struct ${name} { ${[...fields, ...self].join(' ')} };`;
      }
      case 'union':
        return this.union(of, name);
    }
  }

  private union(of: Definition & { kind: 'union' }, name: string): string {
    const enums = this.known.filter(({ members }) => members !== undefined);
    const type = of.of === 'enum' ? enums[of.pick % Math.max(1, enums.length)] : undefined;
    const discriminant = of.of === 'enum' ? (type?.name ?? 'int') : of.of;
    const all =
      type?.members ??
      (of.of === 'bool' ? ['TRUE', 'FALSE'] : ['0', '1', '7', of.of === 'unsigned' ? '9' : '-2', 'N']);
    // A constant may be one of the numbers.
    const cases = all.filter((value) => value !== 'N' || !this.lines.some((line) => line === 'const N = 1;'));
    const width = of.stacked ? 2 : 1;
    const arms = of.arms.flatMap((arm, i) => {
      const labels = cases.slice(i * width, i * width + width);
      const body = arm === null ? 'void' : this.declaration(arm, `a${i}`);
      return labels.length === 0 ? [] : [`${labels.map((label) => `case ${label}: `).join('')}${body};`];
    });
    const { defaultArm } = of;
    const rest =
      defaultArm === null
        ? ''
        : `default: ${defaultArm.declared === null ? 'void' : this.declaration(defaultArm.declared, 'rest')};`;
    return `union ${name} switch (${discriminant} d) { ${arms.join(' ')} ${rest} };`;
  }

  private declaration({ form, isScalar, pick: which, size }: Declared, name: string): string {
    const type =
      isScalar || this.known.length === 0
        ? (SCALARS[which % SCALARS.length] as string)
        : (this.known[which % this.known.length] as Known).name;
    switch (form) {
      case 'plain':
        return `${type} ${name}`;
      case 'optional':
        return `${type} *${name}`;
      case 'fixed':
        // Of an array of bool, rpcgen's own C does not compile.
        return `${type === 'bool' ? 'int' : type} ${name}[${this.size(size) || '2'}]`;
      case 'variable':
        return `${type} ${name}<${this.size(size)}>`;
      case 'string':
        return `string ${name}<${this.size(size)}>`;
      case 'opaque':
        return `opaque ${name}<${this.size(size)}>`;
      case 'fixedOpaque':
        return `opaque ${name}[${this.size(size) || '3'}]`;
    }
  }

  private size({ how, pick: which }: Size): string {
    return how === 0
      ? ''
      : how === 1
        ? String(1 + (which % 6))
        : (CONSTANTS[which % CONSTANTS.length] as string);
  }
}
