/**
 * Rules that a compiler does not check: who may import whom, no cycles, no long files, no full folders. The import
 * rules are read from ARCHITECTURE.md, so that the picture there is the rule.
 */

import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  importsOf,
  isHandWritten,
  repositoryFiles,
  resolveImport,
  textOf,
  topStatements,
} from './support/source.js';

const MAX_LINES = 500;
const MAX_FILES = 20;
/** The median length of a hand-written file lies between these. */
const MEDIAN_LINES = [100, 200] as const;
/** The files of a library that other folders may import. */
const PUBLIC_FILES: Readonly<Record<string, readonly string[]>> = {
  runtime: ['runtime/index.ts', 'runtime/protocol.ts'],
  rpcbind: ['rpcbind/index.ts', 'rpcbind/internal.ts'],
};
const publicFilesOf = (library: string): readonly string[] =>
  PUBLIC_FILES[library] ?? [`${library}/index.ts`];

/** Which files, or folders, may import which package; a package that is not here is not used. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  'dgram-as-promised': ['runtime/transport/datagram.ts'],
  '@msgpack/msgpack': ['services/methods/packed.ts'],
  'classic-level': ['services/kv/store.ts'],
  'iconv-lite': ['services/exec/encoding.ts', 'cli/rexec-ts/main.ts'],
  '@peculiar/x509': ['security/tls/devcerts.ts'],
  'reflect-metadata': ['security/tls/devcerts.ts'],
  pino: ['cli/rpcbind-ts/log.ts'],
  commander: ['cli/'],
  '@stryker-mutator/core': ['scripts/mutate.ts'],
};

interface Rule {
  /** A folder (the files directly in it), one file, or `folder/*` for each folder in it. */
  readonly name: string;
  readonly imports: readonly string[];
}

/** The lines of the block under "Who imports whom": a name, two spaces or more, what it imports. */
function readRules(text: string): Rule[] {
  const block = /## Who imports whom[\s\S]*?```text\n([\s\S]*?)```/.exec(text)?.[1] ?? '';
  return block
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [name = '', imports = ''] = line.split(/ {2,}/);
      return { name, imports: imports === '-' ? [] : imports.split(/[ ,]+/) };
    });
}

const rules = readRules(textOf('ARCHITECTURE.md'));
const files = repositoryFiles('*.ts').filter((file) => file.includes('/'));
const sources = files.filter((file) => !file.startsWith('test/'));
const libraryOf = (file: string): string => file.split('/')[0] ?? '';

/** Whether a name of the rules means this file. */
function covers(name: string, file: string): boolean {
  if (name === file) return true;
  if (!name.endsWith('/*')) return path.posix.dirname(file) === name;
  return path.posix.dirname(path.posix.dirname(file)) === name.slice(0, -2);
}

/** The place of a file in the rules: that of the file itself, of its folder, of `folder/*`; -1 where there is none. */
function ruleOf(file: string): number {
  const exact = rules.findIndex(({ name }) => name === file);
  const folder = rules.findIndex(({ name }) => name === path.posix.dirname(file));
  if (exact >= 0 || folder >= 0) return exact >= 0 ? exact : folder;
  return rules.findIndex(({ name }) => covers(name, file));
}

interface Edge {
  readonly from: string;
  readonly to: string;
}

const imports = sources.flatMap((from) => importsOf(from).map((to) => ({ from, to })));
const edges: readonly Edge[] = imports
  .filter(({ to }) => to.startsWith('.'))
  .map(({ from, to }) => ({ from, to: resolveImport(from, to) }));
/** Imports that are against the rules for the time being. */
const EXCEPTIONS = ['cli/rpcserve/main.ts imports cli/rpccall/mock.ts'];
const show = ({ from, to }: Edge): string => `${from} imports ${to}`;

/** Whether the rule of the importing file allows the import. */
function isAllowed({ from, to }: Edge): boolean {
  if (path.posix.dirname(from) === path.posix.dirname(to) && ruleOf(from) === ruleOf(to)) return true;
  const allowed = rules[ruleOf(from)]?.imports ?? [];
  return allowed.some((name) => {
    const isOtherLibrary = !name.includes('/') && libraryOf(name) !== libraryOf(from);
    return isOtherLibrary ? publicFilesOf(name).includes(to) : rules[ruleOf(to)]?.name === name;
  });
}

describe('imports', () => {
  it('are found at all', () => {
    expect(sources.length).toBeGreaterThan(150);
    expect(edges.length).toBeGreaterThan(500);
    expect(rules.length).toBeGreaterThan(20);
  });

  it('of every folder have a rule', () => {
    const missing = [...new Set(sources.filter((file) => ruleOf(file) < 0).map(path.posix.dirname))];
    expect(missing, 'add a line for each to "Who imports whom" in ARCHITECTURE.md').toEqual([]);
  });

  it('have no rule without a file', () => {
    const empty = rules.filter((_, i) => !sources.some((file) => ruleOf(file) === i));
    expect(empty, 'delete these lines of "Who imports whom" in ARCHITECTURE.md').toEqual([]);
  });

  it('go only downwards: a line names only lines above it', () => {
    const upwards = rules.flatMap(({ name, imports: allowed }, i) =>
      allowed
        .filter(
          (target) =>
            !rules.slice(0, i).some((above) => libraryOf(above.name) === target || above.name === target),
        )
        .map((target) => `${name} imports ${target}`),
    );
    expect(
      upwards,
      'move what both need into the lower folder, or move the line below what it imports (ARCHITECTURE.md)',
    ).toEqual([]);
  });

  it('follow the rules', () => {
    const wrong = edges
      .filter((edge) => !isAllowed(edge))
      .map(show)
      .filter((edge) => !EXCEPTIONS.includes(edge));
    expect(
      wrong,
      [
        '"Who imports whom" in ARCHITECTURE.md does not allow these.',
        'Import another library by its index.ts (runtime: index.ts or protocol.ts);',
        'move what two folders need into one that both may import.',
      ].join(' '),
    ).toEqual([]);
  });

  it('make no cycle', () => {
    expect(cyclesOf(edges), 'move what both ends need into a file of its own').toEqual([]);
  });

  it('of xdr are its own files alone, not even Node', () => {
    const foreign = imports.filter(({ from, to }) => libraryOf(from) === 'xdr' && !to.startsWith('./'));
    expect(foreign.map(show), 'xdr runs in a browser: pass what it needs as an argument').toEqual([]);
  });

  it('of packages are those that the file is meant to have', () => {
    const wrong = imports.filter(
      ({ from, to }) =>
        libraryOf(from) !== 'bench' &&
        !to.startsWith('.') &&
        !to.startsWith('node:') &&
        !(PACKAGES[to] ?? []).some((place) => from.startsWith(place)),
    );
    expect(
      wrong.map(show),
      'one file of ours wraps a package: use it, or add to PACKAGES and to docs/decisions/0001-dependencies.md',
    ).toEqual([]);
  });
});

/** Every cycle of imports that a walk from each file meets. */
function cyclesOf(all: readonly Edge[]): string[] {
  const graph = new Map<string, string[]>();
  for (const { from, to } of all) graph.set(from, [...(graph.get(from) ?? []), to]);
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
  return cycles;
}

const lineCount = (file: string): number => textOf(file).split('\n').length - 1;

/** Statements that only define: what a bundler may drop where nothing of the module is used. */
const DEFINITIONS =
  /^(Import|ExportNamed|ExportAll|ExportDefault|Variable|Function|Class|TS\w+)Declaration$|^TSDeclareFunction$/;

describe('libraries', () => {
  it('define things and do nothing else when they are imported', () => {
    const libraries = sources.filter((file) => !/^(cli|scripts|bench)\//.test(file));
    const active = libraries.flatMap((file) =>
      topStatements(file)
        .filter((type) => !DEFINITIONS.test(type))
        .map((type) => `${file}: ${type}`),
    );
    expect(active, 'package.json says sideEffects: false; move this into a function').toEqual([]);
  });
});

describe('files', () => {
  it(`written by hand have at most ${MAX_LINES} lines`, () => {
    const long = files.filter(isHandWritten).filter((file) => lineCount(file) > MAX_LINES);
    expect(long, `split each of these by subject; the median is near 150 lines`).toEqual([]);
  });

  it('have a median length near 150 lines', () => {
    const lines = sources
      .filter(isHandWritten)
      .map(lineCount)
      .sort((a, b) => a - b);
    const median = lines[lines.length >> 1] ?? 0;
    expect(median, 'files have become long: split by subject').toBeLessThan(MEDIAN_LINES[1]);
    expect(median, 'files have become short: one subject should not be spread over many').toBeGreaterThan(
      MEDIAN_LINES[0],
    );
  });

  it(`are at most ${MAX_FILES} in a folder`, () => {
    const counts = new Map<string, number>();
    for (const file of repositoryFiles('.')) {
      const folder = path.posix.dirname(file);
      counts.set(folder, (counts.get(folder) ?? 0) + 1);
    }
    const full = [...counts].filter(([, count]) => count > MAX_FILES);
    expect(full, 'make folders by subject, with a line each in ARCHITECTURE.md; test/ mirrors them').toEqual(
      [],
    );
  });

  it('open with a comment that says what they know', () => {
    const silent = sources.filter((file) => !/^(#!.*\n)?\s*\/[/*]/.test(textOf(file)));
    expect(silent, 'begin each with a doc comment: what it knows, and what it does not').toEqual([]);
  });
});

describe('ARCHITECTURE.md', () => {
  it('names only files that are there', () => {
    const named = [...textOf('ARCHITECTURE.md').matchAll(/`([\w-]+\/[\w./-]+\.(?:ts|md))`/g)].map(
      (match) => match[1] ?? '',
    );
    expect(named.length).toBeGreaterThan(10);
    const known = new Set(repositoryFiles('.'));
    expect(
      named.filter((file) => !known.has(file)),
      'correct the path in ARCHITECTURE.md',
    ).toEqual([]);
  });
});
