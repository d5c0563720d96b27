/**
 * Resolves names that a `.x` uses and does not define by its `%` lines, which rpcgen passes through to the C compiler:
 * `%#define NAME value` defines a number or a type; `%#include` names a header that may define the name.
 */

import { Diagnostics, type Missing, positionOf, type Span } from '../model/errors.js';
import type { Primitive, TypeNode } from '../syntax/ast.js';
import { evaluate, tokensOf } from '../syntax/expression.js';
import { parseModule } from '../syntax/parser.js';
import type { Scope } from './scope.js';

/** Maximum number of headers in an error message; others are counted. */
const MAX_HEADERS = 4;

/** Primitives that a type name cannot stand for: they need brackets, or have no values. */
const NOT_NAMEABLE: ReadonlySet<Primitive> = new Set<Primitive>(['string', 'opaque', 'void']);

/** Looks names up in `%#define` lines. */
export class PassedDefines {
  private readonly diagnostics: Diagnostics;
  private readonly known: (name: string, scope: Scope) => bigint | undefined;

  /** `known` returns the value of a constant or enumerator. */
  constructor(diagnostics: Diagnostics, known: (name: string, scope: Scope) => bigint | undefined) {
    this.diagnostics = diagnostics;
    this.known = known;
  }

  /** The value of `%#define name ...` in the first of `scopes` that has one. Two different values are an error at `use`. */
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
          `${name} is ${[...values].join(' and ')} by %#define lines of ${scope.file}: choose one by --define ${name}=VALUE`,
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

  /** The type of `%#define name ...` in one of `scopes`, and that scope. Pointers and bodies are not supported. */
  type(name: string, scopes: readonly Scope[], use: Span): { type: TypeNode; scope: Scope } | undefined {
    for (const scope of scopes)
      for (const { body } of scope.passed.get(name) ?? []) {
        if (!/^[A-Za-z_][\w \t]*$/.test(body)) continue;
        const problems = new Diagnostics();
        const text = `typedef ${body} name_;`;
        const [definition] = parseModule({ name: scope.file, text }, problems).definitions;
        if (problems.hasErrors || definition?.kind !== 'typedef') continue;
        const { type } = definition.declaration;
        if (type.kind === 'ref' || (type.kind === 'primitive' && !NOT_NAMEABLE.has(type.primitive)))
          return { type: { ...type, span: use }, scope };
      }
    return undefined;
  }

  /** Reports a missing name, once for each name and file. */
  reportMissing(kind: Missing['kind'], name: string, span: Span, scope: Scope): void {
    if (scope.missing.has(name) || scope.unparsedNames.has(name)) return;
    const missing: Missing = { kind, name, isDiscriminant: false };
    scope.missing.set(name, missing);
    const hint =
      kind === 'type'
        ? 'define it, or use --import with the .x or module that defines it'
        : `use --define ${name}=VALUE, or --import with the .x that defines it`;
    const where = headersOf(scope);
    this.diagnostics.addMissing(missing, span, `${kind} ${name} is not defined${where}: ${hint}`);
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
