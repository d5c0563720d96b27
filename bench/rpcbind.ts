/**
 * `npm run bench -- rpcbind [rounds]`: our daemon beside Debian's rpcbind, each in a network of its
 * own on port 111. Every round measures all of them in turn, and ratios are of the medians of the
 * rounds, because absolute figures say little on a shared machine. Needs Linux, a C compiler, rpcbind,
 * and the right to make namespaces.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const here = import.meta.dirname;
const source = [path.join(here, 'runtime/load.c'), path.join(here, '../../bench/runtime/load.c')].find(
  (file) => existsSync(file),
);
const SECONDS = '1';
const DEFAULT_ROUNDS = 9;
/** How often a daemon is asked whether it is up, 50 ms apart. */
const MAX_TRIES = 100;
/** Longest that one command in a daemon's network may take. */
const LIMIT_MS = 120_000;
/** The program that is looked up where there are many: the last but some, so that a list is walked. */
const FIRST_PROGRAM = 0x3000_0000;
const OURS = `exec node ${path.join(here, '../cli/rpcbind-ts/main.js')} --no-state-dir --max-registrations 200000`;
const PATH = `${process.env['PATH']}:/usr/sbin:/sbin`;

/** A daemon, alone in its network. */
interface Daemon {
  readonly name: string;
  readonly process: ChildProcess;
  readonly program: number;
}

interface Measure {
  readonly perSecond: number;
  readonly p50: number;
}

/** Measures and prints the table. */
export async function rpcbindBench(words: readonly string[]): Promise<void> {
  const rounds = Number(words[0] ?? DEFAULT_ROUNDS);
  const folder = await mkdtemp(path.join(tmpdir(), 'rpcbind-bench-'));
  const daemons: Daemon[] = [];
  try {
    const load = path.join(folder, 'load');
    await run('cc', ['-O2', source ?? 'load.c', '-o', load]);
    const debian = 'chown _rpc /run/rpcbind 2>/dev/null; exec rpcbind -f -w';
    const start = async (name: string, command: string, count = 0): Promise<Daemon> => {
      const daemon = startDaemon(name, command, count);
      daemons.push(daemon);
      await fill(daemon, count, load);
      return daemon;
    };
    const few = {
      debian: await start("Debian's", debian),
      ours: await start('ours', OURS),
      plain: await start('ours, plain path', `export RPC_NATIVE=0; ${OURS}`),
    };
    const many = {
      ten: await start('ours, 10', OURS, 10),
      debian: await start("Debian's, 10 000", debian, 10_000),
      ours: await start('ours, 10 000', OURS, 10_000),
      most: await start('ours, 100 000', OURS, 100_000),
    };
    const rows: Row[] = [
      { name: 'UDP GETPORT', due: 4, words: ['udp', 'getport', '32'], over: few.ours, under: few.debian },
      {
        name: 'UDP GETPORT, plain path',
        due: 2,
        words: ['udp', 'getport', '32'],
        over: few.plain,
        under: few.debian,
      },
      { name: 'UDP GETADDR', due: 10, words: ['udp', 'getaddr', '32'], over: few.ours, under: few.debian },
      { name: 'TCP GETPORT', due: 6, words: ['tcp', 'getport', '32'], over: few.ours, under: few.debian },
      {
        name: 'UDP GETPORT of 10 000',
        due: 12,
        words: ['udp', 'getport', '32'],
        over: many.ours,
        under: many.debian,
      },
      {
        name: 'UDP GETPORT, 100 000 to 10',
        due: 0.9,
        words: ['udp', 'getport', '32'],
        over: many.most,
        under: many.ten,
      },
      {
        name: 'p50 of one UDP GETPORT',
        due: 1.3,
        words: ['udp', 'getport', '1'],
        over: few.ours,
        under: few.debian,
        isLatency: true,
      },
      {
        name: 'p50 of one TCP GETPORT',
        due: 1.3,
        words: ['tcp', 'getport', '1'],
        over: few.ours,
        under: few.debian,
        isLatency: true,
      },
    ];
    const results = rows.map(() => ({ over: [] as Measure[], under: [] as Measure[] }));
    for (let round = 0; round < rounds; round++)
      for (const [i, row] of rows.entries()) {
        results[i]?.over.push(await measure(row.over, load, row.words));
        results[i]?.under.push(await measure(row.under, load, row.words));
      }
    for (const [i, row] of rows.entries()) print(row, results[i]?.over ?? [], results[i]?.under ?? []);
  } catch (error) {
    console.log(`the bench needs cc, rpcbind, ip, nsenter and unshare: ${String(error)}`);
    process.exitCode = 1;
  } finally {
    for (const { process: one } of daemons) one.kill('SIGKILL');
    await rm(folder, { recursive: true });
  }
}

interface Row {
  readonly name: string;
  /** At least this ratio; at most, for a latency. */
  readonly due: number;
  readonly words: readonly [transport: string, what: string, outstanding: string];
  readonly over: Daemon;
  readonly under: Daemon;
  readonly isLatency?: boolean;
}

function startDaemon(name: string, command: string, count: number): Daemon {
  const script = `ip link set lo up; mount -t tmpfs tmpfs /run; mkdir -p /run/rpcbind; ${command}`;
  const child = spawn('unshare', ['-nm', 'sh', '-c', script], {
    stdio: 'ignore',
    env: { ...process.env, PATH },
  });
  return { name, process: child, program: count === 0 ? 100_000 : FIRST_PROGRAM + count - 10 };
}

/** Waits until a daemon answers, and registers so many programs. */
async function fill({ process: child }: Daemon, count: number, load: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await inside(child, [load, 'udp', '111', 'getport', '1', '0.01']);
      break;
    } catch (error) {
      if (tries > MAX_TRIES) throw error;
      await new Promise((again) => setTimeout(again, 50));
    }
  }
  if (count > 0) await inside(child, [process.execPath, path.join(here, 'rpcbind/fill.js'), String(count)]);
}

/** Runs a command in the network of a daemon. */
async function inside(of: ChildProcess, words: readonly string[]): Promise<string> {
  return (await run('nsenter', ['-t', String(of.pid), '-n', ...words], { timeout: LIMIT_MS })).stdout;
}

async function measure(of: Daemon, load: string, words: Row['words']): Promise<Measure> {
  const [transport, what, outstanding] = words;
  const line = await inside(of.process, [
    load,
    transport,
    '111',
    what,
    outstanding,
    SECONDS,
    String(of.program),
  ]);
  const [perSecond, p50] = line.trim().split(' ').map(Number);
  return { perSecond: perSecond ?? 0, p50: p50 ?? 0 };
}

function print(row: Row, over: readonly Measure[], under: readonly Measure[]): void {
  const of = (all: readonly Measure[]): number => {
    const sorted = all.map((one) => (row.isLatency ? one.p50 : one.perSecond)).sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  };
  const ratio = of(over) / of(under);
  const isGood = row.isLatency ? ratio <= row.due : ratio >= row.due;
  const unit = row.isLatency ? 'us' : 'calls/s';
  const figures = `${row.over.name} ${Math.round(of(over))} ${unit}, ${row.under.name} ${Math.round(of(under))} ${unit}`;
  const due = `${row.isLatency ? 'at most' : 'at least'} ${row.due}`;
  console.log(
    `${row.name.padEnd(28)} ${ratio.toFixed(2).padStart(6)}  (${due}${isGood ? '' : ': MISSED'})  ${figures}`,
  );
}
