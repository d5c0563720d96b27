/**
 * Diagnostics of the compiler: errors and warnings with their positions, shown with the source line and a caret. This
 * file does not depend on the language.
 */

/** A text that the compiler reads: an input file or an included file. */
export interface Source {
  /** The name as the user gave it; for messages only. */
  readonly name: string;
  readonly text: string;
}

/** A range of characters of a source. */
export interface Span {
  readonly source: Source;
  /** Offset of the first character. */
  readonly start: number;
  /** Offset after the last character. */
  readonly end: number;
}

/** Stable codes: a syntax error, a wrong name, an invalid type, a construct that C's rpcgen refuses. */
export type IdlErrorCode = 'IDL_SYNTAX' | 'IDL_NAME' | 'IDL_TYPE' | 'IDL_PORTABLE';

/** A name that no file defines. */
export interface Missing {
  readonly kind: 'type' | 'constant';
  readonly name: string;
  /** Whether it is used as the discriminant of a union. */
  isDiscriminant: boolean;
}

/** One error or warning. */
export interface Diagnostic {
  readonly code: IdlErrorCode;
  /** Absent for an error. */
  readonly severity?: 'warning' | undefined;
  readonly message: string;
  readonly span: Span;
  /** A second position that explains the first, such as the first definition of a name. */
  readonly note?: { readonly message: string; readonly span: Span } | undefined;
  /** The missing name, if the error is that no file defines it. */
  readonly missing?: Missing | undefined;
}

/** A position; line and column count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Maximum number of errors in the message; further ones are only counted. */
const MAX_SHOWN = 50;
/** Longer source lines are truncated around the caret. */
const MAX_LINE = 160;

/** The errors of a `.x` that does not compile. `code` and `position` are those of the first diagnostic. */
export class IdlError extends Error {
  override readonly name = 'IdlError';
  readonly code: IdlErrorCode;
  readonly position: Position;
  /** All errors, in the order of the text. */
  readonly diagnostics: readonly Diagnostic[];

  constructor(diagnostics: readonly Diagnostic[]) {
    const first = diagnostics[0];
    if (first === undefined) throw new TypeError('an IdlError needs a diagnostic');
    const shown = diagnostics.slice(0, MAX_SHOWN).map(formatDiagnostic);
    if (diagnostics.length > MAX_SHOWN) shown.push(`and ${diagnostics.length - MAX_SHOWN} more errors`);
    super(shown.join('\n'));
    this.code = first.code;
    this.position = positionOf(first.span);
    this.diagnostics = diagnostics;
  }
}

/** Collects diagnostics, at most one per position: later ones at the same position are consequences of the first. */
export class Diagnostics {
  private readonly found: Diagnostic[] = [];
  private readonly positions = new Map<Source, Set<number>>();

  /** Adds an error. */
  add(code: IdlErrorCode, span: Span, message: string, note?: Diagnostic['note']): void {
    this.push({ code, span, message, note });
  }

  /** Adds the error that no file defines a name. */
  addMissing(missing: Missing, span: Span, message: string): void {
    this.push({ code: 'IDL_NAME', span, message, missing });
  }

  /** Adds all diagnostics of another collection. */
  addAll(other: Diagnostics): void {
    for (const each of other.found) this.push(each);
  }

  /** The missing names; undefined if there are other errors. */
  get missing(): Missing[] | undefined {
    const found = this.found.map(({ missing }) => missing);
    return found.every((each) => each !== undefined) ? found : undefined;
  }

  private push(diagnostic: Diagnostic): void {
    const { span } = diagnostic;
    const positions = this.positions.get(span.source) ?? new Set();
    this.positions.set(span.source, positions);
    if (positions.has(span.start)) return;
    positions.add(span.start);
    this.found.push(diagnostic);
  }

  /** Whether there are errors. */
  get hasErrors(): boolean {
    return this.found.length > 0;
  }

  /** Throws {@link IdlError} with all errors, if there are any. */
  throwIfAny(): void {
    if (this.hasErrors) throw this.error();
  }

  /** All diagnostics as one error, in the order of the text. */
  error(): IdlError {
    const order = new Map<Source, number>();
    for (const { span } of this.found) if (!order.has(span.source)) order.set(span.source, order.size);
    const rank = (d: Diagnostic): number => order.get(d.span.source) ?? 0;
    return new IdlError(this.found.toSorted((a, b) => rank(a) - rank(b) || a.span.start - b.span.start));
  }
}

/** The position of the first character of a span. */
export function positionOf(span: Span): Position {
  const before = span.source.text.slice(0, span.start);
  const lineStart = before.lastIndexOf('\n') + 1;
  let line = 1;
  for (let at = before.indexOf('\n'); at !== -1; at = before.indexOf('\n', at + 1)) line += 1;
  return { file: span.source.name, line, column: span.start - lineStart + 1 };
}

/** `file:line:col: error: message`, the source line, and a caret under the position. Safe to print to a terminal. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const text = excerpt(
    diagnostic.span,
    diagnostic.severity ?? 'error',
    `${diagnostic.message} [${diagnostic.code}]`,
  );
  const { note } = diagnostic;
  return note === undefined ? text : `${text}\n${excerpt(note.span, 'note', note.message)}`;
}

function excerpt(span: Span, label: string, message: string): string {
  const { file, line, column } = positionOf(span);
  const { text } = span.source;
  const lineStart = span.start - column + 1;
  const newline = text.indexOf('\n', span.start);
  const whole = text.slice(lineStart, newline === -1 ? text.length : newline).replace(/\r$/, '');
  const from = column > MAX_LINE ? column - MAX_LINE / 2 : 0;
  const cut = whole.slice(from, from + MAX_LINE);
  const before = printable(cut.slice(0, column - 1 - from));
  const marked = printable(cut.slice(column - 1 - from, span.end - span.start + column - 1 - from));
  const behind = printable(cut.slice(span.end - span.start + column - 1 - from));
  const margin = String(line);
  // Tabs are kept in the caret line, so that the caret is aligned for any tab width.
  const indent = before.replace(/[^\t]/g, ' ');
  return (
    `${printable(file)}:${line}:${column}: ${label}: ${printable(message)}\n` +
    ` ${margin} | ${before}${marked}${behind}\n` +
    ` ${' '.repeat(margin.length)} | ${indent}${'^'.repeat(Math.max(1, marked.length))}`
  );
}

/** Escapes control characters and bidirectional controls as `\u001b`; they could control a terminal. Tabs are kept. */
function printable(text: string): string {
  return text.replaceAll(
    /(?!\t)[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (one) => `\\u${(one.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}
