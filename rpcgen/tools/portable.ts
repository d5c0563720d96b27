/**
 * What C's rpcgen (that of Debian's rpcsvc-proto) would not take of a file that this compiler takes: its grammar is
 * older than RFC 4506, and here it is read word for word. For those who share a `.x` with C. It says nothing of
 * meaning, and nothing of what a C compiler makes of rpcgen's output.
 */

import { Diagnostics, type Source, type Span } from '../model/errors.js';
import { type PreprocessOptions, preprocess } from '../syntax/preprocess.js';
import { scan, type Token } from '../syntax/scanner.js';

/** How C's rpcgen is called. */
export interface PortableOptions extends PreprocessOptions {
  /** The file's name, for messages. Default `input.x`. */
  readonly name?: string;
  /** As `rpcgen -N`, which takes several arguments. Default false. */
  readonly newStyle?: boolean | undefined;
}

/** Throws {@link IdlError} (`IDL_PORTABLE`) with everything in `text` that C's rpcgen would refuse. */
export function checkPortable(text: string, options: PortableOptions = {}): void {
  const source: Source = { name: options.name ?? 'input.x', text };
  const diagnostics = new Diagnostics();
  // What is no `.x` at all is told by the compiler itself.
  const { tokens } = preprocess(source, new Diagnostics(), options);
  checkComments(source, tokens, diagnostics);
  checkDirectives(source, diagnostics);
  checkLines(source, diagnostics);
  new Recognizer(tokens, diagnostics, options.newStyle ?? false).run();
  diagnostics.throwIfAny();
}

/** `#` lines that C's preprocessor passes on, and rpcgen does not know. */
const UNKNOWN_DIRECTIVE = /^#[ \t]*(?:pragma|ident|sccs)\b/;
/** rpcgen reads lines of so many characters at most, and cuts longer ones wherever that falls. */
const MAX_LINE = 1022;

function complain(diagnostics: Diagnostics, span: Span, what: string): void {
  diagnostics.add('IDL_PORTABLE', span, `C's rpcgen does not take ${what}`);
}

/** `//` comments, but for those in a group that `#if` leaves out. */
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
      complain(
        diagnostics,
        { source, start: from + at, end: from + at + 2 },
        'comments of //: /* */ is for both',
      );
    from = end;
  }
}

function checkDirectives(source: Source, diagnostics: Diagnostics): void {
  for (const { kind, text, span } of scan(source))
    if (kind === 'directive' && UNKNOWN_DIRECTIVE.test(text)) complain(diagnostics, span, `this directive`);
}

function checkLines(source: Source, diagnostics: Diagnostics): void {
  let start = 0;
  for (const line of source.text.split('\n')) {
    if (line.length > MAX_LINE)
      complain(
        diagnostics,
        { source, start: start + MAX_LINE, end: start + MAX_LINE + 1 },
        `lines of more than ${MAX_LINE} characters`,
      );
    start += line.length + 1;
  }
}

/** A definition that C's rpcgen would refuse. */
class Refused extends Error {}

const BODIES = new Set(['struct', 'union', 'enum']);
const KEYWORDS = new Set(
  (
    'const union switch case default struct typedef opaque bool void string char short int long hyper float double ' +
    'quadruple unsigned program version enum'
  ).split(' '),
);
const PLAIN_TYPES = new Set('opaque string char int float double quadruple bool'.split(' '));

/** rpcgen's own recursive descent, by the names it has there. */
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
        if (!(error instanceof Refused)) throw error;
        this.skip(start);
      }
    }
  }

  /** Behind the next `;` outside of braces. */
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

  private takeIf(text: string): boolean {
    if (!this.is(text)) return false;
    this.at += 1;
    return true;
  }

  private refuse(what: string, token = this.token): never {
    complain(this.diagnostics, token.span, what);
    throw new Refused();
  }

  private take(text: string): void {
    if (!this.takeIf(text)) this.refuse(`${this.shown} where it expects '${text}'`);
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
    if (text === ';') this.refuse('a ; too many');
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
    this.take(';');
  }

  private constant(): void {
    this.name();
    this.take('=');
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
    if (token.kind === 'char') this.refuse('a character as a number, but behind case');
    const isNegative = this.takeIf('-');
    const digits = this.token;
    const written = digits.span.source.text.slice(digits.span.start, digits.span.end);
    if (digits.kind !== 'number')
      this.refuse(isNegative ? 'a - before a name' : `${this.shown} as a number`, token);
    if (isNegative && digits.span.start !== token.span.end) this.refuse('a space behind -', token);
    if (!/^(?:0x[0-9a-fA-F]*|[0-9]+)$/.test(written) && digits.macro === undefined)
      this.refuse(`'${written}' as a number`, digits);
    if (isNegative && written.startsWith('0x')) this.refuse('a negative number in hexadecimal', token);
    this.at += 1;
  }

  private struct(): void {
    this.name();
    this.take('{');
    do {
      this.declaration('struct');
      this.take(';');
    } while (!this.is('}'));
    this.take('}');
  }

  private union(): void {
    this.name();
    this.take('switch');
    this.take('(');
    this.declaration('union');
    this.take(')');
    this.take('{');
    if (!this.is('case')) this.refuse('a union without a case');
    while (this.takeIf('case')) {
      if (this.token.kind === 'char') {
        if (!/^'[^\\]'$/.test(this.token.text)) this.refuse('a \\ in a character');
        this.at += 1;
      } else this.number();
      this.take(':');
      if (this.is('case')) continue;
      if (this.is('default')) this.refuse('default: behind case: without an arm between');
      this.declaration('union');
      this.take(';');
    }
    if (this.takeIf('default')) {
      this.take(':');
      this.declaration('union');
      this.take(';');
      if (this.is('case')) this.refuse('a case behind the default');
    }
    this.take('}');
  }

  private enum(): void {
    this.name();
    this.take('{');
    do {
      if (this.is('}')) this.refuse('a , behind the last member of an enum, or an enum without members');
      this.name();
      if (this.takeIf('=')) this.number();
    } while (this.takeIf(','));
    this.take('}');
  }

  /** get_declaration: of a member, an arm, a discriminant or a typedef. */
  private declaration(of: 'struct' | 'union' | 'typedef'): void {
    const type = this.type(of);
    if (type.text === 'void') return;
    const star = this.token;
    const isPointer = this.takeIf('*');
    if (this.is('*')) this.refuse('a pointer to a pointer');
    if (isPointer && (type.text === 'string' || type.text === 'opaque'))
      this.refuse(`a pointer to ${type.text}: it wants a typedef between`, star);
    this.name();
    const bracket = this.token;
    const isFixed = this.takeIf('[');
    const isVariable = !isFixed && this.takeIf('<');
    if (isPointer && (isFixed || isVariable))
      this.refuse('an array of pointers: it wants a typedef between', bracket);
    if (isFixed) {
      this.number();
      this.take(']');
    } else if (isVariable && !this.takeIf('>')) {
      this.number();
      this.take('>');
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
      if (this.is('{') || this.is('switch'))
        this.refuse(`a ${token.text} without a name inside another`, token);
      this.name();
      if (this.is('{') || this.is('switch')) this.refuse(`the body of a ${token.text} inside another`, token);
      return token;
    }
    if (token.text === 'unsigned') {
      this.at += 1;
      if (this.takeIf('char') || this.takeIf('int')) return token;
      if (this.takeIf('short') || this.takeIf('long') || this.takeIf('hyper')) this.takeIf('int');
      return token;
    }
    if (token.text === 'short' || token.text === 'long' || token.text === 'hyper') {
      this.at += 1;
      this.takeIf('int');
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
    this.take('{');
    do {
      if (!this.is('version'))
        this.refuse(this.is('}') ? 'a program without versions' : `${this.shown} where it expects 'version'`);
      this.at += 1;
      this.name();
      this.take('{');
      if (this.is('}')) this.refuse('a version without procedures');
      do this.procedure();
      while (!this.is('}'));
      this.numbered();
    } while (!this.is('}'));
    this.take('}');
    this.take('=');
    this.number();
  }

  private numbered(): void {
    this.take('}');
    this.take('=');
    this.number();
    this.take(';');
  }

  private procedure(): void {
    const result = this.type('result');
    if (result.text === 'opaque') this.refuse('opaque as a result: it wants a typedef', result);
    if (this.is('*')) this.refuse('a pointer as a result: it wants a typedef');
    if (this.is('<') || this.is('[')) this.refuse('an array as a result: it wants a typedef');
    this.name();
    this.take('(');
    if (!this.is(')')) {
      let isVoid = this.argument();
      while (this.is(',')) {
        if (!this.newStyle) this.refuse('several arguments, but as rpcgen -N');
        if (isVoid) this.refuse('void beside other arguments');
        this.at += 1;
        if (this.is('void')) this.refuse('void beside other arguments');
        isVoid = this.argument();
      }
    }
    this.take(')');
    this.take('=');
    this.number();
    this.take(';');
  }

  /** get_prog_declaration; whether it is void. */
  private argument(): boolean {
    const type = this.type('argument');
    const named = (): void => {
      if (this.token.kind === 'name' && !KEYWORDS.has(this.token.text)) this.name();
    };
    named();
    if (type.text === 'void') return true;
    if (type.text === 'opaque') this.refuse('opaque as an argument: it wants a typedef', type);
    const star = this.token;
    if (this.takeIf('*')) {
      if (type.text === 'string') this.refuse('a pointer to string as an argument: it wants a typedef', star);
      named();
    }
    if (this.is('[') || (this.is('<') && type.text !== 'string'))
      this.refuse('an array as an argument: it wants a typedef');
    if (this.takeIf('<') && !this.takeIf('>')) {
      this.number();
      this.take('>');
    }
    return false;
  }
}
