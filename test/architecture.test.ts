/** The house rules that a compiler does not hold: who may import whom, no cycles, no long files. */

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');
const LIBRARIES = ['xdr', 'rpcgen', 'runtime', 'rpcbind', 'security', 'services'];
const MAX_LINES = 500;

/** Which folders a file may reach, and which packages. */
const ALLOWED: Record<string, readonly string[]> = {
  xdr: [],
  rpcgen: [],
  runtime: ['xdr'],
  rpcbind: ['xdr', 'runtime'],
  security: ['xdr', 'runtime'],
  services: ['xdr', 'runtime', 'rpcbind'],
};

const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(path.join(root, file)));

interface Import {
  readonly file: string;
  readonly target: string;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(path.join(root, file), 'utf8');
  // Code only: the text of a generated module inside a string or a comment imports nothing.
  const found = text.matchAll(/^(?:import|export)\b[^'"`;]*?\bfrom '([^']+)'|^import '([^']+)'/gm);
  return [...found].map((match) => ({ file, target: match[1] ?? match[2] ?? '' }));
}

const sources = files.filter((file) => LIBRARIES.some((folder) => file.startsWith(`${folder}/`)));
const imports = sources.flatMap(importsOf);
const folderOf = (file: string): string => file.split('/')[0] ?? '';
const resolveImport = ({ file, target }: Import): string =>
  path.posix.join(path.posix.dirname(file), target).replace(/\.js$/, '.ts');

describe('imports', () => {
  it('are found at all', () => {
    expect(sources.length).toBeGreaterThan(15);
    expect(imports.length).toBeGreaterThan(30);
  });

  it('of xdr are none but its own files, not even node', () => {
    expect(
      imports.filter(({ file, target }) => folderOf(file) === 'xdr' && !target.startsWith('./')),
    ).toEqual([]);
  });

  it('cross folders only as allowed, and only through the other folder’s index', () => {
    const wrong = imports.filter((one) => {
      if (!one.target.startsWith('.')) return false;
      const from = folderOf(one.file);
      const to = folderOf(resolveImport(one));
      if (from === to) return false;
      const isDynamic = one.file === 'rpcgen/dynamic.ts' && to === 'xdr';
      const isAllowed = (ALLOWED[from] ?? []).includes(to) || isDynamic;
      const faces = to === 'runtime' ? ['index', 'protocol'] : ['index'];
      return !isAllowed || !faces.some((face) => resolveImport(one) === `${to}/${face}.ts`);
    });
    expect(wrong).toEqual([]);
  });

  it('inside a folder never go through its own index', () => {
    const wrong = imports.filter(
      (one) =>
        one.target.startsWith('.') &&
        resolveImport(one) === `${folderOf(one.file)}/index.ts` &&
        !one.file.startsWith('services/'),
    );
    expect(wrong).toEqual([]);
  });

  it('have dgram-as-promised in runtime/transport/datagram.ts alone', () => {
    const users = imports.filter(({ target }) => target === 'dgram-as-promised').map(({ file }) => file);
    expect(users).toEqual(['runtime/transport/datagram.ts']);
  });

  it('make no cycle', () => {
    const graph = new Map<string, string[]>();
    for (const one of imports)
      if (one.target.startsWith('.'))
        graph.set(one.file, [...(graph.get(one.file) ?? []), resolveImport(one)]);
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (file: string, trail: readonly string[]): void => {
      if (trail.includes(file)) {
        cycles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '));
        return;
      }
      if (done.has(file)) return;
      for (const next of graph.get(file) ?? []) visit(next, [...trail, file]);
      done.add(file);
    };
    for (const file of graph.keys()) visit(file, []);
    expect(cycles).toEqual([]);
  });
});

describe('files', () => {
  it(`written by hand have at most ${MAX_LINES} lines`, () => {
    const long = files
      .filter((file) => !file.endsWith('.gen.ts'))
      .map((file) => ({ file, lines: readFileSync(path.join(root, file), 'utf8').split('\n').length - 1 }))
      .filter(({ lines }) => lines > MAX_LINES);
    expect(long).toEqual([]);
  });

  it('of the libraries open with what they know', () => {
    const silent = sources.filter((file) => !/^\s*\/[/*]/.test(readFileSync(path.join(root, file), 'utf8')));
    expect(silent).toEqual([]);
  });
});

describe('ARCHITECTURE.md', () => {
  it('sends nobody to a file that is not there', () => {
    const text = readFileSync(path.join(root, 'ARCHITECTURE.md'), 'utf8');
    const named = [...text.matchAll(/`([\w-]+\/[\w./-]+\.(?:ts|md))`/g)].map((match) => match[1] ?? '');
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((file) => !existsSync(path.join(root, file)))).toEqual([]);
  });
});
