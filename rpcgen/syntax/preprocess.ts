/**
 * The part of the C preprocessor that `.x` files use: conditionals, `#define`, `#include`. C's rpcgen runs cpp once for
 * each output file and defines RPC_HDR, RPC_XDR, ... in turn; definitions are under RPC_HDR, so RPC_HDR is defined here.
 * Files are read by a function of the caller.
 */

import type { Diagnostics, Source, Span } from '../model/errors.js';
import { mayAnnotate } from './annotations.js';
import type { PassedDefine, PassedInclude } from './ast.js';
import { above } from './comments.js';
import { evaluate } from './expression.js';
import { type Comment, scan, type Token } from './scanner.js';

/** Options of preprocessing. */
export interface PreprocessOptions {
  /** Macros, as by `#define` before the first line. RPC_HDR is 1 unless it is defined here. */
  readonly defines?: Readonly<Record<string, string>> | undefined;
  /**
   * Finds the file that an `#include` names: its source, or undefined if there is none. `from` is the including source;
   * `system` is true for `<name>`. A `problem` is the reason that the file cannot be read.
   */
  readonly include?:
    | ((name: string, from: Source, system: boolean) => Source | IncludeProblem | undefined)
    | undefined;
}

/** The reason that a file cannot be included: `dir is a directory`. */
export interface IncludeProblem {
  readonly problem: string;
}

/** A macro whose replacement is one number: generated code may refer to it by its name. */
export interface MacroConstant {
  readonly name: string;
  readonly token: Token;
  /** Whether a minus precedes the number. */
  readonly negative: boolean;
}

/** The result of preprocessing. */
export interface Preprocessed {
  readonly tokens: readonly Token[];
  /** Numbers defined by `#define` in the text, in order, with their last value. */
  readonly constants: readonly MacroConstant[];
  /** The comments with annotations at the head of each text. */
  readonly headComments: readonly { readonly source: Source; readonly comments: readonly Comment[] }[];
  /** Comments with annotations before a directive; they belong to no declaration. */
  readonly detachedComments: readonly Comment[];
  readonly passedDefines: readonly PassedDefine[];
  readonly passedIncludes: readonly PassedInclude[];
}

interface Macro {
  readonly body: readonly Token[];
  readonly takesArguments: boolean;
  /** Defined by an option and not by the text. */
  readonly preset: boolean;
}

/** A file that is being processed, and the `#include` that named it. */
interface Inclusion {
  readonly source: Source;
  readonly directive: Token | undefined;
}

/** An `#if` ... `#endif`. */
interface Group {
  readonly opener: Token;
  /** Whether a branch has been taken. */
  done: boolean;
  active: boolean;
  readonly outerActive: boolean;
  sawElse: boolean;
}

const MAX_INCLUDE_DEPTH = 32;
const MAX_INCLUDES = 1_000;
/** Macros that double at each step can produce any size from a few lines. The largest real file has 20 000 tokens. */
const MAX_TOKENS = 500_000;
const MAX_EXPANSION_DEPTH = 64;

/** Processes the directives of `source` and expands macros. Errors are added to `diagnostics`. */
export function preprocess(
  source: Source,
  diagnostics: Diagnostics,
  options: PreprocessOptions = {},
): Preprocessed {
  return new Preprocessor(diagnostics, options).run(source);
}

class Preprocessor {
  private readonly diagnostics: Diagnostics;
  private readonly options: PreprocessOptions;
  private readonly macros = new Map<string, Macro>();
  private readonly out: Token[] = [];
  private includes = 0;
  private overflowed = false;
  private readonly headComments: { source: Source; comments: readonly Comment[] }[] = [];
  private readonly detachedComments: Comment[] = [];
  private readonly passedDefines: PassedDefine[] = [];
  private readonly passedIncludes: PassedInclude[] = [];

  constructor(diagnostics: Diagnostics, options: PreprocessOptions) {
    this.diagnostics = diagnostics;
    this.options = options;
    for (const [name, value] of Object.entries({ RPC_HDR: '1', ...options.defines })) {
      const body = scan({ name: `--define ${name}`, text: value }).filter((t) => t.kind !== 'end');
      this.macros.set(name, { body, takesArguments: false, preset: true });
    }
  }

  run(source: Source): Preprocessed {
    this.file({ source, directive: undefined }, []);
    const { out: tokens, headComments, detachedComments, passedDefines, passedIncludes } = this;
    return {
      tokens,
      constants: this.constants(),
      headComments,
      detachedComments,
      passedDefines,
      passedIncludes,
    };
  }

  private constants(): MacroConstant[] {
    const found: MacroConstant[] = [];
    for (const [name, { body, preset }] of this.macros) {
      const negative = body.length === 2 && body[0]?.text === '-';
      const token = body[negative ? 1 : 0];
      if (preset || token?.kind !== 'number' || body.length !== (negative ? 2 : 1)) continue;
      found.push({ name, token, negative });
    }
    return found;
  }

  private file(inclusion: Inclusion, outer: readonly Inclusion[]): void {
    const groups: Group[] = [];
    const chain = [...outer, inclusion];
    const tokens = scan(withoutMark(inclusion.source));
    const head = this.head(tokens);
    for (const token of tokens) {
      if (this.overflowed) return;
      const group = groups.at(-1);
      if ((token.kind === 'directive' || token.kind === 'passed') && token !== head)
        this.detach(token, group);
      if (token.kind === 'directive') this.directive(token, groups, chain);
      else if (token.kind === 'passed') {
        if (group === undefined || group.active) this.passed(token);
      } else if (token.kind === 'end') {
        if (outer.length === 0) this.out.push(token);
        else if (token !== head) this.detach(token, group);
      } else if (group === undefined || group.active) this.text(token);
    }
    for (const { opener } of groups) this.fail(opener.span, `${opener.text.trim()} without #endif`);
  }

  /** Collects the comments at the head of a text; returns the first token if it is a directive, which has no comments. */
  private head(tokens: readonly Token[]): Token | undefined {
    const [first] = tokens;
    if (first === undefined || !first.comments.some(({ text }) => mayAnnotate(text))) return undefined;
    const isDirective = first.kind === 'directive' || first.kind === 'passed' || first.kind === 'end';
    const touching = new Set(isDirective ? [] : above(first, undefined));
    const comments = first.comments.filter((comment) => !touching.has(comment));
    this.headComments.push({ source: first.span.source, comments });
    return isDirective ? first : undefined;
  }

  private detach(token: Token, group: Group | undefined): void {
    if (group !== undefined && !group.active) return;
    this.detachedComments.push(...token.comments.filter(({ text }) => mayAnnotate(text)));
  }

  /** A `%` line for C: records the name of a `%#define` or `%#include`. Conditions of C around it are ignored. */
  private passed({ text, span }: Token): void {
    const line = stripComments(text.replaceAll(/\\\r?\n%?/g, ' '))
      .slice(1)
      .trim();
    const [, name, body = ''] = /^#\s*define\s+([A-Za-z_]\w*)(?:\s+(.*))?$/s.exec(line) ?? [];
    if (name !== undefined) this.passedDefines.push({ name, body: body.trim(), span });
    const [, quoted, angled] = /^#\s*include\s*(?:"([^"\n]+)"|<([^>\n]+)>)/.exec(line) ?? [];
    const header = quoted ?? angled;
    if (header !== undefined) this.passedIncludes.push({ name: header, system: quoted === undefined, span });
  }

  private text(token: Token): void {
    if (token.kind === 'bad') this.bad(token);
    else if (token.kind === 'name' && this.macros.has(token.text)) this.expand(token, token, new Set(), 0);
    else this.emit(token);
  }

  private bad(token: Token): void {
    this.fail(token.span, token.text);
    // A placeholder avoids a second error for the missing token.
    this.emit({ ...token, kind: 'number', text: '0' });
  }

  private emit(token: Token): void {
    if (this.out.length < MAX_TOKENS) {
      this.out.push(token);
      return;
    }
    if (!this.overflowed) this.fail(token.span, `more than ${MAX_TOKENS} tokens once macros are expanded`);
    this.overflowed = true;
  }

  /** Emits `token`, expanded. Errors are reported at `use`, the position where the macro is used. */
  private expand(token: Token, use: Token, hidden: Set<string>, depth: number): void {
    if (this.overflowed) return;
    const macro = token.kind === 'name' ? this.macros.get(token.text) : undefined;
    if (token.kind === 'bad') this.bad({ ...token, span: use.span });
    else if (macro === undefined || hidden.has(token.text) || depth > MAX_EXPANSION_DEPTH) {
      const { kind, text } = token;
      this.emit({ ...use, kind, text, macro: token.macro });
    } else if (macro.takesArguments)
      this.fail(use.span, `macro ${token.text} takes arguments, which a .x file has no use for`);
    else this.body(macro, token, use, hidden, depth);
  }

  private body(macro: Macro, token: Token, use: Token, hidden: Set<string>, depth: number): void {
    hidden.add(token.text);
    const isNumber = macro.body.length <= 2 && macro.body.at(-1)?.kind === 'number';
    for (const part of macro.body)
      this.expand(
        isNumber && part.kind === 'number' ? { ...part, macro: token.text } : part,
        use,
        hidden,
        depth + 1,
      );
    hidden.delete(token.text);
  }

  private directive(token: Token, groups: Group[], chain: readonly Inclusion[]): void {
    const text = stripComments(token.text.slice(1)).trim();
    const [word = ''] = /^[A-Za-z]*/.exec(text) ?? [];
    const rest = text.slice(word.length).trim();
    const group = groups.at(-1);
    const active = group === undefined || group.active;
    switch (word) {
      case 'if':
      case 'ifdef':
      case 'ifndef': {
        const taken = active && this.condition(word, rest, token);
        groups.push({ opener: token, done: taken, active: taken, outerActive: active, sawElse: false });
        return;
      }
      case 'elif':
      case 'else':
        if (group === undefined) this.fail(token.span, `#${word} without #if`);
        else if (group.sawElse) this.fail(token.span, `#${word} after #else`);
        else {
          group.active =
            group.outerActive && !group.done && (word === 'else' || this.condition('if', rest, token));
          group.done ||= group.active;
          group.sawElse = word === 'else';
        }
        return;
      case 'endif':
        if (groups.pop() === undefined) this.fail(token.span, '#endif without #if');
        return;
    }
    if (active) this.command(word, rest, token, chain);
  }

  private command(word: string, rest: string, token: Token, chain: readonly Inclusion[]): void {
    switch (word) {
      case 'define':
        this.define(rest, token);
        return;
      case 'undef':
        this.macros.delete(rest);
        return;
      case 'include':
        this.include(rest, token, chain);
        return;
      case 'error':
        this.fail(token.span, `#error ${rest}`);
        return;
      // `# 12 "file"`, #line, #pragma, #ident and #warning do not affect the interface.
      case '':
      case 'line':
      case 'pragma':
      case 'ident':
      case 'warning':
        return;
      default:
        this.fail(token.span, `unknown directive #${word}`);
    }
  }

  private define(rest: string, token: Token): void {
    const [, name, open, body = ''] = /^([A-Za-z_]\w*)(\(?)(.*)$/s.exec(rest) ?? [];
    if (name === undefined) {
      this.fail(token.span, '#define needs a name');
      return;
    }
    // The body keeps its position in the file, at which constants made from it are reported.
    const start = token.span.start + Math.max(0, token.text.lastIndexOf(body));
    const parts = scan({ name: token.span.source.name, text: body.replaceAll(/\\\r?\n/g, ' ') })
      .filter((t) => t.kind !== 'end')
      .map((t) => ({ ...t, span: { ...token.span, start, end: token.span.end }, comments: token.comments }));
    this.macros.delete(name);
    this.macros.set(name, { body: parts, takesArguments: open === '(', preset: false });
  }

  private include(rest: string, token: Token, chain: readonly Inclusion[]): void {
    const [, quoted, angled] = /^(?:"([^"\n]+)"|<([^>\n]+)>)/.exec(rest) ?? [];
    const name = quoted ?? angled;
    if (name === undefined) {
      this.fail(token.span, '#include needs "file" or <file>');
      return;
    }
    this.includes += 1;
    if (chain.length > MAX_INCLUDE_DEPTH) {
      const circle = includeCycle(chain);
      if (circle !== undefined) throw circle;
      this.fail(token.span, `#include nested deeper than ${MAX_INCLUDE_DEPTH} files`);
      return;
    }
    if (this.includes > MAX_INCLUDES) {
      if (!this.overflowed) this.fail(token.span, `more than ${MAX_INCLUDES} #include directives`);
      this.overflowed = true;
      return;
    }
    const source = this.options.include?.(name, token.span.source, angled !== undefined);
    if (source === undefined) this.fail(token.span, `cannot find '${name}' to include`);
    else if ('problem' in source) this.fail(token.span, `cannot include '${name}': ${source.problem}`);
    else this.nested({ source, directive: token }, chain);
  }

  /** Processes an included file. If it is part of an include cycle, its output is discarded. */
  private nested(inclusion: Inclusion, chain: readonly Inclusion[]): void {
    const { length } = this.out;
    try {
      this.file(inclusion, chain);
    } catch (error) {
      if (!(error instanceof IncludeCycle) || error.level !== chain.length) throw error;
      this.out.length = length;
      if (inclusion.directive !== undefined) this.fail(inclusion.directive.span, error.message);
    }
  }

  private condition(word: string, rest: string, token: Token): boolean {
    if (word !== 'if') {
      const [name] = /^[A-Za-z_]\w*/.exec(rest) ?? [];
      if (name === undefined) this.fail(token.span, `#${word} needs a name`);
      return name !== undefined && this.macros.has(name) === (word === 'ifdef');
    }
    const result = evaluate(rest, (name) => this.macros.get(name)?.body);
    if (typeof result === 'bigint') return result !== 0n;
    this.fail(token.span, `#if cannot be evaluated: ${result.error}`);
    return false;
  }

  private fail(span: Span, message: string): void {
    this.diagnostics.add('IDL_SYNTAX', span, message);
  }
}

/** Thrown to leave an include cycle. `level` is the depth of the file whose directive closes the cycle. */
class IncludeCycle extends Error {
  readonly level: number;

  constructor(level: number, message: string) {
    super(message);
    this.level = level;
  }
}

/** A file may include itself if an `#if` ends the recursion: it is a cycle only once it is too deep. */
function includeCycle(chain: readonly Inclusion[]): IncludeCycle | undefined {
  const names = chain.map(({ source }) => source.name);
  const first = names.findIndex((name, i) => names.includes(name, i + 1));
  if (first === -1) return undefined;
  const again = names.indexOf(names[first] as string, first + 1);
  const circle = names.slice(first, again + 1).join(' -> ');
  return new IncludeCycle(again, `${names[first]} includes itself: ${circle}`);
}

function stripComments(text: string): string {
  return text.replaceAll(/\/\*.*?(?:\*\/|$)|\/\/[^\n]*/gs, ' ').replaceAll(/\\\r?\n/g, ' ');
}

/** Removes a byte order mark, which editors on Windows write at the start of a file. */
function withoutMark(source: Source): Source {
  return source.text.startsWith('\uFEFF') ? { ...source, text: source.text.slice(1) } : source;
}
