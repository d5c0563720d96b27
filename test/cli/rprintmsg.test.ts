import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createRpcbind } from '../../rpcbind/index.js';
import { type Ended, type Running, runCommand, startCommand } from '../support/command.js';
import { freePort } from '../support/ports.js';
import { bin, root } from '../support/sandbox.js';
import { until } from '../support/until.js';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function rpcbindOn(port = 0): Promise<{ readonly RPCBIND_PORT: string; close(): Promise<void> }> {
  const rpcbind = await createRpcbind({ host: ['127.0.0.1'], port });
  cleanUps.push(() => rpcbind.close());
  return { RPCBIND_PORT: String(rpcbind.port), close: () => rpcbind.close() };
}

async function serve(args: readonly string[], ready: RegExp, port: string): Promise<Running> {
  const running = await startCommand('rpcserve', ['--host', '127.0.0.1', ...args], ready, {
    RPCBIND_PORT: port,
  });
  cleanUps.push(() => running.stop('SIGKILL'));
  return running;
}

const print = (args: readonly string[], port: string): Promise<Ended> =>
  runCommand('rprintmsg', args, { RPCBIND_PORT: port });

describe('rpcserve printmsg and rprintmsg', () => {
  it('print a message COUNT times on the server’s console', async () => {
    const { RPCBIND_PORT } = await rpcbindOn();
    const server = await serve(['printmsg'], /published in rpcbind/, RPCBIND_PORT);
    for (const transport of ['udp', 'tcp']) {
      const before = server.output().split('127.0.0.1: Hello\n').length;
      const ended = await print(['--transport', transport, '127.0.0.1', 'Hello', '10'], RPCBIND_PORT);
      expect(ended).toEqual({ code: 0, stdout: 'Message delivered to 127.0.0.1 10 times\n', stderr: '' });
      await until(() => server.output().split('127.0.0.1: Hello\n').length === before + 10);
    }
  });

  it('print nothing that could steer a terminal', async () => {
    const { RPCBIND_PORT } = await rpcbindOn();
    const server = await serve(['printmsg'], /published in rpcbind/, RPCBIND_PORT);
    await print(['127.0.0.1', 'a\u001b[2Jb\nc'], RPCBIND_PORT);
    await until(() => server.output().includes('127.0.0.1: a\\u001b[2Jb\\u000ac\n'));
  });

  it('take a message of 1024 bytes and refuse one of 1025 with one line', async () => {
    const { RPCBIND_PORT } = await rpcbindOn();
    await serve(['printmsg'], /published in rpcbind/, RPCBIND_PORT);
    expect((await print(['127.0.0.1', 'x'.repeat(1024)], RPCBIND_PORT)).code).toBe(0);
    expect(await print(['127.0.0.1', 'x'.repeat(1025)], RPCBIND_PORT)).toEqual({
      code: 2,
      stdout: '',
      stderr: 'rprintmsg: the message has 1025 bytes, 1024 are allowed: send it in pieces\n',
    });
  });

  it('withdraw on SIGTERM and end with 0', async () => {
    const { RPCBIND_PORT } = await rpcbindOn();
    const server = await serve(['printmsg'], /published in rpcbind/, RPCBIND_PORT);
    expect(await server.stop('SIGTERM')).toBe(0);
    const ended = await print(['127.0.0.1', 'Hello'], RPCBIND_PORT);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/^rprintmsg: .*not registered.*\n$/);
  });

  it('serve without an rpcbind, say so, and register once one answers', async () => {
    const port = await freePort();
    const server = await serve(['printmsg'], /no rpcbind answers/, String(port));
    await rpcbindOn(port);
    await until(() => server.output().includes('published in rpcbind'), 15_000);
    expect((await print(['127.0.0.1', 'Hello'], String(port))).code).toBe(0);
  });
});

describe('rpcserve with a module of the user’s', () => {
  it('serves and publishes what it exports', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'serve-'));
    cleanUps.push(() => rm(folder, { recursive: true }));
    const file = path.join(folder, 'double.mjs');
    const xdr = path.join(root, 'dist/xdr/index.js');
    await writeFile(
      file,
      `import { int } from ${JSON.stringify(xdr)};
       const procedure = { program: 0x20000777, version: 1, number: 1, name: 'DOUBLE', args: int, result: int };
       export default { program: 0x20000777, version: 1, name: 'DOUBLER', procedures: [{ procedure, handle: (n) => 2 * n }] };`,
    );
    const { RPCBIND_PORT } = await rpcbindOn();
    await serve([file], /published in rpcbind/, RPCBIND_PORT);
    const ended = await runCommand('rpcinfo-ts', ['-u', '127.0.0.1', '0x20000777', '1'], { RPCBIND_PORT });
    expect(ended.stdout).toBe('program 536872823 version 1 ready and waiting\n');
  });

  it.each([
    [
      '{ name: "x", program: -1, version: 1, procedures: [] }',
      /its program -1 is no number from 0 to 4294967295/,
    ],
    ['{ name: "x", program: 1, version: 1, procedures: [1] }', /procedures\[0\] lacks a handle function/],
    ['[]', /it exports none/],
    ['() => { throw new Error("broken") }', /could not be loaded: broken/],
  ])('says in one line what is wrong with a module that exports %s', async (text, fault) => {
    const folder = await mkdtemp(path.join(tmpdir(), 'serve-'));
    cleanUps.push(() => rm(folder, { recursive: true }));
    const file = path.join(folder, 'bad.mjs');
    await writeFile(file, `export default ${text};`);
    const ended = await runCommand('rpcserve', [file]);
    expect(ended.stderr).toMatch(fault);
    expect(ended.stderr.split('\n')).toHaveLength(2);
    expect(ended.code).toBe(1);
  });

  it('ends with what it opened closed again where one of its doors cannot be had', async () => {
    const twice = ['--host', '127.0.0.1', '--host', '127.0.0.1', '--udp-port', String(await freePort())];
    const ended = await runCommand('rpcserve', ['--no-publish', ...twice, 'printmsg'], {}, 10_000);
    expect(ended.stderr).toMatch(/^rpcserve: cannot listen on 127\.0\.0\.1: .*EADDRINUSE.*\n$/);
    expect(ended.code).toBe(1);
  });

  it.each([
    [['no-such-service'], /^rpcserve: no built-in service is called no-such-service .*\n$/, 2],
    [['./no-such-file.js'], /^rpcserve: no such file: \.\/no-such-file\.js\n$/, 1],
    [['./xdr/'], /^rpcserve: \.\/xdr\/ is no file: give the path of a module\n$/, 1],
    [['./package.json/x.js'], /^rpcserve: no such file: .*\n$/, 1],
    [['--host', '203.0.113.1', 'printmsg'], /^rpcserve: cannot listen on 203\.0\.113\.1: .*\n$/, 1],
    [['--set', 'x', 'printmsg'], /^rpcserve: --set takes KEY=VALUE, not x\n$/, 2],
  ])('says in one line what is wrong with %o', async (args, stderr, code) => {
    const ended = await runCommand('rpcserve', args);
    expect(ended.stderr).toMatch(stderr);
    expect(ended.code).toBe(code);
  });
});

describe('bad input to rprintmsg', () => {
  it.each([
    [
      'no such host',
      ['no-such-host.invalid', 'Hello'],
      1,
      /^rprintmsg: no such host: no-such-host\.invalid\n$/,
    ],
    [
      'no rpcbind there',
      ['127.0.0.1', 'Hello'],
      1,
      /^rprintmsg: no rpcbind answers at 127\.0\.0\.1 port \d+.*\n$/,
    ],
    [
      'COUNT that is no number',
      ['127.0.0.1', 'Hello', 'ten'],
      2,
      /COUNT must be a number from 1 to 1000000000/,
    ],
    ['COUNT of 0', ['127.0.0.1', 'Hello', '0'], 2, /COUNT must be a number from 1/],
    ['COUNT beyond the limit', ['127.0.0.1', 'Hello', '1000000001'], 2, /COUNT must be a number from 1/],
    ['no message', ['127.0.0.1'], 2, /missing required argument 'message'/],
    [
      'a transport that does not exist',
      ['--transport', 'ip', '127.0.0.1', 'Hello'],
      2,
      /--transport must be udp or tcp, not ip/,
    ],
    [
      'a port that is none',
      ['--port', '70000', '127.0.0.1', 'Hello'],
      2,
      /PORT must be a number from 1 to 65535/,
    ],
  ])('%s gives one clear line', async (_name, args, code, stderr) => {
    const ended = await print(args, String(await freePort()));
    expect(ended.stdout).toBe('');
    expect(ended.stderr).toMatch(stderr);
    expect(ended.stderr.split('\n')).toHaveLength(2);
    expect(ended.code).toBe(code);
  });

  it('shows the stack with --debug alone', async () => {
    const port = String(await freePort());
    expect((await print(['127.0.0.1', 'Hello'], port)).stderr.split('\n')).toHaveLength(2);
    expect((await print(['--debug', '127.0.0.1', 'Hello'], port)).stderr).toContain('\n    at ');
  });

  it('shows nothing that could steer a terminal', async () => {
    const ended = await print(['ho\u001b[31mst', 'Hello'], String(await freePort()));
    expect(ended.stderr).toBe('rprintmsg: no such host: ho\\u001b[31mst\n');
  });

  it('says that the name of the host is empty', async () => {
    const ended = await print(['', 'Hello'], String(await freePort()));
    expect(ended.stderr).toBe('rprintmsg: no such host: the name is empty\n');
  });

  it.each([
    ['nobody reads', '| true', 0, ''],
    [
      'a full disk takes none of',
      '> /dev/full',
      1,
      'rprintmsg: cannot write the output: ENOSPC: no space left on device, write\n',
    ],
  ])('ends without a stack where %s its output', async (_name, where, code, stderr) => {
    const script = `(until read -t 0.3 line; do break; done; "$0" "$1" --help; echo $? >&2) ${where}`;
    const ended = await new Promise<string>((resolve) => {
      execFile(
        'bash',
        ['-c', script, process.execPath, path.join(bin, 'rprintmsg/main.js')],
        (_error, _stdout, text) => resolve(text),
      );
    });
    expect(ended).toBe(`${stderr}${code}\n`);
  });

  it('says what is wrong with RPCBIND_PORT', async () => {
    const ended = await print(['127.0.0.1', 'Hello'], 'ssh');
    expect(ended.stderr).toMatch(/^rprintmsg: RPCBIND_PORT .*ssh.*\n$/);
    expect(ended.code).not.toBe(0);
  });
});
