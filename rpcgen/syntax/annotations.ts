/**
 * Annotations in comments of a `.x`, which C's rpcgen ignores. `@rpc:NAME` or `@rpc:NAME VALUE` is in a comment of a
 * declaration (above it, after it on its last line, or after its `{`), or in a comment at the head of the file. This
 * file has the names, values and targets of annotations; comments.ts finds the declaration of a comment.
 */

import type { Diagnostics, Span } from '../model/errors.js';
import { type Annotations, STRING_MODES } from '../model/model.js';
import type { Comment } from './scanner.js';

/** What an annotation can be attached to. */
export type AnnotationTarget =
  | 'file'
  | 'typedef'
  | 'type'
  | 'const'
  | 'member'
  | 'program'
  | 'version'
  | 'procedure';

/** The longest deadline: 24 hours. The shortest is 1 ms. */
export const MAX_DEADLINE_MS = 86_400_000;

const UNITS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
]);

interface Rule {
  readonly targets: readonly AnnotationTarget[];
  /** The targets in words, for messages. */
  readonly targetNames: string;
  /** A description of the value, for messages; undefined if there is no value. */
  readonly value: string | undefined;
  /** Parses `value`; undefined if it is invalid. */
  readonly read: (value: string) => Annotations | undefined;
}

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  [
    'idempotent',
    {
      targets: ['procedure', 'version', 'program'],
      targetNames: 'a procedure, a version or a program',
      value: undefined,
      read: () => ({ idempotent: true }),
    },
  ],
  [
    'deadline',
    {
      targets: ['procedure', 'version', 'program'],
      targetNames: 'a procedure, a version or a program',
      value: 'a time from 1ms to 24h, such as 500ms, 2s, 5m or 1h',
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
      targets: ['typedef', 'file'],
      targetNames:
        'a typedef of string, or for the whole file in a comment at its head, before an empty line',
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
      targets: ['version', 'program'],
      targetNames: 'a version or a program',
      value: 'a UUID such as 12345678-1234-abcd-ef00-0123456789ab',
      read: (value) =>
        /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)
          ? { uuid: value.toLowerCase() }
          : undefined,
    },
  ],
]);

const MARK = '@rpc:';
const ANNOTATION = /(?<![\w@.])@rpc:([\w-]*)(?:[ \t]+([^\s*]\S*))?/g;

/** Whether a text may contain an annotation. */
export function mayAnnotate(text: string): boolean {
  return text.includes(MARK);
}

/** Reads the annotations in `comments`. Unknown, invalid, repeated and misplaced ones are reported. */
export function readAnnotations(
  comments: readonly Comment[],
  target: AnnotationTarget | undefined,
  diagnostics: Diagnostics,
): Annotations {
  let found: Annotations = {};
  for (const comment of comments) {
    if (!mayAnnotate(comment.text)) continue;
    for (const match of comment.text.matchAll(ANNOTATION)) {
      const result = readOne(match[1] as string, match[2] ?? '', target);
      const start = comment.span.start + match.index;
      const span: Span = { ...comment.span, start, end: start + MARK.length + (match[1] as string).length };
      if (typeof result === 'string') diagnostics.add('IDL_SYNTAX', span, result);
      else if (Object.keys(result).some((key) => key in found))
        diagnostics.add('IDL_SYNTAX', span, `duplicate annotation @rpc:${match[1]}`);
      else found = { ...found, ...result };
    }
  }
  return found;
}

function readOne(name: string, value: string, target: AnnotationTarget | undefined): Annotations | string {
  const rule = RULES.get(name);
  if (rule === undefined)
    return `unknown annotation @rpc:${name}; known are ${[...RULES.keys()].map((known) => MARK + known).join(', ')}`;
  if (target === undefined || !rule.targets.includes(target))
    return `@rpc:${name} is not allowed here: it is for ${rule.targetNames}`;
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

/** Merges annotations: those of a procedure override those of its version, which override those of its program. */
export function inherited(own: Annotations, ...outer: readonly Annotations[]): Annotations {
  const { uuid: _, ...rest } = Object.assign({}, ...outer.toReversed()) as Annotations;
  return { ...rest, ...own };
}
