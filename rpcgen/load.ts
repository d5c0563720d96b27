/** Loads a `.x` for use at run time, in one step. */

import { compile } from './compile.js';
import { type LiveInterface, live } from './dynamic.js';
import { compileFiles, type FileOptions, preprocessOptions } from './files.js';
import type { CodecOptions } from './model/model.js';

/** Options of {@link loadInterface}. */
export interface LoadOptions extends CodecOptions, Pick<FileOptions, 'defines' | 'includeDirs' | 'imports'> {
  /** The name of the text, for messages. Default `input.x`. */
  readonly name?: string | undefined;
}

/**
 * Codecs and procedures of a `.x`, given as its path (one line that ends in `.x` or `.rpcl`) or as its text. They
 * produce the same bytes as the generated module. Types of other files are found if `imports` names their `.x`. Throws
 * {@link IdlError}, or the error of the file system.
 */
export function loadInterface(textOrPath: string, options: LoadOptions = {}): LiveInterface {
  if (/^[^\n;{}]*\.(?:x|rpcl)$/.test(textOrPath)) {
    const [model] = compileFiles([textOrPath], options);
    if (model === undefined) throw new TypeError('one file compiles to one interface');
    return live(model, options);
  }
  return live(compile(textOrPath, { ...preprocessOptions(options), name: options.name }), options);
}
