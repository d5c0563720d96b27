/** The files that rpcgen-ts writes, and what it says of those it cannot read or write. */

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { readSource, type SourceText } from '../../rpcgen/index.js';
import { CliError } from '../support/cli.js';

/** Writes `text`, unless it is there already. Throws CliError. */
export function write(path: string, text: string, encoding: SourceText['encoding'] = 'utf8'): void {
  if (encoding === 'utf8' && readIfThere(path) === text) return;
  try {
    writeFileSync(path, text, encoding);
  } catch (error) {
    throw failure(error, [path]);
  }
}

/** The text of an input, as the compiler reads it. Throws CliError. */
export function read(path: string): SourceText {
  try {
    return readSource(path);
  } catch (error) {
    const told = failure(error, [path]);
    throw told instanceof CliError || !(error instanceof Error)
      ? told
      : new CliError(error.message, { cause: error });
  }
}

/** What a regular file says; of anything else, as a terminal, nothing is known before it is written to. */
export function readIfThere(path: string): string | undefined {
  try {
    return statSync(path).isFile() ? readFileSync(path, 'utf8') : undefined;
  } catch {
    return undefined;
  }
}

/** An error of the file system as one line; all others as they are. */
export function failure(error: unknown, files: readonly string[] = []): unknown {
  if (!(error instanceof Error && 'code' in error && 'syscall' in error)) return error;
  const path = 'path' in error ? String(error.path) : (files[0] ?? '');
  const reason = error.message.replace(/^(\w+): ([^,]*),.*$/s, '$2 ($1)');
  // A bare word that is no file may be meant for a subcommand.
  const isWord = error.code === 'ENOENT' && path === files[0] && /^[a-z]+$/i.test(path);
  const hint = isWord ? '; the subcommands are print, diff, fmt and lint' : '';
  return new CliError(`cannot ${String(error.syscall)} ${path}: ${reason}${hint}`, { cause: error });
}
