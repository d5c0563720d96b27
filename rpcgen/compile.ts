/** The compiler as functions: from text to syntax tree, from syntax tree to checked interface. It reads no files. */

import { Diagnostics, type Source } from './model/errors.js';
import type { Interface } from './model/model.js';
import { type CheckOptions, checkModule } from './semantics/check.js';
import type { Module } from './syntax/ast.js';
import { parseModule } from './syntax/parser.js';
import type { PreprocessOptions } from './syntax/preprocess.js';

/** Options of parsing. */
export interface ParseOptions extends PreprocessOptions {
  /** The file name, for messages and for the header of the output. Default `input.x`. */
  readonly name?: string | undefined;
}

/** Parses a `.x` to its syntax tree. Throws {@link IdlError} with all syntax errors. */
export function parse(text: string, options: ParseOptions = {}): Module {
  const diagnostics = new Diagnostics();
  const module = parseModule(sourceOf(text, options), diagnostics, options);
  diagnostics.throwIfAny();
  return module;
}

/** Checks a syntax tree and resolves its names. Throws {@link IdlError} with all errors. */
export function check(module: Module, options: CheckOptions = {}): Interface {
  const diagnostics = new Diagnostics();
  const model = checkModule(module, diagnostics, options);
  diagnostics.throwIfAny();
  return model;
}

/** Parses and checks. Throws one {@link IdlError} with the errors of both steps. */
export function compile(text: string, options: ParseOptions & CheckOptions = {}): Interface {
  const diagnostics = new Diagnostics();
  const module = parseModule(sourceOf(text, options), diagnostics, options);
  const model = checkModule(module, diagnostics, options);
  diagnostics.throwIfAny();
  return model;
}

function sourceOf(text: string, options: ParseOptions): Source {
  return { name: options.name ?? 'input.x', text };
}
