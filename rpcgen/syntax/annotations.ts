/**
 * Annotations: what comments of a `.x` say to this compiler, while C's rpcgen passes over them.
 * `@rpc:NAME` or `@rpc:NAME VALUE` stands in a comment that belongs to a declaration (above it, behind
 * it on its last line, or behind its `{`), or in one at the head of the file. This file knows the names,
 * their values and their places; comments.ts knows which comment belongs to what.
 */

import type { Diagnostics, Span } from '../model/errors.js';
import { type Annotations, STRING_MODES } from '../model/model.js';
import type { Comment } from './scanner.js';

/** What an annotation may be said of. */
export type Place = 'file' | 'typedef' | 'type' | 'const' | 'member' | 'program' | 'version' | 'procedure';

/** The longest deadline, 24 hours; the shortest is 1 ms. */
export const MAX_DEADLINE_MS = 86_400_000;

const UNITS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

interface Rule {
  readonly places: readonly Place[];
  /** The places in words, for messages. */
  readonly told: string;
  /** What a value is, for messages; undefined where there is none. */
  readonly value: string | undefined;
  /** What `value` says, or undefined where it is none. */
  readonly read: (value: string) => Annotations | undefined;
}

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  [
    'idempotent',
    {
      places: ['procedure', 'version', 'program'],
      told: 'a procedure, a version or a program',
      value: undefined,
      read: () => ({ idempotent: true }),
    },
  ],
  [
    'deadline',
    {
      places: ['procedure', 'version', 'program'],
      told: 'a procedure, a version or a program',
      value: 'a time from 1ms to 24h, as 500ms, 2s, 5m or 1h',
      read: (value) => {
        const [, count = '', unit = ''] = /^(\d{1,9})([a-z]+)$/.exec(value) ?? [];
        const deadlineMs = Number(count) * (UNITS.get(unit) ?? 0);
        return deadlineMs >= 1 && deadlineMs <= MAX_DEADLINE_MS ? { deadlineMs } : undefined;
      },
    },
  ],
  [
    'strings',
    {
      places: ['typedef', 'file'],
      told: 'a typedef of string, or for the whole file in a comment at its head that an empty line follows',
      value: `one of ${STRING_MODES.join(', ')}`,
      read: (value) => {
        const strings = STRING_MODES.find((mode) => mode === value);
        return strings === undefined ? undefined : { strings };
      },
    },
  ],
  [
    'uuid',
    {
      places: ['version', 'program'],
      told: 'a version or a program',
      value: 'a UUID, as 12345678-1234-abcd-ef00-0123456789ab',
      read: (value) =>
        /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)
          ? { uuid: value.toLowerCase() }
          : undefined,
    },
  ],
]);

const MARK = '@rpc:';
const ANNOTATION = /(?<![\w@.])@rpc:([\w-]*)(?:[ \t]+([^\s*]\S*))?/g;

/** Whether a text has anything that looks like an annotation. */
export function mayAnnotate(text: string): boolean {
  return text.includes(MARK);
}

/** What `comments` say of a `place`. What is unknown, wrong, twice or out of place is an error where it stands. */
export function readAnnotations(
  comments: readonly Comment[],
  place: Place | undefined,
  diagnostics: Diagnostics,
): Annotations {
  let found: Annotations = {};
  for (const comment of comments) {
    if (!mayAnnotate(comment.text)) continue;
    for (const match of comment.text.matchAll(ANNOTATION)) {
      const result = readOne(match[1] as string, match[2] ?? '', place);
      const start = comment.span.start + match.index;
      const span: Span = { ...comment.span, start, end: start + MARK.length + (match[1] as string).length };
      if (typeof result === 'string') diagnostics.add('IDL_SYNTAX', span, result);
      else if (Object.keys(result).some((key) => key in found))
        diagnostics.add('IDL_SYNTAX', span, `@rpc:${match[1]} is there twice`);
      else found = { ...found, ...result };
    }
  }
  return found;
}

function readOne(name: string, value: string, place: Place | undefined): Annotations | string {
  const rule = RULES.get(name);
  if (rule === undefined)
    return `@rpc:${name} is no annotation: there are ${[...RULES.keys()].map((known) => MARK + known).join(', ')}`;
  if (place === undefined || !rule.places.includes(place))
    return `@rpc:${name} has no place here: it is for ${rule.told}`;
  return rule.read(rule.value === undefined ? '' : value) ?? `@rpc:${name} needs ${rule.value}`;
}

/** A comment's text without its annotations. */
export function withoutAnnotations(text: string): string {
  if (!mayAnnotate(text)) return text;
  return text.replaceAll(ANNOTATION, (whole, name: string, value: string | undefined) => {
    const rule = RULES.get(name);
    if (rule === undefined) return whole;
    return rule.value === undefined && value !== undefined ? whole.slice(MARK.length + name.length) : '';
  });
}

/** What holds for a procedure: its own annotations before its version's, and those before its program's. */
export function inherited(own: Annotations, ...outer: readonly Annotations[]): Annotations {
  const { uuid: _, ...rest } = Object.assign({}, ...outer.toReversed()) as Annotations;
  return { ...rest, ...own };
}
