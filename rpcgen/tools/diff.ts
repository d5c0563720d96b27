/**
 * Compares two versions of an interface and classifies each change by its effect on the wire. Types are compared by
 * their encoding; names of types and members do not affect it. Only types that procedures use are compared; if a file
 * has no programs, all its types are.
 */

import {
  type Case,
  type EnumType,
  type Field,
  type Interface,
  type NamedType,
  type Procedure,
  type Scalar,
  type StructType,
  type Type,
  type UnionType,
  unalias,
} from '../model/model.js';
import { declaration } from '../model/print.js';
import { legalValues, WireKeys } from '../model/wire.js';
import { align } from './align.js';

/**
 * The effect of a change: `breaks`, if one side cannot decode messages of the other, or decodes other values; `extends`,
 * if the old side refuses new values only; `ok`, if the encoding is the same.
 */
export type Level = 'breaks' | 'extends' | 'ok';

/** One difference. */
export interface Change {
  readonly level: Level;
  /** The changed part: `program P version 2 procedure F argument 1`, `type t member x`. */
  readonly where: string;
  readonly what: string;
}

/** All differences from `before` to `after`: programs first, then the types they use, then unused definitions. */
export function diff(before: Interface, after: Interface): Change[] {
  return new InterfaceDiff(before, after).run();
}

class InterfaceDiff {
  private readonly changes: Change[] = [];
  private readonly before: Interface;
  private readonly after: Interface;
  private readonly oldKeys: WireKeys;
  private readonly newKeys: WireKeys;
  /** Pairs of types that are compared or queued: types may be recursive. */
  private readonly seen = new Map<NamedType, Set<NamedType>>();
  private readonly seenNow = new Set<NamedType>();
  private readonly queue: (readonly [NamedType, NamedType])[] = [];

  constructor(before: Interface, after: Interface) {
    this.before = before;
    this.after = after;
    this.oldKeys = new WireKeys(before);
    this.newKeys = new WireKeys(after);
  }

  run(): Change[] {
    this.programs();
    this.runQueue();
    this.types();
    const constants = new Map(this.after.constants.map((constant) => [constant.name, constant.value]));
    for (const { name, value } of this.before.constants) {
      const now = constants.get(name);
      if (now === undefined) this.report('ok', `constant ${name}`, 'is removed or renamed');
      // If it is used as a length or a number of a procedure, that change is reported separately.
      else if (now !== value) this.report('ok', `constant ${name}`, `was ${value}, is ${now}`);
    }
    const names = new Set(this.before.constants.map(({ name }) => name));
    for (const { name } of this.after.constants)
      if (!names.has(name)) this.report('ok', `constant ${name}`, 'is new');
    return this.changes;
  }

  /** Types are compared from a queue and not by recursion: a chain of types may have any length. */
  private runQueue(): void {
    for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) this.named(...next);
  }

  /** Compares the types that no procedure uses. */
  private types(): void {
    const isUsed = this.before.programs.length > 0;
    const now = new Map(this.after.types.map((type) => [type.name, type]));
    const old = new Set(this.before.types.map((type) => type.name));
    const fresh = this.after.types.filter(({ name }) => !old.has(name));
    const renamed = new Set<NamedType>();
    for (const type of this.before.types) {
      if (this.seen.has(type)) continue;
      const where = `type ${type.name}`;
      const other = now.get(type.name);
      const isSame = (each: NamedType): boolean => this.keyOf(type) === this.newKeyOf(each);
      if (other !== undefined && isUsed) {
        if (!isSame(other))
          this.report('ok', where, 'is changed, but not used by procedures of both versions');
      } else if (other !== undefined) {
        this.pair(type, other);
        this.runQueue();
      } else {
        const renamedTo = fresh.find((each) => isSame(each) && !this.seenNow.has(each) && !renamed.has(each));
        if (renamedTo !== undefined) {
          renamed.add(renamedTo);
          this.report('ok', where, `is renamed to ${renamedTo.name}`);
        } else
          this.report(
            isUsed ? 'ok' : 'breaks',
            where,
            isUsed ? 'is removed; no procedure used it' : 'is removed',
          );
      }
    }
    for (const type of fresh)
      if (!this.seenNow.has(type) && !renamed.has(type)) this.report('ok', `type ${type.name}`, 'is new');
  }

  private keyOf(type: NamedType): string {
    return this.oldKeys.of({ kind: 'named', type });
  }

  private newKeyOf(type: NamedType): string {
    return this.newKeys.of({ kind: 'named', type });
  }

  private programs(): void {
    const [before, after] = [this.before.programs, this.after.programs];
    for (const program of before) {
      const where = `program ${program.name}`;
      const same = after.find((each) => each.number.value === program.number.value);
      if (same === undefined) {
        const other = after.find((each) => each.name === program.name);
        this.reportRemoved(where, program.number.value, other?.number.value);
        continue;
      }
      this.reportRenamed(where, program.name, same.name);
      for (const version of program.versions) {
        const here = `${where} version ${version.number.value}`;
        const other = same.versions.find((each) => each.number.value === version.number.value);
        if (other === undefined) {
          const renumbered = same.versions.find(
            (each) =>
              each.name === version.name &&
              !program.versions.some((v) => v.number.value === each.number.value),
          );
          this.reportRemoved(here, version.number.value, renumbered?.number.value);
          continue;
        }
        this.reportRenamed(here, version.name, other.name);
        this.procedures(version.procedures, other.procedures, here);
      }
      for (const { number } of same.versions)
        if (!program.versions.some((version) => version.number.value === number.value))
          this.report('extends', `${where} version ${number.value}`, 'is new');
    }
    for (const program of after)
      if (!before.some(({ number, name }) => number.value === program.number.value || name === program.name))
        this.report('extends', `program ${program.name}`, 'is new');
  }

  private reportRemoved(where: string, was: bigint, is: bigint | undefined): void {
    this.report('breaks', where, is === undefined ? 'is removed' : `was number ${was}, is ${is}`);
  }

  private reportRenamed(where: string, was: string, is: string): void {
    if (was !== is) this.report('ok', where, `${was} is renamed to ${is}`);
  }

  private procedures(before: readonly Procedure[], after: readonly Procedure[], where: string): void {
    for (const procedure of before) {
      const here = `${where} procedure ${procedure.name}`;
      const named = after.find((each) => each.name === procedure.name);
      const same = after.find((each) => each.number.value === procedure.number.value);
      if (named !== undefined && named !== same) {
        this.reportRemoved(here, procedure.number.value, named.number.value);
        continue;
      }
      if (same === undefined) {
        this.report('breaks', here, 'is removed');
        continue;
      }
      if (same.name !== procedure.name) this.report('ok', here, `is renamed to ${same.name}`);
      this.arguments(procedure, same, here);
      this.type(procedure.result, same.result, `${here} result`);
    }
    for (const { name, number } of after)
      if (!before.some((each) => each.number.value === number.value || each.name === name))
        this.report('extends', `${where} procedure ${name}`, 'is new');
  }

  private arguments(before: Procedure, after: Procedure, where: string): void {
    const [old, now] = [before.args, after.args];
    if (old.length === now.length) {
      for (const [i, arg] of old.entries())
        this.type(arg.type, (now[i] as Field).type, `${where} argument ${i + 1}`);
      return;
    }
    // A struct has the same encoding as its members in sequence.
    const bytes = (keys: WireKeys, args: readonly Field[]): string =>
      args
        .flatMap(({ type }) => {
          const end = unalias(type);
          const parts = end.kind === 'named' && end.type.kind === 'struct' ? fieldsOf(end.type) : undefined;
          return (args.length === 1 && parts !== undefined ? parts : [{ type }]).map((part) =>
            keys.of(part.type),
          );
        })
        .filter((key) => key !== '')
        .join(' ');
    const isSame = bytes(this.oldKeys, old) === bytes(this.newKeys, now);
    this.report(
      isSame ? 'ok' : 'breaks',
      where,
      `had ${old.length} arguments, has ${now.length}${isSame ? ': the same encoding' : ''}`,
    );
  }

  private type(before: Type, after: Type, where: string): void {
    const [a, b] = [unalias(before), unalias(after)];
    if (before.kind === 'named' && after.kind === 'named' && before.type.name === after.type.name) {
      this.pair(before.type, after.type);
      return;
    }
    const [x, y] = [wireForm(a), wireForm(b)];
    if (x.kind === 'named' && y.kind === 'named' && x.type.kind === y.type.kind) {
      const [was, is] = [x.type.name, y.type.name];
      const isThere = this.after.types.some(({ name }) => name === was);
      if (was !== is)
        this.report('ok', where, isThere ? `was ${was}, is ${is}` : `${was} is renamed to ${is}`);
      this.pair(x.type, y.type);
      return;
    }
    const [was, is] = [text(before), text(after)];
    if (x.kind === 'bytes' && y.kind === 'bytes') {
      if (a.kind !== b.kind) this.report('ok', where, `was ${was}, is ${is}: the same encoding`);
      this.bound(x.max, y.max, where);
    } else if (x.kind === 'array' && y.kind === 'array') {
      this.bound(x.max, y.max, where);
      this.type(
        x.element,
        y.element,
        a.kind === 'optional' || a.kind === 'list' ? where : `${where} element`,
      );
    } else if (x.kind === 'fixedArray' && y.kind === 'fixedArray') {
      this.size(x.size, y.size, 'elements', where);
      this.type(x.element, y.element, `${where} element`);
    } else if (x.kind === 'fixedBytes' && y.kind === 'fixedBytes') this.size(x.size, y.size, 'bytes', where);
    else if (x.kind === y.kind && x.kind !== 'named') return;
    else if (this.oldKeys.of(before) === this.newKeys.of(after))
      this.report('ok', where, `was ${was}, is ${is}: the same encoding`);
    else this.report(widens(a, b) ? 'extends' : 'breaks', where, `was ${was}, is ${is}`);
  }

  private size(was: number, is: number, what: string, where: string): void {
    if (was !== is) this.report('breaks', where, `was ${was} ${what}, is ${is}`);
  }

  private bound(before: number | undefined, after: number | undefined, where: string): void {
    const [a, b] = [before ?? 2 ** 32 - 1, after ?? 2 ** 32 - 1];
    if (a === b) return;
    const how = b < a ? 'narrower' : 'wider';
    this.report(
      b < a ? 'breaks' : 'extends',
      where,
      `the bound was ${before ?? 'none'}, is ${after ?? 'none'}: ${how}`,
    );
  }

  private pair(before: NamedType, after: NamedType): void {
    const seen = this.seen.get(before) ?? new Set();
    this.seen.set(before, seen);
    this.seenNow.add(after);
    if (seen.has(after)) return;
    seen.add(after);
    this.queue.push([before, after]);
  }

  private named(before: NamedType, after: NamedType): void {
    const where = `type ${before.name}`;
    if (before.kind === 'enum' && after.kind === 'enum') this.enum(before, after, where);
    else if (before.kind === 'struct' && after.kind === 'struct') this.struct(before, after, where);
    else if (before.kind === 'union' && after.kind === 'union') this.union(before, after, where);
    else if (before.kind === 'alias' || after.kind === 'alias') {
      const inner = (type: NamedType): Type => (type.kind === 'alias' ? type.type : { kind: 'named', type });
      this.type(inner(before), inner(after), where);
    } else if (before.kind !== after.kind) {
      const isSame = this.keyOf(before) === this.newKeyOf(after);
      const what = `was ${article(before.kind)}, is ${article(after.kind)}`;
      this.report(isSame ? 'ok' : 'breaks', where, isSame ? `${what}: the same encoding` : what);
    }
  }

  private enum(before: EnumType, after: EnumType, where: string): void {
    for (const { name, value } of before.members) {
      const here = `${where} member ${name}`;
      const named = after.members.find((each) => each.name === name);
      const same = after.members.find((each) => each.value === value);
      if (named !== undefined && named.value !== value)
        this.report('breaks', here, `was ${value}, is ${named.value}`);
      else if (named === undefined && same !== undefined)
        this.report('ok', here, `is renamed to ${same.name}`);
      else if (named === undefined) this.report('breaks', here, 'is removed: its value is refused');
    }
    for (const { name, value } of after.members)
      if (!before.members.some((each) => each.name === name || each.value === value))
        this.report('extends', `${where} member ${name}`, `is new: old peers refuse the value ${value}`);
  }

  private struct(before: StructType, after: StructType, where: string): void {
    const [old, now] = [fieldsOf(before), fieldsOf(after)];
    const names = (fields: readonly StructMember[]): string => fields.map((field) => field.name).join(', ');
    const isReordered =
      names(old) !== names(now) && names(old.toSorted(byName)) === names(now.toSorted(byName));
    if (isReordered) {
      this.report('breaks', where, `the order was ${names(old)}, is ${names(now)}`);
      return;
    }
    const steps = align(
      old,
      now,
      (a, b) => a.name === b.name,
      (a, b) => this.oldKeys.of(a.type) === this.newKeys.of(b.type),
    );
    let last: string | undefined;
    for (const [i, { before: a, after: b }] of steps.entries()) {
      if (a !== undefined && b !== undefined) {
        if (a.name !== b.name) this.report('ok', `${where} member ${a.name}`, `is renamed to ${b.name}`);
        this.type(a.type, b.type, `${where} member ${a.name}`);
      } else {
        const rest = steps.slice(i).some((step) => step.before !== undefined && step.after !== undefined);
        const position = last === undefined ? 'at the start' : `after ${last}`;
        if (b !== undefined)
          this.report('breaks', `${where} member ${b.name}`, rest ? `is new, ${position}` : 'is new');
        else if (a !== undefined) this.report('breaks', `${where} member ${a.name}`, 'is removed');
      }
      last = b?.name ?? last;
    }
  }

  private union(before: UnionType, after: UnionType, where: string): void {
    const [from, to] = [before.discriminant, after.discriminant];
    if (from.name !== to.name)
      this.report('ok', `${where} discriminant ${from.name}`, `is renamed to ${to.name}`);
    const [old, now] = [new Arms(before), new Arms(after)];
    const [a, b] = [unalias(from.type), unalias(to.type)];
    // The values of a union without a default are those of its cases, whatever the type of the discriminant.
    if (a.kind !== b.kind && isWord(a) && isWord(b) && old.defaultArm === undefined)
      this.report('ok', `${where} discriminant`, `was ${text(from.type)}, is ${text(to.type)}`);
    else this.type(from.type, to.type, `${where} discriminant`);
    for (const [value, each] of new Map([...old.cases, ...now.cases])) {
      // A value that is not a member of the enum is reported with the enum.
      const [a, b] = [old.arm(value), now.arm(value)];
      if (a === b || (a === undefined && b === undefined)) continue;
      this.arm(a, b, `${where} case ${caseText(before, after, each)}`);
    }
    const rest = (old.legal ?? []).filter((value) => now.legal?.includes(value) !== false);
    const isReached = rest.some((value) => !old.cases.has(String(value)) && !now.cases.has(String(value)));
    if (old.legal === undefined || isReached) this.arm(old.defaultArm, now.defaultArm, `${where} default`);
  }

  private arm(before: Field | null | undefined, after: Field | null | undefined, where: string): void {
    if (before === undefined && after === undefined) return;
    if (before === undefined) this.report('extends', where, 'is new: old peers refuse it');
    else if (after === undefined) this.report('breaks', where, 'is removed');
    else if (before === null || after === null) {
      if (before !== after) this.report('breaks', where, `was ${armText(before)}, is ${armText(after)}`);
    } else {
      if (before.name !== after.name) this.report('ok', where, `${before.name} is renamed to ${after.name}`);
      this.type(before.type, after.type, where);
    }
  }

  private report(level: Level, where: string, what: string): void {
    this.changes.push({ level, where, what });
  }
}

type StructMember = Pick<Field, 'name' | 'type'>;

/** The members of a struct, including the link of a node of a linked list. */
function fieldsOf(type: StructType): readonly StructMember[] {
  if (type.link === undefined) return type.fields;
  return [...type.fields, { name: type.link, type: { kind: 'list', node: type, minLength: 0 } }];
}

/** The arms of a union by the values of the discriminant. */
class Arms {
  /** By number, since `case TRUE` and `case 1` are equal. */
  readonly cases = new Map<string, Case>();
  readonly legal: readonly number[] | undefined;
  readonly defaultArm: Field | null | undefined;
  private readonly fields = new Map<string, Field | null>();

  constructor(type: UnionType) {
    this.legal = legalValues(type.discriminant.type);
    this.defaultArm = type.defaultArm;
    for (const { cases, field } of type.arms)
      for (const each of cases) {
        this.cases.set(numberOf(each), each);
        this.fields.set(numberOf(each), field);
      }
  }

  arm(value: string): Field | null | undefined {
    if (this.legal !== undefined && !this.legal.includes(Number(value))) return undefined;
    const own = this.fields.get(value);
    return own === undefined ? this.defaultArm : own;
  }
}

function numberOf(each: Case): string {
  return typeof each.value === 'boolean' ? String(Number(each.value)) : String(each.value);
}

/** A case, by the name of its enum member if there is one. */
function caseText(before: UnionType, after: UnionType, each: Case): string {
  for (const type of [before, after]) {
    const of = unalias(type.discriminant.type);
    if (of.kind !== 'named' || of.type.kind !== 'enum') continue;
    const found = of.type.members.find(({ value }) => value === each.value);
    if (found !== undefined) return found.name;
  }
  return String(each.value);
}

function armText(field: Field | null): string {
  return field === null ? 'void' : text(field.type);
}

type WireForm =
  | { readonly kind: 'bytes'; readonly max: number | undefined }
  | { readonly kind: 'fixedBytes'; readonly size: number }
  | { readonly kind: 'array'; readonly element: Type; readonly max: number | undefined }
  | { readonly kind: 'fixedArray'; readonly element: Type; readonly size: number }
  | { readonly kind: 'named'; readonly type: NamedType }
  | { readonly kind: Scalar };

/** Normalizes types with the same encoding: an optional is an array of at most one element. */
function wireForm(type: Type): WireForm {
  switch (type.kind) {
    case 'string':
    case 'opaque':
      return { kind: 'bytes', max: type.max?.size };
    case 'fixedOpaque':
      return { kind: 'fixedBytes', size: type.size.size };
    case 'quadruple':
      return { kind: 'fixedBytes', size: 16 };
    case 'array':
      return { kind: 'array', element: type.element, max: type.max?.size };
    case 'optional':
      return { kind: 'array', element: type.element, max: 1 };
    case 'list': {
      const node: Type = { kind: 'named', type: type.node };
      return type.minLength === 1
        ? { kind: 'named', type: type.node }
        : { kind: 'array', element: node, max: 1 };
    }
    case 'fixedArray':
      return { kind: 'fixedArray', element: type.element, size: type.size.size };
    default:
      return type;
  }
}

/** Whether the new type has all values of the old one, with the same encoding: enum, bool, int, unsigned. */
function widens(before: Type, after: Type): boolean {
  const old = legalValues(before);
  if (old === undefined) return false;
  if (after.kind === 'int') return true;
  if (after.kind === 'uint') return old.every((value) => value >= 0);
  const now = legalValues(after);
  return now !== undefined && old.every((value) => now.includes(value));
}

/** Whether a discriminant is encoded in 4 bytes, so that its cases are comparable as numbers. */
function isWord(type: Type): boolean {
  return type.kind === 'int' || type.kind === 'uint' || legalValues(type) !== undefined;
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
