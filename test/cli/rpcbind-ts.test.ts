/** The daemon as a command: what it prints, what it refuses, and what survives its death. */

import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectRpcbind, type RpcbindClient } from '../../rpcbind/index.js';
import { JOURNAL_FILE } from '../../rpcbind/internal.js';
import { type Running, runCommand, startCommand } from '../support/command.js';
import { freePort } from '../support/ports.js';
import { bin, haveProgram } from '../support/sandbox.js';
import { until } from '../support/until.js';

const PROGRAM = 0x2000_0100;
let folder = '';
const running: Running[] = [];

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'rpcbind-ts-'));
  // Started by root, the daemon serves as another user, who must be able to read its access file.
  await chmod(folder, 0o755);
});
afterEach(async () => {
  for (const one of running.splice(0)) if (one.process.exitCode === null) await one.stop('SIGKILL');
  await rm(folder, { recursive: true });
});

async function daemon(port: number, ...more: string[]): Promise<Running> {
  const args = ['--host', '127.0.0.1', '--port', String(port), ...more];
  const one = await startCommand('rpcbind-ts', args, /serving on/);
  running.push(one);
  return one;
}

async function withClient<T>(port: number, job: (client: RpcbindClient) => Promise<T>): Promise<T> {
  const client = await connectRpcbind({ port, timeoutMs: 5_000 });
  try {
    return await job(client);
  } finally {
    await client.close();
  }
}

describe('rpcbind-ts', () => {
  it('says where it serves, and ends with 0 on SIGTERM and SIGINT', async () => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const port = await freePort();
      const one = await daemon(port);
      expect(one.output()).toContain(`rpcbind-ts: serving on udp 127.0.0.1:${port}, tcp 127.0.0.1:${port}\n`);
      expect(await one.stop(signal)).toBe(0);
    }
  });

  it('honours RPCBIND_PORT', async () => {
    const port = await freePort();
    const one = await startCommand('rpcbind-ts', ['--host', '127.0.0.1'], /serving on/, {
      RPCBIND_PORT: String(port),
    });
    running.push(one);
    expect(one.output()).toContain(`tcp 127.0.0.1:${port}`);
  });

  it('adds loopback to the addresses given, so that services of this host can register', async () => {
    const port = await freePort();
    const one = await startCommand('rpcbind-ts', ['-h', '127.0.0.2', '--port', String(port)], /serving on/);
    running.push(one);
    expect(one.output()).toContain(`udp 127.0.0.1:${port}`);
    expect(one.output()).toContain(`udp 127.0.0.2:${port}`);
  });

  it('says in one line that its port is taken, and ends with 1', async () => {
    const port = await freePort();
    await daemon(port);
    const second = await runCommand('rpcbind-ts', ['--host', '127.0.0.1', '--port', String(port)]);
    expect(second.stderr).toBe(
      `rpcbind-ts: 127.0.0.1 port ${port} is in use: another rpcbind is running; stop it, or choose another port with --port\n`,
    );
    expect(second.code).toBe(1);
  });

  it.skipIf(process.getuid?.() !== 0 || !haveProgram('setpriv'))(
    'says in one line that its port is forbidden, and ends with 1',
    async () => {
      const ended = await new Promise<{ code: unknown; stderr: string }>((resolve) => {
        const file = path.join(bin, 'rpcbind-ts/main.js');
        // Without the capability, root is as forbidden as anybody.
        const args = ['--bounding-set=-net_bind_service', process.execPath, file];
        execFile('setpriv', [...args, '--host', '127.0.0.1', '--port', '7'], (error, _stdout, stderr) =>
          resolve({ code: error?.code, stderr }),
        );
      });
      expect(ended.stderr).toMatch(/^rpcbind-ts: 127\.0\.0\.1 port 7 cannot be bound by this user: .*\n$/);
      expect(ended.code).toBe(1);
    },
  );

  it.each([
    [['--port', '0'], 2, /PORT must be a number from 1 to 65535/],
    [['--port', 'http'], 2, /PORT must be a number/],
    [['--log-format', 'xml'], 2, /--log-format must be text or json, not xml/],
    [['--allow', '192.0.2.0/33', '--port', '1'], 1, /192\.0\.2\.0\/33 is not an address and not a network/],
    [['--access-file', '/nonexistent/access', '--port', '1'], 1, /the access file cannot be read: /],
    [['--host', '203.0.113.7', '--port', '65535'], 1, /cannot serve on 203\.0\.113\.7 port 65535: /],
    [['--state-dir', '/proc/nonexistent', '--port', '65535'], 1, /cannot be kept in \/proc\/nonexistent: /],
    [['--local', `/${'x'.repeat(120)}`, '--host', '127.0.0.1'], 1, /a socket path of 121 bytes/],
    [['extra'], 2, /too many arguments/],
  ])('says in one line what is wrong with %o', async (args, code, stderr) => {
    const port = String(await freePort());
    const ended = await runCommand('rpcbind-ts', args, { RPCBIND_PORT: port });
    expect(ended.stderr).toMatch(stderr);
    expect(ended.stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(code === 2 ? 2 : 1);
    expect(ended.code).toBe(code);
  });

  it('logs one line for each noteworthy event, as JSON where asked', async () => {
    const port = await freePort();
    const one = await daemon(port, '--log-format', 'json');
    await withClient(port, async (client) => {
      await client.set({ program: PROGRAM, version: 1, protocol: 'udp', port: 4242 });
      await client.set({ program: PROGRAM, version: 1, protocol: 'udp', port: 4243 });
      await client.unset({ program: PROGRAM, version: 1 });
    });
    const lines = (): Record<string, unknown>[] =>
      one
        .output()
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>);
    await until(() => lines().length >= 3);
    expect(lines().map(({ event }) => event)).toEqual(['set', 'refused', 'unset']);
    expect(lines()[0]).toMatchObject({
      program: PROGRAM,
      version: 1,
      netid: 'udp',
      address: '0.0.0.0.16.146',
    });
  });

  it('logs what callers sent in one line each, without control characters, and cut', async () => {
    const port = await freePort();
    const one = await daemon(port);
    const address = '/x\nrpcbind-ts: error: forged\u001b[31m\u007f\u202e';
    await withClient(port, async (client) => {
      const of = { program: PROGRAM, version: 1 };
      expect(await client.setAddress({ ...of, netid: 'local', address })).toBe(true);
      expect(await client.setAddress({ ...of, netid: `no\n${'x'.repeat(8_000)}`, address: '' })).toBe(false);
    });
    await until(() => one.output().includes('the netid or the address is not valid'));
    const lines = one.output().split('\n');
    expect(lines.filter((line) => line.includes('forged'))).toEqual([
      expect.stringContaining('local /x\\nrpcbind-ts: error: forged\\u001b[31m\\u007f\\u202e ('),
    ]);
    expect(lines.filter((line) => line.startsWith('rpcbind-ts: warning: refused SET'))).toHaveLength(1);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(700);
  });

  it('logs no more changes by others than root than their rate, and says how many were left out', async () => {
    const port = await freePort();
    const one = await daemon(port, '--log-format', 'json');
    const events = (): { event: string; count?: number }[] =>
      one
        .output()
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as { event: string });
    const client = await connectRpcbind({ port, transport: 'udp', timeoutMs: 5_000 });
    const of = { program: PROGRAM, version: 1 };
    for (let i = 0; i < 750; i++) {
      await client.set({ ...of, protocol: 'udp', port: 4242 });
      await client.unset(of);
    }
    await until(async () => {
      await client.set({ ...of, protocol: 'udp', port: 4242 });
      await client.unset(of);
      return events().some(({ event }) => event === 'change');
    });
    await client.close();
    // A line now and then tells how many were left out before it.
    const leftOut = events().reduce(
      (sum, { event, count }) => sum + (event === 'change' ? (count ?? 0) : 0),
      0,
    );
    expect(leftOut).toBeGreaterThan(100);
    expect(events().length).toBeLessThan(1_400);
  });

  it('reads the access lists again on SIGHUP, and keeps the old ones where the new are wrong', async () => {
    const file = path.join(folder, 'access');
    await writeFile(file, 'allow 192.0.2.0/24 # documentation\n');
    const port = await freePort();
    const one = await daemon(port, '--access-file', file);
    await writeFile(file, 'permit everybody\n');
    one.process.kill('SIGHUP');
    await until(() => /the access lists are not changed: .*line 1/.test(one.output()));
    await writeFile(file, 'allow 198.51.100.7\n');
    one.process.kill('SIGHUP');
    await until(() => one.output().includes('read /etc/rpc and the access lists again'));
  });
});

describe('registrations', () => {
  it('outlive SIGKILL: every one that was acknowledged is there, none that was removed, in 50 rounds', async () => {
    const port = await freePort();
    const expected = new Map<number, number>();
    // What was asked for but not acknowledged may be there or not.
    const doubtful = new Set<number>();
    let next = 1;
    for (let round = 0; round < 50; round++) {
      const one = await daemon(port, '--state-dir', folder, '--keep-stale');
      await withClient(port, async (client) => {
        const found = new Map(
          (await client.dump())
            .filter((row) => row.program === PROGRAM)
            .map((row) => [row.version, row.port]),
        );
        for (const version of doubtful) {
          if (found.has(version)) expected.set(version, found.get(version)!);
          else expected.delete(version);
        }
        doubtful.clear();
        expect(found, `round ${round}`).toEqual(expected);
        let isKilled = false;
        const work = async (): Promise<void> => {
          while (!isKilled) {
            const version = next++;
            doubtful.add(version);
            const of = { program: PROGRAM, version };
            if (await client.set({ ...of, protocol: 'udp', port: 1024 + (version % 60_000) })) {
              expected.set(version, 1024 + (version % 60_000));
              doubtful.delete(version);
            }
            if (version % 3 !== 0) continue;
            doubtful.add(version);
            if (await client.unset(of)) {
              expected.delete(version);
              doubtful.delete(version);
            }
          }
        };
        const workers = [work(), work(), work(), work()].map((one) => one.catch(() => undefined));
        await until(() => expected.size > 20 * (round + 1) || next > 60 * (round + 1), 10_000, 'some work');
        one.process.kill('SIGKILL');
        await until(() => one.process.signalCode !== null);
        isKilled = true;
        await client.close();
        await Promise.all(workers);
      });
    }
    expect(expected.size).toBeGreaterThan(500);
  }, 180_000);

  it('outlive an end by SIGTERM', async () => {
    const port = await freePort();
    const one = await daemon(port, '--state-dir', folder);
    const of = { program: PROGRAM, version: 1, protocol: 'udp' } as const;
    await withClient(port, (client) => client.set({ ...of, port: 4242 }));
    await one.stop();
    expect((await readdir(folder)).toSorted()).toEqual(['portmap.xdr', JOURNAL_FILE, 'rpcbind.xdr']);
    await daemon(port, '--state-dir', folder);
    expect(await withClient(port, (client) => client.getport(of))).toBe(4242);
  });

  it.each([
    ['a byte changed', (text: string) => text.replace('"version":1,', '"version":7,')],
    ['a line torn out of its middle', (text: string) => text.replace(/\n.{40}/, '\n')],
    ['another beginning', (text: string) => `x${text}`],
  ])('of a journal with %s are not believed: it is set aside with a warning', async (_name, damage) => {
    const port = await freePort();
    const file = path.join(folder, JOURNAL_FILE);
    const one = await daemon(port, '--state-dir', folder);
    await withClient(port, async (client) => {
      for (const version of [1, 2])
        await client.set({ program: PROGRAM, version, protocol: 'udp', port: 4242 });
    });
    await one.stop('SIGKILL');
    await writeFile(file, damage(await readFile(file, 'utf8')));
    const two = await daemon(port, '--state-dir', folder);
    expect(two.output()).toMatch(/warning: .*rpcbind\.journal is damaged \(.*\): set aside as /);
    expect(await withClient(port, (client) => client.dump())).not.toContainEqual(
      expect.objectContaining({ program: PROGRAM }),
    );
    expect((await readdir(folder)).some((name) => name.startsWith(`${JOURNAL_FILE}.damaged-`))).toBe(true);
  });

  it('of a journal cut off within its last line are there but for that one', async () => {
    const port = await freePort();
    const file = path.join(folder, JOURNAL_FILE);
    const one = await daemon(port, '--state-dir', folder);
    await withClient(port, async (client) => {
      for (const version of [1, 2])
        await client.set({ program: PROGRAM, version, protocol: 'udp', port: 4242 });
    });
    await one.stop('SIGKILL');
    await writeFile(file, (await readFile(file, 'utf8')).slice(0, -20));
    const two = await daemon(port, '--state-dir', folder);
    expect(two.output()).toMatch(/warning: .* ends within a line/);
    const versions = (await withClient(port, (client) => client.dump()))
      .filter(({ program }) => program === PROGRAM)
      .map(({ version }) => version);
    expect(versions).toEqual([1]);
  });
});
