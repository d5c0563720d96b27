/**
 * Diagnostics of the compiler: what is wrong in a `.x` and where, many to a run, shown with
 * the source line and a caret. It knows nothing of the language.
 */

/** One text the compiler reads: the file itself, or one it includes. */
export interface Source {
  /** As the user named it; for messages only. */
  readonly name: string;
  readonly text: string;
}

/** A stretch of a source. */
export interface Span {
  readonly source: Source;
  /** Offset of the first character. */
  readonly start: number;
  /** Offset behind the last character. */
  readonly end: number;
}

/** Stable codes: a text that is not the language, a name that is wrong, a type that cannot be, what C's rpcgen refuses. */
export type IdlErrorCode = 'IDL_SYNTAX' | 'IDL_NAME' | 'IDL_TYPE' | 'IDL_PORTABLE';

/** A name that nobody defines. */
export interface Missing {
  readonly kind: 'type' | 'constant';
  readonly name: string;
  /** Whether a union is switched by it. */
  isDiscriminant: boolean;
}

/** One thing wrong with a `.x`. */
export interface Diagnostic {
  readonly code: IdlErrorCode;
  /** `warning` where it may be meant; else it is an error. */
  readonly severity?: 'warning';
  readonly message: string;
  readonly span: Span;
  /** Another place that explains this one, as where a name was first defined. */
  readonly note?: { readonly message: string; readonly span: Span };
  /** The name, where all that is wrong is that nobody defines it. */
  readonly missing?: Missing;
}

/** A place as people and editors name it: both count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** More errors than this help nobody; the rest is only counted. */
const MAX_SHOWN = 50;
/** A source line longer than this is cut around the caret. */
const MAX_LINE = 160;

/** A `.x` that does not compile. `code` and `position` are those of the first diagnostic. */
export class IdlError extends Error {
  override readonly name = 'IdlError';
  readonly code: IdlErrorCode;
  readonly position: Position;
  /** Everything that was found wrong, in the order of the text. */
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

/** Collects diagnostics of a run, one to a place: the first says it best. */
export class Diagnostics {
  private readonly found: Diagnostic[] = [];
  private readonly places = new Map<Source, Set<number>>();

  /** Notes one error. */
  add(code: IdlErrorCode, span: Span, message: string, note?: Diagnostic['note']): void {
    this.push(note === undefined ? { code, span, message } : { code, span, message, note });
  }

  /** Notes that nobody defines a name. */
  addMissing(missing: Missing, span: Span, message: string): void {
    this.push({ code: 'IDL_NAME', span, message, missing });
  }

  /** Notes all that another run found. */
  addAll(other: Diagnostics): void {
    for (const each of other.found) this.push(each);
  }

  /** The names that nobody defines; undefined where anything else is wrong too. */
  get missing(): Missing[] | undefined {
    const found = this.found.map(({ missing }) => missing);
    return found.every((each) => each !== undefined) ? found : undefined;
  }

  private push(diagnostic: Diagnostic): void {
    const { span } = diagnostic;
    const places = this.places.get(span.source) ?? new Set();
    this.places.set(span.source, places);
    if (places.has(span.start)) return;
    places.add(span.start);
    this.found.push(diagnostic);
  }

  /** Whether anything was found. */
  get any(): boolean {
    return this.found.length > 0;
  }

  /** Throws {@link IdlError} with all that was found, if anything was. */
  throwIfAny(): void {
    if (this.any) throw this.error();
  }

  /** The error that says it all. */
  error(): IdlError {
    const order = new Map<Source, number>();
    for (const { span } of this.found) if (!order.has(span.source)) order.set(span.source, order.size);
    const rank = (d: Diagnostic): number => order.get(d.span.source) ?? 0;
    return new IdlError(this.found.toSorted((a, b) => rank(a) - rank(b) || a.span.start - b.span.start));
  }
}

/** Where a span begins. */
export function positionOf(span: Span): Position {
  const before = span.source.text.slice(0, span.start);
  const lineStart = before.lastIndexOf('\n') + 1;
  let line = 1;
  for (let at = before.indexOf('\n'); at !== -1; at = before.indexOf('\n', at + 1)) line += 1;
  return { file: span.source.name, line, column: span.start - lineStart + 1 };
}

/** `file:line:col: error: message`, the source line, a caret under the place. Safe to show on a terminal. */
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
  // Tabs stay tabs in the caret line, so that it stands under its place however wide a tab is.
  const indent = before.replace(/[^\t]/g, ' ');
  return (
    `${printable(file)}:${line}:${column}: ${label}: ${printable(message)}\n` +
    ` ${margin} | ${before}${marked}${behind}\n` +
    ` ${' '.repeat(margin.length)} | ${indent}${'^'.repeat(Math.max(1, marked.length))}`
  );
}

/** Written out (`\u001b`) where it could steer a terminal or turn the line around; tabs stay. */
function printable(text: string): string {
  return text.replaceAll(
    /(?!\t)[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (one) => `\\u${(one.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}
