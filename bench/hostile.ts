/**
 * `npm run bench -- hostile [idle slow mute]`: a server with peers that do nothing, peers that send a
 * byte a second and peers that ask for much and never read, all at once, in a process of their own;
 * and one well-behaved client, whose latencies are compared with what they were alone.
 */

import { type ChildProcess, fork } from 'node:child_process';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connectTcp, createClient, createServer, type RpcServer } from '../runtime/index.js';
import { Histogram } from '../runtime/protocol.js';
import { int, opaque } from '../xdr/index.js';

const HOST = '127.0.0.1';
const base = { program: 0x2000_6041, version: 1 };
const echo = { ...base, number: 1, name: 'ECHO', args: int, result: int };
const blob = { ...base, number: 2, name: 'BLOB', args: int, result: opaque() };
const BLOB_BYTES = 100_000;
const BLOBS_ASKED = 200;
const STRETCHES = 9;

/** How many of each. */
export interface Crowd {
  readonly idle: number;
  readonly slow: number;
  readonly mute: number;
}

/** What was measured: milliseconds, bytes of memory, descriptors. */
export interface HostileResult {
  readonly aloneP99Ms: number;
  readonly crowdedP99Ms: number;
  readonly connections: number;
  readonly memoryBefore: number;
  readonly memoryDuring: number;
  readonly memoryAfter: number;
  readonly descriptorsBefore: number;
  readonly descriptorsAfter: number;
}

/** Runs the server here and its crowd in a child of this module. */
export async function hostile(crowd: Crowd, seconds: number, entry: string): Promise<HostileResult> {
  const server = serverOf();
  const total = crowd.idle + crowd.slow + crowd.mute;
  const { port } = await server.listenTcp({ host: HOST, maxConnections: total + 16 });
  const client = createClient(connectTcp({ host: HOST, port }));
  await measure(client, 0.5);
  const alone = await measureMany(client, seconds);
  const memoryBefore = await memory();
  const descriptorsBefore = descriptors();
  const child = fork(entry, ['crowd', String(port), JSON.stringify(crowd)], { execArgv: [] });
  try {
    await until(() => server.stats().connections === total + 1);
    await measure(client, 0.5);
    const crowded = await measureMany(client, seconds);
    const { connections } = server.stats();
    const memoryDuring = await memory();
    await stop(child);
    await until(() => server.stats().connections === 1);
    await measure(client, 0.2);
    return {
      ...{ aloneP99Ms: alone, crowdedP99Ms: crowded, connections },
      ...{ memoryBefore, memoryDuring, memoryAfter: await memory() },
      ...{ descriptorsBefore, descriptorsAfter: descriptors() },
    };
  } finally {
    await stop(child);
    await client.close();
    await server.close({ drainMs: 100 });
  }
}

function serverOf(): RpcServer {
  return createServer({
    services: [
      {
        ...base,
        name: 'HOSTILE',
        procedures: [
          { procedure: echo as never, handle: (value) => value },
          { procedure: blob as never, handle: (size) => new Uint8Array(size as number) },
        ],
      },
    ],
  });
}

/** The median of the 99th percentiles of several stretches: other work on the machine spoils some of them. */
async function measureMany(client: ReturnType<typeof createClient>, seconds: number): Promise<number> {
  const found: number[] = [];
  for (let i = 0; i < STRETCHES; i++) found.push(await measure(client, seconds / STRETCHES));
  return found.sort((a, b) => a - b)[Math.floor(STRETCHES / 2)] as number;
}

/** The 99th percentile of a client that has eight calls under way. */
async function measure(client: ReturnType<typeof createClient>, seconds: number): Promise<number> {
  const latency = new Histogram();
  const end = performance.now() + seconds * 1_000;
  const caller = async (): Promise<void> => {
    for (let at = performance.now(); at < end; ) {
      await client.call(echo, 1);
      const now = performance.now();
      latency.add(now - at);
      at = now;
    }
  };
  await Promise.all(Array.from({ length: 8 }, caller));
  return latency.quantile(0.99);
}

/** The crowd itself, in the child: it lives until it is killed. */
async function beCrowd(port: number, { idle, slow, mute }: Crowd): Promise<void> {
  const open = (): Promise<net.Socket> =>
    new Promise((resolve, reject) => {
      const socket = net.connect({ host: HOST, port });
      socket.once('error', reject);
      socket.once('connect', () => resolve(socket));
    });
  const all: net.Socket[] = [];
  while (all.length < idle + slow + mute)
    all.push(
      ...(await Promise.all(Array.from({ length: Math.min(100, idle + slow + mute - all.length) }, open))),
    );
  const request = record(blob.number, BLOB_BYTES);
  for (const socket of all.slice(0, mute)) {
    socket.pause();
    for (let i = 0; i < BLOBS_ASKED; i++) socket.write(request);
  }
  const whole = record(echo.number, 7);
  all.slice(mute, mute + slow).forEach((socket, i) => {
    let at = 0;
    // Spread over the second, as real ones would be.
    setTimeout(
      () => setInterval(() => socket.write(whole.subarray(at++ % whole.length).subarray(0, 1)), 1_000),
      (i * 1_000) / slow,
    );
  });
}

function record(procedure: number, argument: number): Buffer {
  const bytes = Buffer.alloc(4 + 44);
  bytes.writeUInt32BE(0x8000_0000 + 44, 0);
  [1, 0, 2, base.program, base.version, procedure, 0, 0, 0, 0, argument].forEach((word, i) => {
    bytes.writeUInt32BE(word, 4 + 4 * i);
  });
  return bytes;
}

/** What is held once the collector has done its work; closed sockets take it several turns of the loop. */
async function memory(): Promise<number> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) {
    await new Promise((next) => setTimeout(next, 100));
    collect();
    const { heapUsed, external } = process.memoryUsage();
    least = Math.min(least, heapUsed + external);
  }
  return least;
}

function descriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return 0;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error('the crowd did not come, or did not go, within 60 s');
    await new Promise((again) => setTimeout(again, 20));
  }
}

function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => {
    child.once('exit', () => done());
    child.kill('SIGKILL');
  });
}

/** 5000 idle, 500 slow, 100 that never read, unless told otherwise; exit code 1 where a bound is not kept. */
export async function hostileBench(words: readonly string[]): Promise<void> {
  const [idle = 5_000, slow = 500, mute = 100] = words.map(Number);
  const result = await hostile({ idle, slow, mute }, 9, fileURLToPath(import.meta.url));
  const ratio = result.crowdedP99Ms / result.aloneP99Ms;
  const back = result.memoryAfter / result.memoryBefore;
  console.log(JSON.stringify(result));
  console.log(`p99 ${ratio.toFixed(2)} times what it was alone (at most 2)`);
  console.log(`memory afterwards ${back.toFixed(2)} times what it was before (at most 1.2)`);
  console.log(`descriptors ${result.descriptorsBefore} before, ${result.descriptorsAfter} after`);
  if (ratio > 2 || back > 1.2 || result.descriptorsAfter > result.descriptorsBefore) process.exitCode = 1;
}

if (process.argv[2] === 'crowd' && process.argv[1] === fileURLToPath(import.meta.url))
  await beCrowd(Number(process.argv[3]), JSON.parse(process.argv[4] ?? '{}') as Crowd);
