/**
 * `npm run bench -- runtime [rounds]`: our server and client beside those of C (rpcgen and libtirpc),
 * gRPC and bare Node sockets. Every round measures all of them in turn, and ratios are of the medians
 * of the rounds, because absolute figures say little on a shared machine.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { loadGrpc } from './runtime/grpc.js';

const run = promisify(execFile);
const here = import.meta.dirname;
/** Beside the sources where it runs from them, in dist otherwise. */
const sources = [path.join(here, 'runtime'), path.join(here, '../../bench/runtime')].find((folder) =>
  existsSync(path.join(folder, 'load.x')),
);
const SECONDS = '0.8';
const OUTSTANDING = '32';
/** gRPC is slow for its first second, until the engine has compiled it; that is not what is asked. */
const UNARY_SECONDS = '4';

/** Results of all rounds, by name. */
class Results {
  private readonly values = new Map<string, number[]>();

  add(name: string, value: number): void {
    this.values.set(name, [...(this.values.get(name) ?? []), value]);
  }

  median(name: string): number | undefined {
    const sorted = [...(this.values.get(name) ?? [])].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)];
  }

  ratio(a: string, b: string): number | undefined {
    const [above, below] = [this.median(a), this.median(b)];
    return above === undefined || below === undefined ? undefined : above / below;
  }
}

async function buildPeers(folder: string): Promise<boolean> {
  if (sources === undefined) return false;
  const shell = [
    'for part in "-h load.h" "-c load_xdr.c" "-l load_clnt.c" "-m load_svc.c"; do set -- $part; rpcgen $1 -o $2 load.x; done',
    'flags="-O2 -w -I/usr/include/tirpc -I."',
    'cc $flags server.c load_xdr.c load_svc.c -o server -ltirpc',
    'cc $flags client.c load_xdr.c load_clnt.c -o client -ltirpc',
    'cc -O2 load.c -o load',
  ].join(' && ');
  try {
    await run('sh', ['-c', `cp "$0"/*.c "$0"/load.x . && ${shell}`, sources], { cwd: folder });
    return true;
  } catch (error) {
    const reason = error instanceof Error ? (error.message.trim().split('\n').at(-1) ?? '') : String(error);
    console.log(`no peers in C: ${reason} (needs cc, rpcgen and libtirpc-dev)`);
    return false;
  }
}

/** Milliseconds of processor that a process has used, in steps of 10. Less noisy on a shared machine than calls a second. */
function processorMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

interface Running {
  readonly pid: number;
  readonly udp: string;
  readonly tcp: string;
  stop(): Promise<void>;
}

async function start(command: string, words: readonly string[]): Promise<Running> {
  const child: ChildProcess = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (bytes: Buffer) => resolve(bytes.toString()));
    child.once('exit', (code) => reject(new Error(`${words.join(' ')} ended with code ${code}`)));
  });
  const [udp = '', tcp = ''] = line.trim().split(' ');
  return {
    pid: child.pid ?? 0,
    udp,
    tcp,
    stop: () =>
      new Promise((resolve) => {
        child.removeAllListeners('exit');
        if (child.exitCode !== null || child.signalCode !== null) {
          console.log(`${command} ${words.join(' ')} ended by itself: ${child.exitCode ?? child.signalCode}`);
          resolve();
          return;
        }
        child.once('exit', () => resolve());
        child.kill('SIGKILL');
      }),
  };
}

const node = (file: string, ...words: string[]): [string, string[]] => [
  process.execPath,
  [path.join(here, 'runtime', `${file}.js`), ...words],
];

async function numbers(command: string, words: readonly string[]): Promise<number[]> {
  const { stdout } = await run(command, [...words]);
  return stdout.trim().split(' ').map(Number);
}

async function measureServers(folder: string, results: Results): Promise<void> {
  const servers: [string, [string, string[]]][] = [
    ['c', [path.join(folder, 'server'), []]],
    ['native', node('server', 'native')],
    ['cached', node('server', 'cached')],
    ['plain', node('server', 'plain')],
    ['bare', node('server', 'bare')],
    ['bareNative', node('server', 'bareNative')],
  ];
  for (const [name, [command, words]] of servers) {
    const server = await start(command, words);
    try {
      for (const way of ['udp', 'tcp'] as const)
        for (const what of ['null', 'small']) {
          if (server[way] === '0' || (name.startsWith('bare') && what === 'small')) continue;
          if (way === 'tcp' && (name === 'plain' || name === 'cached')) continue;
          const load = [way, server[way], what, OUTSTANDING];
          await numbers(path.join(folder, 'load'), [...load, '0.5']);
          const before = processorMs(server.pid);
          const [rate = 0] = await numbers(path.join(folder, 'load'), [...load, SECONDS]);
          results.add(`server ${name} ${way} ${what}`, rate);
          const usedMs = processorMs(server.pid) - before;
          results.add(`processor ${name} ${way} ${what}`, (usedMs * 1_000) / (rate * Number(SECONDS)));
        }
    } finally {
      await server.stop();
    }
  }
}

async function measureClients(folder: string, results: Results): Promise<void> {
  const server = await start(path.join(folder, 'server'), []);
  try {
    for (const what of ['null', 'small'])
      for (const way of ['udp', 'tcp'] as const) {
        const c = [way, server[way], what, SECONDS];
        results.add(`client c ${way} ${what}`, (await numbers(path.join(folder, 'client'), c))[0] ?? 0);
        const kinds = way === 'udp' ? ['udp', 'plain'] : ['tcp'];
        for (const kind of kinds) {
          const [command, words] = node('client', kind, server[way], what, '64', SECONDS);
          results.add(`client ${kind} ${way} ${what}`, (await numbers(command, words))[0] ?? 0);
        }
      }
  } finally {
    await server.stop();
  }
}

/** One call at a time, ours against ours and bare against bare: median latencies. */
async function measureLatency(results: Results): Promise<void> {
  const [ours, bare] = [await start(...node('server', 'native')), await start(...node('server', 'bare'))];
  try {
    for (const [kind, server] of [
      ['udp', ours],
      ['bareUdp', bare],
      ['tcp', ours],
      ['bareTcp', bare],
    ] as const) {
      const port = kind.toLowerCase().endsWith('udp') ? server.udp : server.tcp;
      const [rate = 0] = await numbers(...node('client', kind, port, 'null', '1', SECONDS));
      results.add(`latency ${kind}`, 1e6 / rate);
    }
  } finally {
    await ours.stop();
    await bare.stop();
  }
}

async function measureGrpc(results: Results): Promise<void> {
  const [ours, grpc] = [await start(...node('server', 'native')), await start(...node('server', 'grpc'))];
  try {
    for (const [kind, port] of [
      ['tcp', ours.tcp],
      ['grpc', grpc.tcp],
    ] as const) {
      const [rate = 0] = await numbers(...node('client', kind, port, 'small', '64', UNARY_SECONDS));
      results.add(`unary ${kind}`, rate);
    }
  } finally {
    await ours.stop();
    await grpc.stop();
  }
}

/** What must be shown: the ratio's name, above, below, and the least it may be. */
const TARGETS: readonly [string, string, string, number][] = [
  ...['null', 'small'].flatMap((what): [string, string, string, number][] => [
    [`server UDP ${what}, fast, to C`, `server native udp ${what}`, `server c udp ${what}`, 1.2],
    [`server UDP ${what}, plain, to C`, `server plain udp ${what}`, `server c udp ${what}`, 0.5],
    [`server TCP ${what} to C`, `server native tcp ${what}`, `server c tcp ${what}`, 1.8],
    [`client UDP ${what}, 64 at a time, to C`, `client udp udp ${what}`, `client c udp ${what}`, 3],
    [`client UDP ${what}, plain, to C`, `client plain udp ${what}`, `client c udp ${what}`, 3],
    [`client TCP ${what}, 64 at a time, to C`, `client tcp tcp ${what}`, `client c tcp ${what}`, 6],
  ]),
  ['server UDP small with the duplicate cache, to C', 'server cached udp small', 'server c udp small', 0],
  ['server TCP null to bare Node', 'server native tcp null', 'server bare tcp null', 0.6],
  ['server UDP null, plain, to bare Node', 'server plain udp null', 'server bare udp null', 0.7],
  ['server UDP null, fast, to bare koffi', 'server native udp null', 'server bareNative udp null', 0.7],
  ['unary calls to gRPC', 'unary tcp', 'unary grpc', 4],
];

/** One call at a time may take this many times as long as on bare sockets. */
const MOST_LATENCY = 1.3;

/** Runs the bench; prints a line for each ratio, and what it should be. */
export async function runtimeBench(words: readonly string[]): Promise<void> {
  const rounds = Number(words[0] ?? 5);
  const folder = await mkdtemp(path.join(tmpdir(), 'rpc-bench-'));
  const results = new Results();
  try {
    const hasC = await buildPeers(folder);
    const hasGrpc = loadGrpc() !== undefined;
    if (!hasGrpc) console.log('no gRPC: @grpc/grpc-js is not installed');
    for (let round = 1; round <= rounds; round++) {
      if (hasC) await measureServers(folder, results);
      if (hasC) await measureClients(folder, results);
      await measureLatency(results);
      if (hasGrpc) await measureGrpc(results);
      console.log(`round ${round} of ${rounds}`);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
  for (const [name, above, below, least] of TARGETS) {
    const ratio = results.ratio(above, below);
    if (ratio === undefined) continue;
    const [a = 0, b = 0] = [results.median(above), results.median(below)];
    const verdict =
      least === 0 ? '' : ratio >= least ? `at least ${least}: met` : `at least ${least}: NOT MET`;
    console.log(
      `${name.padEnd(50)}${ratio.toFixed(2).padStart(7)}x  ${Math.round(a)} to ${Math.round(b)}  ${verdict}`,
    );
  }
  for (const way of ['Udp', 'Tcp']) {
    const ratio = results.ratio(`latency ${way.toLowerCase()}`, `latency bare${way}`);
    if (ratio === undefined) continue;
    const verdict = ratio <= MOST_LATENCY ? 'met' : 'NOT MET';
    const [a = 0, b = 0] = [
      results.median(`latency ${way.toLowerCase()}`),
      results.median(`latency bare${way}`),
    ];
    console.log(
      `${`latency ${way.toUpperCase()}, one at a time, to bare Node`.padEnd(50)}${ratio.toFixed(2).padStart(7)}x  ${a.toFixed(1)} to ${b.toFixed(1)} us  at most ${MOST_LATENCY}: ${verdict}`,
    );
  }
  for (const way of ['udp', 'tcp'])
    for (const what of ['null', 'small'])
      for (const name of ['c', 'native', 'cached', 'plain', 'bare', 'bareNative']) {
        const each = results.median(`processor ${name} ${way} ${what}`);
        if (each !== undefined)
          console.log(
            `${`processor a call, ${way} ${what}, ${name}`.padEnd(50)}${each.toFixed(2).padStart(7)} us`,
          );
      }
}
