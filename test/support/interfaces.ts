/** Where the real `.x` files are: a corpus named by CORPUS_DIR, and those that Debian installs. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { compileFiles, IdlError, type Interface } from '../../rpcgen/index.js';

/** The corpus, or undefined where there is none. */
export const corpusDir = process.env['CORPUS_DIR'];

const SYSTEM = ['/usr/include/rpcsvc', '/usr/include/tirpc'];

/** All `.x` files below a directory. */
export function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.x'))
    .toSorted()
    .map((name) => join(dir, name));
}

/** Those that rpcsvc-proto, libtirpc-dev and libnsl-dev install. */
export function systemFiles(): string[] {
  return SYSTEM.flatMap(filesBelow);
}

/** A compiled file, and what it needed from elsewhere. */
export interface Compiled {
  readonly path: string;
  readonly model: Interface;
  /** Names that no file beside it defines: they stand in the stub. */
  readonly missing: readonly string[];
}

/** Writes a `.x` with a definition for each name that nobody defines; gives its path. */
export type StubWriter = (path: string, text: string) => string;

/**
 * Compiles a file as its project would: names it does not define come from the files beside
 * it, and what not even they have (it was in a C header) from a stub.
 */
export function compileReal(
  path: string,
  outputOf: (path: string) => string,
  writeStub: StubWriter,
): Compiled {
  const includeDirs = SYSTEM.filter((dir) => existsSync(dir));
  const attempt = (imports: readonly string[]): Interface | IdlError => {
    try {
      return compileFiles([path], { includeDirs, imports, outputOf })[0] as Interface;
    } catch (error) {
      if (error instanceof IdlError && missingNames(error) !== undefined) return error;
      throw error;
    }
  };
  const alone = attempt([]);
  if (!(alone instanceof IdlError)) return { path, model: alone, missing: [] };
  const siblings = filesBelow(dirname(path)).filter((other) => other !== path && !conflicts(other, path));
  const together = attempt(siblings);
  if (!(together instanceof IdlError)) return { path, model: together, missing: [] };
  const names = missingNames(together) ?? [];
  const stub = names.map((name, i) =>
    name.kind === 'type' ? `typedef opaque ${name.name}<>;` : `const ${name.name} = ${i + 1};`,
  );
  const model = attempt([...siblings, writeStub(path, stub.join('\n'))]);
  if (model instanceof IdlError) throw model;
  return { path, model, missing: names.map(({ name }) => name) };
}

/** The names an error is all about, or undefined where it is about something else too. */
function missingNames(error: IdlError): { kind: string; name: string }[] | undefined {
  const names = error.diagnostics.map(({ message }) => {
    const [, kind, name] = /^(type|constant) (\w+) is defined nowhere/.exec(message) ?? [];
    return kind === undefined || name === undefined ? undefined : { kind, name };
  });
  return names.every((name) => name !== undefined) ? names : undefined;
}

/** A file that does not even parse on its own is no help to others. */
function conflicts(other: string, path: string): boolean {
  return readFileSync(other, 'utf8') === readFileSync(path, 'utf8');
}
