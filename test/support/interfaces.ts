/** Where the real `.x` files are: a corpus named by CORPUS_DIR, and those that Debian installs. */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { compileProject, type IdlError, type Interface, type Stub } from '../../rpcgen/index.js';

/** The corpus, or undefined where there is none. */
export const corpusDir = process.env['CORPUS_DIR'];

const SYSTEM = ['/usr/include/rpcsvc', '/usr/include/tirpc'];

/** All files of the language below a directory, `.x` and `.rpcl`: regular files that can be read. */
export function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(?:x|rpcl)$/.test(name))
    .toSorted()
    .map((name) => join(dir, name))
    .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile() === true);
}

/** Those that rpcsvc-proto, libtirpc-dev and libnsl-dev install. */
export function systemFiles(): string[] {
  return SYSTEM.flatMap(filesBelow);
}

/** A compiled file, and what it needed from elsewhere. */
export interface Compiled {
  readonly path: string;
  readonly model: Interface;
  /** Its stub, where it has names that no file defines. */
  readonly stubs: readonly Stub[];
}

/**
 * Compiles a file as its project would: names that it does not define come from the `.x` beside the headers that its
 * lines for C name, and what stands in no file is guessed. Throws {@link IdlError} where that is not all that is wrong.
 */
export function compileReal(path: string, outputOf: (path: string) => string): Compiled {
  const includeDirs = SYSTEM.filter((dir) => existsSync(dir));
  const { models, stubs } = compileProject([path], { includeDirs, outputOf, stubMissing: true });
  return { path, model: models[0] as Interface, stubs };
}

/** What is refused here although C's rpcgen takes it: docs/rpcgen.md tells of each. */
const STRICTER =
  /is defined twice|is there twice|contains itself, so its size is infinite|refers to itself|is not a member of enum|has no (?:members|arms)|a length is from|does not fit an enum|beyond the discriminant|is switched by|void is a type only|is declared as|@rpc:/;

/** Whether an error is one that C's rpcgen would not find: then a file that it takes may be refused. */
export function isStricter(error: IdlError): boolean {
  // Where a macro with arguments stood, more than one thing is missing.
  if (error.diagnostics.some(({ message }) => message.includes('takes arguments'))) return true;
  return error.diagnostics.every(({ message }) => STRICTER.test(message));
}

/** Whether Debian's rpcgen takes a file; undefined where there is none. */
export function takenByC(path: string): boolean | undefined {
  const { status, error } = spawnSync('rpcgen', ['-N', '-h', path], {
    cwd: dirname(path),
    stdio: 'ignore',
    timeout: 10_000,
  });
  return error !== undefined && 'code' in error && error.code === 'ENOENT' ? undefined : status === 0;
}
