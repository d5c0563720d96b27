import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer as createTcpServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { connectRpcbind, createRpcbind, formatUaddr, type Rpcbind } from '../../rpcbind/index.js';
import { createServer, type RpcServer, type Service } from '../../runtime/index.js';
import { type Ended, runCommand } from '../support/command.js';
import { freePort } from '../support/ports.js';
import { bin } from '../support/sandbox.js';
import { until } from '../support/until.js';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

const FIRST = 0x2000_2000;

async function daemon(): Promise<Rpcbind> {
  const rpcbind = await createRpcbind({ host: ['127.0.0.1'], port: 0 });
  cleanUps.push(() => rpcbind.close());
  return rpcbind;
}

async function serving(count: number): Promise<RpcServer> {
  const services = Array.from(
    { length: count },
    (_, i): Service => ({ program: FIRST + i, version: 1, name: `P${i}`, procedures: [] }),
  );
  const server = createServer({ services });
  cleanUps.push(() => server.close());
  await server.listenUdp({ host: '127.0.0.1', port: 0 });
  await server.listenTcp({ host: '127.0.0.1', port: 0 });
  return server;
}

/** A TCP port that takes connections and never answers. */
async function silentPort(): Promise<number> {
  const server: Server = createTcpServer((socket) => socket.resume());
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  cleanUps.push(() => new Promise((done) => server.close(done)));
  return (server.address() as { port: number }).port;
}

async function register(
  rpcbind: Rpcbind,
  rows: readonly { program: number; netid: string; port: number }[],
): Promise<void> {
  const client = await connectRpcbind({ port: rpcbind.port });
  for (const { program, netid, port } of rows)
    expect(
      await client.setAddress({ program, version: 1, netid, address: formatUaddr('127.0.0.1', port) }),
    ).toBe(true);
  await client.close();
}

function rpcinfo(rpcbind: Rpcbind, ...args: readonly string[]): Promise<Ended> {
  return runCommand('rpcinfo-ts', args, { RPCBIND_PORT: String(rpcbind.port) });
}

describe('rpcinfo-ts --check', () => {
  it('asks 200 services of which 20 are dead within one timeout', async () => {
    const rpcbind = await daemon();
    const server = await serving(180);
    const portOf = (netid: string): number =>
      server.listeners.find((each) => each.netid === netid)?.port ?? 0;
    const silent = await Promise.all(Array.from({ length: 10 }, silentPort));
    const closed = await Promise.all(Array.from({ length: 10 }, freePort));
    await register(rpcbind, [
      ...Array.from({ length: 180 }, (_, i) => ({
        program: FIRST + i,
        netid: i % 2 === 0 ? 'udp' : 'tcp',
        port: portOf(i % 2 === 0 ? 'udp' : 'tcp'),
      })),
      ...silent.map((port, i) => ({ program: FIRST + 180 + i, netid: 'tcp', port })),
      ...closed.map((port, i) => ({ program: FIRST + 190 + i, netid: 'udp', port })),
    ]);
    const startedAt = performance.now();
    const ended = await rpcinfo(rpcbind, '--check', '-q', '--timeout', '2', '127.0.0.1');
    const seconds = (performance.now() - startedAt) / 1000;
    // The six of rpcbind itself answer too.
    expect(ended).toMatchObject({ code: 1, stderr: '' });
    expect(ended.stdout).toMatch(/^DEAD: 20 of 206 services do not answer: .* and 15 more\n$/);
    expect(seconds).toBeGreaterThan(2);
    expect(seconds).toBeLessThan(2 + 6);
  });

  it('says OK in one line and exits 0 where all answer, and names what does not', async () => {
    const rpcbind = await daemon();
    expect(await rpcinfo(rpcbind, '--check', '--quiet')).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^OK: 6 of 6 services answer within [\d.]+ ms\n$/) as string,
      stderr: '',
    });
    await register(rpcbind, [{ program: 100003, netid: 'udp', port: await freePort() }]);
    const dead = await rpcinfo(rpcbind, '--check', '--timeout', '1');
    expect(dead.code).toBe(1);
    const [line, head, ...rows] = dead.stdout.trimEnd().split('\n');
    expect(line).toBe('DEAD: 1 of 7 services do not answer: nfs 1 udp');
    expect(head).toMatch(/^state +program +vers +netid +address +service +latency$/);
    expect(rows.filter((row) => row.startsWith('up ')).length).toBe(6);
    expect(rows.find((row) => row.startsWith('dead'))).toMatch(/100003 +1 +udp .*nfs .*Connection refused$/);
  });

  it('finds a service dead whose port answers for other programs only', async () => {
    const rpcbind = await daemon();
    const server = await serving(1);
    await register(rpcbind, [
      {
        program: FIRST + 7,
        netid: 'tcp',
        port: server.listeners.find(({ netid }) => netid === 'tcp')?.port ?? 0,
      },
    ]);
    const ended = await rpcinfo(rpcbind, '--check', '--json');
    const { dead, services } = JSON.parse(ended.stdout) as {
      dead: number;
      services: { program: number; state: string; reason: string }[];
    };
    expect([ended.code, dead]).toEqual([1, 1]);
    expect(services.find(({ program }) => program === FIRST + 7)).toMatchObject({
      state: 'dead',
      reason: 'RPC: Program unavailable',
    });
  });
});

describe('rpcinfo-ts --json', () => {
  it('gives every mode as one object a line', async () => {
    const rpcbind = await daemon();
    const json = async (...args: string[]): Promise<Record<string, unknown>> =>
      JSON.parse((await rpcinfo(rpcbind, '--json', ...args)).stdout) as Record<string, unknown>;
    expect(await json('-p', '127.0.0.1')).toMatchObject({
      host: '127.0.0.1',
      ports: expect.arrayContaining([
        { program: 100000, version: 2, protocol: 'udp', port: rpcbind.port, service: 'portmapper' },
      ]) as unknown,
    });
    expect(await json()).toMatchObject({
      host: 'localhost',
      registrations: expect.arrayContaining([
        expect.objectContaining({ program: 100000, version: 4, netid: 'tcp', service: 'portmapper' }),
      ]) as unknown,
    });
    expect(await json('-s')).toMatchObject({
      programs: [{ program: 100000, versions: [2, 3, 4], service: 'portmapper' }],
    });
    expect(await json('-m')).toMatchObject({
      statistics: [{ version: 2 }, { version: 3 }, { version: 4, calls: { getstat: 1 } }],
    });
    expect(await json('-l', '127.0.0.1', 'portmapper', '3')).toMatchObject({
      program: 100000,
      version: 3,
      addresses: [{ protocol: expect.any(String) as unknown }, {}],
    });
    expect(await json('-u', '127.0.0.1', '100000', '2')).toMatchObject({
      host: '127.0.0.1',
      program: 100000,
      results: [{ version: 2, ready: true, ms: expect.any(Number) as unknown, reason: null }],
    });
    expect(await json('-t', '127.0.0.1', '77')).toMatchObject({
      results: [],
      error: '127.0.0.1: RPC: Program not registered',
    });
  });
});

describe('rpcinfo-ts', () => {
  it('asks several hosts at once, and tells of one that fails without losing the others', async () => {
    const rpcbind = await daemon();
    const ended = await rpcinfo(rpcbind, '-s', '127.0.0.1', 'nosuchhost.invalid', '127.0.0.1');
    expect(ended.code).toBe(1);
    expect(ended.stderr).toBe('rpcinfo-ts: no such host: nosuchhost.invalid\n');
    expect(ended.stdout.match(/^127\.0\.0\.1:\n {3}program version\(s\)/gm)?.length).toBe(2);
    const lines = (await rpcinfo(rpcbind, '--json', '-p', '127.0.0.1,nosuchhost.invalid')).stdout
      .trim()
      .split('\n');
    expect(lines.map((line) => Object.keys(JSON.parse(line) as object))).toEqual([
      ['host', 'ports'],
      ['host', 'error'],
    ]);
    expect((await rpcinfo(rpcbind, '-t', '127.0.0.1,127.0.0.1', '100000', '2')).stdout).toBe(
      '127.0.0.1: program 100000 version 2 ready and waiting\n'.repeat(2),
    );
    expect((await rpcinfo(rpcbind, '-p', new Array(1025).fill('h').join())).code).toBe(2);
  });

  it('registers and removes services that cannot do it themselves', async () => {
    const rpcbind = await daemon();
    const run = async (...args: string[]): Promise<[number, string]> => {
      const { code, stdout, stderr } = await rpcinfo(rpcbind, ...args);
      return [code, stdout + stderr];
    };
    expect(await run('set', 'nfs', '3', 'tcp', '127.0.0.1.8.1')).toEqual([0, '']);
    expect(await run('set', '100003', '3', 'tcp', '127.0.0.1.8.2')).toEqual([
      1,
      expect.stringMatching(
        /^rpcinfo-ts: Could not register prog 100003 version 3 on tcp: it is registered there at another address/,
      ) as string,
    ]);
    expect((await run('-p'))[1]).toMatch(/^ {4}100003 {4}3 {3}tcp {3}2049 {2}nfs$/m);
    expect(await run('unset', '0x186a3', '3', 'tcp')).toEqual([0, '']);
    expect((await run('-p'))[1]).not.toContain('100003');
    for (const wrong of [
      ['set', 'nfs', '3', 'tcp', '127.0.0.1'],
      ['set', 'nfs', '3', 'tcp', '127.0.0.1.0.0'],
      ['set', 'nfs', '3', 'carrier-pigeon', '1.2.3.4.5.6'],
      ['set', 'nfs', '4294967296', 'tcp', '127.0.0.1.8.1'],
      ['unset', 'nfs'],
    ])
      expect((await run(...wrong))[0], wrong.join(' ')).toBe(2);
    expect(await run('set', 'nfs', '4294967295', 'tcp', '127.0.0.1.8.1')).toEqual([0, '']);
  });

  it('takes names of programs from another file', async () => {
    const rpcbind = await daemon();
    const folder = await mkdtemp(path.join(tmpdir(), 'rpcinfo-'));
    cleanUps.push(() => rm(folder, { recursive: true, force: true }));
    await writeFile(path.join(folder, 'rpc'), '# names\nswitchboard 100000 exchange\n');
    const names = ['--names', path.join(folder, 'rpc')];
    expect((await rpcinfo(rpcbind, '-s', ...names)).stdout).toContain(' switchboard superuser');
    expect((await rpcinfo(rpcbind, '-u', '127.0.0.1', 'exchange', '2', ...names)).stdout).toBe(
      'program 100000 version 2 ready and waiting\n',
    );
  });

  it('fits its help on a screen and begins it with three examples', async () => {
    for (const name of ['rpcinfo-ts', 'rpccall']) {
      const { stdout, code } = await runCommand(name, ['--help']);
      const lines = stdout.trimEnd().split('\n');
      expect(code).toBe(0);
      expect(lines.length).toBeLessThanOrEqual(24);
      expect(Math.max(...lines.map((line) => line.length)), name).toBeLessThanOrEqual(80);
      expect(lines.slice(0, 4)).toEqual([
        'Examples:',
        ...new Array<unknown>(3).fill(expect.stringMatching(new RegExp(`^ {2}${name} `))),
      ]);
    }
  });

  it('tells each change of a watched table as a line where there is no terminal', async () => {
    const rpcbind = await daemon();
    const server = await serving(1);
    const port = server.listeners.find(({ netid }) => netid === 'tcp')?.port ?? 0;
    const child: ChildProcess = spawn(
      process.execPath,
      [path.join(bin, 'rpcinfo-ts/main.js'), '--watch', '0.1', '--port', String(rpcbind.port), '127.0.0.1'],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let output = '';
    child.stdout?.on('data', (text: Buffer) => (output += String(text)));
    const ended = new Promise((done) => child.on('exit', done));
    cleanUps.push(async () => child.kill('SIGKILL'));
    await until(() => output.includes('127.0.0.1: up portmapper 2 tcp'));
    await register(rpcbind, [{ program: FIRST, netid: 'tcp', port }]);
    await until(() => output.includes(`127.0.0.1: new ${FIRST} 1 tcp`));
    await server.close();
    await until(() => output.includes(`127.0.0.1: down ${FIRST} 1 tcp`));
    const client = await connectRpcbind({ port: rpcbind.port });
    await client.unsetAddress({ program: FIRST, version: 1 });
    await client.close();
    await until(() => output.includes(`127.0.0.1: gone ${FIRST} 1 tcp`));
    child.kill('SIGINT');
    expect(await ended).toBe(0);
  });
});
