/** The basic operations of a recursive-descent parser on a list of tokens. It does not depend on the grammar. */

import type { Diagnostics, Span } from '../model/errors.js';
import { isKeyword } from './keywords.js';
import type { Token } from './scanner.js';

/** Thrown to leave a construct with a syntax error; the error is already reported. */
export class ParseFailure extends Error {}

/** A position in a list of tokens. */
export class Cursor {
  protected at = 0;
  protected readonly tokens: readonly Token[];
  protected readonly diagnostics: Diagnostics;
  protected readonly end: Token;

  constructor(tokens: readonly Token[], diagnostics: Diagnostics) {
    this.tokens = tokens;
    this.diagnostics = diagnostics;
    const last = tokens.at(-1);
    // The end token is missing only if a limit was exceeded, which is already reported.
    const span: Span = last?.span ?? { source: { name: '', text: '' }, start: 0, end: 0 };
    this.end = { kind: 'end', text: '', span, line: last?.line ?? 1, comments: [] };
  }

  protected peek(): Token {
    return this.tokens[this.at] ?? this.end;
  }

  protected next(): Token {
    const token = this.peek();
    if (token.kind !== 'end') this.at += 1;
    return token;
  }

  protected isName(): boolean {
    return this.peek().kind === 'name' && !isKeyword(this.peek().text);
  }

  protected name(what: string): Token {
    const token = this.peek();
    if (token.kind === 'name' && !isKeyword(token.text)) return this.next();
    return this.fail(token, `expected ${what}`);
  }

  protected accept(text: string): boolean {
    const token = this.peek();
    if (token.text !== text || token.kind === 'string') return false;
    this.at += 1;
    return true;
  }

  protected expect(text: string, expected = `'${text}'`): void {
    if (this.accept(text)) return;
    const token = this.peek();
    const before = this.tokens[this.at - 1];
    if (text === ';' && before?.isUnterminated && (before.line < token.line || token.kind === 'end')) return;
    // A missing `;` is reported at the end of the line, and parsing continues as if it were there.
    if (
      text === ';' &&
      before !== undefined &&
      (before.line < token.line || token.text === '}' || token.kind === 'end')
    ) {
      const { end } = before.span;
      this.report({ ...before, span: { ...before.span, start: end, end: end + 1 } }, `expected ${expected}`);
      return;
    }
    this.fail(token, `expected ${expected}`);
  }

  protected report(token: Token, message: string): void {
    this.diagnostics.add('IDL_SYNTAX', token.span, message);
  }

  protected fail(token: Token, message: string): never {
    const found = message.includes('found') ? '' : `, found ${describe(token)}`;
    this.report(token, `${message}${found}`);
    // The unexpected token may be the `;` or `}` that error recovery looks for.
    if (this.tokens[this.at - 1] === token) this.at -= 1;
    throw new ParseFailure();
  }
}

function describe(token: Token): string {
  if (token.kind === 'end') return 'the end of the file';
  if (token.kind === 'name' && isKeyword(token.text)) return `the word '${token.text}'`;
  return token.text.length > 40 ? `'${token.text.slice(0, 40)}...'` : `'${token.text}'`;
}
