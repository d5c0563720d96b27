/**
 * The parser's lower half: types, declarations, bodies and constants (RFC 4506 section 6.3), and how
 * to go on behind what does not parse. parser.ts has definitions and programs.
 */

import type { Span } from '../model/errors.js';
import type { Annotations } from '../model/model.js';
import { mayAnnotate, type Place, readAnnotations } from './annotations.js';
import type {
  ArmNode,
  Declaration,
  EnumBody,
  Member,
  StructBody,
  TypeNode,
  UnionBody,
  Value,
} from './ast.js';
import { commentsOf, documentation } from './comments.js';
import { Abandon, Cursor } from './cursor.js';
import { isKeyword, primitiveOf, UNSIGNED } from './keywords.js';
import { type Comment, constantOf, type Token } from './scanner.js';

/** Bodies inside bodies, and namespaces inside namespaces. */
const MAX_NESTING = 64;
const NO_ANNOTATIONS: Annotations = {};

export class DeclarationParser extends Cursor {
  readonly broken = new Set<string>();
  /** Comments whose annotations have been read. */
  private readonly read = new Set<Comment>();
  private nesting = 0;

  /** Runs `part`; if it fails, goes on behind the next `;` outside of braces, or before a `}`. */
  protected recover(start: number, part: () => void): void {
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

  protected skip(start: number): void {
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

  /** The body of a struct, union or enum whose word and name have been read. */
  protected body(word: Token, name: Token | undefined): StructBody | UnionBody | EnumBody {
    const tag = name === undefined ? {} : { tag: name.text };
    const span = name?.span ?? word.span;
    if (word.text === 'struct') return { kind: 'struct', fields: this.fields(), span, ...tag };
    if (word.text === 'enum') return { kind: 'enum', members: this.members(), span, ...tag };
    return { ...this.union(span), ...tag };
  }

  protected fields(): Declaration[] {
    const fields: Declaration[] = [];
    this.braces(() => {
      const start = this.at;
      const declaration = this.declaration();
      this.take(';');
      fields.push({ ...declaration, ...this.doc(start, 'member') });
    });
    return fields;
  }

  protected union(span: Span): UnionBody {
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

  protected armDeclaration(start: number): Declaration | null {
    if (this.peek().text === 'void') {
      this.at += 1;
      this.take(';');
      return null;
    }
    const declaration = this.declaration();
    this.take(';');
    return { ...declaration, ...this.doc(start, 'member') };
  }

  protected members(): Member[] {
    const members: Member[] = [];
    this.take('{');
    while (this.peek().text !== '}') {
      const start = this.at;
      const name = this.name('a name for the member, or }');
      const value = this.takeIf('=') ? this.value() : null;
      const isLast = !this.takeIf(',');
      members.push({ name: name.text, value, span: name.span, ...this.doc(start, 'member') });
      if (isLast) break;
    }
    this.take('}', "',' or '}'");
    return members;
  }

  /** `{ part part ... }`: a part that fails does not take the others with it. */
  protected braces(part: () => void): void {
    this.take('{');
    this.nest(() => {
      while (this.peek().text !== '}' && this.peek().kind !== 'end') this.recover(this.at, part);
    });
    this.take('}');
  }

  protected nest(part: () => void): void {
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

  protected declaration(): Declaration {
    const type = this.type();
    const isOptional = this.takeIf('*');
    const name = this.name('a name');
    return this.declarator(type, name, isOptional);
  }

  /** What follows the name: `[n]`, `<n>`, `<>`, or nothing. */
  protected declarator(type: TypeNode, name: Token | undefined, isOptional: boolean): Declaration {
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

  protected type(): TypeNode {
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
  protected integer(token: Token, isUnsigned: boolean): TypeNode {
    const word = isUnsigned ? UNSIGNED[this.peek().text] : undefined;
    const size = word === undefined ? token.text : this.next().text;
    if (size !== 'int' && size !== 'hyper' && this.peek().text === 'int') this.at += 1;
    const primitive = isUnsigned ? (word ?? 'uint') : 'int';
    return { kind: 'primitive', primitive, span: token.span };
  }

  protected value(): Value {
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
  protected scopeBefore(first: Token): string | undefined {
    let scope: string | undefined;
    let last = first.text;
    while (this.takeIf('::')) {
      scope = last;
      last = this.name('a name').text;
    }
    return scope;
  }

  /** An argument, whose name is optional, or a result, which has none; null for void. */
  protected parameter(mayBeNamed: boolean): Declaration | null {
    const type = this.type();
    if (type.kind === 'primitive' && type.primitive === 'void' && this.peek().text !== '*') return null;
    const isOptional = this.takeIf('*');
    const name = mayBeNamed && this.isName() ? this.next() : undefined;
    return this.declarator(type, name, isOptional);
  }

  /** The documentation of what began at `start` and has been read, which takes no annotations here. */
  protected doc(start: number, place: Place): { doc?: string } {
    const { annotations: _, ...rest } = this.about(start, place);
    return rest;
  }

  /** What the comments say of what began at `start` and has been read. */
  protected about(start: number, place: Place): { annotations: Annotations; doc?: string } {
    const comments = commentsOf(this.tokens, start, this.at);
    if (comments.length === 0) return { annotations: NO_ANNOTATIONS };
    for (const comment of comments) this.read.add(comment);
    const annotations = readAnnotations(comments, place, this.diagnostics);
    const doc = documentation(comments);
    return doc === '' ? { annotations } : { annotations, doc };
  }

  /** The comments that belong to nothing, and yet have what looks like an annotation. */
  unread(): Comment[] {
    return this.tokens.flatMap(({ comments }) =>
      comments.filter((comment) => mayAnnotate(comment.text) && !this.read.has(comment)),
    );
  }
}

function braceOf(token: Token): number {
  if (token.kind !== 'punct') return 0;
  return token.text === '{' ? 1 : token.text === '}' ? -1 : 0;
}
