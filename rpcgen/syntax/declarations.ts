/**
 * Parses types, declarations, bodies and constants (RFC 4506 section 6.3), and recovers from syntax errors. Definitions
 * and programs are in parser.ts.
 */

import type { Span } from '../model/errors.js';
import type { Annotations } from '../model/model.js';
import { type AnnotationTarget, mayAnnotate, readAnnotations } from './annotations.js';
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
import { Cursor, ParseFailure } from './cursor.js';
import { isKeyword, primitiveOf, UNSIGNED } from './keywords.js';
import { type Comment, constantOf, type Token } from './scanner.js';

/** Maximum nesting of bodies and of namespaces. */
const MAX_NESTING = 64;
const NO_ANNOTATIONS: Annotations = {};

/** The part of the parser for declarations. */
export class DeclarationParser extends Cursor {
  /** Names inside definitions with syntax errors. */
  readonly unparsedNames = new Set<string>();
  /** Comments whose annotations have been read. */
  private readonly readComments = new Set<Comment>();
  private nesting = 0;

  /** Runs `part`. After a syntax error, continues after the next `;` outside of braces, or before a `}`. */
  protected recover(start: number, part: () => void): void {
    const nesting = this.nesting;
    try {
      part();
    } catch (error) {
      if (!(error instanceof ParseFailure)) throw error;
      this.nesting = nesting;
      this.skip(start);
      for (const token of this.tokens.slice(start, this.at))
        if (token.kind === 'name') this.unparsedNames.add(token.text);
    }
  }

  protected skip(start: number): void {
    let depth = 0;
    // Braces that the failed part has opened must be closed first.
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

  /** The body of a struct, union or enum, after its keyword and name. */
  protected body(word: Token, name: Token | undefined): StructBody | UnionBody | EnumBody {
    const tag = name?.text;
    const span = name?.span ?? word.span;
    if (word.text === 'struct') return { kind: 'struct', fields: this.fields(), span, tag };
    if (word.text === 'enum') return { kind: 'enum', members: this.members(), span, tag };
    return { ...this.union(span), tag };
  }

  protected fields(): Declaration[] {
    const fields: Declaration[] = [];
    this.block(() => {
      const start = this.at;
      const declaration = this.declaration();
      this.expect(';');
      fields.push({ ...declaration, ...this.doc(start, 'member') });
    });
    return fields;
  }

  protected union(span: Span): UnionBody {
    this.expect('switch');
    this.expect('(');
    const discriminant = this.declaration();
    this.expect(')');
    const arms: ArmNode[] = [];
    let defaultArm: ArmNode | null = null;
    this.block(() => {
      const first = this.peek();
      const cases: Value[] = [];
      let isDefault = false;
      for (;;) {
        if (this.accept('case')) cases.push(this.value());
        else if (this.peek().text === 'default') {
          const word = this.next();
          if (isDefault || defaultArm !== null) this.report(word, 'duplicate default');
          isDefault = true;
        } else break;
        this.expect(':');
      }
      if (cases.length === 0 && !isDefault) this.fail(first, "expected 'case' or 'default'");
      const start = this.at;
      const declaration = this.armDeclaration(start);
      const arm: ArmNode = { cases, declaration, span: first.span };
      // The cases of `case 1: default:` are part of the default arm.
      if (isDefault) defaultArm ??= arm;
      else arms.push(arm);
    });
    return { kind: 'union', discriminant, arms, defaultArm, span };
  }

  protected armDeclaration(start: number): Declaration | null {
    if (this.peek().text === 'void') {
      this.at += 1;
      this.expect(';');
      return null;
    }
    const declaration = this.declaration();
    this.expect(';');
    return { ...declaration, ...this.doc(start, 'member') };
  }

  protected members(): Member[] {
    const members: Member[] = [];
    this.expect('{');
    while (this.peek().text !== '}') {
      const start = this.at;
      const name = this.name("a member name or '}'");
      const value = this.accept('=') ? this.value() : null;
      const isLast = !this.accept(',');
      members.push({ name: name.text, value, span: name.span, ...this.doc(start, 'member') });
      if (isLast) break;
    }
    this.expect('}', "',' or '}'");
    return members;
  }

  /** `{ part part ... }`, with error recovery after each part. */
  protected block(part: () => void): void {
    this.expect('{');
    this.nest(() => {
      while (this.peek().text !== '}' && this.peek().kind !== 'end') this.recover(this.at, part);
    });
    this.expect('}');
  }

  protected nest(part: () => void): void {
    this.nesting += 1;
    if (this.nesting > MAX_NESTING) {
      this.report(this.peek(), `nested deeper than ${MAX_NESTING} levels`);
      // Recovery would run into the same nesting again, so parsing ends here.
      this.at = this.tokens.length;
      throw new ParseFailure();
    }
    part();
    this.nesting -= 1;
  }

  protected declaration(): Declaration {
    const type = this.type();
    const isOptional = this.accept('*');
    const name = this.name('a name');
    return this.declarator(type, name, isOptional);
  }

  /** The rest of a declaration after the name: `[n]`, `<n>`, `<>`, or nothing. */
  protected declarator(type: TypeNode, name: Token | undefined, isOptional: boolean): Declaration {
    const base = { name: name?.text ?? '', type, span: name?.span ?? type.span };
    if (isOptional) return { ...base, form: 'optional', size: null };
    if (this.accept('[')) {
      const size = this.value();
      this.expect(']');
      return { ...base, form: 'fixed', size };
    }
    if (this.accept('<')) {
      const size = this.peek().text === '>' ? null : this.value();
      this.expect('>');
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
          return this.fail(this.peek(), `expected a name or a body after '${token.text}'`);
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

  /** `unsigned`, alone or with an integer type; `long int` and `short int`. */
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
        macro: negative ? undefined : operand.macro,
      };
    }
    if (operand.kind !== 'name' || isKeyword(operand.text))
      return this.fail(operand, 'expected a number or the name of a constant');
    const scope = this.scopeBefore(operand);
    const name = this.tokens[this.at - 1] as Token;
    return { kind: 'name', name: name.text, negative, span: name.span, scope };
  }

  /** Reads `A::B::NAME` to its last name; returns the one before it. */
  protected scopeBefore(first: Token): string | undefined {
    let scope: string | undefined;
    let last = first.text;
    while (this.accept('::')) {
      scope = last;
      last = this.name('a name').text;
    }
    return scope;
  }

  /** An argument, whose name is optional, or a result, which has no name; null for void. */
  protected parameter(mayBeNamed: boolean): Declaration | null {
    const type = this.type();
    if (type.kind === 'primitive' && type.primitive === 'void' && this.peek().text !== '*') return null;
    const isOptional = this.accept('*');
    const name = mayBeNamed && this.isName() ? this.next() : undefined;
    return this.declarator(type, name, isOptional);
  }

  /** The documentation of the declaration from `start` to the current token. */
  protected doc(start: number, target: AnnotationTarget): { doc: string | undefined } {
    return { doc: this.docAndAnnotations(start, target).doc };
  }

  /** The documentation and annotations of the declaration from `start` to the current token. */
  protected docAndAnnotations(
    start: number,
    target: AnnotationTarget,
  ): { annotations: Annotations; doc: string | undefined } {
    const comments = commentsOf(this.tokens, start, this.at);
    if (comments.length === 0) return { annotations: NO_ANNOTATIONS, doc: undefined };
    for (const comment of comments) this.readComments.add(comment);
    const annotations = readAnnotations(comments, target, this.diagnostics);
    const doc = documentation(comments);
    return { annotations, doc: doc === '' ? undefined : doc };
  }

  /** Comments that belong to no declaration and may contain an annotation. */
  unreadAnnotations(): Comment[] {
    return this.tokens.flatMap(({ comments }) =>
      comments.filter((comment) => mayAnnotate(comment.text) && !this.readComments.has(comment)),
    );
  }
}

function braceOf(token: Token): number {
  if (token.kind !== 'punct') return 0;
  return token.text === '{' ? 1 : token.text === '}' ? -1 : 0;
}
