/**
 * The C preprocessor as far as `.x` files need it: conditionals, `#define` of constants and
 * short texts, `#include`. C's rpcgen runs cpp once a part and defines RPC_HDR, RPC_XDR, ...
 * in turn; definitions stand under RPC_HDR, so that is the one defined here.
 * It reads no files itself: the caller hands it a function that does.
 */

import type { Diagnostics, Source, Span } from './errors.js';
import { evaluate } from './expression.js';
import { scan, type Token } from './scanner.js';

/** How a `.x` is read. */
export interface PreprocessOptions {
  /** Macros as if by `#define` before the first line; RPC_HDR is 1 unless said otherwise here. */
  readonly defines?: Readonly<Record<string, string>>;
  /**
   * Finds the file an `#include` names: its source, or undefined where there is none. `from` is the
   * including source; `system` is true for `<name>`.
   */
  readonly include?: (name: string, from: Source, system: boolean) => Source | undefined;
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
}

interface Macro {
  readonly body: readonly Token[];
  readonly takesArguments: boolean;
  /** From the command line rather than from the text. */
  readonly preset: boolean;
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
/** Macros that double at each step reach any size in a few lines; this is beyond any real file. */
const MAX_TOKENS = 4_000_000;
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

  constructor(diagnostics: Diagnostics, options: PreprocessOptions) {
    this.diagnostics = diagnostics;
    this.options = options;
    for (const [name, value] of Object.entries({ RPC_HDR: '1', ...options.defines })) {
      const body = scan({ name: `--define ${name}`, text: value }).filter((t) => t.kind !== 'end');
      this.macros.set(name, { body, takesArguments: false, preset: true });
    }
  }

  run(source: Source): Preprocessed {
    this.file(source, 0, undefined);
    return { tokens: this.out, constants: this.constants() };
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

  private file(source: Source, depth: number, from: Token | undefined): void {
    const groups: Group[] = [];
    for (const token of scan(source)) {
      if (this.overflowed) return;
      const group = groups.at(-1);
      if (token.kind === 'directive') this.directive(token, groups, depth);
      else if (token.kind === 'end') {
        if (from === undefined) this.out.push(token);
      } else if (group === undefined || group.active) this.text(token);
    }
    for (const { opener } of groups) this.fail(opener.span, `this ${opener.text.trim()} has no #endif`);
  }

  private text(token: Token): void {
    if (token.kind === 'bad') {
      this.fail(token.span, token.text);
      // Something has to stand in its place, or the parser misses what was there.
      this.emit({ ...token, kind: 'number', text: '0' });
    } else if (token.kind === 'name' && this.macros.has(token.text)) this.expand(token, token, new Set(), 0);
    else this.emit(token);
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
    const macro = token.kind === 'name' ? this.macros.get(token.text) : undefined;
    if (macro === undefined || hidden.has(token.text) || depth > MAX_EXPANSION_DEPTH || this.overflowed) {
      const { kind, text } = token;
      this.emit({ ...use, kind, text, ...(token.macro === undefined ? {} : { macro: token.macro }) });
      return;
    }
    if (macro.takesArguments) {
      this.fail(use.span, `macro ${token.text} takes arguments, which a .x file has no use for`);
      return;
    }
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

  private directive(token: Token, groups: Group[], depth: number): void {
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
    if (active) this.command(word, rest, token, depth);
  }

  private command(word: string, rest: string, token: Token, depth: number): void {
    switch (word) {
      case 'define':
        this.define(rest, token);
        return;
      case 'undef':
        this.macros.delete(rest);
        return;
      case 'include':
        this.include(rest, token, depth);
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

  private include(rest: string, token: Token, depth: number): void {
    const [, quoted, angled] = /^(?:"([^"\n]+)"|<([^>\n]+)>)/.exec(rest) ?? [];
    const name = quoted ?? angled;
    if (name === undefined) {
      this.fail(token.span, '#include needs "file" or <file>');
      return;
    }
    this.includes += 1;
    if (depth >= MAX_INCLUDE_DEPTH || this.includes > MAX_INCLUDES) {
      this.fail(
        token.span,
        `#include goes deeper than ${MAX_INCLUDE_DEPTH} files, or there are more than ${MAX_INCLUDES}`,
      );
      this.overflowed = true;
      return;
    }
    const source = this.options.include?.(name, token.span.source, angled !== undefined);
    if (source === undefined) this.fail(token.span, `cannot find '${name}' to include`);
    else this.file(source, depth + 1, token);
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

function stripComments(text: string): string {
  return text.replaceAll(/\/\*.*?(?:\*\/|$)|\/\/[^\n]*/gs, ' ').replaceAll(/\\\r?\n/g, ' ');
}
