/**
 * Warns of likely problems in a `.x` that compiles: lengths without a bound, reused numbers, versions without a NULL
 * procedure, procedures without a comment. It works on the syntax tree.
 */

import { type Position, positionOf, type Span } from '../model/errors.js';
import type { Declaration, Definition, Module, ProgramNode, TypeNode, Value } from '../syntax/ast.js';

/** The kinds of warnings. */
export const LINT_CODES = ['unbounded', 'reused-number', 'no-null-procedure', 'no-comment'] as const;
export type LintCode = (typeof LINT_CODES)[number];

/** A warning. */
export interface LintWarning {
  readonly code: LintCode;
  readonly message: string;
  readonly position: Position;
}

/** The warnings of a file, in the order of its text, without those of included files. */
export function lint(module: Module): LintWarning[] {
  return new Linter(module).run();
}

class Linter {
  private readonly module: Module;
  private readonly found: { readonly code: LintCode; readonly message: string; readonly span: Span }[] = [];
  /** Values of constants that are declared as numbers. */
  private readonly constants = new Map<string, bigint>();

  constructor(module: Module) {
    this.module = module;
    for (const definition of module.definitions)
      if (definition.kind === 'const' && definition.value.kind === 'number')
        this.constants.set(definition.name, definition.value.value);
  }

  run(): LintWarning[] {
    const programs = new Map<bigint, string>();
    for (const definition of this.module.definitions) {
      this.definition(definition);
      if (definition.kind === 'program')
        this.checkNumber(programs, definition.number, definition.name, definition.span, 'program');
    }
    return this.found
      .filter(({ span }) => span.source.name === this.module.name)
      .toSorted((a, b) => a.span.start - b.span.start)
      .map(({ code, message, span }) => ({ code, message, position: positionOf(span) }));
  }

  private definition(definition: Definition): void {
    if (definition.kind === 'typedef') this.declaration(definition.declaration);
    else if (definition.kind === 'type') this.type(definition.body);
    else if (definition.kind === 'program') this.program(definition);
  }

  private declaration({ type, form, size, name, span }: Declaration): void {
    this.type(type);
    const isString = type.kind === 'primitive' && type.primitive === 'string';
    if ((form !== 'variable' || size !== null) && !(isString && form === 'plain')) return;
    const what =
      isString || (type.kind === 'primitive' && type.primitive === 'opaque') ? 'bytes' : 'elements';
    this.warn(
      'unbounded',
      span,
      `${name === '' ? 'this' : name} has no maximum number of ${what}: a bound such as <1024> limits the memory that a peer can use`,
    );
  }

  private type(type: TypeNode): void {
    if (type.kind === 'struct') for (const field of type.fields) this.declaration(field);
    if (type.kind === 'union')
      for (const arm of [...type.arms, type.defaultArm])
        if (arm !== null && arm.declaration !== null) this.declaration(arm.declaration);
    if (type.kind !== 'enum') return;
    const values = new Map<bigint, string>();
    let next: bigint | undefined = 0n;
    for (const { name, value, span } of type.members) {
      const number: bigint | undefined = value === null ? next : this.valueOf(value);
      if (number !== undefined) this.checkUnique(values, number, name, span, 'member');
      if (number !== undefined) this.constants.set(name, number);
      next = number === undefined ? undefined : number + 1n;
    }
  }

  private program(program: ProgramNode): void {
    /** Procedures of all versions: a number with different meanings is easily misread, in logs for example. */
    const procedures = new Map<bigint, string>();
    for (const version of program.versions) {
      if (!version.procedures.some(({ number }) => this.valueOf(number) === 0n))
        this.warn(
          'no-null-procedure',
          version.span,
          `version ${version.name} has no procedure 0, which by convention has no arguments and no result and is used to ping a service (RFC 5531 section 12.1)`,
        );
      for (const procedure of version.procedures) {
        const number = this.valueOf(procedure.number);
        for (const arg of procedure.args)
          this.declaration({ ...arg, span: arg.name === '' ? arg.type.span : arg.span });
        if (procedure.result !== null) this.declaration({ ...procedure.result, name: 'the result' });
        if (number === undefined) continue;
        if (number !== 0n) this.checkUnique(procedures, number, procedure.name, procedure.span, 'procedure');
        if (number !== 0n && procedure.doc === undefined)
          this.warn('no-comment', procedure.span, `procedure ${procedure.name} has no comment`);
      }
    }
  }

  private checkNumber(seen: Map<bigint, string>, value: Value, name: string, span: Span, what: string): void {
    const number = this.valueOf(value);
    if (number !== undefined) this.checkUnique(seen, number, name, span, what);
  }

  private checkUnique(
    seen: Map<bigint, string>,
    number: bigint,
    name: string,
    span: Span,
    what: string,
  ): void {
    const first = seen.get(number);
    if (first === undefined) seen.set(number, name);
    else if (first !== name)
      this.warn('reused-number', span, `${what} ${name} has the same number as ${first}: ${number}`);
  }

  private valueOf(value: Value): bigint | undefined {
    if (value.kind === 'number') return value.value;
    const found = this.constants.get(value.name);
    return found === undefined || !value.negative ? found : -found;
  }

  private warn(code: LintCode, span: Span, message: string): void {
    this.found.push({ code, message, span });
  }
}
