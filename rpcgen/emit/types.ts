/** Emits constants and types as TypeScript declarations. */

import type { Bound, Constant, EnumType, Field, StructType, Type, UnionType } from '../model/model.js';
import { unalias } from '../model/model.js';
import { docLines, isWide, LINE_WIDTH, literal, type Output, quote } from './output.js';

/** `export const NAME = 5;` */
export function emitConstant(out: Output, constant: Constant): void {
  const value =
    typeof constant.value === 'string'
      ? quote(constant.value)
      : constant.ref?.symbol?.kind === 'const' && !isWide(constant.value)
        ? out.number(constant.ref)
        : literal({ value: constant.value, text: constant.ref?.text });
  out.write(...docLines(constant.doc), `export const ${out.markEmitted(constant)} = ${value};`);
}

/** An object of the members, and the type of its values with the same name. */
export function emitEnumType(out: Output, type: EnumType): void {
  const { type: name } = out.namesOf(type);
  out.write(...docLines(type.doc), `export const ${name} = {`);
  for (const member of type.members)
    out.write(...docLines(member.doc, '  '), `  ${memberKey(member.name)}: ${member.value},`);
  const others = out.hasOpenEnums ? ` | ${out.xdr('OtherNumber', true)}` : '';
  out.write('} as const;', `export type ${name} = (typeof ${name})[keyof typeof ${name}]${others};`);
}

/** The doc comment with the bounds of the type, unless it contains the number already. */
export function boundedDoc(doc: string | undefined, type: Type): string {
  const note = boundNote(unalias(type));
  const isTold = note !== undefined && doc !== undefined && new RegExp(`\\b${note.size}\\b`).test(doc);
  return [doc ?? '', isTold ? '' : (note?.text ?? '')].filter((text) => text !== '').join('\n');
}

function boundNote(type: Type): { readonly text: string; readonly size: number } | undefined {
  const note = (how: string, { size }: Bound, unit: string): { text: string; size: number } => ({
    text: `${how} ${size} ${size === 1 ? unit : `${unit}s`}`,
    size,
  });
  switch (type.kind) {
    case 'string':
    case 'opaque':
      return type.max === null ? undefined : note('at most', type.max, 'byte');
    case 'fixedOpaque':
      return note('exactly', type.size, 'byte');
    case 'array':
      return type.max === null ? undefined : note('at most', type.max, 'element');
    case 'fixedArray':
      return note('exactly', type.size, 'element');
    default:
      return undefined;
  }
}

/**
 * An object type; for a node of a linked list, without the link. It is a type alias and not an interface, since editors
 * show the members of an alias when the pointer is on its name.
 */
export function emitStructType(out: Output, type: StructType): void {
  const { type: name } = out.namesOf(type);
  const note =
    type.link === undefined
      ? ''
      : `A node of a linked list. The list is an array; the member \`${type.link}\` is implied by the order.`;
  out.write(...docLines([type.doc ?? '', note].filter((text) => text !== '').join('\n')));
  if (type.fields.length === 0) {
    out.write(`export type ${name} = Record<string, never>;`);
    return;
  }
  out.write(`export type ${name} = {`);
  for (const field of type.fields)
    out.write(...docLines(boundedDoc(field.doc, field.type), '  '), `  ${member(out, field)};`);
  out.write('};');
}

/** A union of object types, one for each arm, which the discriminant distinguishes. */
export function emitUnionType(out: Output, type: UnionType): void {
  const { type: name } = out.namesOf(type);
  const arms = type.arms
    .filter((arm) => arm.cases.length > 0)
    .map((arm) => ({
      which: arm.cases.map((each) => caseType(out, type, each)).join(' | '),
      field: arm.field,
    }));
  const rest = restType(out, type);
  if (type.defaultArm !== undefined && rest !== undefined) arms.push({ which: rest, field: type.defaultArm });
  const parts = arms.map(({ which, field }) => {
    const head = `${type.discriminant.key}: ${which}`;
    if (field === null) return `{ ${head} }`;
    const own = field.doc === undefined || field.doc.includes('\n') ? undefined : field.doc;
    const doc = docLines(boundedDoc(own, field.type).replaceAll('\n', '; '));
    return `{ ${head}; ${[...doc, member(out, field)].join(' ')} }`;
  });
  out.write(...docLines(type.doc));
  const line = `export type ${name} = ${parts.join(' | ')};`;
  if (parts.length === 1 && line.length <= LINE_WIDTH) out.write(line);
  else
    out.write(
      `export type ${name} =`,
      ...parts.map((part, i) => `  | ${part}${i === parts.length - 1 ? ';' : ''}`),
    );
}

/** `__proto__: 4` in an object literal would set the prototype. */
function memberKey(name: string): string {
  return name === '__proto__' ? `['__proto__']` : name;
}

function member(out: Output, field: Field): string {
  return `${field.key}: ${out.typeOf(field.type)}`;
}

/** The type of the discriminants that no case names; undefined if there are none. */
export function restType(out: Output, type: UnionType): string | undefined {
  const of = unalias(type.discriminant.type);
  const named = new Set(type.arms.flatMap((arm) => arm.cases.map((each) => each.value)));
  if (of.kind === 'bool') {
    const left = [true, false].filter((value) => !named.has(value));
    return left.length === 0 ? undefined : left.length === 2 ? 'boolean' : String(left[0]);
  }
  const whole = out.typeOf(type.discriminant.type);
  if (named.size === 0) return whole;
  if (of.kind === 'int' || of.kind === 'uint') return out.xdr('OtherNumber', true);
  if (of.kind === 'hyper' || of.kind === 'uhyper') return out.xdr('OtherBigint', true);
  if (of.kind !== 'named') return whole;
  const isWhole = of.type.kind === 'enum' && of.type.members.every((each) => named.has(each.value));
  if (isWhole) return out.hasOpenEnums ? out.xdr('OtherNumber', true) : undefined;
  const cases = type.arms.flatMap((arm) => arm.cases.map((each) => caseType(out, type, each)));
  return `Exclude<${whole}, ${cases.join(' | ')}>`;
}

/** The value of a case, as an expression. */
export function caseLabel(
  out: Output,
  type: UnionType,
  each: UnionType['arms'][number]['cases'][number],
): string {
  const of: Type = unalias(type.discriminant.type);
  if (typeof each.value === 'boolean') return String(each.value);
  if (typeof each.value === 'bigint') return `${each.value}n`;
  if (of.kind === 'named' && of.type.kind === 'enum') {
    const { symbol } = each.ref;
    if (symbol?.kind === 'member' && symbol.type === of.type) return out.member(of.type, symbol.name);
    const found = of.type.members.find((candidate) => candidate.value === each.value);
    if (found !== undefined) return out.member(of.type, found.name);
  }
  return out.number(each.ref);
}

function caseType(out: Output, type: UnionType, each: UnionType['arms'][number]['cases'][number]): string {
  const label = caseLabel(out, type, each);
  return /^[A-Za-z_$]/.test(label) && label !== 'true' && label !== 'false' ? `typeof ${label}` : label;
}
