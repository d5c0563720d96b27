/**
 * `npm run soak -- siege [minutes]`: the daemon under attack. An honest client registers, looks up and
 * takes back a hundred times a second while eight kinds of attackers run two at a time, as nobody on the
 * same host and on another host. Nothing that was acknowledged may be lost or changed; the 99th percentile
 * is compared with stretches in which idle loops take the same processor time and attack nothing; memory
 * is compared with what it was after a minute. Needs Linux, root, unshare and ip.
 */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ATTACKS, LOCAL_ATTACKS, REMOTE_ATTACKS, type Scene } from './siege/attacks.js';
import { Honest } from './siege/honest.js';

const DEFAULT_MINUTES = 30;
/** Of each stretch under attack, this share again is measured beside loops that attack nothing. */
const CONTROL_SHARE = 0.5;
const MAX_P99_RATIO = 2;
const MAX_GROWTH_BYTES = 64 * 1024 * 1024;
const WARM_UP_MS = 60_000;
const NOBODY = 65_534;
/** The clock of /proc/PID/stat: ticks a second. */
const TICKS = 100;

const ENTRY = fileURLToPath(import.meta.url);

const NETWORK = `set -eu
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir -p /run/rpcbind /run/netns
ip netns add attacker; ip netns add honest
ip link add bridge0 type bridge; ip addr add 10.9.0.1/24 dev bridge0; ip link set bridge0 up
for host in attacker honest; do
  ip link add "$host" type veth peer name eth0 netns "$host"
  ip link set "$host" master bridge0; ip link set "$host" up
  ip -n "$host" link set lo up; ip -n "$host" link set eth0 up
done
ip -n honest addr add 10.9.0.3/24 dev eth0
for last in $(seq 16 47) $(seq 144 151); do ip -n attacker addr add 10.9.0.$last/24 dev eth0; done
# The attacker sends in the name of the honest host and of loopback; this host lets such packets in.
ip -n attacker addr add 10.9.0.3/32 dev lo
for name in all default eth0; do ip netns exec attacker sysctl -qw net.ipv4.conf.$name.route_localnet=1; done
sysctl -qw net.ipv4.conf.bridge0.route_localnet=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.bridge0.rp_filter=0
exec "$@"
`;

const SCENE: Omit<Scene, 'ports'> = {
  daemon: '10.9.0.1',
  allowed: Array.from({ length: 32 }, (_, i) => `10.9.0.${16 + i}`),
  refused: Array.from({ length: 8 }, (_, i) => `10.9.0.${144 + i}`),
  forged: '10.9.0.3',
  firstProgram: 0x2000_7000,
  programs: 1_000,
};

/** Runs it all in namespaces of its own, which end with it; exit code 1 where a bound is not kept. */
export async function siegeBench(words: readonly string[]): Promise<void> {
  const minutes = Number(words[0] ?? DEFAULT_MINUTES);
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !(minutes > 0)) {
    console.error('siege: needs Linux and root; usage: npm run soak -- siege [minutes]');
    process.exitCode = 2;
    return;
  }
  const script = ['-c', NETWORK, 'bash', process.execPath, '--expose-gc', ENTRY, 'inside', String(minutes)];
  const child = spawn('unshare', ['-nmpf', '--kill-child', '--mount-proc', 'bash', ...script], {
    stdio: 'inherit',
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => child.kill('SIGKILL'));
  process.exitCode = await new Promise<number>((done) => child.on('close', (code) => done(code ?? 1)));
}

async function inside(minutes: number): Promise<void> {
  const daemon = spawn(
    process.execPath,
    [
      path.join(path.dirname(ENTRY), '../cli/rpcbind-ts/main.js'),
      ...['-s', '-r', '--allow', '10.9.0.0/25', '--log-format', 'json'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let log = '';
  const keep = (chunk: Buffer): void => {
    log = (log + chunk.toString('latin1')).slice(-4_000);
  };
  daemon.stdout.on('data', keep);
  daemon.stderr.on('data', keep);
  await until(
    () => log.includes('serving on'),
    () => `the daemon did not start: ${log}`,
  );
  const honest = new Honest(SCENE.firstProgram, SCENE.programs);
  await honest.open();
  const scene: Scene = { ...SCENE, ports: honest.ports };
  honest.start();
  await pause(WARM_UP_MS / 6);
  honest.takeLatency();

  const pairs = ATTACKS.flatMap((a, i) => ATTACKS.slice(i + 1).map((b) => [a, b] as const));
  const stretchMs = (minutes * 60_000) / pairs.length;
  const [attacked, calm]: [number[], number[]] = [[], []];
  const startedAt = performance.now();
  let memoryAfterMinute = 0;
  let peak = 0;
  for (const pair of pairs) {
    const children = pair.map((kind) => startAttack(kind, scene));
    const share = await stretch(honest, stretchMs, children, () => {
      const now = memoryOf(daemon);
      if (performance.now() - startedAt > WARM_UP_MS && memoryAfterMinute === 0) memoryAfterMinute = now;
      peak = Math.max(peak, now);
    });
    for (const child of children) await stop(child);
    attacked.push(honest.takeLatency().p99Ms);
    const burners = share.map(startBurner);
    await stretch(honest, stretchMs * CONTROL_SHARE, burners, () => undefined);
    for (const child of burners) await stop(child);
    calm.push(honest.takeLatency().p99Ms);
    const { faults, cycles } = honest.findings();
    console.log(
      `${pair.join('+')}: p99 ${last(attacked)} ms, ${last(calm)} ms beside idle loops of ` +
        `${share.map((one) => one.toFixed(2)).join('+')} processors; ${cycles} cycles, ${faults.length} faults, ` +
        `memory ${mib(memoryOf(daemon))} MiB`,
    );
  }
  await honest.check();
  const end = memoryOf(daemon);
  const { faults, cycles, checks } = honest.findings();
  const isAlive = daemon.exitCode === null && daemon.signalCode === null;
  await honest.close();
  await stop(daemon);
  const ratio = median(attacked) / median(calm);
  const worst = Math.max(...attacked.map((one, i) => one / (calm[i] as number)));
  for (const fault of faults) console.log(`fault: ${fault}`);
  console.log(`${cycles} cycles, ${checks} comparisons of the table, ${faults.length} faults`);
  console.log(
    `p99 ${ratio.toFixed(2)} times that beside idle loops (at most ${MAX_P99_RATIO}); worst pair ${worst.toFixed(2)}`,
  );
  console.log(
    `memory ${mib(memoryAfterMinute)} MiB after a minute, ${mib(peak)} at most, ${mib(end)} at the end ` +
      `(at most ${mib(MAX_GROWTH_BYTES)} more)`,
  );
  if (!isAlive) console.log(`the daemon ended: ${log}`);
  const isGood = isAlive && faults.length === 0 && ratio <= MAX_P99_RATIO;
  process.exit(isGood && peak - memoryAfterMinute <= MAX_GROWTH_BYTES ? 0 : 1);
}

/** Waits, comparing the table each second; returns the processors that each child took. */
async function stretch(
  honest: Honest,
  ms: number,
  children: readonly ChildProcess[],
  eachSecond: () => void,
): Promise<number[]> {
  const startedAt = performance.now();
  const before = children.map(processorMs);
  while (performance.now() - startedAt < ms) {
    await pause(Math.min(1_000, Math.max(1, ms - (performance.now() - startedAt))));
    await honest.check();
    eachSecond();
  }
  const passed = performance.now() - startedAt;
  return children.map((child, i) => (processorMs(child) - (before[i] as number)) / passed);
}

function startAttack(kind: string, scene: Scene): ChildProcess {
  const words = [process.execPath, ENTRY, 'attack', kind, JSON.stringify(scene)];
  const stdio = 'ignore';
  if (kind in LOCAL_ATTACKS)
    return spawn(words[0] as string, words.slice(1), { stdio, uid: NOBODY, gid: NOBODY });
  return spawn('ip', ['netns', 'exec', 'attacker', ...words], { stdio });
}

function startBurner(share: number): ChildProcess {
  return spawn(process.execPath, [ENTRY, 'burn', String(share)], {
    stdio: 'ignore',
    uid: NOBODY,
    gid: NOBODY,
  });
}

/** Takes a share of one processor, in slices of 10 ms. */
function burn(share: number): void {
  const slice = (): void => {
    const end = performance.now() + 10 * Math.min(1, share);
    while (performance.now() < end);
    setTimeout(slice, Math.max(0, 10 * (1 - share)));
  };
  slice();
}

/** User and system time of a process; the threads of Node are counted with it. */
function processorMs(child: ChildProcess): number {
  try {
    const stat = readFileSync(`/proc/${child.pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS;
  } catch {
    return 0;
  }
}

/** The resident memory of a process and those it started, in bytes. */
function memoryOf(child: ChildProcess): number {
  let pages = 0;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (Number(name) !== child.pid && Number(fields[1]) !== child.pid) continue;
      pages += Number(readFileSync(`/proc/${name}/statm`, 'latin1').split(' ')[1]);
    } catch {
      // It ended meanwhile.
    }
  }
  return pages * PAGE_BYTES;
}

const PAGE_BYTES = Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }));

function mib(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(0);
}

function last(values: readonly number[]): string {
  return (values.at(-1) ?? 0).toFixed(2);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

async function until(condition: () => boolean, complaint: () => string): Promise<void> {
  const end = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(complaint());
    await pause(20);
  }
}

function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => {
    child.once('exit', () => done());
    child.kill('SIGKILL');
  });
}

if (process.argv[1] === ENTRY) {
  const [, , role = '', ...words] = process.argv;
  if (role === 'inside') await inside(Number(words[0]));
  else if (role === 'burn') burn(Number(words[0]));
  else if (role === 'attack')
    ({ ...LOCAL_ATTACKS, ...REMOTE_ATTACKS })[words[0] ?? '']?.(JSON.parse(words[1] ?? '{}') as Scene);
}
