/** What a user gets from the registry: the packed package in an empty folder, with and without optional packages. */

import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../support/ports.js';
import { root } from '../support/sandbox.js';
import { until } from '../support/until.js';
import { execute, installPackage, type Project } from './installed.js';

let whole: Project;
let small: Project;
const running: ChildProcess[] = [];

beforeAll(async () => {
  [whole, small] = await Promise.all([installPackage(true), installPackage(false)]);
}, 120_000);

afterAll(() => Promise.all([whole.remove(), small.remove()]));

afterEach(async () => {
  for (const child of running.splice(0)) {
    child.kill();
    await until(() => child.exitCode !== null || child.signalCode !== null);
  }
});

interface Manifest {
  readonly version: string;
  readonly sideEffects: unknown;
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, unknown>>;
}

async function manifestOf(folder: string): Promise<Manifest> {
  return JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** Starts a command and waits until its output matches. */
async function start(project: Project, name: string, args: readonly string[], ready: RegExp): Promise<void> {
  const child = spawn(process.execPath, [project.command(name), ...args], { cwd: project.folder });
  running.push(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += String(text)));
  await until(() => ready.test(output) || child.exitCode !== null, 15_000, `${ready} from ${name}`);
  expect(output).toMatch(ready);
}

/** Runs a command to its end. */
async function runOf(
  project: Project,
  name: string,
  args: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    const { stdout, stderr } = await execute(process.execPath, [project.command(name), ...args], {
      cwd: project.folder,
      timeout: 20_000,
    });
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, stdout, stderr };
  }
}

describe('the packed package', () => {
  it('has commands that run, with and without optional packages', async () => {
    const { bin } = await manifestOf(root);
    expect(Object.keys(bin)).toEqual(
      expect.arrayContaining(['rpcbind-ts', 'rpcinfo-ts', 'rpcserve', 'rprintmsg', 'rpcgen-ts']),
    );
    for (const project of [whole, small])
      await Promise.all(
        Object.keys(bin).map(async (name) => {
          expect((await readFile(project.command(name), 'utf8')).startsWith('#!/usr/bin/env node\n')).toBe(
            true,
          );
          const { code, stdout } = await runOf(project, name, ['--help']);
          expect(`${name} ${code} ${stdout}`).toMatch(new RegExp(`^${name} 0 [^]*Usage: ${name}`));
        }),
      );
  }, 60_000);

  it('serves kv and rpcbind with nothing else installed', async () => {
    const port = String(await freePort());
    await start(whole, 'rpcbind-ts', ['--host', '127.0.0.1', '--port', port], /serving on/);
    await start(whole, 'rpcserve', ['--host', '127.0.0.1', '--port', port, 'kv'], /published/);
    const rkv = (...args: string[]) => runOf(whole, 'rkv', ['--port', port, '127.0.0.1', ...args]);
    expect(await rkv('put', 'greeting', 'hello')).toMatchObject({ code: 0 });
    expect(await rkv('get', 'greeting')).toMatchObject({ code: 0, stdout: expect.stringContaining('hello') });
    expect(await readdir(path.join(whole.folder, 'kv-data'))).toContain('CURRENT');
  }, 60_000);

  it('says which optional package is missing, and does the rest without it', async () => {
    const loaded = `for (const entry of ${JSON.stringify(Object.keys((await manifestOf(root)).exports))})
      if (entry !== './package.json') console.log(Object.keys(await import('rpcbind-ts' + entry.slice(1))).length > 0)`;
    const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', loaded], {
      cwd: small.folder,
    });
    expect(new Set(stdout.trim().split('\n'))).toEqual(new Set(['true']));

    const missing = (user: string, name: string) => ({
      code: 1,
      stderr: `${user} needs the package ${name}, which is not installed: npm install ${name}\n`,
    });
    expect(await runOf(small, 'rpcserve', ['--no-publish', '--host', '127.0.0.1', 'kv'])).toMatchObject(
      missing('rpcserve: kv cannot be served: kv', 'classic-level'),
    );
    expect(await runOf(small, 'rpcbind-ts', ['--port', String(await freePort())])).toMatchObject(
      missing('rpcbind-ts: the log of rpcbind-ts', 'pino'),
    );
    await start(small, 'rpcserve', ['--no-publish', '--host', '127.0.0.1', 'printmsg'], /serving/);
  }, 60_000);

  it('speaks UTF-8 without iconv-lite, and names it for other encodings, at both ends', async () => {
    const port = String(await freePort());
    const common = ['--host', '127.0.0.1', '--port', port];
    await start(whole, 'rpcbind-ts', common, /serving on/);
    await start(small, 'rpcserve', [...common, '--set', 'exec-allow=echo', 'exec'], /published/);
    const rexec = (project: Project, encoding: string) =>
      runOf(project, 'rexec-ts', ['--port', port, '--encoding', encoding, '127.0.0.1', '--', 'echo', '한글']);
    expect(await rexec(small, 'utf-8')).toMatchObject({ code: 0, stdout: '한글\n' });
    const missing = 'the encoding euc-kr needs the package iconv-lite, which is not installed';
    expect((await rexec(small, 'euc-kr')).stderr).toMatch(new RegExp(`^rexec-ts: ${missing}`));
    expect((await rexec(whole, 'euc-kr')).stderr).toMatch(new RegExp(`: ${missing}`));
  }, 60_000);

  it('holds no tests, benches, scripts and sources of the site', async () => {
    const installed = path.join(whole.folder, 'node_modules/rpcbind-ts');
    const files = await readdir(installed, { recursive: true });
    expect(
      files.filter((file) => /(^|\/)(test|bench|scripts|site)\//.test(file) || /\.test\.js$/.test(file)),
    ).toEqual([]);
    expect(files).toContain('README.md');
    expect(files).toContain('docs/tutorial.md');
    for (const file of ['rpcbind-ts.service', 'rpcbind-ts.socket', 'rpcbind-ts.sysusers.conf'])
      expect(files).toContain(`systemd/${file}`);
  });

  it('has one version with rpcbind-ts-xdr', async () => {
    const [all, xdr] = await Promise.all([root, path.join(root, 'packages/xdr')].map(manifestOf));
    expect(xdr?.version).toBe(all?.version);
    expect(await readFile(path.join(root, 'packages/xdr/LICENSE'), 'utf8')).toBe(
      await readFile(path.join(root, 'LICENSE'), 'utf8'),
    );
  });
});
