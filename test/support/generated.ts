/** Modules generated into a folder of their own, type-checked with the flags of this project, and loaded. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { compileFiles, emit, type FileOptions, outputPath } from '../../rpcgen/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Where generated modules of tests find the libraries. */
export const LIBRARIES = {
  xdr: join(root, 'xdr/index.js'),
  runtime: join(root, 'runtime/protocol/procedure.js'),
};

/** Writes texts below a folder, by their names. */
export function writeFiles(dir: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
}

/** Compiles `.x` files of a folder to the modules beside them. */
export function generate(dir: string, names: readonly string[], options: FileOptions = {}): void {
  const paths = names.map((name) => join(dir, name));
  compileFiles(paths, options).forEach((model, i) => {
    writeFileSync(outputPath(paths[i] as string), emit(model, LIBRARIES));
  });
}

/** What tsc says of all modules below a folder, by the flags of this project; empty where nothing is wrong. */
export function typeErrors(dir: string): string[] {
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { rootDir: '/', typeRoots: [join(root, 'node_modules/@types')] },
    include: ['**/*.ts'],
  };
  writeFileSync(join(dir, 'tsconfig.json'), JSON.stringify(config));
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}');
  const tsc = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-p', dir], { encoding: 'utf8' });
  if (tsc.error !== undefined) throw tsc.error;
  return tsc.stdout.split('\n').filter((line) => line !== '');
}

/** The exports of a generated module. */
export async function load<T>(path: string): Promise<T> {
  return (await import(/* @vite-ignore */ pathToFileURL(path).href)) as T;
}
