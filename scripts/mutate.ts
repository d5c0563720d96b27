/**
 * `npm run mutate -- FILE...`: breaks a file in every way Stryker knows, one at a time, and runs the unit tests that are
 * for it. What no test notices is compared with docs/mutation.md, which says of each such change why that is so; the
 * exit code is 1 where there is one that it does not list. One file takes minutes.
 */

import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Stryker } from '@stryker-mutator/core';

type MutantResult = Awaited<ReturnType<Stryker['runMutationTest']>>[number];

/** Which tests are for which file: those that are quick and would tell. */
const TESTS: Readonly<Record<string, readonly string[]>> = {
  'xdr/reader.ts': ['xdr/codec', 'xdr/hostile', 'xdr/json'],
  'runtime/protocol/record.ts': ['runtime/protocol/record', 'runtime/protocol/errors'],
  'runtime/protocol/retry.ts': ['runtime/protocol/retry', 'runtime/client/client'],
  'runtime/protocol/dupcache.ts': ['runtime/protocol/dupcache'],
  'runtime/protocol/shares.ts': ['runtime/protocol/dupcache'],
  'runtime/server/dispatcher.ts': [
    'runtime/server/dispatcher',
    'runtime/protocol/dupcache',
    'runtime/client/client',
    'runtime/server/hold',
  ],
  'runtime/protocol/auth.ts': ['runtime/server/dispatcher', 'runtime/protocol/message'],
  'rpcbind/table/registry.ts': ['rpcbind/table/registry', 'rpcbind/table/held', 'rpcbind/server/tables'],
  'rpcbind/server/liveness.ts': ['rpcbind/server/liveness'],
  'rpcbind/state/journal.ts': ['rpcbind/state/journal'],
};

interface Survivor {
  readonly line: number;
  readonly text: string;
  readonly becomes: string;
}

/** A change as docs/mutation.md writes it: one line, in which a bar would end the cell. */
function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll('|', '¦').replaceAll('`', "'");
}

/** Lines and columns count from 1; the end is not part of it. */
function textAt(lines: readonly string[], { start, end }: MutantResult['location']): string {
  const taken = lines.slice(start.line - 1, end.line);
  taken[taken.length - 1] = (taken.at(-1) as string).slice(0, end.column - 1);
  taken[0] = (taken[0] as string).slice(start.column - 1);
  return taken.join('\n');
}

async function mutate(file: string): Promise<boolean> {
  const tests = TESTS[file];
  if (tests === undefined) {
    process.stderr.write(`mutate: no tests are named for ${file}; scripts/mutate.ts has the list\n`);
    return false;
  }
  process.env['MUTATE_TESTS'] = tests.map((name) => `test/${name}.test.ts`).join(',');
  const folder = await mkdtemp(path.join(tmpdir(), 'mutate-'));
  try {
    const stryker = new Stryker({
      mutate: [file],
      testRunner: 'vitest',
      vitest: { configFile: 'vitest.mutate.config.ts', related: false },
      // The compiler of this project is not one that Stryker could run: no file, no attempt.
      tsconfigFile: 'none.json',
      checkers: [],
      coverageAnalysis: 'perTest',
      concurrency: 1,
      timeoutMS: 3_000,
      reporters: ['progress-append-only'],
      ignorePatterns: ['dist', 'docs', 'bench', '*.tgz'],
      tempDirName: path.relative('.', folder),
      cleanTempDir: 'always',
      disableTypeChecks: false,
      allowEmpty: true,
    });
    const results = await stryker.runMutationTest();
    const lines = readFileSync(file, 'utf8').split('\n');
    const survivors = results
      .filter(({ status }) => status === 'Survived' || status === 'NoCoverage')
      .map(({ location, replacement }): Survivor => {
        const text = oneLine(textAt(lines, location));
        return { line: location.start.line, text, becomes: oneLine(replacement ?? '') };
      });
    const listed = readFileSync('docs/mutation.md', 'utf8');
    const unlisted = survivors.filter(
      ({ text, becomes }) => !listed.includes(`| \`${text}\` | \`${becomes}\` |`),
    );
    for (const { line, text, becomes } of unlisted)
      process.stdout.write(`${file}:${line}\t| \`${text}\` | \`${becomes}\` |\n`);
    process.stdout.write(
      `${file}: ${results.length} changes, ${survivors.length} not noticed, ${unlisted.length} of them not in docs/mutation.md\n`,
    );
    return unlisted.length === 0;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

let isGood = true;
const files = process.argv.slice(2);
if (files.length === 0) process.stdout.write(`mutate: name files: ${Object.keys(TESTS).join(' ')}\n`);
for (const file of files) isGood = (await mutate(file)) && isGood;
process.exitCode = isGood && files.length > 0 ? 0 : 1;
