/**
 * The compiler's only touch with the file system: reading a `.x`, what it includes and what
 * it takes from others. It writes nothing.
 */

import { isUtf8 } from 'node:buffer';
import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import type { Module } from './ast.js';
import { type CheckOptions, checkModule } from './check.js';
import { Diagnostics, type Source } from './errors.js';
import type { Interface } from './model.js';
import { parseModule } from './parser.js';
import type { PreprocessOptions, Unreadable } from './preprocess.js';

/** How files are found and read. */
export interface FileOptions {
  /** Macros as if by `#define`. */
  readonly defines?: Readonly<Record<string, string>>;
  /** Directories to look for `#include` in, after the including file's own. */
  readonly includeDirs?: readonly string[];
  /**
   * Where names come from that a file does not define: `other.x` (its generated module stands
   * beside it), `other.x=MODULE`, `name,name=MODULE`, or `MODULE` for any name left.
   */
  readonly imports?: readonly string[];
  /** The file each input is written to, from which imported modules are named. Default: beside it. */
  readonly outputOf?: (path: string) => string;
}

/** Options of {@link PreprocessOptions} that look for includes in the file system. */
export function preprocessOptions(options: FileOptions): PreprocessOptions {
  const { defines, includeDirs = [] } = options;
  const include = (name: string, from: Source, system: boolean): Source | Unreadable | undefined => {
    const own = system ? [] : [dirname(from.name)];
    let problem: string | undefined;
    for (const dir of [...own, ...includeDirs]) {
      const path = join(dir, name);
      try {
        return { name: path, text: readText(path) };
      } catch (error) {
        if (!isAbsent(error)) problem ??= error instanceof Error ? error.message : String(error);
      }
    }
    return problem === undefined ? undefined : { problem };
  };
  return defines === undefined ? { include } : { include, defines };
}

/**
 * The text of a regular file. Throws for anything else, of which a pipe might never end and a
 * device always has more, and the file system's own error where there is none. What is not UTF-8 is Latin-1, in which
 * older files have names in their comments.
 */
function readText(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isDirectory()) throw new Error(`${path} is a directory`);
  if (stat !== undefined && !stat.isFile()) throw new Error(`${path} is not a regular file`);
  const bytes = readFileSync(path);
  return bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1');
}

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** `dir/msg.x` is written to `dir/msg.gen.ts`. */
export function outputPath(path: string): string {
  return join(dirname(path), `${basename(path).replace(/\.x$/, '')}.gen.ts`);
}

/**
 * The checked interfaces of several files. Each may use the types and constants of the others,
 * which then import from each other. Throws {@link IdlError} with the errors of all, or the
 * file system's own error where a file cannot be read, or an `Error` where it is no regular file.
 */
export function compileFiles(paths: readonly string[], options: FileOptions = {}): Interface[] {
  const diagnostics = new Diagnostics();
  const reading = preprocessOptions(options);
  const outputOf = options.outputOf ?? outputPath;
  const read = (path: string): Module =>
    parseModule({ name: path, text: readText(path) }, diagnostics, reading);
  const inputs = paths.map((path) => ({ path, module: read(path) }));
  const others: { path: string; module: Module; specifier: string | undefined }[] = [];
  const externals: { specifier: string; names?: readonly string[] }[] = [];
  for (const each of options.imports ?? []) {
    const [, left = '', right = ''] = /^([^=]*)=?(.*)$/.exec(each) ?? [];
    if (left.endsWith('.x'))
      others.push({ path: left, module: read(left), specifier: right === '' ? undefined : right });
    else externals.push(right === '' ? { specifier: left } : { specifier: right, names: left.split(',') });
  }
  const models = inputs.map(({ path, module }) => {
    const from = dirname(resolve(outputOf(path)));
    const siblings = inputs.filter((input) => input.module !== module);
    const imports = [...siblings.map((each) => ({ ...each, specifier: undefined })), ...others].map(
      (other) => ({
        module: other.module,
        specifier: other.specifier ?? specifierOf(from, outputOf(other.path)),
      }),
    );
    const checking: CheckOptions = { imports, externals };
    return checkModule(module, diagnostics, checking);
  });
  diagnostics.throwIfAny();
  return models;
}

/** How a module in directory `from` names the module in file `to`. */
function specifierOf(from: string, to: string): string {
  const path = relative(from, resolve(to)).split(sep).join('/').replace(/\.ts$/, '.js');
  return path.startsWith('.') ? path : `./${path}`;
}
