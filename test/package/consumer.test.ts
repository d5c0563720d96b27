/** Programs of users: compiled with all strict options of TypeScript, bundled, and run. */

import { cp, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import vm from 'node:vm';
import { type OutputChunk, rolldown } from 'rolldown';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from '../support/sandbox.js';
import { execute, installPackage, installXdr, type Project } from './installed.js';

const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
let project: Project;

beforeAll(async () => {
  project = await installPackage(true);
  await cp(path.join(root, 'test/package/consumer'), project.folder, { recursive: true });
  const { exports } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8')) as {
    exports: Record<string, unknown>;
  };
  // The types of every entry are compiled, also of those that main.ts does not import.
  await writeFile(
    path.join(project.folder, 'entries.ts'),
    Object.keys(exports)
      .filter((entry) => entry !== './package.json')
      .map((entry, i) => `export * as entry${i} from 'rpcbind-ts${entry.slice(1)}';\n`)
      .join(''),
  );
  await execute(process.execPath, [project.command('rpcgen-ts'), 'calc.x'], { cwd: project.folder });
}, 120_000);

afterAll(() => project.remove());

/** One module of `code`, bundled for a browser or for Node, and the files that went into it. */
async function bundle(
  folder: string,
  code: string,
  platform: 'browser' | 'node',
): Promise<{ readonly code: string; readonly modules: string[] }> {
  const input = path.join(folder, 'entry.mjs');
  await writeFile(input, code);
  const build = await rolldown({ input, platform, external: /^node:/, logLevel: 'silent' });
  const { output } = await build.generate({ format: 'esm', codeSplitting: false });
  await build.close();
  const chunk = output[0] as OutputChunk;
  // A module of which nothing is left counts for nothing.
  const modules = Object.entries(chunk.modules).filter(([, { renderedLength }]) => renderedLength > 0);
  return {
    code: chunk.code,
    modules: modules
      .map(([file]) => file)
      .filter((file) => path.isAbsolute(file) && file !== input)
      .map((file) => path.relative(path.join(folder, 'node_modules'), file)),
  };
}

const CODEC = `
import { array, decode, encode, int, string, struct } from 'PACKAGE';
const entry = struct({ name: string(255), sizes: array(int, 10) });
globalThis.result = JSON.stringify(decode(entry, encode(entry, { name: 'motd', sizes: [6, -8] })));
`;

/** Runs a bundle where there is nothing of Node, only what browsers have too. */
function runInBrowser(code: string): unknown {
  const globals: Record<string, unknown> = { TextEncoder, TextDecoder, atob, btoa };
  globals['globalThis'] = globals;
  vm.runInNewContext(code, globals);
  return globals['result'];
}

describe('a program of a user', () => {
  it.each(['nodenext', 'bundler'])(
    'compiles with every strict option and module resolution %s, and runs',
    async (resolution) => {
      const module = resolution === 'nodenext' ? 'nodenext' : 'esnext';
      const options = ['--module', module, '--moduleResolution', resolution, '--outDir', resolution];
      await execute(process.execPath, [tsc, '-p', '.', ...options], { cwd: project.folder });
      const { stdout } = await execute(process.execPath, [`${resolution}/main.js`], { cwd: project.folder });
      expect(stdout.trim()).toBe('5 3n -1 motd 2 null number 127.0.0.1.0.111 true');
    },
    60_000,
  );

  it('runs from a bundle', async () => {
    await execute(process.execPath, [tsc, '-p', '.', '--outDir', 'out'], { cwd: project.folder });
    const main = await readFile(path.join(project.folder, 'out/main.js'), 'utf8');
    const { code, modules } = await bundle(
      project.folder,
      main.replace('./calc.gen.js', './out/calc.gen.js'),
      'node',
    );
    await writeFile(path.join(project.folder, 'bundle.mjs'), code);
    const { stdout } = await execute(process.execPath, ['bundle.mjs'], { cwd: project.folder });
    expect(stdout.trim()).toBe('5 3n -1 motd 2 null number 127.0.0.1.0.111 true');
    expect(
      modules.filter((file) => /classic-level|pino|iconv|peculiar|commander|msgpack/.test(file)),
    ).toEqual([]);
  }, 60_000);
});

describe('a bundle with xdr alone', () => {
  it('holds no byte of the rest and runs without Node', async () => {
    const { code, modules } = await bundle(
      project.folder,
      CODEC.replace('PACKAGE', 'rpcbind-ts/xdr'),
      'browser',
    );
    expect(modules.length).toBeGreaterThan(3);
    expect(modules.filter((file) => !file.startsWith('rpcbind-ts/dist/xdr/'))).toEqual([]);
    expect(code).not.toMatch(/\bimport\b|\brequire\b/);
    expect(runInBrowser(code)).toBe('{"name":"motd","sizes":[6,-8]}');
  });

  it('leaves out what is not used: JSON, descriptions, unions', async () => {
    const { modules } = await bundle(project.folder, CODEC.replace('PACKAGE', 'rpcbind-ts/xdr'), 'browser');
    expect(modules.filter((file) => /json|describe/.test(file))).toEqual([]);
  });

  it('is empty where nothing of the package is used', async () => {
    const entries = ['xdr', 'rpcgen', 'runtime', 'protocol', 'rpcbind', 'security', 'services'];
    const text = entries.map((entry) => `import 'rpcbind-ts/${entry}';\n`).join('');
    expect((await bundle(project.folder, text, 'node')).modules).toEqual([]);
  });
});

describe('rpcbind-ts-xdr', () => {
  it('has no dependency, types without Node, and runs', async () => {
    const folder = await installXdr();
    const manifest = JSON.parse(
      await readFile(path.join(folder, 'node_modules/rpcbind-ts-xdr/package.json'), 'utf8'),
    ) as Record<string, unknown>;
    expect(Object.keys(manifest).filter((key) => /dependencies/i.test(key))).toEqual([]);
    await writeFile(
      path.join(folder, 'main.ts'),
      `import { type Codec, decode, encode, type Infer, int, string, struct } from 'rpcbind-ts-xdr';
const entry = struct({ name: string(255), size: int });
const value: Infer<typeof entry> = decode(entry, encode(entry, { name: 'motd', size: 68 }));
// @ts-expect-error a string is no number
const size: string = value.size;
export const codec: Codec<Infer<typeof entry>> = entry;
if (value.name !== 'motd' || Number(size) !== 68) throw new Error('wrong');
`,
    );
    const tsconfig = JSON.parse(
      await readFile(path.join(root, 'test/package/consumer/tsconfig.json'), 'utf8'),
    ) as { compilerOptions: Record<string, unknown>; files: string[] };
    tsconfig.files = ['main.ts'];
    tsconfig.compilerOptions['types'] = [];
    await writeFile(path.join(folder, 'tsconfig.json'), JSON.stringify(tsconfig));
    await execute(process.execPath, [tsc, '-p', '.'], { cwd: folder });
    await execute(process.execPath, ['out/main.js'], { cwd: folder });

    const { code, modules } = await bundle(folder, CODEC.replace('PACKAGE', 'rpcbind-ts-xdr'), 'browser');
    expect(modules.filter((file) => !file.startsWith('rpcbind-ts-xdr/dist/'))).toEqual([]);
    expect(runInBrowser(code)).toBe('{"name":"motd","sizes":[6,-8]}');
  }, 60_000);
});
