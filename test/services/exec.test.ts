/** exec over real sockets and with real processes: what may run, how it ends, that nothing stays. */

import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import iconv from 'iconv-lite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sysCredentials } from '../../runtime/index.js';
import type { Listener } from '../../runtime/protocol.js';
import { ExecProgV1Client, type exec_call, exec_end, exec_status } from '../../services/exec/exec.gen.js';
import { textOutcome } from '../../services/exec/functions.js';
import { createExec, type Exec, type ExecLogEntry, type ExecOptions } from '../../services/exec/service.js';
import { until } from '../support/until.js';
import { type Served, serve } from './served.js';

let exec: Exec;
let served: Served;
let tcp: ExecProgV1Client;
let logged: ExecLogEntry[];
let folder: string;

async function start(options: ExecOptions = {}): Promise<void> {
  exec = createExec({ log: (entry) => logged.push(entry), ...options });
  served = await serve(exec.services);
  tcp = new ExecProgV1Client(served.tcp);
}

const callOf = (
  name: string,
  args: readonly (string | Uint8Array)[],
  more: Partial<exec_call> = {},
): exec_call => ({
  function: name,
  args: args.map((arg) => (typeof arg === 'string' ? Buffer.from(arg) : arg)),
  input: new Uint8Array(0),
  encoding: 'utf-8',
  time_ms: 0,
  token: new Uint8Array(16),
  ...more,
});

async function ask(call: exec_call, client = tcp) {
  const result = await client.call(call);
  if (result.status !== exec_status.EXEC_OK) return { status: result.status, why: result.why };
  const { end, code, out, err } = result.outcome;
  return { end, code, out: String(Buffer.from(out)), err: String(Buffer.from(err)) };
}

/** Processes whose command line has this in it. */
function running(what: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(what);
      } catch {
        return false;
      }
    });
}

/** A number of seconds that no other process sleeps. */
const nap = (): string => `9${randomBytes(4).readUInt32BE()}`;

beforeEach(async () => {
  logged = [];
  folder = await mkdtemp(path.join(tmpdir(), 'exec-'));
});

afterEach(async () => {
  await served.close();
  await exec.close();
  await rm(folder, { recursive: true, maxRetries: 10 });
});

describe('exec', () => {
  it('runs a command of its list and gives back status, output and errors', async () => {
    await start({ commands: { echo: '/bin/echo', ls: '/bin/ls' } });
    expect(await ask(callOf('run', ['echo', 'a b', '$HOME']))).toEqual({
      end: exec_end.EXEC_EXITED,
      code: 0,
      out: 'a b $HOME\n',
      err: '',
    });
    const failed = await ask(callOf('run', ['ls', '/not/there']));
    expect(failed).toMatchObject({ code: 2, err: expect.stringContaining('/not/there') });
  });

  it('runs command lines and scripts only where a free shell was asked for', async () => {
    await start();
    expect(await ask(callOf('shell', ['id']))).toMatchObject({ status: exec_status.EXEC_NOT_ALLOWED });
    await served.close();
    await start({ freeShell: true });
    expect(await ask(callOf('shell', ['echo $((1 + 2)); exit 7']))).toMatchObject({ code: 7, out: '3\n' });
    const input = Buffer.from('echo "$1"; kill -9 $$');
    expect(await ask(callOf('script', ['x'], { input }))).toMatchObject({
      end: exec_end.EXEC_SIGNALLED,
      code: 9,
      out: 'x\n',
    });
  });

  it.each([
    ['a semicolon', ['echo; touch FILE']],
    ['a path instead of a name', ['/bin/touch', 'FILE']],
    ['a path that climbs', ['../bin/touch', 'FILE']],
    ['a name of the prototype', ['constructor', 'FILE']],
    ['another name of the prototype', ['__proto__', 'FILE']],
    ['a command of the path that is not listed', ['touch', 'FILE']],
    ['nothing', []],
    ['an empty name', ['', 'FILE']],
    ['a NUL in the name', ['echo\0touch', 'FILE']],
    ['a NUL in an argument', ['echo', 'a\0b']],
    ['spaces around the name', [' echo ', 'FILE']],
    ['arguments that its own rule refuses', ['find', '.', '-exec', 'touch', 'FILE', ';']],
  ])('refuses %s', async (_what, args) => {
    const file = path.join(folder, 'touched');
    const find = { file: '/usr/bin/find', allows: (all: readonly string[]) => !all.includes('-exec') };
    await start({ commands: { echo: '/bin/echo', find } });
    const answer = await ask(
      callOf(
        'run',
        args.map((arg) => arg.replace('FILE', file)),
      ),
    );
    expect([exec_status.EXEC_NOT_ALLOWED, exec_status.EXEC_BAD_ARGUMENT]).toContain(answer.status);
    expect(existsSync(file)).toBe(false);
  });

  it.each([
    '; touch FILE',
    '$(touch FILE)',
    '`touch FILE`',
    '| touch FILE',
    '&& touch FILE',
    '\n touch FILE\n',
    '> FILE',
    '$IFS$()touch$IFS$()FILE',
    '"; touch FILE; "',
    "'; touch FILE; '",
    '%0a touch FILE',
  ])('passes %j on as an argument and nothing else', async (text) => {
    const file = path.join(folder, 'touched');
    await start({ commands: { echo: '/bin/echo' } });
    const arg = text.replace('FILE', file);
    expect(await ask(callOf('run', ['echo', arg]))).toMatchObject({ code: 0, out: `${arg}\n` });
    expect(existsSync(file)).toBe(false);
  });

  it('speaks the encoding of its caller both ways', async () => {
    await start({ commands: { echo: '/bin/echo', cat: '/bin/cat' } });
    const text = '\ud55c\uad6d\uc5b4 abc';
    for (const encoding of ['cp949', 'CP949', 'euc-kr', 'utf-8', 'utf-16le', 'gb18030']) {
      const bytes = iconv.encode(text, encoding);
      const result = await tcp.call(
        callOf('run', ['echo', bytes].slice(0, 2), {
          encoding,
          args: [iconv.encode('echo', encoding), bytes],
        }),
      );
      expect(
        result.status === exec_status.EXEC_OK && iconv.decode(Buffer.from(result.outcome.out), encoding),
      ).toBe(`${text}\n`);
      const fed = await tcp.call(
        callOf('run', [], { encoding, args: [iconv.encode('cat', encoding)], input: bytes }),
      );
      expect(fed.status === exec_status.EXEC_OK && Buffer.from(fed.outcome.out)).toEqual(bytes);
    }
    const input = Buffer.from([0, 255, 128, 10]);
    const raw = await tcp.call(callOf('run', ['cat'], { encoding: 'raw', input }));
    expect(raw.status === exec_status.EXEC_OK && Buffer.from(raw.outcome.out)).toEqual(input);
  });

  it.each(['', 'hex', 'base64', 'constructor', '__proto__', 'utf-7', 'x'.repeat(64)])(
    'refuses the encoding %j',
    async (encoding) => {
      await start({ commands: { echo: '/bin/echo' } });
      expect(await ask(callOf('run', ['echo'], { encoding }))).toMatchObject({
        status: exec_status.EXEC_BAD_ENCODING,
      });
    },
  );

  it('has one more function where the server has one more entry', async () => {
    await start({
      functions: { greet: { help: 'greets', call: async ({ args }) => textOutcome(`hello ${args[0]}`) } },
    });
    expect(await ask(callOf('greet', ['you']))).toMatchObject({ out: 'hello you' });
    expect(await tcp.list()).toContainEqual({ name: 'greet', help: 'greets' });
  });

  it('kills at its time limit who ignores SIGTERM, and what it started', async () => {
    await start({ freeShell: true, maxTimeMs: 1_500 });
    const seconds = nap();
    const from = performance.now();
    const answer = await ask(
      callOf('shell', [`trap '' TERM; sleep ${seconds} & sleep ${seconds}; sleep ${seconds}`]),
    );
    expect(answer).toMatchObject({ end: exec_end.EXEC_TIME_LIMIT });
    expect(performance.now() - from).toBeLessThan(2_500);
    expect(running(seconds)).toEqual([]);
  });

  it('lets a caller ask for less time and for no more', async () => {
    await start({ commands: { sleep: '/bin/sleep' }, maxTimeMs: 300 });
    for (const time_ms of [50, 60_000])
      expect(await ask(callOf('run', ['sleep', '30'], { time_ms }))).toMatchObject({
        end: exec_end.EXEC_TIME_LIMIT,
      });
  });

  it('kills who left the process group, too', async () => {
    await start({ freeShell: true });
    const seconds = nap();
    const line = `setsid sleep ${seconds} >/dev/null 2>&1 & setsid setsid sh -c 'sleep ${seconds} & sleep ${seconds}' & sleep 0.3`;
    expect(await ask(callOf('shell', [line]))).toMatchObject({ code: 0 });
    await until(() => running(seconds).length === 0);
  });

  it('does not wait for what was left in the background with the output open', async () => {
    await start({ freeShell: true });
    const seconds = nap();
    const from = performance.now();
    expect(await ask(callOf('shell', [`echo done; sleep ${seconds} &`]))).toMatchObject({
      code: 0,
      out: 'done\n',
    });
    expect(performance.now() - from).toBeLessThan(5_000);
    await until(() => running(seconds).length === 0);
  });

  it('takes output up to its limit and kills who writes more', async () => {
    await start({ freeShell: true, maxOutputBytes: 1_000 });
    const exact = await ask(callOf('shell', ['head -c 1000 /dev/zero | tr "\\0" x']));
    expect(exact).toMatchObject({ end: exec_end.EXEC_EXITED, out: 'x'.repeat(1_000) });
    const more = await ask(callOf('shell', ['head -c 1001 /dev/zero | tr "\\0" x; sleep 30']));
    expect(more).toMatchObject({ end: exec_end.EXEC_OUTPUT_LIMIT, out: 'x'.repeat(1_000) });
    const endless = await ask(callOf('shell', ['yes >&2']));
    expect(endless).toMatchObject({ end: exec_end.EXEC_OUTPUT_LIMIT, out: '' });
    expect(endless.err).toHaveLength(1_000);
  });

  it.runIf(process.platform === 'linux')('kills who starts more processes than its limit', async () => {
    await start({ freeShell: true, maxProcesses: 5 });
    const seconds = nap();
    const sleeps = `sleep ${seconds} & `.repeat(10);
    expect(await ask(callOf('shell', [`${sleeps} wait`]))).toMatchObject({
      end: exec_end.EXEC_PROCESS_LIMIT,
    });
    await until(() => running(seconds).length === 0);
  });

  it('kills what runs for a client that goes away', async () => {
    await start({ freeShell: true });
    const seconds = nap();
    const other = served.another();
    const lost = new ExecProgV1Client(other).call(callOf('shell', [`sleep ${seconds} & sleep ${seconds}`]));
    lost.catch(() => undefined);
    await until(() => running(seconds).length > 0);
    await other.close();
    await until(() => running(seconds).length === 0);
  });

  it('kills what runs when it is closed', async () => {
    await start({ freeShell: true });
    const seconds = nap();
    const lost = tcp.call(callOf('shell', [`sleep ${seconds}`]));
    await until(() => running(seconds).length > 0);
    await exec.close();
    expect(running(seconds)).toEqual([]);
    await lost;
  });

  it('runs as many at a time as its limit and says that it is busy to one more', async () => {
    await start({ freeShell: true, maxRunning: 2 });
    const line = callOf('shell', [`while [ ! -e ${folder}/go ]; do sleep 0.02; done`]);
    const both = [ask(line), ask(line)];
    const token = randomBytes(16);
    await until(() => logged.filter(({ event }) => event === 'begin').length === 2);
    expect(await ask(callOf('shell', ['true'], { token }))).toMatchObject({ status: exec_status.EXEC_BUSY });
    await writeFile(path.join(folder, 'go'), '');
    await Promise.all(both);
    expect(await ask(callOf('shell', ['true'], { token }))).toMatchObject({ code: 0 });
  });

  it('runs a call once however often its token comes', async () => {
    await start({ freeShell: true });
    const file = path.join(folder, 'count');
    const token = randomBytes(16);
    const call = callOf('shell', [`echo x >> ${file}; sleep 0.1; echo ran`], { token });
    const answers = await Promise.all([ask(call), ask(call), ask(call)]);
    expect(answers.every((answer) => answer.out === 'ran\n')).toBe(true);
    expect(await ask(call)).toMatchObject({ out: 'ran\n' });
    expect(await readFile(file, 'utf8')).toBe('x\n');
    // The same token for another call is another call.
    expect(await ask(callOf('shell', ['echo other'], { token }))).toMatchObject({ out: 'other\n' });
  });

  it('obeys nobody over UDP, from where an rpcbind forwards the calls of strangers, unless told to', async () => {
    await start({ commands: { echo: '/bin/echo' } });
    const udp = new ExecProgV1Client(served.udp);
    await expect(udp.call(callOf('run', ['echo']))).rejects.toMatchObject({ code: 'RPC_AUTH' });
    await expect(udp.list()).rejects.toMatchObject({ code: 'RPC_AUTH' });
    expect(logged).toMatchObject([{ event: 'refused', function: 'run' }, { event: 'refused' }]);
    await served.close();
    await start({ commands: { echo: '/bin/echo' }, freeShell: true, trustLoopbackUdp: true });
    const trusted = new ExecProgV1Client(served.udp);
    expect(await ask(callOf('run', ['echo', 'hi']), trusted)).toMatchObject({ out: 'hi\n' });
    const long = callOf('shell', ['yes | head -c 70000'], { token: randomBytes(16) });
    expect(await ask(long, trusted)).toMatchObject({ status: exec_status.EXEC_USE_TCP });
    expect((await ask(long)).out).toHaveLength(70_000);
  });

  it('logs each call before it runs and after, and who asked', async () => {
    await start({ commands: { echo: '/bin/echo' } });
    const credentials = sysCredentials({ uid: 0, gid: 0, machineName: 'liar' });
    await tcp.call(callOf('run', ['echo', 'x'.repeat(5_000)]), { credentials });
    expect(logged).toMatchObject([
      { event: 'begin', who: 'uid 0 of liar?', function: 'run' },
      { event: 'end', outcome: 'EXEC_EXITED 0' },
    ]);
    expect(logged[0]?.from).toMatch(/^tcp 127\.0\.0\.1:\d+$/);
    expect(logged[0]?.args.length).toBeLessThan(1_100);
  });

  it('refuses to be offered beyond this host without an authenticated flavor', async () => {
    await start();
    const on = (netid: Listener['netid'], address: string): Listener => ({
      ...served.server.listeners[0]!,
      netid,
      address,
    });
    for (const address of ['0.0.0.0', '10.0.0.1', '::', '::ffff:10.0.0.1', '128.0.0.1', '2001:db8::1'])
      expect(exec.refuses([on('tcp', '127.0.0.1'), on('tcp', address)])).toContain(address);
    expect(exec.refuses([on('tcp', '127.0.0.1'), on('tcp6', '::1'), on('local', '/run/x')])).toBeUndefined();
    expect(createExec({ hasAuthenticatedFlavor: true }).refuses([on('tcp', '0.0.0.0')])).toBeUndefined();
  });

  it('can only be made with absolute paths and limits that make sense', async () => {
    await start();
    expect(() => createExec({ commands: { ls: 'ls' } })).toThrow('absolute path');
    expect(() => createExec({ maxOutputBytes: 1024 * 1024 + 1 })).toThrow('maxOutputBytes');
  });
});
