/** The TypeScript files of this repository, and what stands in them: imports and identifiers, by a real parser. */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { parseAst } from 'rolldown/parseAst';
import { root } from './sandbox.js';

/** All files that git knows or would add, that match the patterns; paths from the root of the repository. */
export function repositoryFiles(...patterns: readonly string[]): string[] {
  const listed = execFileSync(
    'git',
    ['ls-files', '--cached', '--others', '--exclude-standard', '--', ...patterns],
    { cwd: root, encoding: 'utf8' },
  );
  return [...new Set(listed.split('\n'))].filter((file) => file !== '' && existsSync(path.join(root, file)));
}

/** Whether a file is written by hand, not by the compiler of `.x` files. */
export function isHandWritten(file: string): boolean {
  return !file.endsWith('.gen.ts');
}

/** The text of a file of the repository. */
export function textOf(file: string): string {
  return readFileSync(path.join(root, file), 'utf8');
}

interface SyntaxNode {
  readonly type: string;
  readonly [key: string]: unknown;
}

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && 'type' in value;
}

function parse(file: string): { readonly body: readonly SyntaxNode[] } {
  const tree: unknown = parseAst(textOf(file), { lang: 'ts', sourceType: 'module' }, file);
  return tree as { readonly body: readonly SyntaxNode[] };
}

/** The kinds of statements at the top of a file, as ESTree calls them. */
export function topStatements(file: string): string[] {
  return parse(file).body.map(({ type }) => type);
}

/** Calls `visit` for every node of the syntax tree of a file. */
function walk(file: string, visit: (node: SyntaxNode) => void): void {
  const pending: unknown[] = [parse(file)];
  while (pending.length > 0) {
    const node = pending.pop();
    if (Array.isArray(node)) pending.push(...node);
    else if (isNode(node)) {
      visit(node);
      pending.push(...Object.values(node));
    }
  }
}

/** What a file imports or exports from elsewhere, types and `import()` included, as it is written there. */
export function importsOf(file: string): string[] {
  const found: string[] = [];
  walk(file, ({ source }) => {
    if (isNode(source) && source.type === 'Literal' && typeof source['value'] === 'string')
      found.push(source['value']);
  });
  return found.sort();
}

/** The file that a relative import means. */
export function resolveImport(file: string, target: string): string {
  return path.posix.join(path.posix.dirname(file), target).replace(/\.js$/, '.ts');
}

/** All identifiers of a file: names of values, types, members and private members; no words of strings and comments. */
export function identifiersOf(file: string): Set<string> {
  const found = new Set<string>();
  walk(file, ({ type, name }) => {
    if ((type === 'Identifier' || type === 'PrivateIdentifier') && typeof name === 'string') found.add(name);
  });
  return found;
}
