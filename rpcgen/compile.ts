/** The compiler as functions: text to tree, tree to checked interface. It reads no files. */

import { Diagnostics, type Source } from './model/errors.js';
import type { Interface } from './model/model.js';
import { type CheckOptions, checkModule } from './semantics/check.js';
import type { Module } from './syntax/ast.js';
import { parseModule } from './syntax/parser.js';
import type { PreprocessOptions } from './syntax/preprocess.js';

/** How a text is read. */
export interface ParseOptions extends PreprocessOptions {
  /** The file's name, for messages and for the head of the output. Default `input.x`. */
  readonly name?: string;
}

/** The tree of a `.x`. Throws {@link IdlError} with everything that does not parse. */
export function parse(text: string, options: ParseOptions = {}): Module {
  const diagnostics = new Diagnostics();
  const module = parseModule(sourceOf(text, options), diagnostics, options);
  diagnostics.throwIfAny();
  return module;
}

/** The checked interface of a tree. Throws {@link IdlError} with everything that is wrong. */
export function check(module: Module, options: CheckOptions = {}): Interface {
  const diagnostics = new Diagnostics();
  const model = checkModule(module, diagnostics, options);
  diagnostics.throwIfAny();
  return model;
}

/** Both at once, and the errors of both in one {@link IdlError}. */
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
