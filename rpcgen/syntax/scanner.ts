/**
 * Splits the text of a `.x` into tokens (RFC 4506 section 6.2, and what real files use: `%` lines, `//` comments, octal
 * and character constants). A directive is one token, and so is a `%` line that defines or includes something for C;
 * preprocess.ts processes them.
 */

import type { Source, Span } from '../model/errors.js';

/** A comment; it may be the documentation of a declaration. */
export interface Comment {
  readonly text: string;
  /** The lines on which it begins and ends. */
  readonly line: number;
  readonly endLine: number;
  /** Its text without the delimiters. */
  readonly span: Span;
}

/**
 * `passed` is a `%` line that defines or includes something for C. The `text` of a `bad` token is an error message: in a
 * group that `#if` skips it is not reported.
 */
export type TokenKind =
  | 'name'
  | 'number'
  | 'char'
  | 'string'
  | 'punct'
  | 'directive'
  | 'passed'
  | 'bad'
  | 'end';

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly span: Span;
  readonly line: number;
  /** Comments between the token before and this one. */
  readonly comments: readonly Comment[];
  /** The `#define` that this number comes from; generated code uses its name. */
  readonly macro?: string | undefined;
  /** A comment, string or character without an end. It extends to the end of its line, which may have had a `;`. */
  readonly isUnterminated?: boolean;
}

const NO_COMMENTS: readonly Comment[] = [];
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
/** Digits may be grouped, as `1'000'000`. */
const NUMBER = /0[xX][0-9A-Fa-f]+(?:'[0-9A-Fa-f]+)*|[0-9]+(?:'[0-9]+)*/y;
const CHARACTER = /'(?:\\(?:[0-7]{1,3}|x[0-9A-Fa-f]{1,2}|[^\n])|[^'\\\n])'/y;
/** An invalid character constant, which is too long or empty. */
const BAD_CHARACTER = /'(?:\\[^\n]|[^'\\\n])*'/y;
const STRING = /"(?:\\[^\n]|[^"\\\n])*"/y;
/** `%` lines that become tokens. */
const PASSED = /^%[ \t]*#[ \t]*(?:define|include)\b/;
/** Operators, used in `#if` only. */
const OPERATOR = /\|\||&&|<<|>>|[<>=!]=|[+~!&|^?/%.]/y;
const PUNCTUATION = new Set(';,:=*<>[](){}-');

/** All tokens of `source`, the last one of kind `end`. Never throws: an invalid character becomes a `bad` token. */
export function scan(source: Source): Token[] {
  return new Scanner(source).run();
}

class Scanner {
  private readonly source: Source;
  private readonly text: string;
  private at = 0;
  private line = 1;
  private lineStarts = true;
  private comments: Comment[] = [];
  private readonly tokens: Token[] = [];

  constructor(source: Source) {
    this.source = source;
    this.text = source.text;
  }

  run(): Token[] {
    const { text } = this;
    while (this.at < text.length) {
      const char = text[this.at] as string;
      if (char === '\n') {
        this.at += 1;
        this.line += 1;
        this.lineStarts = true;
      } else if (char === ' ' || char === '\t' || char === '\r' || char === '\f' || char === '\v') {
        this.at += 1;
      } else if (char === '/' && text[this.at + 1] === '*') {
        this.blockComment();
      } else if (char === '/' && text[this.at + 1] === '/') {
        this.lineComment();
      } else if (this.lineStarts && char === '%') {
        this.passedLine();
      } else if (this.lineStarts && char === '#') {
        this.directive();
      } else {
        this.lineStarts = false;
        this.token(char);
      }
    }
    this.push('end', '', text.length);
    return this.tokens;
  }

  private token(char: string): void {
    if (/[A-Za-z_]/.test(char)) this.match(NAME, 'name');
    else if (/[0-9]/.test(char)) this.number();
    else if (this.text.startsWith('::', this.at)) this.push('punct', '::', this.at + 2);
    else if (this.match(OPERATOR, 'punct')) return;
    else if (PUNCTUATION.has(char)) this.push('punct', char, this.at + 1);
    else if (char === "'") {
      if (!this.match(CHARACTER, 'char')) this.badCharacter();
    } else if (char === '"') {
      if (!this.match(STRING, 'string')) this.unterminated('a string constant must end on its line');
    } else {
      const point = this.text.codePointAt(this.at) as number;
      const shown =
        point > 0x20 && !/\p{Cc}/u.test(String.fromCodePoint(point))
          ? `'${String.fromCodePoint(point)}'`
          : `character ${point}`;
      this.bad(`unexpected ${shown}`, point > 0xffff ? 2 : 1);
    }
  }

  private number(): void {
    const start = this.at;
    NUMBER.lastIndex = start;
    const grouped = (NUMBER.exec(this.text) as RegExpExecArray)[0];
    NAME.lastIndex = start + grouped.length;
    const tail = NAME.exec(this.text)?.[0] ?? '';
    const whole = grouped + tail;
    const digits = grouped.replaceAll("'", '');
    // Suffixes of C are used in #if; they are accepted everywhere.
    if (tail !== '' && !/^[uUlL]{1,3}$/.test(tail)) this.bad(`'${whole}' is not a number`, whole.length);
    else if (/^0[0-7]*[89]/.test(digits)) this.bad(`'${grouped}' is not an octal number`, whole.length);
    else this.push('number', digits, start + whole.length);
  }

  private match(pattern: RegExp, kind: TokenKind): boolean {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (found === null) return false;
    this.push(kind, found[0], this.at + found[0].length);
    return true;
  }

  private bad(message: string, length: number): void {
    this.push('bad', message, this.at + length);
  }

  private badCharacter(): void {
    const message = "a character constant must be one character between ''";
    BAD_CHARACTER.lastIndex = this.at;
    const whole = BAD_CHARACTER.exec(this.text)?.[0];
    if (whole === undefined) this.unterminated(message);
    else this.bad(message, whole.length);
  }

  /** An unterminated string or character: it extends to the end of the line, without a final `;` or `};`. */
  private unterminated(message: string): void {
    const newline = this.text.indexOf('\n', this.at);
    let end = newline === -1 ? this.text.length : newline;
    while (end - 1 > this.at && ' \t\r;}'.includes(this.text[end - 1] as string)) end -= 1;
    this.push('bad', message, end, true);
  }

  private push(kind: TokenKind, text: string, end: number, isUnterminated = false): void {
    const { comments, line, source, at } = this;
    this.tokens.push({
      kind,
      text,
      line,
      span: { source, start: at, end },
      comments: comments.length === 0 ? NO_COMMENTS : comments,
      isUnterminated,
    });
    if (comments.length > 0) this.comments = [];
    this.at = end;
  }

  private blockComment(): void {
    const end = this.text.indexOf('*/', this.at + 2);
    if (end === -1) {
      this.push('bad', 'this comment has no end', this.at + 2, true);
      this.at = this.text.length;
      return;
    }
    const line = this.line;
    const start = this.at + 2;
    const text = this.text.slice(start, end);
    for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) this.line += 1;
    this.comments.push({ text, line, endLine: this.line, span: { source: this.source, start, end } });
    this.at = end + 2;
  }

  private lineComment(): void {
    const newline = this.text.indexOf('\n', this.at);
    const end = newline === -1 ? this.text.length : newline;
    const { source, line } = this;
    const start = this.at + 2;
    this.comments.push({
      text: this.text.slice(start, end),
      line,
      endLine: line,
      span: { source, start, end },
    });
    this.at = end;
  }

  /**
   * A `%` line is for C, and so are its continuation lines after a backslash, which in real files (nis.x) have no `%` of
   * their own.
   */
  private passedLine(): void {
    const { end, lines } = this.logicalLine();
    const text = this.text.slice(this.at, end);
    if (PASSED.test(text)) this.push('passed', text, end);
    this.at = end;
    this.line += lines;
  }

  private directive(): void {
    const { end, lines } = this.logicalLine();
    this.push('directive', this.text.slice(this.at, end), end);
    this.line += lines;
  }

  /** The end of the line, or of its last continuation line. */
  private logicalLine(): { end: number; lines: number } {
    const { text } = this;
    let end = this.at;
    let lines = 0;
    for (;;) {
      const newline = text.indexOf('\n', end);
      if (newline === -1) return { end: text.length, lines };
      const back = text[newline - 1] === '\r' ? newline - 2 : newline - 1;
      if (text[back] !== '\\') return { end: newline, lines };
      end = newline + 1;
      lines += 1;
    }
  }
}

/** The value of a number or character token. */
export function constantOf(token: Token): bigint {
  if (token.kind === 'char') return BigInt(characterCode(token.text.slice(1, -1)));
  const { text } = token;
  return BigInt(/^0[0-7]+$/.test(text) ? `0o${text.slice(1)}` : text);
}

const ESCAPES: Readonly<Record<string, number>> = { n: 10, t: 9, r: 13, a: 7, b: 8, f: 12, v: 11, e: 27 };

function characterCode(text: string): number {
  if (!text.startsWith('\\')) return text.charCodeAt(0);
  const rest = text.slice(1);
  if (/^[0-7]/.test(rest)) return Number.parseInt(rest, 8);
  if (/^x./.test(rest)) return Number.parseInt(rest.slice(1), 16);
  return ESCAPES[rest] ?? rest.charCodeAt(0);
}
