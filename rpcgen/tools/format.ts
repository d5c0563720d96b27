/**
 * Formats `.x` files: indentation of two columns per brace, one declaration per line; comments, `%` lines and directives
 * keep their positions. It works on tokens and changes none of them. Formatting its own output has no effect.
 */

import type { Source } from '../model/errors.js';
import { scan } from '../syntax/scanner.js';

const INDENT = 2;
const TAB = 8;

/** A token, a comment, or a line that is not changed; with the number of line breaks before it. */
interface Segment {
  readonly kind: 'token' | 'comment' | 'raw';
  readonly text: string;
  readonly breaks: number;
  /** The column in which a comment begins, with tab stops every 8 columns. */
  readonly column: number;
}

/**
 * Formats `text`. Throws `Error` if that would change a token or a comment, for example if the last comment has no end.
 */
export function format(text: string): string {
  const plain = text.replaceAll('\r\n', '\n').replace(/^\ufeff/, '');
  const formatter = new Formatter();
  for (const segment of segments(plain)) formatter.add(segment);
  const done = formatter.result();
  if (contentOf(done) !== contentOf(plain))
    throw new Error('this file cannot be formatted without changing its meaning');
  return done;
}

/** The tokens and comments in order, without white space: what formatting must not change. */
function contentOf(text: string): string {
  return JSON.stringify(
    segments(text).map((segment) => [segment.kind, segment.text.replaceAll(/\s+/g, ' ').trim()]),
  );
}

function segments(text: string): Segment[] {
  const source: Source = { name: '', text };
  const found: Segment[] = [];
  let breaks = 0;
  const add = (kind: Segment['kind'], start: number, end: number): void => {
    const written = text.slice(start, end);
    found.push({
      kind,
      text: kind === 'raw' ? written.trimEnd() : written,
      breaks,
      column: columnOf(text, start),
    });
    breaks = 0;
  };
  let from = 0;
  for (const { kind, span } of scan(source)) {
    for (let at = from; at < span.start; ) {
      const end = endOfGap(text, at, span.start);
      if (text[at] === '\n') breaks += 1;
      else if (text[at] === '/') add('comment', at, end);
      else if (text[at] === '%') add('raw', at, end);
      at = end;
    }
    if (kind === 'directive' || kind === 'passed') add('raw', span.start, span.end);
    else if (kind !== 'end') add('token', span.start, span.end);
    from = span.end;
  }
  return found;
}

/** The end of what begins at `at` between two tokens: a comment, a `%` line with its continuation lines, or a blank. */
function endOfGap(text: string, at: number, limit: number): number {
  const ending = (mark: string, length: number): number => {
    const found = text.indexOf(mark, at + 2);
    return found === -1 || found + length > limit ? limit : found + length;
  };
  if (text.startsWith('/*', at)) return ending('*/', 2);
  if (text.startsWith('//', at)) return ending('\n', 0);
  if (text[at] !== '%') return at + 1;
  let end = at;
  do {
    const found = text.indexOf('\n', end + 1);
    end = found === -1 || found > limit ? limit : found;
  } while (end < limit && text[end - 1] === '\\');
  return end;
}

function columnOf(text: string, at: number): number {
  let column = 0;
  for (let i = text.lastIndexOf('\n', at - 1) + 1; i < at; i++)
    column += text[i] === '\t' ? TAB - (column % TAB) : 1;
  return column;
}

/** A block in braces. */
interface Block {
  readonly kind: string;
  /** After the `:` of a case: an arm is indented by one more level. */
  isArm: boolean;
}

const BLOCKS = new Set(['enum', 'union', 'struct', 'program', 'version', 'namespace']);
const NO_SPACE_BEFORE = new Set([';', ',', ')', ']', '>', ':', '[', '<', '::']);
const NO_SPACE_AFTER = new Set(['(', '[', '<', '*', '-', '::']);

class Formatter {
  private readonly lines: string[] = [];
  private line = '';
  private readonly blocks: Block[] = [];
  private keyword = '';
  private parens = 0;
  private last: Segment | undefined;
  /** The line is complete, but a comment may follow on it. */
  private isLineEnded = true;
  /** The last comment follows a complete line. */
  private isTrailingComment = false;
  /** The next token is the first of a declaration. */
  private isStart = true;

  add(segment: Segment): void {
    if (segment.kind === 'raw') this.raw(segment);
    else if (segment.kind === 'comment') this.comment(segment);
    else this.token(segment);
    this.last = segment;
  }

  result(): string {
    this.flushLine();
    while (this.lines.at(-1) === '') this.lines.pop();
    return this.lines.length === 0 ? '' : `${this.lines.join('\n')}\n`;
  }

  private flushLine(): void {
    if (this.line !== '') this.lines.push(this.line.trimEnd());
    this.line = '';
  }

  /** Starts a line for `segment`, after an empty line if there was one. */
  private startLine(segment: Segment, isClosing = false): void {
    this.flushLine();
    const isFirst = this.lines.length === 0 || (this.last?.text === '{' && this.last.kind === 'token');
    if (segment.breaks > 1 && !isFirst && !isClosing && this.lines.at(-1) !== '') this.lines.push('');
    this.isLineEnded = false;
  }

  private get block(): Block | undefined {
    return this.blocks.at(-1);
  }

  private indent(text: string): string {
    const isLabel = text === 'case' || text === 'default';
    const arm = this.block?.isArm === true && !isLabel ? 1 : 0;
    const rest = this.isStart ? 0 : 1;
    return ' '.repeat(INDENT * (this.blocks.length + arm + rest));
  }

  private raw(segment: Segment): void {
    this.startLine(segment);
    this.lines.push(...segment.text.split('\n').map((line) => line.trimEnd()));
    this.isLineEnded = true;
  }

  private comment(segment: Segment): void {
    const isBehind = segment.breaks === 0 && this.line !== '';
    this.isTrailingComment = isBehind && this.isLineEnded;
    if (isBehind)
      this.line +=
        this.isLineEnded && this.last?.kind === 'token' ? '  ' : this.line.endsWith(' ') ? '' : ' ';
    else {
      this.startLine(segment);
      this.line = this.indent('');
    }
    const shift = this.line.length - segment.column;
    const [first = '', ...rest] = segment.text.split('\n');
    this.line += first.trimEnd();
    for (const each of rest) {
      this.lines.push(this.line.trimEnd());
      const text = each.trim();
      const width = columnOf(each, each.search(/\S|$/));
      this.line = text === '' ? '' : ' '.repeat(Math.max(0, width + shift)) + text;
    }
    if (segment.text.startsWith('//')) this.isLineEnded = true;
  }

  private token({ ...segment }: Segment): void {
    const { text } = segment;
    const isClosing = text === '}';
    const isBelowComment = this.last?.kind === 'comment' && segment.breaks > 0;
    if (isClosing) {
      this.blocks.pop();
      this.isStart = true;
    }
    if (this.isLineEnded || isBelowComment || (isClosing && this.line !== '') || this.line === '') {
      const isGlued =
        this.line !== '' && this.last?.kind === 'comment' && segment.breaks === 0 && !this.isTrailingComment;
      if (!isGlued || isClosing) {
        this.startLine(segment, isClosing);
        this.line = this.indent(text);
      } else this.line += ' ';
    } else if (this.isSpaced(text)) this.line += ' ';
    this.line += text;
    this.isStart = false;
    this.afterToken(text);
  }

  private isSpaced(text: string): boolean {
    const { last } = this;
    if (last === undefined) return false;
    if (last.kind === 'comment') return true;
    if (NO_SPACE_AFTER.has(last.text) || NO_SPACE_BEFORE.has(text)) return false;
    return text !== '(' || last.text === 'switch';
  }

  /** Updates the state after a token. */
  private afterToken(text: string): void {
    if (text === '(') this.parens += 1;
    else if (text === ')') this.parens = Math.max(0, this.parens - 1);
    else if (this.parens > 0) return;
    else if (BLOCKS.has(text)) this.keyword = text;
    else if (text === '{') {
      this.blocks.push({ kind: this.keyword, isArm: false });
      this.endLine();
    } else if (text === ';') {
      if (this.block !== undefined) this.block.isArm = false;
      this.endLine();
    } else if (text === ',' && this.block?.kind === 'enum') this.endLine();
    else if (text === ':' && this.block?.kind === 'union') {
      this.block.isArm = true;
      this.endLine();
    }
  }

  private endLine(): void {
    this.isLineEnded = true;
    this.isStart = true;
    this.keyword = '';
  }
}
