/** Random values of any codec that has a shape, for properties. */

import fc from 'fast-check';
import type { Codec, Field } from '../../xdr/index.js';

/** What random values are to look like. */
export interface ArbitraryOptions {
  /** No NUL in strings, as C has it. Default false. */
  readonly c?: boolean;
  /** Most elements of arrays and bytes of strings. Default 6. */
  readonly maxLength?: number;
}

type Arb = fc.Arbitrary<unknown>;

/** A type may hold itself this many times over. */
const MAX_LOOPS = 3;

/** Random values of `codec`. Throws where the shape is unknown or has no finite value. */
export function arbitrary(codec: Codec<unknown>, options: ArbitraryOptions = {}): Arb {
  const made = new Maker(options).of(codec, 0);
  if (made === undefined) throw new TypeError('no finite value within the depth allowed');
  return made;
}

class Maker {
  private readonly c: boolean;
  private readonly maxLength: number;
  private readonly known = new Map<number, Map<Codec<unknown>, Arb | undefined>>();

  constructor(options: ArbitraryOptions) {
    this.c = options.c ?? false;
    this.maxLength = options.maxLength ?? 6;
  }

  /** Undefined where every value would go deeper than allowed. */
  of(codec: Codec<unknown>, loops: number): Arb | undefined {
    const level = this.known.get(loops) ?? new Map<Codec<unknown>, Arb | undefined>();
    this.known.set(loops, level);
    if (level.has(codec)) return level.get(codec);
    const made = this.make(codec, loops);
    level.set(codec, made);
    return made;
  }

  private make(codec: Codec<unknown>, loops: number): Arb | undefined {
    const { shape } = codec;
    if (shape === undefined) throw new TypeError('a codec without a shape');
    switch (shape.kind) {
      case 'int':
        return fc.oneof(fc.integer(), fc.integer({ min: -5, max: 5 }));
      case 'uint':
        return fc.integer({ min: 0, max: 0xffff_ffff });
      case 'hyper':
        return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
      case 'uhyper':
        return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
      case 'float':
        return fc.float();
      case 'double':
        return fc.double();
      case 'quadruple':
        return bytes(16, 16);
      case 'bool':
        return fc.boolean();
      case 'void':
        return fc.constant(undefined);
      case 'enum':
        return fc.constantFrom(...Object.values(shape.members));
      case 'fixedOpaque':
        return bytes(shape.size, shape.size);
      case 'opaque':
        return bytes(0, Math.min(shape.max, this.maxLength * 2));
      case 'string':
        return this.string(shape.max);
      case 'fixedArray': {
        const element = this.of(shape.element, loops);
        if (element === undefined) return shape.size === 0 ? fc.constant([]) : undefined;
        return fc.array(element, { minLength: shape.size, maxLength: shape.size });
      }
      case 'array': {
        const element = this.of(shape.element, loops);
        if (element === undefined) return fc.constant([]);
        return fc.array(element, { maxLength: Math.min(shape.max, this.maxLength) });
      }
      case 'list': {
        const element = this.of(shape.element, loops);
        if (element === undefined) return shape.minLength === 0 ? fc.constant([]) : undefined;
        return fc.array(element, { minLength: shape.minLength, maxLength: this.maxLength });
      }
      case 'optional': {
        const element = this.of(shape.element, loops);
        return element === undefined ? fc.constant(null) : fc.option(element, { nil: null });
      }
      case 'struct':
        return this.record(shape.fields, loops);
      case 'tuple': {
        const parts = shape.fields.map((field) => this.of(field.type, loops));
        return parts.every((part) => part !== undefined) ? fc.tuple(...parts) : undefined;
      }
      case 'union': {
        const arms = shape.arms.map(({ cases, field }) =>
          this.arm(shape.discriminant, fc.constantFrom(...cases), field, loops),
        );
        if (shape.defaultArm !== undefined) {
          const named = new Set<unknown>(shape.arms.flatMap(({ cases }) => cases));
          arms.push(
            this.arm(shape.discriminant, this.others(shape.discriminant, named), shape.defaultArm, loops),
          );
        }
        const possible = arms.filter((arm) => arm !== undefined);
        return possible.length === 0 ? undefined : fc.oneof(...possible);
      }
      case 'lazy':
        return loops >= MAX_LOOPS ? undefined : this.of(shape.target(), loops + 1);
    }
  }

  private string(max: number): Arb {
    const unit = this.c ? fc.constantFrom(...'abcXYZ 0189./-_~é€😀') : 'binary';
    const limit = Math.min(max, this.maxLength * 3);
    return fc
      .string({ unit, maxLength: limit })
      .map((text) =>
        Buffer.byteLength(text) <= limit ? text : text.replaceAll(/[^ -~]/gu, '?').slice(0, limit),
      );
  }

  private record(fields: readonly Field[], loops: number): Arb | undefined {
    const parts = fields.map((field) => [field.name, this.of(field.type, loops)] as const);
    if (parts.some(([, part]) => part === undefined)) return undefined;
    return fc.record(Object.fromEntries(parts) as Record<string, Arb>, { noNullPrototype: true });
  }

  private arm(
    discriminant: Field,
    which: Arb | undefined,
    field: Field | null,
    loops: number,
  ): Arb | undefined {
    if (which === undefined) return undefined;
    if (field === null) return which.map((value) => ({ [discriminant.name]: value }));
    const value = this.of(field.type, loops);
    return value === undefined
      ? undefined
      : fc.tuple(which, value).map(([a, b]) => ({ [discriminant.name]: a, [field.name]: b }));
  }

  private others(discriminant: Field, named: ReadonlySet<unknown>): Arb | undefined {
    const { shape } = discriminant.type;
    const all: unknown[] | undefined =
      shape?.kind === 'enum'
        ? Object.values(shape.members)
        : shape?.kind === 'bool'
          ? [true, false]
          : undefined;
    if (all !== undefined) {
      const left = all.filter((value) => !named.has(value));
      return left.length === 0 ? undefined : fc.constantFrom(...left);
    }
    return this.of(discriminant.type, 0)?.filter((value) => !named.has(value));
  }
}

function bytes(minLength: number, maxLength: number): Arb {
  return fc.uint8Array({ minLength, maxLength });
}
