/**
 * `npm run soak -- faults [seconds] [seed]`: the daemon is ended, again and again, in the worst moments: killed while it
 * registers, killed while it writes its journal anew, on a disk that is full, with files whose dates are wrong, out of
 * descriptors, among hostile connections. After each start its table must be what was acknowledged; of a call that got
 * no answer, either is right. Needs Linux, root and unshare.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { watch } from 'node:fs';
import { open, readdir, rm, utimes } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectRpcbind, type RpcbindClient } from '../rpcbind/index.js';
import { ReplyError } from '../runtime/index.js';
import { randomFrom } from './random.js';

const DEFAULT_SECONDS = 600;
const ENTRY = fileURLToPath(import.meta.url);
const FOLDER = '/run/state';
/** Of the disk that holds the folder: a journal of some thousand lines fills it. */
const DISK_BYTES = 1024 * 1024;
const PROGRAM = 0x2000_0700;
/** Registrations that are made and taken back, in any order. */
const KEYS = 400;
/** Calls under way at a time. */
const CALLERS = 16;
const MAX_ROUND_MS = 2_000;
const CALL_MS = 10_000;
/** Descriptors of a daemon that is to run out of them: Node needs about 70 while it loads the modules, and 25 after that. */
const FEW_DESCRIPTORS = 96;

const NETWORK = `set -eu
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mkdir ${FOLDER}; mount -t tmpfs -o mode=755,size=${DISK_BYTES} tmpfs ${FOLDER}
exec "$@"
`;

const FAULTS = ['kill', 'rewrite', 'stop', 'disk', 'descriptors'] as const;
type Fault = (typeof FAULTS)[number];

/** What a registration may be, as far as the caller can know; undefined where there is none. */
type Possible = readonly (number | undefined)[];

/** Runs it in namespaces of its own; exit code 1 where something acknowledged was lost. */
export async function faultsBench(words: readonly string[]): Promise<void> {
  const seconds = Number(words[0] ?? DEFAULT_SECONDS);
  const seed = Number(words[1] ?? Math.floor(Math.random() * 0x1_0000_0000));
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !(seconds > 0)) {
    console.error('faults: needs Linux and root; usage: npm run soak -- faults [seconds] [seed]');
    process.exitCode = 2;
    return;
  }
  const script = ['-c', NETWORK, 'bash', process.execPath, ENTRY, String(seconds), String(seed)];
  const child = spawn('unshare', ['-nmpf', '--kill-child', '--mount-proc', 'bash', ...script], {
    stdio: 'inherit',
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => child.kill('SIGKILL'));
  process.exitCode = await new Promise<number>((done) => child.on('close', (code) => done(code ?? 1)));
}

/** The table as the caller knows it, and what was found wrong. */
class Model {
  readonly keys: Possible[] = Array.from({ length: KEYS }, () => [undefined]);
  readonly busy = new Set<number>();
  readonly faults: string[] = [];
  acknowledged = 0;
  refused = 0;
  unanswered = 0;

  /** Compares the table, and takes what is there for what is known. */
  compare(rows: ReadonlyMap<number, number>, when: string): void {
    this.keys.forEach((possible, key) => {
      const found = rows.get(key);
      if (!possible.includes(found))
        this.faults.push(`${when}: registration ${key} is ${found}, and was ${possible.join(' or ')}`);
      this.keys[key] = [found];
    });
  }
}

async function inside(seconds: number, seed: number): Promise<void> {
  const random = randomFrom(seed);
  const pick = (below: number): number => Math.floor(random() * below);
  const model = new Model();
  const counts = new Map<Fault, number>();
  console.log(`faults for ${seconds} s, seed ${seed}`);
  const end = performance.now() + seconds * 1_000;
  let rounds = 0;
  for (; performance.now() < end && model.faults.length === 0; rounds++) {
    const fault = FAULTS[rounds % FAULTS.length] as Fault;
    counts.set(fault, (counts.get(fault) ?? 0) + 1);
    await round(model, fault, pick, `round ${rounds} (${fault})`);
    // A clock that was set back or forward leaves any date on them.
    for (const file of await readdir(FOLDER)) {
      const at = Date.now() / 1_000 + pick(200_000) - 100_000;
      await utimes(path.join(FOLDER, file), at, at).catch(() => undefined);
    }
  }
  const { acknowledged, refused, unanswered, faults } = model;
  for (const each of faults.slice(0, 20)) console.log(`fault: ${each}`);
  console.log(
    `${rounds} rounds (${[...counts].map(([name, count]) => `${name} ${count}`).join(', ')}): ${acknowledged} calls ` +
      `acknowledged, ${refused} refused, ${unanswered} without an answer, ${faults.length} faults`,
  );
  process.exit(faults.length === 0 && acknowledged > 0 ? 0 : 1);
}

/** Starts the daemon, compares its table, calls it, and ends it by `fault`. */
async function round(
  model: Model,
  fault: Fault,
  pick: (below: number) => number,
  name: string,
): Promise<void> {
  const daemon = await start(fault === 'descriptors');
  const client = await connectRpcbind({ host: '127.0.0.1', transport: 'tcp', timeoutMs: CALL_MS });
  const hostile: net.Socket[] = [];
  try {
    model.compare(await tableOf(client), name);
    const filler = fault === 'disk' ? await fillDisk(pick(16_384)) : undefined;
    const until = performance.now() + pick(MAX_ROUND_MS) + 50;
    let isOver = false;
    const isDone = (): boolean => isOver || performance.now() > until || daemon.exitCode !== null;
    if (fault === 'rewrite') killAtRewrite(daemon, () => (isOver = true));
    const number = fault === 'descriptors' ? 3 * FEW_DESCRIPTORS : 20;
    for (let i = 0; i < number; i++) hostile.push(hostileConnection(pick));
    await Promise.all(Array.from({ length: CALLERS }, () => callUntil(isDone, client, model, pick)));
    if (!daemon.killed && fault === 'disk' && pick(2) === 0 && filler !== undefined) {
      await rm(filler);
      await callUntil(() => performance.now() > until + 100, client, model, pick);
    }
    if (!daemon.killed) {
      // Nothing is under way now: the table is exactly what was acknowledged, but for calls that got no answer.
      model.compare(await tableOf(client), `${name}, before its end`);
      if (daemon.exitCode !== null) model.faults.push(`${name}: the daemon ended by itself`);
    }
    await stop(daemon, fault === 'stop' || (fault === 'disk' && pick(2) === 0) ? 'SIGTERM' : 'SIGKILL');
    if (filler !== undefined) await rm(filler, { force: true });
  } finally {
    for (const socket of hostile) socket.destroy();
    await client.close();
    await stop(daemon, 'SIGKILL');
  }
}

async function callUntil(
  isDone: () => boolean,
  client: RpcbindClient,
  model: Model,
  pick: (below: number) => number,
): Promise<void> {
  while (!isDone()) {
    const key = pick(KEYS);
    if (model.busy.has(key)) {
      await new Promise((again) => setImmediate(again));
      continue;
    }
    model.busy.add(key);
    await change(client, model, key, pick).finally(() => model.busy.delete(key));
  }
}

/** One SET or UNSET of a key whose registration is known; one that is in doubt is taken back first. */
async function change(
  client: RpcbindClient,
  model: Model,
  key: number,
  pick: (below: number) => number,
): Promise<void> {
  const before = model.keys[key] as Possible;
  const isSet = before.length === 1 && before[0] === undefined;
  const port = isSet ? 1_024 + pick(60_000) : undefined;
  // Until the answer is here, either may be.
  model.keys[key] = [...before, port];
  const of = { program: PROGRAM + key, version: 1 };
  try {
    const isDone = await (port === undefined
      ? client.unset(of)
      : client.set({ ...of, protocol: 'udp', port }));
    if (!isDone && before.length === 1)
      model.faults.push(
        `registration ${key}: ${isSet ? 'SET' : 'UNSET'} was refused, and it was ${before[0]}`,
      );
    model.keys[key] = [port];
    model.acknowledged += 1;
  } catch (error) {
    // Refused as a whole where it could not be written; else there was no answer.
    if (error instanceof ReplyError) {
      model.keys[key] = before;
      model.refused += 1;
    } else {
      model.unanswered += 1;
      await new Promise((again) => setTimeout(again, 5));
    }
  }
}

async function tableOf(client: RpcbindClient): Promise<Map<number, number>> {
  const rows = await client.dump();
  return new Map(
    rows.flatMap(({ program, port }) =>
      program >= PROGRAM && program < PROGRAM + KEYS ? [[program - PROGRAM, port] as const] : [],
    ),
  );
}

async function start(hasFewDescriptors: boolean): Promise<ChildProcess> {
  const limit = hasFewDescriptors ? ['prlimit', `--nofile=${FEW_DESCRIPTORS}`] : [];
  const script = path.join(path.dirname(ENTRY), '../cli/rpcbind-ts/main.js');
  const args = ['--host', '127.0.0.1', '--no-local', '--keep-stale', '--state-dir', FOLDER];
  const [file = '', ...rest] = [...limit, process.execPath, script, ...args];
  const daemon = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [daemon.stdout, daemon.stderr])
    stream?.on('data', (text: Buffer) => {
      output = (output + text.toString()).slice(-2_000);
    });
  const limitAt = performance.now() + 20_000;
  while (!output.includes('serving on')) {
    if (daemon.exitCode !== null || performance.now() > limitAt)
      throw new Error(`the daemon did not start: ${output}`);
    await new Promise((again) => setTimeout(again, 5));
  }
  return daemon;
}

async function stop(daemon: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return;
  const ended = new Promise((done) => daemon.once('exit', done));
  daemon.kill(signal);
  await ended;
}

/** Kills the daemon as soon as there is a new journal that has not yet taken the old one's place, or just after. */
function killAtRewrite(daemon: ChildProcess, then: () => void): void {
  const watcher = watch(FOLDER, (_event, file) => {
    if (file?.endsWith('.journal.new') !== true) return;
    daemon.kill('SIGKILL');
    watcher.close();
    then();
  });
  daemon.once('exit', () => watcher.close());
}

/** Fills the disk but for `left` bytes. Returns the file that does. */
async function fillDisk(left: number): Promise<string> {
  const name = path.join(FOLDER, 'filler');
  const file = await open(name, 'w');
  const piece = Buffer.alloc(4_096);
  let size = 0;
  try {
    for (; size < DISK_BYTES; size += piece.length) await file.writeFile(piece);
  } catch {
    // Full, as was wanted.
  }
  await file.truncate(Math.max(0, size - left));
  await file.close();
  return name;
}

/** A connection that says half a record, garbage, or nothing. */
function hostileConnection(pick: (below: number) => number): net.Socket {
  const socket = net.connect({ host: '127.0.0.1', port: 111, localAddress: `127.0.1.${1 + pick(250)}` });
  socket.on('error', () => undefined);
  const kind = pick(3);
  if (kind === 0) socket.write(Buffer.from('80002000', 'hex'));
  else if (kind === 1) socket.write(Buffer.from(Array.from({ length: 64 }, () => pick(256))));
  return socket;
}

if (process.argv[1] === ENTRY) await inside(Number(process.argv[2]), Number(process.argv[3]));
