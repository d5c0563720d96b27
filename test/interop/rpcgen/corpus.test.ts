/**
 * Real `.x` files that nobody here wrote, compiled one and all, and the output of all of them
 * type-checked in one run. The files are found by CORPUS_DIR and in /usr/include.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { emit, IdlError, live, outputPath } from '../../../rpcgen/index.js';
import { type Codec, decode, encode, fromJson, type Json, toJson } from '../../../xdr/index.js';
import { arbitrary } from '../../support/arbitrary.js';
import {
  type Compiled,
  compileReal,
  corpusDir,
  filesBelow,
  isStricter,
  systemFiles,
  takenByC,
} from '../../support/interfaces.js';

const root = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '');
const files = [...(corpusDir === undefined ? [] : filesBelow(corpusDir)), ...systemFiles()];
const out = mkdtempSync(join(tmpdir(), 'rpcgen-corpus-'));
afterAll(() => rmSync(out, { recursive: true, force: true }));

const nameOf = (path: string): string =>
  corpusDir !== undefined && !relative(corpusDir, path).startsWith('..') ? relative(corpusDir, path) : path;
/** A place of its own for the output of each file, as two folders may have the same name. */
const outputOf = (path: string): string => outputPath(path.startsWith(out) ? path : join(out, resolve(path)));

const compiled: Compiled[] = [];
const refused = new Map<string, string>();

describe('real .x files', () => {
  it.skipIf(corpusDir === undefined)('come from the folder that CORPUS_DIR names', () => {
    expect(filesBelow(corpusDir as string).length).toBeGreaterThan(0);
  });

  it.skipIf(files.length === 0)(
    'compile, if C’s rpcgen takes them, but for what is documented as an error',
    () => {
      const options = {
        xdr: join(root, 'xdr/index.js'),
        runtime: join(root, 'runtime/protocol/procedure.js'),
      };
      const write = (path: string, text: string): void => {
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, text);
      };
      const wrong: string[] = [];
      for (const path of files)
        try {
          const result = compileReal(path, outputOf);
          write(outputOf(path), emit(result.model, options));
          for (const stub of result.stubs) write(outputPath(stub.path), emit(stub.model, options));
          compiled.push(result);
        } catch (error) {
          if (!(error instanceof IdlError)) throw error;
          refused.set(nameOf(path), error.diagnostics[0]?.message ?? '');
          if (!isStricter(error) && takenByC(path) !== false) wrong.push(`${nameOf(path)}: ${error.message}`);
        }
      expect(wrong).toEqual([]);
    },
    240_000,
  );

  it.skipIf(files.length === 0)(
    'give modules that pass tsc --strict and every extra flag',
    () => {
      const config = {
        extends: join(root, 'tsconfig.json'),
        compilerOptions: { rootDir: '/', typeRoots: [join(root, 'node_modules/@types')] },
        include: ['**/*.ts'],
      };
      writeFileSync(join(out, 'tsconfig.json'), JSON.stringify(config));
      writeFileSync(join(out, 'package.json'), '{"type":"module"}');
      const tsc = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-p', out], { encoding: 'utf8' });
      const errors = tsc.stdout.split('\n').filter((line) => line.includes('.gen.ts'));
      const failed = new Set(errors.map((line) => line.replace(/\(.*/, '')));
      const stubbed = compiled.flatMap(({ path, stubs }) => stubs.map(({ names }) => ({ path, names })));
      console.log(
        [
          'files  compiled  type-checked  refused',
          `${String(files.length).padStart(5)}  ${String(compiled.length).padStart(8)}  ${String(compiled.length - failed.size).padStart(12)}  ${String(refused.size).padStart(7)}`,
          ...[...refused].map(([name, reason]) => `refused: ${name}: ${reason}`),
          ...stubbed.map(
            ({ path, names }) => `needs names of C headers: ${nameOf(path)}: ${names.join(' ')}`,
          ),
        ].join('\n'),
      );
      expect(errors).toEqual([]);
    },
    120_000,
  );

  it.skipIf(files.length === 0)(
    'give codecs that agree with those made at run time',
    async () => {
      let types = 0;
      for (const { path, model } of compiled) {
        const made = (await import(/* @vite-ignore */ pathToFileURL(outputOf(path)).href)) as Record<
          string,
          unknown
        >;
        for (const [name, dynamic] of live(model).types) {
          const codec = made[`${name}Codec`] as Codec<unknown> | undefined;
          if (codec === undefined) throw new Error(`${path}: ${name}Codec is not exported`);
          types += 1;
          fc.assert(
            fc.property(arbitrary(dynamic, { maxLength: 3 }), (value) => {
              const bytes = encode(dynamic, value);
              expect(Buffer.compare(encode(codec, value), bytes)).toBe(0);
              const back = decode(codec, bytes);
              expect(Buffer.compare(encode(dynamic, back), bytes)).toBe(0);
              expect(Buffer.compare(encode(codec, decode(dynamic, bytes)), bytes)).toBe(0);
            }),
            { numRuns: 5 },
          );
        }
      }
      console.log(`${types} types of ${compiled.length} files agree`);
      expect(types).toBeGreaterThan(100);
    },
    240_000,
  );

  it.skipIf(files.length === 0)(
    'have values that go to JSON and come back the same, of every type',
    () => {
      let types = 0;
      for (const { model } of compiled)
        for (const [name, codec] of live(model).types) {
          types += 1;
          fc.assert(
            fc.property(arbitrary(codec, { maxLength: 3 }), (value) => {
              const text = JSON.stringify(toJson(codec, value));
              const back = fromJson(codec, JSON.parse(text) as Json);
              expect(Buffer.compare(encode(codec, back), encode(codec, value)), name).toBe(0);
            }),
            { numRuns: 5 },
          );
        }
      console.log(`${types} types of ${compiled.length} files go to JSON and back`);
      expect(types).toBeGreaterThan(100);
    },
    240_000,
  );
});
