/**
 * One layout for `.x` files: two columns for each brace, one declaration a line, comments, `%` lines and directives
 * where they were. It works on tokens, changes none of them, and gives the same text for its own output.
 */

import type { Source } from '../model/errors.js';
import { scan } from '../syntax/scanner.js';

const INDENT = 2;
const TAB = 8;

/** A token, a comment, or a line that stays as it is; with the line breaks before it. */
interface Piece {
  readonly kind: 'token' | 'comment' | 'raw';
  readonly text: string;
  readonly breaks: number;
  /** Where a comment began, tabs counted to the next multiple of 8. */
  readonly column: number;
}

/**
 * `text` in the one layout. Throws `Error` where that would change a token or a comment, as in a file whose last
 * comment has no end.
 */
export function format(text: string): string {
  const plain = text.replaceAll('\r\n', '\n').replace(/^\ufeff/, '');
  const printer = new Printer();
  for (const piece of pieces(plain)) printer.put(piece);
  const done = printer.end();
  if (essence(done) !== essence(plain)) throw new Error('this file cannot be laid out without changing it');
  return done;
}

/** All that a layout must keep, in its order. */
function essence(text: string): string {
  return JSON.stringify(pieces(text).map((piece) => [piece.kind, piece.text.replaceAll(/\s+/g, ' ').trim()]));
}

function pieces(text: string): Piece[] {
  const source: Source = { name: '', text };
  const found: Piece[] = [];
  let breaks = 0;
  const add = (kind: Piece['kind'], start: number, end: number): void => {
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
      const end = gapEnd(text, at, span.start);
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

/** Where what begins at `at`, between two tokens, ends: a comment, a `%` line with those that carry it on, a blank. */
function gapEnd(text: string, at: number, limit: number): number {
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

/** What stands in braces, for where its lines end. */
interface Block {
  readonly kind: string;
  /** Behind the `:` of a case: an arm is indented once more. */
  isArm: boolean;
}

const BLOCKS = new Set(['enum', 'union', 'struct', 'program', 'version', 'namespace']);
const NO_SPACE_BEFORE = new Set([';', ',', ')', ']', '>', ':', '[', '<', '::']);
const NO_SPACE_AFTER = new Set(['(', '[', '<', '*', '-', '::']);

class Printer {
  private readonly lines: string[] = [];
  private line = '';
  private readonly blocks: Block[] = [];
  private keyword = '';
  private parens = 0;
  private last: Piece | undefined;
  /** The line is over, but a comment behind it may follow. */
  private isOver = true;
  /** The last comment stands behind a line that was over. */
  private isTail = false;
  /** Nothing of a declaration stands yet. */
  private isStart = true;

  put(piece: Piece): void {
    if (piece.kind === 'raw') this.raw(piece);
    else if (piece.kind === 'comment') this.comment(piece);
    else this.token(piece);
    this.last = piece;
  }

  end(): string {
    this.finish();
    while (this.lines.at(-1) === '') this.lines.pop();
    return this.lines.length === 0 ? '' : `${this.lines.join('\n')}\n`;
  }

  private finish(): void {
    if (this.line !== '') this.lines.push(this.line.trimEnd());
    this.line = '';
  }

  /** Begins a line for `piece`, below an empty one where there was one. */
  private begin(piece: Piece, isClosing = false): void {
    this.finish();
    const isFirst = this.lines.length === 0 || (this.last?.text === '{' && this.last.kind === 'token');
    if (piece.breaks > 1 && !isFirst && !isClosing && this.lines.at(-1) !== '') this.lines.push('');
    this.isOver = false;
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

  private raw(piece: Piece): void {
    this.begin(piece);
    this.lines.push(...piece.text.split('\n').map((line) => line.trimEnd()));
    this.isOver = true;
  }

  private comment(piece: Piece): void {
    const isBehind = piece.breaks === 0 && this.line !== '';
    this.isTail = isBehind && this.isOver;
    if (isBehind)
      this.line += this.isOver && this.last?.kind === 'token' ? '  ' : this.line.endsWith(' ') ? '' : ' ';
    else {
      this.begin(piece);
      this.line = this.indent('');
    }
    const shift = this.line.length - piece.column;
    const [first = '', ...rest] = piece.text.split('\n');
    this.line += first.trimEnd();
    for (const each of rest) {
      this.lines.push(this.line.trimEnd());
      const text = each.trim();
      const width = columnOf(each, each.search(/\S|$/));
      this.line = text === '' ? '' : ' '.repeat(Math.max(0, width + shift)) + text;
    }
    if (piece.text.startsWith('//')) this.isOver = true;
  }

  private token({ ...piece }: Piece): void {
    const { text } = piece;
    const isClosing = text === '}';
    const isBelowComment = this.last?.kind === 'comment' && piece.breaks > 0;
    if (isClosing) {
      this.blocks.pop();
      this.isStart = true;
    }
    if (this.isOver || isBelowComment || (isClosing && this.line !== '') || this.line === '') {
      const isGlued = this.line !== '' && this.last?.kind === 'comment' && piece.breaks === 0 && !this.isTail;
      if (!isGlued || isClosing) {
        this.begin(piece, isClosing);
        this.line = this.indent(text);
      } else this.line += ' ';
    } else if (this.isSpaced(text)) this.line += ' ';
    this.line += text;
    this.isStart = false;
    this.follow(text);
  }

  private isSpaced(text: string): boolean {
    const { last } = this;
    if (last === undefined) return false;
    if (last.kind === 'comment') return true;
    if (NO_SPACE_AFTER.has(last.text) || NO_SPACE_BEFORE.has(text)) return false;
    return text !== '(' || last.text === 'switch';
  }

  /** What a token does to the lines behind it. */
  private follow(text: string): void {
    if (text === '(') this.parens += 1;
    else if (text === ')') this.parens = Math.max(0, this.parens - 1);
    else if (this.parens > 0) return;
    else if (BLOCKS.has(text)) this.keyword = text;
    else if (text === '{') {
      this.blocks.push({ kind: this.keyword, isArm: false });
      this.over();
    } else if (text === ';') {
      if (this.block !== undefined) this.block.isArm = false;
      this.over();
    } else if (text === ',' && this.block?.kind === 'enum') this.over();
    else if (text === ':' && this.block?.kind === 'union') {
      this.block.isArm = true;
      this.over();
    }
  }

  private over(): void {
    this.isOver = true;
    this.isStart = true;
    this.keyword = '';
  }
}
