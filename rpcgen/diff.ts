/**
 * What changed between two versions of an interface, and whether it breaks the wire: whether
 * a program made from the one can still talk to a program made from the other. Types are
 * compared by what they put on the wire; what a type or a member is called breaks nothing.
 */

import { type Interface, type NamedType, type Procedure, type Type, unalias } from './model.js';
import { declaration } from './print.js';

/** One difference. */
export interface Change {
  /** Whether old and new ends misunderstand each other. */
  readonly breaks: boolean;
  /** What it is about: `program P version 2 procedure F argument, member x`. */
  readonly where: string;
  readonly what: string;
}

/** All differences from `before` to `after`, in the order of the text. */
export function diff(before: Interface, after: Interface): Change[] {
  return new Diff().run(before, after);
}

class Diff {
  private readonly changes: Change[] = [];
  /** Pairs of types compared, or being compared: a type may hold itself. */
  private readonly seen = new Map<NamedType, Set<NamedType>>();

  run(before: Interface, after: Interface): Change[] {
    this.programs(before, after);
    const types = new Map(after.types.map((type) => [type.name, type]));
    for (const type of before.types) {
      const other = types.get(type.name);
      if (other === undefined) this.say(false, `type ${type.name}`, 'is gone or renamed');
      else this.named(type, other, `type ${type.name}`);
    }
    this.added(before.types, after.types, 'type');
    const constants = new Map(after.constants.map((constant) => [constant.name, constant.value]));
    for (const { name, value } of before.constants) {
      const now = constants.get(name);
      if (now === undefined) this.say(false, `constant ${name}`, 'is gone or renamed');
      // Where it is a length or a number on the wire, that place is reported by itself.
      else if (now !== value) this.say(false, `constant ${name}`, `was ${value}, is ${now}`);
    }
    this.added(before.constants, after.constants, 'constant');
    return this.changes;
  }

  private programs(before: Interface, after: Interface): void {
    for (const program of before.programs) {
      const where = `program ${program.name}`;
      const same = after.programs.find((each) => each.number.value === program.number.value);
      if (same === undefined) {
        const renumbered = after.programs.find((each) => each.name === program.name);
        this.say(
          true,
          where,
          renumbered === undefined
            ? 'is gone'
            : `was number ${program.number.value}, is ${renumbered.number.value}`,
        );
        continue;
      }
      for (const version of program.versions) {
        const here = `${where} version ${version.number.value}`;
        const other = same.versions.find((each) => each.number.value === version.number.value);
        if (other === undefined) this.say(true, here, 'is gone');
        else this.procedures(version.procedures, other.procedures, here);
      }
      for (const { number } of same.versions)
        if (!program.versions.some((version) => version.number.value === number.value))
          this.say(false, `${where} version ${number.value}`, 'is new');
    }
    for (const program of after.programs)
      if (
        !before.programs.some(
          (each) => each.number.value === program.number.value || each.name === program.name,
        )
      )
        this.say(false, `program ${program.name}`, 'is new');
  }

  private procedures(before: readonly Procedure[], after: readonly Procedure[], where: string): void {
    for (const procedure of before) {
      const here = `${where} procedure ${procedure.name}`;
      const named = after.find((each) => each.name === procedure.name);
      if (named !== undefined && named.number.value !== procedure.number.value) {
        this.say(true, here, `was number ${procedure.number.value}, is ${named.number.value}`);
        continue;
      }
      const same = after.find((each) => each.number.value === procedure.number.value);
      if (same === undefined) {
        this.say(true, here, 'is gone');
        continue;
      }
      if (same.name !== procedure.name) this.say(false, here, `is called ${same.name} now`);
      if (same.args.length !== procedure.args.length)
        this.say(true, here, `took ${procedure.args.length} arguments, takes ${same.args.length}`);
      else
        for (const [i, arg] of procedure.args.entries())
          this.type(arg.type, (same.args[i] as typeof arg).type, `${here} argument ${i + 1}`);
      this.type(procedure.result, same.result, `${here} result`);
    }
    for (const { name, number } of after)
      if (!before.some((each) => each.number.value === number.value || each.name === name))
        this.say(false, `${where} procedure ${name}`, 'is new');
  }

  private type(before: Type, after: Type, where: string): void {
    const [a, b] = [unalias(before), unalias(after)];
    if (a.kind === 'named' && b.kind === 'named') {
      this.named(a.type, b.type, where);
      return;
    }
    if (a.kind !== b.kind) {
      // An enum is an int on the wire, of which not all values are allowed.
      if (isInt(a) && isInt(b))
        this.say(
          a.kind === 'int',
          where,
          a.kind === 'int' ? 'any int was allowed, now an enum' : 'was an enum, now any int is allowed',
        );
      else this.say(true, where, `was ${text(before)}, is ${text(after)}`);
      return;
    }
    switch (a.kind) {
      case 'string':
      case 'opaque':
        this.bound(a.max?.size, (b as typeof a).max?.size, where);
        return;
      case 'fixedOpaque':
        if (a.size.size !== (b as typeof a).size.size)
          this.say(true, where, `was ${a.size.size} bytes, is ${(b as typeof a).size.size}`);
        return;
      case 'array':
        this.bound(a.max?.size, (b as typeof a).max?.size, where);
        this.type(a.element, (b as typeof a).element, `${where} element`);
        return;
      case 'fixedArray':
        if (a.size.size !== (b as typeof a).size.size)
          this.say(true, where, `was ${a.size.size} elements, is ${(b as typeof a).size.size}`);
        this.type(a.element, (b as typeof a).element, `${where} element`);
        return;
      case 'optional':
        this.type(a.element, (b as typeof a).element, where);
        return;
      case 'list': {
        const other = b as typeof a;
        if (a.minLength !== other.minLength) this.say(true, where, `was ${text(before)}, is ${text(after)}`);
        this.named(a.node, other.node, where);
      }
    }
  }

  private bound(before: number | undefined, after: number | undefined, where: string): void {
    const [a, b] = [before ?? 2 ** 32 - 1, after ?? 2 ** 32 - 1];
    if (a === b) return;
    this.say(
      b < a,
      where,
      `the bound was ${before ?? 'none'}, is ${after ?? 'none'}: ${b < a ? 'narrower' : 'wider'}`,
    );
  }

  private named(before: NamedType, after: NamedType, where: string): void {
    const seen = this.seen.get(before) ?? new Set();
    this.seen.set(before, seen);
    if (seen.has(after)) return;
    seen.add(after);
    if (before.kind === 'alias' || after.kind === 'alias') {
      this.type(
        before.kind === 'alias' ? before.type : { kind: 'named', type: before },
        after.kind === 'alias' ? after.type : { kind: 'named', type: after },
        where,
      );
      return;
    }
    const place = where.endsWith(before.name) ? where : `${where}, ${before.name}`;
    if (before.kind !== after.kind) {
      this.say(true, place, `was ${article(before.kind)}, is ${article(after.kind)}`);
      return;
    }
    if (before.kind === 'enum' && after.kind === 'enum') this.enum(before, after, place);
    if (before.kind === 'struct' && after.kind === 'struct') this.struct(before, after, place);
    if (before.kind === 'union' && after.kind === 'union') this.union(before, after, place);
  }

  private enum(
    before: NamedType & { kind: 'enum' },
    after: NamedType & { kind: 'enum' },
    where: string,
  ): void {
    for (const { name, value } of before.members) {
      const named = after.members.find((each) => each.name === name);
      const same = after.members.find((each) => each.value === value);
      if (named !== undefined && named.value !== value)
        this.say(true, `${where} member ${name}`, `was ${value}, is ${named.value}`);
      else if (named === undefined && same !== undefined)
        this.say(false, `${where} member ${name}`, `is called ${same.name} now`);
      else if (named === undefined)
        this.say(true, `${where} member ${name}`, 'is gone: its value is refused');
    }
    for (const { name, value } of after.members)
      if (!before.members.some((each) => each.name === name || each.value === value))
        this.say(true, `${where} member ${name}`, `is new: those made before refuse the value ${value}`);
  }

  private struct(
    before: NamedType & { kind: 'struct' },
    after: NamedType & { kind: 'struct' },
    where: string,
  ): void {
    if ((before.link === undefined) !== (after.link === undefined))
      this.say(
        true,
        where,
        before.link === undefined ? 'is a linked list now' : 'is no linked list any more',
      );
    const [old, now] = [before.fields, after.fields];
    const names = (fields: typeof old): string => fields.map((field) => field.name).join(', ');
    const isReordered =
      names(old) !== names(now) && names(old.toSorted(byName)) === names(now.toSorted(byName));
    if (isReordered) {
      this.say(true, where, `the order was ${names(old)}, is ${names(now)}`);
      return;
    }
    for (let i = 0; i < Math.max(old.length, now.length); i++) {
      const [a, b] = [old[i], now[i]];
      if (a !== undefined && b !== undefined) {
        if (a.name !== b.name) this.say(false, `${where} member ${a.name}`, `is called ${b.name} now`);
        this.type(a.type, b.type, `${where} member ${a.name}`);
      } else if (a !== undefined) this.say(true, `${where} member ${a.name}`, 'is gone');
      else if (b !== undefined) this.say(true, `${where} member ${b.name}`, 'is new');
    }
  }

  private union(
    before: NamedType & { kind: 'union' },
    after: NamedType & { kind: 'union' },
    where: string,
  ): void {
    this.type(before.discriminant.type, after.discriminant.type, `${where} discriminant`);
    const armsOf = (type: typeof before): Map<number | bigint | boolean, { type: Type | null }> =>
      new Map(
        type.arms.flatMap(({ cases, field }) =>
          cases.map((each) => [each.value, { type: field?.type ?? null }]),
        ),
      );
    const [old, now] = [armsOf(before), armsOf(after)];
    const otherwise = (type: typeof before): { type: Type | null } | undefined =>
      type.otherwise === undefined ? undefined : { type: type.otherwise?.type ?? null };
    const compare = (
      a: { type: Type | null } | undefined,
      b: { type: Type | null } | undefined,
      place: string,
    ): void => {
      if (a === undefined && b === undefined) return;
      if (a === undefined) this.say(true, place, 'is new: those made before refuse it');
      else if (b === undefined) this.say(true, place, 'is gone');
      else if (a.type === null || b.type === null) {
        if (a.type !== b.type)
          this.say(
            true,
            place,
            `was ${a.type === null ? 'void' : text(a.type)}, is ${b.type === null ? 'void' : text(b.type)}`,
          );
      } else this.type(a.type, b.type, place);
    };
    // What no case names is the default's.
    for (const value of new Set([...old.keys(), ...now.keys()]))
      compare(
        old.get(value) ?? otherwise(before),
        now.get(value) ?? otherwise(after),
        `${where} case ${value}`,
      );
    compare(otherwise(before), otherwise(after), `${where} default`);
  }

  private added(
    before: readonly { readonly name: string }[],
    after: readonly { readonly name: string }[],
    kind: string,
  ): void {
    const names = new Set(before.map((each) => each.name));
    for (const { name } of after) if (!names.has(name)) this.say(false, `${kind} ${name}`, 'is new');
  }

  private say(breaks: boolean, where: string, what: string): void {
    this.changes.push({ breaks, where, what });
  }
}

function isInt(type: Type): boolean {
  return type.kind === 'int' || (type.kind === 'named' && type.type.kind === 'enum');
}

function text(type: Type): string {
  return declaration(type, '')
    .trim()
    .replace(/ (?=[<[])/, '');
}

function article(kind: string): string {
  return /^[aeiou]/.test(kind) ? `an ${kind}` : `a ${kind}`;
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}
