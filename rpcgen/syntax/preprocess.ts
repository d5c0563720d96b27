/**
 * The C preprocessor as far as `.x` files need it: conditionals, `#define` of constants and
 * short texts, `#include`. C's rpcgen runs cpp once a part and defines RPC_HDR, RPC_XDR, ...
 * in turn; definitions stand under RPC_HDR, so that is the one defined here.
 * It reads no files itself: the caller hands it a function that does.
 */

import type { Diagnostics, Source, Span } from '../model/errors.js';
import { mayAnnotate } from './annotations.js';
import type { PassedDefine, PassedInclude } from './ast.js';
import { above } from './comments.js';
import { evaluate } from './expression.js';
import { type Comment, scan, type Token } from './scanner.js';

/** How a `.x` is read. */
export interface PreprocessOptions {
  /** Macros as if by `#define` before the first line; RPC_HDR is 1 unless said otherwise here. */
  readonly defines?: Readonly<Record<string, string>>;
  /**
   * Finds the file an `#include` names: its source, or undefined where there is none. `from` is the
   * including source; `system` is true for `<name>`. A `problem` says why what is there cannot be read.
   */
  readonly include?: (name: string, from: Source, system: boolean) => Source | Unreadable | undefined;
}

/** Something of the right name that is no text: `dir is a directory`. */
export interface Unreadable {
  readonly problem: string;
}

/** A macro that stands for one number: generated code may call it by its name. */
export interface MacroConstant {
  readonly name: string;
  readonly token: Token;
  /** The minus before it, if there was one. */
  readonly negative: boolean;
}

/** What is left when all directives have been obeyed. */
export interface Preprocessed {
  readonly tokens: readonly Token[];
  /** Numbers defined by `#define` in the text, in its order, with their last value. */
  readonly constants: readonly MacroConstant[];
  /** The comments at the head of each text that has annotations there. */
  readonly heads: readonly { readonly source: Source; readonly comments: readonly Comment[] }[];
  /** Comments with annotations that stand before a directive, and so belong to nothing. */
  readonly strays: readonly Comment[];
  readonly passedDefines: readonly PassedDefine[];
  readonly passedIncludes: readonly PassedInclude[];
}

interface Macro {
  readonly body: readonly Token[];
  readonly takesArguments: boolean;
  /** From the command line rather than from the text. */
  readonly preset: boolean;
}

/** A file being read, and the `#include` that led to it. */
interface Inclusion {
  readonly source: Source;
  readonly directive: Token | undefined;
}

interface Group {
  readonly opener: Token;
  /** Some branch of it was taken. */
  done: boolean;
  active: boolean;
  readonly outerActive: boolean;
  sawElse: boolean;
}

const MAX_INCLUDE_DEPTH = 32;
const MAX_INCLUDES = 1_000;
/** Macros that double at each step reach any size in a few lines; the largest real file has 20 000. */
const MAX_TOKENS = 500_000;
const MAX_EXPANSION_DEPTH = 64;

/** The tokens of `source` with its directives obeyed. Errors go to `diagnostics`. */
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
  private readonly heads: { source: Source; comments: readonly Comment[] }[] = [];
  private readonly strays: Comment[] = [];
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
    const { out: tokens, heads, strays, passedDefines, passedIncludes } = this;
    return { tokens, constants: this.constants(), heads, strays, passedDefines, passedIncludes };
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
      if ((token.kind === 'directive' || token.kind === 'passed') && token !== head) this.stray(token, group);
      if (token.kind === 'directive') this.directive(token, groups, chain);
      else if (token.kind === 'passed') {
        if (group === undefined || group.active) this.passed(token);
      } else if (token.kind === 'end') {
        if (outer.length === 0) this.out.push(token);
        else if (token !== head) this.stray(token, group);
      } else if (group === undefined || group.active) this.text(token);
    }
    for (const { opener } of groups) this.fail(opener.span, `this ${opener.text.trim()} has no #endif`);
  }

  /** Keeps what stands at the head of a text; gives the token behind it if that is a directive, to which nothing belongs. */
  private head(tokens: readonly Token[]): Token | undefined {
    const [first] = tokens;
    if (first === undefined || !first.comments.some(({ text }) => mayAnnotate(text))) return undefined;
    const isDirective = first.kind === 'directive' || first.kind === 'passed' || first.kind === 'end';
    const touching = new Set(isDirective ? [] : above(first, undefined));
    const comments = first.comments.filter((comment) => !touching.has(comment));
    this.heads.push({ source: first.span.source, comments });
    return isDirective ? first : undefined;
  }

  private stray(token: Token, group: Group | undefined): void {
    if (group !== undefined && !group.active) return;
    this.strays.push(...token.comments.filter(({ text }) => mayAnnotate(text)));
  }

  /** A line for C, of which the names are remembered; C's own conditions around it are not. */
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
    // Something has to stand in its place, or the parser misses what was there.
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

  /** What `token` stands for, at the place of `use`: errors point to where it is used. */
  private expand(token: Token, use: Token, hidden: Set<string>, depth: number): void {
    if (this.overflowed) return;
    const macro = token.kind === 'name' ? this.macros.get(token.text) : undefined;
    if (token.kind === 'bad') this.bad({ ...token, span: use.span });
    else if (macro === undefined || hidden.has(token.text) || depth > MAX_EXPANSION_DEPTH) {
      const { kind, text } = token;
      this.emit({ ...use, kind, text, ...(token.macro === undefined ? {} : { macro: token.macro }) });
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
      // `# 12 "file"`, #line, #pragma, #ident and #warning say nothing about the interface.
      case '':
      case 'line':
      case 'pragma':
      case 'ident':
      case 'warning':
        return;
      default:
        this.fail(token.span, `#${word} is no directive`);
    }
  }

  private define(rest: string, token: Token): void {
    const [, name, open, body = ''] = /^([A-Za-z_]\w*)(\(?)(.*)$/s.exec(rest) ?? [];
    if (name === undefined) {
      this.fail(token.span, '#define needs a name');
      return;
    }
    // The body keeps its place in the file: constants made from it are reported there.
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
      const circle = circleOf(chain);
      if (circle !== undefined) throw circle;
      this.fail(token.span, `#include goes deeper than ${MAX_INCLUDE_DEPTH} files`);
      return;
    }
    if (this.includes > MAX_INCLUDES) {
      if (!this.overflowed) this.fail(token.span, `#include is there more than ${MAX_INCLUDES} times`);
      this.overflowed = true;
      return;
    }
    const source = this.options.include?.(name, token.span.source, angled !== undefined);
    if (source === undefined) this.fail(token.span, `cannot find '${name}' to include`);
    else if ('problem' in source) this.fail(token.span, `cannot include '${name}': ${source.problem}`);
    else this.nested({ source, directive: token }, chain);
  }

  /** What a file that cannot be included brought along until that was seen is not there. */
  private nested(inclusion: Inclusion, chain: readonly Inclusion[]): void {
    const { length } = this.out;
    try {
      this.file(inclusion, chain);
    } catch (error) {
      if (!(error instanceof Circle) || error.level !== chain.length) throw error;
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
    this.fail(token.span, `#if cannot be decided: ${result.error}`);
    return false;
  }

  private fail(span: Span, message: string): void {
    this.diagnostics.add('IDL_SYNTAX', span, message);
  }
}

/** Leaves a circle of `#include` for the file with the one that closes it, which is that deep. */
class Circle extends Error {
  readonly level: number;

  constructor(level: number, message: string) {
    super(message);
    this.level = level;
  }
}

/** A file may include itself as long as some `#if` ends that: it is a circle only once it is too deep. */
function circleOf(chain: readonly Inclusion[]): Circle | undefined {
  const names = chain.map(({ source }) => source.name);
  const first = names.findIndex((name, i) => names.includes(name, i + 1));
  if (first === -1) return undefined;
  const again = names.indexOf(names[first] as string, first + 1);
  const circle = names.slice(first, again + 1).join(' -> ');
  return new Circle(again, `${names[first]} includes itself: ${circle}`);
}

function stripComments(text: string): string {
  return text.replaceAll(/\/\*.*?(?:\*\/|$)|\/\/[^\n]*/gs, ' ').replaceAll(/\\\r?\n/g, ' ');
}

/** Editors on Windows begin a file with a byte order mark, which says nothing. */
function withoutMark(source: Source): Source {
  return source.text.startsWith('\uFEFF') ? { ...source, text: source.text.slice(1) } : source;
}
