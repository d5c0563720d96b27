import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { zero } from '../../cli/rpccall/zero.js';
import { createRpcbind } from '../../rpcbind/index.js';
import { loadInterface } from '../../rpcgen/index.js';
import { decode, encode, fromJson, toJson } from '../../xdr/index.js';
import { arbitrary } from '../support/arbitrary.js';
import { type Ended, type Running, runCommand, startCommand } from '../support/command.js';
import { bin, root } from '../support/sandbox.js';

const NAMES = ['mount', 'nfs', 'nlm', 'rquota', 'rstat', 'rusers', 'status', 'vxi11', 'yp'];
const files = [...NAMES.map((name) => `interfaces/${name}.x`), 'rpcbind/rpcbind.x'];

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function folder(): Promise<string> {
  const made = await mkdtemp(path.join(tmpdir(), 'mock-'));
  cleanUps.push(() => rm(made, { recursive: true, force: true }));
  return made;
}

async function mock(
  ...args: readonly string[]
): Promise<{ readonly env: NodeJS.ProcessEnv; readonly server: Running }> {
  const rpcbind = await createRpcbind({ host: ['127.0.0.1'], port: 0 });
  cleanUps.push(() => rpcbind.close());
  const env = { RPCBIND_PORT: String(rpcbind.port) };
  const server = await startCommand(
    'rpcserve',
    ['--host', '127.0.0.1', '--mock', ...args],
    /published in rpcbind/,
    env,
  );
  cleanUps.push(() => server.stop());
  return { env, server };
}

/** Runs rpccall with something on its standard input. */
function feed(input: string, env: NodeJS.ProcessEnv, ...args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [path.join(bin, 'rpccall/main.js'), ...args], {
    env: { ...process.env, ...env },
  });
  const texts = { stdout: '', stderr: '' };
  child.stdout.on('data', (text: Buffer) => (texts.stdout += String(text)));
  child.stderr.on('data', (text: Buffer) => (texts.stderr += String(text)));
  child.stdin.end(input);
  return new Promise((done) => child.on('close', (code) => done({ code: code ?? -1, ...texts })));
}

describe('rpcserve --mock', () => {
  it('answers every procedure of an interface with its plainest value', async () => {
    const { env } = await mock('mount');
    const call = async (...args: string[]): Promise<unknown> =>
      JSON.parse((await runCommand('rpccall', ['127.0.0.1', 'mount', ...args], env)).stdout) as unknown;
    expect(await call('EXPORT')).toEqual([]);
    expect(await call('MNT', '/x')).toEqual({
      fhs_status: 'MNT3_OK',
      mountinfo: { fhandle: '', auth_flavors: [] },
    });
    expect(await call('UMNTALL')).toBe(null);
  });

  it('answers from a file: a value always, a sequence one after the other until its last', async () => {
    const file = path.join(await folder(), 'answers.json');
    const answers = {
      '3.EXPORT': { sequence: [[{ ex_dir: '/a', ex_groups: [] }], []] },
      MOUNTPROC3_MNT: { fhs_status: 'MNT3ERR_ACCES' },
    };
    await writeFile(file, JSON.stringify(answers));
    const { env, server } = await mock('mount', '--answers', file);
    const call = async (...args: string[]): Promise<string> =>
      (await runCommand('rpccall', ['127.0.0.1', 'mount', '--compact', ...args], env)).stdout;
    expect(await call('EXPORT')).toBe('[{"ex_dir":"/a","ex_groups":[]}]\n');
    expect(await call('EXPORT')).toBe('[]\n');
    expect(await call('EXPORT')).toBe('[]\n');
    expect(await call('MNT', '/x')).toBe('{"fhs_status":"MNT3ERR_ACCES"}\n');
    expect(server.output()).toContain('mock MOUNTPROC3_MNT "/x" -> {"fhs_status":"MNT3ERR_ACCES"}');
  });

  it('refuses answers that do not fit, by their member, before it serves', async () => {
    const file = path.join(await folder(), 'answers.json');
    await writeFile(file, '{"EXPORT":[{"ex_dir":7,"ex_groups":[]}]}');
    const ended = await runCommand('rpcserve', ['--mock', 'mount', '--answers', file, '--no-publish']);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    expect(ended.stderr).toMatch(
      /the answer of MOUNTPROG\.\d\.MOUNTPROC3?_EXPORT: member \[0\]\.ex_dir of the JSON does not fit: not a string\n$/,
    );
    expect((await runCommand('rpcserve', [])).code).toBe(2);
  });
});

describe('rpccall with JSON on standard input', () => {
  it('makes a call of every line', async () => {
    const { env } = await mock('mount');
    const lines = Array.from({ length: 50 }, (_, i) => `"/${i}"`).join('\n');
    const good = await feed(lines, env, '127.0.0.1', 'mount', '1.MNT', '-', '--concurrency', '8');
    expect([good.code, good.stdout.trim().split('\n').length]).toEqual([0, 50]);
  });

  it('tells the lines that fail, and makes the others', async () => {
    const { env } = await mock('nfs');
    const line = '{"object":{"data":""}}';
    const mixed = await feed(
      `${line}\n{"object":{"data":7}}\n${line}\n`,
      env,
      '127.0.0.1',
      'nfs',
      'GETATTR',
      '-',
    );
    expect([mixed.code, mixed.stdout.trim().split('\n').length]).toEqual([1, 2]);
    expect(mixed.stderr).toBe(
      'rpccall: line 2: member object.data of the JSON does not fit: not a string\nrpccall: 1 of 3 calls failed\n',
    );
  });

  it('takes one value on several lines', async () => {
    const { env } = await mock('nfs');
    const ended = await feed(
      '{\n  "object": { "data": "" }\n}\n',
      env,
      '127.0.0.1',
      'nfs',
      'GETATTR',
      '-',
      '--compact',
    );
    expect(ended).toMatchObject({ code: 0, stdout: expect.stringContaining('"status":"NFS3_OK"') as string });
  });

  it('runs a script in the shell, and fails where a line did', async () => {
    const { env } = await mock('mount');
    expect(await feed('EXPORT\nquit\n', env, 'shell', '127.0.0.1', 'mount')).toEqual({
      code: 0,
      stdout: '[]\n',
      stderr: '',
    });
    const failed = await feed('NOPE\nEXPORT\n', env, 'shell', '127.0.0.1', 'mount');
    expect(failed).toMatchObject({ code: 1, stdout: '[]\n' });
    expect(failed.stderr).toMatch(/^mount has no procedure NOPE/);
  });
});

describe('the interfaces that come along', () => {
  for (const file of files) {
    it(`go through JSON and back without loss: ${file}`, () => {
      const { types, programs } = loadInterface(path.join(root, file));
      const procedures = programs
        .flatMap(({ versions }) => versions)
        .flatMap((version) => version.procedures);
      const codecs = [...types.values(), ...procedures.flatMap(({ args, result }) => [args, result])];
      for (const type of new Set(codecs)) {
        fc.assert(
          fc.property(arbitrary(type), (value) => {
            const json = JSON.parse(JSON.stringify(toJson(type, value))) as ReturnType<typeof toJson>;
            const back = fromJson(type, json);
            expect(Buffer.from(encode(type, back)).equals(encode(type, value))).toBe(true);
          }),
          { numRuns: 20 },
        );
        const plain = encode(type, fromJson(type, zero(type)));
        expect(toJson(type, decode(type, plain))).toEqual(zero(type));
      }
    });
  }
});
