/** What may stand at the end of a line of the shell: a procedure, a member of its arguments, a value of an enum. */

import type { Codec, Shape } from '../../xdr/index.js';
import { choices, chooseProcedures, type Opened, shortName } from './interface.js';

const VERBS = ['help', 'list', 'describe', 'template', 'quit'];

/** The candidates, and the part of the line that they would take the place of. */
export function completeLine(opened: Opened, line: string): [string[], string] {
  const [, verb = '', space = '', rest = ''] = /^\s*(\S*)(\s*)(.*)$/s.exec(line) ?? [];
  const names = [...new Set(choices(opened).map(({ procedure }) => shortName(procedure.name)))];
  if (space === '') return fitting([...names, ...VERBS], verb);
  if (verb === 'template') return fitting(names, rest);
  if (verb === 'describe') return fitting([...names, ...opened.live.types.keys()], rest);
  try {
    const [{ procedure }] = chooseProcedures(opened, verb);
    return completeJson(procedure.args, rest);
  } catch {
    return [[], line];
  }
}

function fitting(words: readonly string[], start: string): [string[], string] {
  const found = words.filter((word) => word.startsWith(start));
  const loose = words.filter((word) => word.toLowerCase().startsWith(start.toLowerCase()));
  return [found.length > 0 ? found : loose, start];
}

/** Where a JSON text stops: in which type, and what is being written there. */
interface Place {
  readonly type: Codec<unknown> | undefined;
  /** The members of this object that are there already. */
  readonly seen: readonly string[];
  readonly awaits: 'member' | 'value' | 'nothing';
}

/** Completes the last word of a JSON text that is not finished. */
export function completeJson(type: Codec<unknown>, text: string): [string[], string] {
  const [, before = '', word = ''] = /^(.*?)("?[\w.-]*)$/s.exec(text) ?? [];
  const place = placeAt(type, before);
  const shape = resolve(place.type);
  if (shape === undefined || place.awaits === 'nothing') return [[], text];
  if (place.awaits === 'value') return fitting(valuesOf(shape), word);
  const members = membersOf(shape).filter((name) => !place.seen.includes(name));
  return fitting(
    members.map((name) => `"${name}": `),
    word,
  );
}

function valuesOf(shape: Shape): string[] {
  switch (shape.kind) {
    case 'enum':
      return Object.keys(shape.members).map((name) => `"${name}"`);
    case 'bool':
      return ['true', 'false'];
    case 'struct':
    case 'union':
      return ['{'];
    case 'array':
    case 'fixedArray':
    case 'list':
    case 'tuple':
      return ['['];
    case 'optional':
      return ['null', ...valuesOf(resolve(shape.element) ?? { kind: 'void' })];
    default:
      return [];
  }
}

function membersOf(shape: Shape): string[] {
  return fieldsOf(shape).map(({ name }) => name);
}

/** All members an object of that type may have: of a union, those of every arm. */
function fieldsOf(shape: Shape): { readonly name: string; readonly type: Codec<unknown> }[] {
  if (shape.kind === 'optional') return fieldsOf(resolve(shape.element) ?? { kind: 'void' });
  if (shape.kind === 'struct') return [...shape.fields];
  if (shape.kind !== 'union') return [];
  const arms = [...shape.arms.map(({ field }) => field), shape.defaultArm ?? null];
  return [shape.discriminant, ...arms.filter((field) => field !== null)];
}

function resolve(type: Codec<unknown> | undefined): Shape | undefined {
  const shape = type?.shape;
  return shape?.kind === 'lazy' ? resolve(shape.target()) : shape;
}

interface Level {
  readonly type: Codec<unknown> | undefined;
  readonly isObject: boolean;
  readonly seen: string[];
  member: string | undefined;
  index: number;
}

/** Walks the tokens of an unfinished JSON text down the types. */
function placeAt(type: Codec<unknown>, text: string): Place {
  const levels: Level[] = [];
  let isExpected = true;
  const inside = (): Codec<unknown> | undefined => {
    const level = levels.at(-1);
    return level === undefined ? type : partOf(level);
  };
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    const level = levels.at(-1);
    if (token === '{' || token === '[') {
      levels.push({ type: inside(), isObject: token === '{', seen: [], member: undefined, index: 0 });
      isExpected = true;
    } else if (token === '}' || token === ']') {
      levels.pop();
      isExpected = false;
    } else if (token === ',') {
      if (level !== undefined) {
        level.member = undefined;
        level.index += 1;
      }
      isExpected = true;
    } else if (token === ':') isExpected = true;
    else {
      if (level?.isObject && level.member === undefined) {
        level.member = token.slice(1, -1);
        level.seen.push(level.member);
      }
      isExpected = false;
    }
  }
  const level = levels.at(-1);
  if (!isExpected) return { type: undefined, seen: [], awaits: 'nothing' };
  if (level?.isObject && level.member === undefined)
    return { type: level.type, seen: level.seen, awaits: 'member' };
  return { type: inside(), seen: [], awaits: 'value' };
}

/** The type of what stands at this place of an object or an array. */
function partOf({ type, isObject, member, index }: Level): Codec<unknown> | undefined {
  const outer = resolve(type);
  const shape = outer?.kind === 'optional' ? resolve(outer.element) : outer;
  if (shape === undefined) return undefined;
  if (isObject) return fieldsOf(shape).find(({ name }) => name === member)?.type;
  if (shape.kind === 'tuple') return shape.fields[index]?.type;
  return 'element' in shape ? shape.element : undefined;
}
