/** From a `.x` to something that can be called, in one step. */

import { compile } from './compile.js';
import { type LiveInterface, live } from './dynamic.js';
import { compileFiles, type FileOptions, preprocessOptions } from './files.js';
import type { CodecOptions } from './model/model.js';

/** What {@link loadInterface} may be told. */
export interface LoadOptions extends CodecOptions, Pick<FileOptions, 'defines' | 'includeDirs' | 'imports'> {
  /** The name of the text, for messages. Default `input.x`. */
  readonly name?: string;
}

/**
 * Live codecs and callable procedures of a `.x`, given as its path (one line that ends in
 * `.x` or `.rpcl`) or as its text. Byte for byte what the generated module produces. Types of other
 * files come along where `imports` names the `.x` that has them. Throws {@link IdlError}, or
 * the file system's own error.
 */
export function loadInterface(textOrPath: string, options: LoadOptions = {}): LiveInterface {
  if (/^[^\n;{}]*\.(?:x|rpcl)$/.test(textOrPath)) {
    const [model] = compileFiles([textOrPath], options);
    if (model === undefined) throw new TypeError('one file compiles to one interface');
    return live(model, options);
  }
  const { name } = options;
  return live(
    compile(textOrPath, { ...preprocessOptions(options), ...(name === undefined ? {} : { name }) }),
    options,
  );
}
