/**
 * What `%` lines say of names that a `.x` uses and does not define. They are for C, which is to know such names by them:
 * `%#define NAME value` gives a number or a type, `%#include` a header in which one may look.
 */

import { Diagnostics, type Missing, positionOf, type Span } from '../model/errors.js';
import type { Primitive, TypeNode } from '../syntax/ast.js';
import { evaluate, tokensOf } from '../syntax/expression.js';
import { parseModule } from '../syntax/parser.js';
import type { Scope } from './scope.js';

/** An error names so many headers, and counts the others. */
const MAX_HEADERS = 4;

/** Primitives that a name alone cannot stand for: their declarations say more, or they have no values. */
const NO_NUMBERS: ReadonlySet<Primitive> = new Set<Primitive>(['string', 'opaque', 'void']);

/** Looks names up in the `%` lines of the files they stand in. */
export class Passed {
  private readonly diagnostics: Diagnostics;
  private readonly known: (name: string, scope: Scope) => bigint | undefined;

  /** `known` gives the numbers that the language itself defines. */
  constructor(diagnostics: Diagnostics, known: (name: string, scope: Scope) => bigint | undefined) {
    this.diagnostics = diagnostics;
    this.known = known;
  }

  /** The number of `%#define name ...` in one of `scopes`; the first that has one. Two that differ are an error at `use`. */
  constant(name: string, scopes: readonly Scope[], use: Span): bigint | undefined {
    for (const scope of scopes) {
      const values = new Set<bigint>();
      for (const { body } of scope.passed.get(name) ?? []) {
        const value = evaluate(body, (inner) => this.meaning(inner, scope), 'known');
        if (typeof value === 'bigint') values.add(value);
      }
      if (values.size > 1)
        this.diagnostics.add(
          'IDL_NAME',
          use,
          `${name} is ${[...values].join(' and ')} by the %#define lines of ${scope.file}: say --define ${name}=VALUE`,
        );
      const [value] = values;
      if (value !== undefined) return value;
    }
    return undefined;
  }

  private meaning(name: string, scope: Scope): ReturnType<typeof tokensOf> | bigint | undefined {
    const [define] = scope.passed.get(name) ?? [];
    return define === undefined ? this.known(name, scope) : tokensOf(define.body);
  }

  /** The type of `%#define name ...` in one of `scopes`, and the file it says so in. A pointer or a body is none. */
  type(name: string, scopes: readonly Scope[], use: Span): { type: TypeNode; scope: Scope } | undefined {
    for (const scope of scopes)
      for (const { body } of scope.passed.get(name) ?? []) {
        if (!/^[A-Za-z_][\w \t]*$/.test(body)) continue;
        const problems = new Diagnostics();
        const text = `typedef ${body} name_;`;
        const [definition] = parseModule({ name: scope.file, text }, problems).definitions;
        if (problems.any || definition?.kind !== 'typedef') continue;
        const { type } = definition.declaration;
        if (type.kind === 'ref' || (type.kind === 'primitive' && !NO_NUMBERS.has(type.primitive)))
          return { type: { ...type, span: use }, scope };
      }
    return undefined;
  }

  /** Notes that nobody defines a name, once for each name and file. */
  reportMissing(kind: Missing['kind'], name: string, span: Span, scope: Scope): void {
    if (scope.missing.has(name) || scope.broken.has(name)) return;
    const missing: Missing = { kind, name, isDiscriminant: false };
    scope.missing.set(name, missing);
    const hint =
      kind === 'type'
        ? 'define it, or --import the .x or module that has it'
        : `say --define ${name}=VALUE, or --import the .x that has it`;
    const where = headersOf(scope);
    this.diagnostics.addMissing(missing, span, `${kind} ${name} is defined nowhere${where}: ${hint}`);
  }
}

/** `; it may be in "foo.h", which line 3 includes`. */
function headersOf({ headers, file }: Scope): string {
  const [first, second] = headers;
  if (first === undefined) return '';
  const shown = headers.slice(0, MAX_HEADERS);
  const place = (span: Span): string => {
    const { file: of, line } = positionOf(span);
    return of === file ? `line ${line}` : `${of}:${line}`;
  };
  const names = shown.map(({ name, system, span }) => {
    const quoted = system ? `<${name}>` : `"${name}"`;
    return second === undefined ? `${quoted}, which ${place(span)} includes` : `${quoted} (${place(span)})`;
  });
  if (headers.length > shown.length) names.push(`${headers.length - shown.length} more`);
  const last = names.pop();
  return `; it may be in ${names.length === 0 ? last : `${names.join(', ')} or ${last}`}`;
}
