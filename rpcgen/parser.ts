/**
 * Tokens of a `.x` into its tree. It knows the order of things, RFC 4506 section 6.3 and RFC 5531
 * section 12.2, and what real files add to it; it resolves no names and checks no meaning.
 * After an error it goes on behind the next `;` of the same level, so that one run finds many.
 */

import type {
  ArmNode,
  Declaration,
  Definition,
  EnumBody,
  Member,
  Module,
  ProcedureNode,
  ProgramNode,
  StructBody,
  TypeNode,
  UnionBody,
  Value,
  VersionNode,
} from './ast.js';
import { documentation } from './comments.js';
import { Abandon, Cursor } from './cursor.js';
import type { Diagnostics, Source, Span } from './errors.js';
import { type PreprocessOptions, preprocess } from './preprocess.js';
import { constantOf, type Token } from './scanner.js';
import { isKeyword, primitiveOf, UNSIGNED } from './words.js';

/** Bodies inside bodies, and namespaces inside namespaces. */
const MAX_NESTING = 64;

/** The tree of `source`. Errors go to `diagnostics`; what did parse is there all the same. */
export function parseModule(
  source: Source,
  diagnostics: Diagnostics,
  options: PreprocessOptions = {},
): Module {
  const { tokens, constants } = preprocess(source, diagnostics, options);
  const parser = new Parser(tokens, diagnostics);
  const defined = constants.map(({ name, token, negative }): Definition => {
    const value = constantOf(token);
    return {
      kind: 'const',
      name,
      span: token.span,
      value: {
        kind: 'number',
        value: negative ? -value : value,
        text: `${negative ? '-' : ''}${token.text}`,
        span: token.span,
      },
    };
  });
  const definitions = [...defined, ...parser.run()];
  return { name: source.name, definitions, broken: parser.broken };
}

class Parser extends Cursor {
  readonly broken = new Set<string>();
  private nesting = 0;
  private readonly definitions: Definition[] = [];
  run(): Definition[] {
    while (this.peek().kind !== 'end') this.item();
    return this.definitions;
  }

  /** One definition, or a namespace of them. */
  private item(): void {
    const start = this.at;
    if (this.peek().text === 'namespace') {
      this.recover(start, () => this.namespace());
      return;
    }
    if (this.takeIf(';')) return;
    this.recover(start, () => {
      this.definitions.push(this.definition());
    });
  }

  /** Runs `part`; if it fails, goes on behind the next `;` outside of braces, or before a `}`. */
  private recover(start: number, part: () => void): void {
    const nesting = this.nesting;
    try {
      part();
    } catch (error) {
      if (!(error instanceof Abandon)) throw error;
      this.nesting = nesting;
      this.skip(start);
      for (const token of this.tokens.slice(start, this.at))
        if (token.kind === 'name') this.broken.add(token.text);
    }
  }

  private skip(start: number): void {
    let depth = 0;
    // Braces that the failed part had opened are still to be closed.
    for (let i = start; i < this.at; i++) depth += braceOf(this.tokens[i] as Token);
    for (;;) {
      const token = this.peek();
      if (token.kind === 'end' || (token.text === '}' && depth <= 0)) break;
      this.at += 1;
      depth += braceOf(token);
      if (token.text === ';' && depth <= 0) break;
    }
    if (this.at === start) this.at += 1;
  }

  private namespace(): void {
    this.at += 1;
    this.name('a name for the namespace');
    while (this.takeIf('::')) this.name('a name');
    this.take('{');
    this.nest(() => {
      while (this.peek().text !== '}' && this.peek().kind !== 'end') this.item();
    });
    this.take('}');
    this.takeIf(';');
  }

  private definition(): Definition {
    const token = this.peek();
    switch (token.text) {
      case 'const':
        return this.constant();
      case 'typedef':
        return this.typedef();
      case 'program':
        return this.program();
      case 'struct':
      case 'union':
      case 'enum':
        return this.typeDefinition();
      default:
        return this.fail(token, "expected 'const', 'typedef', 'enum', 'struct', 'union' or 'program'");
    }
  }

  private constant(): Definition {
    const start = this.at;
    this.at += 1;
    const name = this.name('a name for the constant');
    this.take('=');
    const string = this.peek();
    if (string.kind === 'string') {
      this.at += 1;
      this.take(';');
      return {
        kind: 'text',
        name: name.text,
        text: unquote(string.text),
        span: name.span,
        ...this.doc(start),
      };
    }
    const value = this.value();
    this.take(';');
    return { kind: 'const', name: name.text, value, span: name.span, ...this.doc(start) };
  }

  private typedef(): Definition {
    const start = this.at;
    this.at += 1;
    const declaration = this.declaration();
    this.take(';');
    return { kind: 'typedef', declaration, span: declaration.span, ...this.doc(start) };
  }

  private typeDefinition(): Definition {
    const start = this.at;
    const word = this.next();
    const name = this.name(`a name for the ${word.text}`);
    const body = this.body(word, name);
    this.take(';');
    return { kind: 'type', name: name.text, body, span: name.span, ...this.doc(start) };
  }

  /** The body of a struct, union or enum whose word and name have been read. */
  private body(word: Token, name: Token | undefined): StructBody | UnionBody | EnumBody {
    const tag = name === undefined ? {} : { tag: name.text };
    const span = name?.span ?? word.span;
    if (word.text === 'struct') return { kind: 'struct', fields: this.fields(), span, ...tag };
    if (word.text === 'enum') return { kind: 'enum', members: this.members(), span, ...tag };
    return { ...this.union(span), ...tag };
  }

  private fields(): Declaration[] {
    const fields: Declaration[] = [];
    this.braces(() => {
      const start = this.at;
      const declaration = this.declaration();
      this.take(';');
      fields.push({ ...declaration, ...this.doc(start) });
    });
    return fields;
  }

  private union(span: Span): UnionBody {
    this.take('switch');
    this.take('(');
    const discriminant = this.declaration();
    this.take(')');
    const arms: ArmNode[] = [];
    let otherwise: ArmNode | null = null;
    this.braces(() => {
      const first = this.peek();
      const cases: Value[] = [];
      let isDefault = false;
      for (;;) {
        if (this.takeIf('case')) cases.push(this.value());
        else if (this.peek().text === 'default') {
          const word = this.next();
          if (isDefault || otherwise !== null) this.note(word, 'a union has one default');
          isDefault = true;
        } else break;
        this.take(':');
      }
      if (cases.length === 0 && !isDefault) this.fail(first, "expected 'case' or 'default'");
      const start = this.at;
      const declaration = this.armDeclaration(start);
      const arm: ArmNode = { cases, declaration, span: first.span };
      // `case 1: default:` is the default arm: what its case would choose, it chooses too.
      if (isDefault) otherwise ??= arm;
      else arms.push(arm);
    });
    return { kind: 'union', discriminant, arms, otherwise, span };
  }

  private armDeclaration(start: number): Declaration | null {
    if (this.peek().text === 'void') {
      this.at += 1;
      this.take(';');
      return null;
    }
    const declaration = this.declaration();
    this.take(';');
    return { ...declaration, ...this.doc(start) };
  }

  private members(): Member[] {
    const members: Member[] = [];
    this.take('{');
    while (this.peek().text !== '}') {
      const start = this.at;
      const name = this.name('a name for the member, or }');
      const value = this.takeIf('=') ? this.value() : null;
      const isLast = !this.takeIf(',');
      members.push({ name: name.text, value, span: name.span, ...this.doc(start) });
      if (isLast) break;
    }
    this.take('}', "',' or '}'");
    return members;
  }

  /** `{ part part ... }`: a part that fails does not take the others with it. */
  private braces(part: () => void): void {
    this.take('{');
    this.nest(() => {
      while (this.peek().text !== '}' && this.peek().kind !== 'end') this.recover(this.at, part);
    });
    this.take('}');
  }

  private nest(part: () => void): void {
    this.nesting += 1;
    if (this.nesting > MAX_NESTING) {
      this.note(this.peek(), `nested deeper than ${MAX_NESTING} levels`);
      // There is no way to go on that would not be as deep again.
      this.at = this.tokens.length;
      throw new Abandon();
    }
    part();
    this.nesting -= 1;
  }

  private declaration(): Declaration {
    const type = this.type();
    const isOptional = this.takeIf('*');
    const name = this.name('a name');
    return this.declarator(type, name, isOptional);
  }

  /** What follows the name: `[n]`, `<n>`, `<>`, or nothing. */
  private declarator(type: TypeNode, name: Token | undefined, isOptional: boolean): Declaration {
    const base = { name: name?.text ?? '', type, span: name?.span ?? type.span };
    if (isOptional) return { ...base, form: 'optional', size: null };
    if (this.takeIf('[')) {
      const size = this.value();
      this.take(']');
      return { ...base, form: 'fixed', size };
    }
    if (this.takeIf('<')) {
      const size = this.peek().text === '>' ? null : this.value();
      this.take('>');
      return { ...base, form: 'variable', size };
    }
    return { ...base, form: 'plain', size: null };
  }

  private type(): TypeNode {
    const token = this.next();
    if (token.kind !== 'name') return this.fail(token, 'expected a type');
    switch (token.text) {
      case 'struct':
      case 'enum':
      case 'union': {
        const name = this.isName() && this.peek().text !== 'switch' ? this.next() : undefined;
        const next = this.peek().text;
        if (next === '{' || next === 'switch') return this.body(token, name);
        if (name === undefined)
          return this.fail(this.peek(), `expected a name or a body for this ${token.text}`);
        return { kind: 'ref', name: name.text, span: name.span };
      }
      case 'unsigned':
        return this.integer(token, true);
      case 'long':
      case 'short':
        return this.integer(token, false);
    }
    const primitive = primitiveOf(token.text);
    if (primitive !== undefined) return { kind: 'primitive', primitive, span: token.span };
    if (isKeyword(token.text)) return this.fail(token, `expected a type, found '${token.text}'`);
    this.scopeBefore(token);
    const name = this.tokens[this.at - 1] as Token;
    return { kind: 'ref', name: name.text, span: name.span };
  }

  /** `unsigned`, alone or with what it goes before; `long int` and `short int`. */
  private integer(token: Token, isUnsigned: boolean): TypeNode {
    const word = isUnsigned ? UNSIGNED[this.peek().text] : undefined;
    const size = word === undefined ? token.text : this.next().text;
    if (size !== 'int' && size !== 'hyper' && this.peek().text === 'int') this.at += 1;
    const primitive = isUnsigned ? (word ?? 'uint') : 'int';
    return { kind: 'primitive', primitive, span: token.span };
  }

  private value(): Value {
    const token = this.next();
    const negative = token.text === '-';
    const operand = negative ? this.next() : token;
    if (operand.kind === 'number' || operand.kind === 'char') {
      const value = constantOf(operand);
      const text = operand.kind === 'char' ? String(value) : operand.text;
      return {
        kind: 'number',
        value: negative ? -value : value,
        text: negative ? `-${text}` : text,
        span: { ...token.span, end: operand.span.end },
        ...(operand.macro === undefined || negative ? {} : { macro: operand.macro }),
      };
    }
    if (operand.kind !== 'name' || isKeyword(operand.text))
      return this.fail(operand, 'expected a constant: a number or the name of one');
    const scope = this.scopeBefore(operand);
    const name = this.tokens[this.at - 1] as Token;
    const found = scope === undefined ? {} : { scope };
    return { kind: 'name', name: name.text, negative, span: name.span, ...found };
  }

  /** Reads on through `A::B::NAME` to the last name; gives the one before it. */
  private scopeBefore(first: Token): string | undefined {
    let scope: string | undefined;
    let last = first.text;
    while (this.takeIf('::')) {
      scope = last;
      last = this.name('a name').text;
    }
    return scope;
  }

  private program(): ProgramNode {
    const start = this.at;
    this.at += 1;
    const name = this.name('a name for the program');
    const versions: VersionNode[] = [];
    this.braces(() => {
      versions.push(this.version());
    });
    const number = this.numbered();
    return { kind: 'program', name: name.text, number, versions, span: name.span, ...this.doc(start) };
  }

  private version(): VersionNode {
    const start = this.at;
    if (this.peek().text !== 'version') this.fail(this.peek(), "expected 'version'");
    this.at += 1;
    const name = this.name('a name for the version');
    const procedures: ProcedureNode[] = [];
    this.braces(() => {
      procedures.push(this.procedure());
    });
    const number = this.numbered();
    return { name: name.text, number, procedures, span: name.span, ...this.doc(start) };
  }

  private procedure(): ProcedureNode {
    const start = this.at;
    const result = this.parameter(false);
    const name = this.name('a name for the procedure');
    this.take('(');
    const args: Declaration[] = [];
    if (this.peek().text !== ')') {
      do {
        const before = this.peek();
        const arg = this.parameter(true);
        if (arg !== null) args.push(arg);
        else if (args.length > 0 || this.peek().text === ',') this.note(before, 'void stands alone');
      } while (this.takeIf(','));
    }
    this.take(')', "',' or ')'");
    const number = this.numbered();
    return { name: name.text, number, args, result, span: name.span, ...this.doc(start) };
  }

  /** An argument, whose name is optional, or a result, which has none; null for void. */
  private parameter(mayBeNamed: boolean): Declaration | null {
    const type = this.type();
    if (type.kind === 'primitive' && type.primitive === 'void' && this.peek().text !== '*') return null;
    const isOptional = this.takeIf('*');
    const name = mayBeNamed && this.isName() ? this.next() : undefined;
    return this.declarator(type, name, isOptional);
  }

  private numbered(): Value {
    this.take('=');
    const value = this.value();
    this.take(';');
    return value;
  }

  private doc(start: number): { doc?: string } {
    const doc = documentation(this.tokens, start, this.at);
    return doc === '' ? {} : { doc };
  }
}

function braceOf(token: Token): number {
  if (token.kind !== 'punct') return 0;
  return token.text === '{' ? 1 : token.text === '}' ? -1 : 0;
}

function unquote(text: string): string {
  return text.slice(1, -1).replaceAll(/\\(.)/g, '$1');
}
