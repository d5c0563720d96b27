/**
 * Finds constructs that this compiler accepts and C's rpcgen (of Debian's rpcsvc-proto) does not: its grammar is older
 * than RFC 4506. For users who share a `.x` with C. It checks the syntax only, not the meaning, and not whether a C
 * compiler accepts the output of rpcgen.
 */

import { Diagnostics, type Source, type Span } from '../model/errors.js';
import { type PreprocessOptions, preprocess } from '../syntax/preprocess.js';
import { scan, type Token } from '../syntax/scanner.js';

/** Options of the check. */
export interface PortableOptions extends PreprocessOptions {
  /** The file name, for messages. Default `input.x`. */
  readonly name?: string | undefined;
  /** As `rpcgen -N`, which accepts several arguments. Default false. */
  readonly newStyle?: boolean | undefined;
}

/** Throws {@link IdlError} (`IDL_PORTABLE`) with all constructs in `text` that C's rpcgen refuses. */
export function checkPortable(text: string, options: PortableOptions = {}): void {
  const source: Source = { name: options.name ?? 'input.x', text };
  const diagnostics = new Diagnostics();
  // Other syntax errors are reported by the compiler.
  const { tokens } = preprocess(source, new Diagnostics(), options);
  checkComments(source, tokens, diagnostics);
  checkDirectives(source, diagnostics);
  checkLines(source, diagnostics);
  new Recognizer(tokens, diagnostics, options.newStyle ?? false).run();
  diagnostics.throwIfAny();
}

/** Directives that cpp copies to its output, and rpcgen does not know. */
const UNKNOWN_DIRECTIVE = /^#[ \t]*(?:pragma|ident|sccs)\b/;
/** The maximum line length of rpcgen, in characters. It splits longer lines at any position. */
const MAX_LINE = 1022;

function report(diagnostics: Diagnostics, span: Span, what: string): void {
  diagnostics.add('IDL_PORTABLE', span, `C's rpcgen does not accept ${what}`);
}

/** `//` comments, except in a group that `#if` skips. */
function checkComments(source: Source, kept: readonly Token[], diagnostics: Diagnostics): void {
  const starts = new Set(kept.filter(({ span }) => span.source === source).map(({ span }) => span.start));
  let from = 0;
  for (const token of scan(source)) {
    const { start, end } = token.span;
    const gap = source.text
      .slice(from, start)
      .replaceAll(/\/\*.*?\*\/|^%.*$/gms, (all) => ' '.repeat(all.length));
    const at = gap.indexOf('//');
    if (at !== -1 && (starts.has(start) || token.kind === 'end'))
      report(diagnostics, { source, start: from + at, end: from + at + 2 }, '// comments: use /* */');
    from = end;
  }
}

function checkDirectives(source: Source, diagnostics: Diagnostics): void {
  for (const { kind, text, span } of scan(source))
    if (kind === 'directive' && UNKNOWN_DIRECTIVE.test(text)) report(diagnostics, span, `this directive`);
}

function checkLines(source: Source, diagnostics: Diagnostics): void {
  let start = 0;
  for (const line of source.text.split('\n')) {
    if (line.length > MAX_LINE)
      report(
        diagnostics,
        { source, start: start + MAX_LINE, end: start + MAX_LINE + 1 },
        `lines of more than ${MAX_LINE} characters`,
      );
    start += line.length + 1;
  }
}

/** Thrown to leave a definition that C's rpcgen refuses; the error is already reported. */
class DefinitionRejected extends Error {}

const BODIES = new Set(['struct', 'union', 'enum']);
const KEYWORDS = new Set(
  (
    'const union switch case default struct typedef opaque bool void string char short int long hyper float double ' +
    'quadruple unsigned program version enum'
  ).split(' '),
);
const PLAIN_TYPES = new Set('opaque string char int float double quadruple bool'.split(' '));

/** The recursive-descent parser of rpcgen, with its names. */
class Recognizer {
  private at = 0;
  private readonly tokens: readonly Token[];
  private readonly diagnostics: Diagnostics;
  private readonly newStyle: boolean;

  constructor(tokens: readonly Token[], diagnostics: Diagnostics, newStyle: boolean) {
    this.tokens = tokens;
    this.diagnostics = diagnostics;
    this.newStyle = newStyle;
  }

  run(): void {
    while (this.token.kind !== 'end') {
      const start = this.at;
      try {
        this.definition();
      } catch (error) {
        if (!(error instanceof DefinitionRejected)) throw error;
        this.skip(start);
      }
    }
  }

  /** Continues after the next `;` outside of braces. */
  private skip(start: number): void {
    let depth = 0;
    this.at = start;
    for (; this.token.kind !== 'end'; this.at++) {
      if (this.is('{')) depth += 1;
      if (this.is('}')) depth -= 1;
      if (this.is(';') && depth <= 0) break;
    }
    if (this.token.kind !== 'end') this.at += 1;
  }

  private get token(): Token {
    return this.tokens[this.at] as Token;
  }

  private is(text: string): boolean {
    return this.token.text === text && this.token.kind !== 'string' && this.token.kind !== 'char';
  }

  private accept(text: string): boolean {
    if (!this.is(text)) return false;
    this.at += 1;
    return true;
  }

  private refuse(what: string, token = this.token): never {
    report(this.diagnostics, token.span, what);
    throw new DefinitionRejected();
  }

  private expect(text: string): void {
    if (!this.accept(text)) this.refuse(`${this.shown} where it expects '${text}'`);
  }

  private get shown(): string {
    return this.token.kind === 'end' ? 'the end of the file' : `'${this.token.text}'`;
  }

  private name(): void {
    if (this.token.kind !== 'name' || KEYWORDS.has(this.token.text)) this.refuse(`${this.shown} as a name`);
    this.at += 1;
    if (this.is('::')) this.refuse('names with ::');
  }

  private definition(): void {
    const { text } = this.token;
    if (text === ';') this.refuse('an empty definition (;)');
    if (text === 'namespace') this.refuse('namespaces');
    this.at += 1;
    if (text === 'const') this.constant();
    else if (text === 'typedef') this.declaration('typedef');
    else if (text === 'struct') this.struct();
    else if (text === 'union') this.union();
    else if (text === 'enum') this.enum();
    else if (text === 'program') this.program();
    else {
      this.at -= 1;
      this.refuse(`${this.shown} where it expects a definition`);
    }
    this.expect(';');
  }

  private constant(): void {
    this.name();
    this.expect('=');
    if (this.token.kind === 'string') {
      if (this.token.text.includes('\\"')) this.refuse('a \\" in a string');
      this.at += 1;
    } else this.number();
  }

  /** scan_num: a number or the name of one. */
  private number(): void {
    const { token } = this;
    if (token.kind === 'name') {
      this.name();
      return;
    }
    if (token.kind === 'char') this.refuse('a character constant except after case');
    const isNegative = this.accept('-');
    const digits = this.token;
    const written = digits.span.source.text.slice(digits.span.start, digits.span.end);
    if (digits.kind !== 'number')
      this.refuse(isNegative ? 'a - before a name' : `${this.shown} as a number`, token);
    if (isNegative && digits.span.start !== token.span.end) this.refuse('a space after -', token);
    if (!/^(?:0x[0-9a-fA-F]*|[0-9]+)$/.test(written) && digits.macro === undefined)
      this.refuse(`'${written}' as a number`, digits);
    if (isNegative && written.startsWith('0x')) this.refuse('a negative number in hexadecimal', token);
    this.at += 1;
  }

  private struct(): void {
    this.name();
    this.expect('{');
    do {
      this.declaration('struct');
      this.expect(';');
    } while (!this.is('}'));
    this.expect('}');
  }

  private union(): void {
    this.name();
    this.expect('switch');
    this.expect('(');
    this.declaration('union');
    this.expect(')');
    this.expect('{');
    if (!this.is('case')) this.refuse('a union without a case');
    while (this.accept('case')) {
      if (this.token.kind === 'char') {
        if (!/^'[^\\]'$/.test(this.token.text)) this.refuse('a \\ in a character constant');
        this.at += 1;
      } else this.number();
      this.expect(':');
      if (this.is('case')) continue;
      if (this.is('default')) this.refuse('default: directly after case');
      this.declaration('union');
      this.expect(';');
    }
    if (this.accept('default')) {
      this.expect(':');
      this.declaration('union');
      this.expect(';');
      if (this.is('case')) this.refuse('a case after the default');
    }
    this.expect('}');
  }

  private enum(): void {
    this.name();
    this.expect('{');
    do {
      if (this.is('}')) this.refuse('a comma after the last member of an enum, or an enum without members');
      this.name();
      if (this.accept('=')) this.number();
    } while (this.accept(','));
    this.expect('}');
  }

  /** get_declaration: of a member, an arm, a discriminant or a typedef. */
  private declaration(of: 'struct' | 'union' | 'typedef'): void {
    const type = this.type(of);
    if (type.text === 'void') return;
    const star = this.token;
    const isPointer = this.accept('*');
    if (this.is('*')) this.refuse('a pointer to a pointer');
    if (isPointer && (type.text === 'string' || type.text === 'opaque'))
      this.refuse(`a pointer to ${type.text}: use a typedef`, star);
    this.name();
    const bracket = this.token;
    const isFixed = this.accept('[');
    const isVariable = !isFixed && this.accept('<');
    if (isPointer && (isFixed || isVariable)) this.refuse('an array of pointers: use a typedef', bracket);
    if (isFixed) {
      this.number();
      this.expect(']');
    } else if (isVariable && !this.accept('>')) {
      this.number();
      this.expect('>');
    }
    if (type.text === 'string' && !isVariable) this.refuse('a string without <>', type);
    if (type.text === 'opaque' && !isVariable && !isFixed) this.refuse('opaque without <> or []', type);
    if (this.is(',')) this.refuse('several names in one declaration');
  }

  /** get_type: the type before a name. */
  private type(of: 'struct' | 'union' | 'typedef' | 'argument' | 'result'): Token {
    const { token } = this;
    if (BODIES.has(token.text)) {
      this.at += 1;
      if (this.is('{') || this.is('switch')) this.refuse(`an anonymous ${token.text}`, token);
      this.name();
      if (this.is('{') || this.is('switch')) this.refuse(`a nested ${token.text} body`, token);
      return token;
    }
    if (token.text === 'unsigned') {
      this.at += 1;
      if (this.accept('char') || this.accept('int')) return token;
      if (this.accept('short') || this.accept('long') || this.accept('hyper')) this.accept('int');
      return token;
    }
    if (token.text === 'short' || token.text === 'long' || token.text === 'hyper') {
      this.at += 1;
      this.accept('int');
      return token;
    }
    if (token.text === 'void') {
      if (of === 'struct' || of === 'typedef') this.refuse('void here');
      this.at += 1;
      return token;
    }
    if (PLAIN_TYPES.has(token.text)) this.at += 1;
    else this.name();
    return token;
  }

  private program(): void {
    this.name();
    this.expect('{');
    do {
      if (!this.is('version'))
        this.refuse(this.is('}') ? 'a program without versions' : `${this.shown} where it expects 'version'`);
      this.at += 1;
      this.name();
      this.expect('{');
      if (this.is('}')) this.refuse('a version without procedures');
      do this.procedure();
      while (!this.is('}'));
      this.numbered();
    } while (!this.is('}'));
    this.expect('}');
    this.expect('=');
    this.number();
  }

  private numbered(): void {
    this.expect('}');
    this.expect('=');
    this.number();
    this.expect(';');
  }

  private procedure(): void {
    const result = this.type('result');
    if (result.text === 'opaque') this.refuse('opaque as a result: use a typedef', result);
    if (this.is('*')) this.refuse('a pointer as a result: use a typedef');
    if (this.is('<') || this.is('[')) this.refuse('an array as a result: use a typedef');
    this.name();
    this.expect('(');
    if (!this.is(')')) {
      let isVoid = this.argument();
      while (this.is(',')) {
        if (!this.newStyle) this.refuse('several arguments, except with rpcgen -N');
        if (isVoid) this.refuse('void with other arguments');
        this.at += 1;
        if (this.is('void')) this.refuse('void with other arguments');
        isVoid = this.argument();
      }
    }
    this.expect(')');
    this.expect('=');
    this.number();
    this.expect(';');
  }

  /** get_prog_declaration; returns whether it is void. */
  private argument(): boolean {
    const type = this.type('argument');
    const named = (): void => {
      if (this.token.kind === 'name' && !KEYWORDS.has(this.token.text)) this.name();
    };
    named();
    if (type.text === 'void') return true;
    if (type.text === 'opaque') this.refuse('opaque as an argument: use a typedef', type);
    const star = this.token;
    if (this.accept('*')) {
      if (type.text === 'string') this.refuse('a pointer to string as an argument: use a typedef', star);
      named();
    }
    if (this.is('[') || (this.is('<') && type.text !== 'string'))
      this.refuse('an array as an argument: use a typedef');
    if (this.accept('<') && !this.accept('>')) {
      this.number();
      this.expect('>');
    }
    return false;
  }
}
