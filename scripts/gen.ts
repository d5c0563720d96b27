/**
 * Compiles every `.x` of this project to the `.gen.ts` beside it. With `--check` it writes
 * nothing and fails if any would change: the checked-in code is what the `.x` says.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileFiles, emit, outputPath } from '../rpcgen/index.js';

// This file runs as dist/scripts/gen.js.
const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const folders = ['runtime', 'rpcbind', 'services', 'bench'];

function interfaces(): string[] {
  return folders
    .map((folder) => join(root, folder))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.x'))
        .toSorted()
        .map((name) => join(folder, name)),
    );
}

/** How a file of this project names a folder's door; inside the runtime, the file itself. */
function modulesFor(path: string): { xdr: string; runtime: string } {
  const to = (target: string): string => {
    const specifier = relative(dirname(path), join(root, target)).replaceAll('\\', '/');
    return specifier.startsWith('.') ? specifier : `./${specifier}`;
  };
  const isRuntime = relative(root, path).startsWith('runtime');
  return {
    xdr: to('xdr/index.js'),
    runtime: to(isRuntime ? 'runtime/protocol/procedure.js' : 'runtime/index.js'),
  };
}

function main(check: boolean): void {
  const stale: string[] = [];
  for (const path of interfaces()) {
    const [model] = compileFiles([path]);
    if (model === undefined) continue;
    const output = outputPath(path);
    // The services here hand names on to the file system, which would replace escapes: they refuse what is not UTF-8.
    const text = emit(model, { ...modulesFor(path), strings: 'strict' });
    if (existsSync(output) && readFileSync(output, 'utf8') === text) continue;
    stale.push(relative(root, output));
    if (!check) writeFileSync(output, text);
  }
  for (const name of stale)
    console.log(check ? `${name} is not what its .x says: npm run gen` : `wrote ${name}`);
  if (check && stale.length > 0) process.exitCode = 1;
}

main(process.argv.includes('--check'));
