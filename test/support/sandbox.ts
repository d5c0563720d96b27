/**
 * Tests against real programs: each runs in a network, mount and process namespace of its own, so
 * that port 111 and /run are free and everything ends with the test. What a machine lacks is named;
 * with CI=true a lack is a failure.
 */

import { execFileSync, spawn } from 'node:child_process';
import path from 'node:path';
import { describe, it } from 'vitest';
import { kernel } from './kernel.js';

/** The folder of the project. */
export const root = path.resolve(import.meta.dirname, '../..');

/** The folder of the built commands. */
export const bin = path.join(root, 'dist/cli');

const ENTER = [...(process.getuid?.() === 0 ? [] : ['-Ur']), '-nmpf', '--kill-child', '--mount-proc'];
const PRELUDE = `set -eu
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/rpcbind /run/project
mount --bind "$PROJECT" /run/project
`;

/** True where the program can be found. */
export function haveProgram(name: string): boolean {
  try {
    execFileSync('sh', ['-c', 'PATH=$PATH:/usr/sbin:/sbin command -v "$1"', 'sh', name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Programs that change their user: a sandbox that somebody else than root made has only one. */
const NEED_ROOT = new Set([
  'rpcbind',
  'setpriv',
  'rpc.statd',
  'rpc.rstatd',
  'rpc.rusersd',
  'ganesha.nfsd',
  'root',
]);

/** What is missing of a test's needs, as it is told. */
function lackOf(need: string): string | undefined {
  if (need === 'sandbox') return haveSandbox() ? undefined : need;
  if (need === 'guest') return lackOfGuest();
  if (NEED_ROOT.has(need) && process.getuid?.() !== 0) return need === 'root' ? need : `${need} as root`;
  return need === 'root' || haveProgram(need) ? undefined : need;
}

/** What is missing for a guest (guest.ts): a program, or a kernel, which is downloaded where it is not here yet. */
function lackOfGuest(): string | undefined {
  const programs = ['qemu-system-x86_64', 'busybox', 'cpio', 'modprobe', 'setpriv'];
  const lacks = programs.filter((name) => !haveProgram(name));
  if (lacks.length > 0) return lacks.join(', ');
  const found = kernel();
  return typeof found === 'string' ? found : undefined;
}

let canEnter: boolean | undefined;

/** True where namespaces may be made here. */
export function haveSandbox(): boolean {
  if (canEnter === undefined) {
    try {
      execFileSync('unshare', [...ENTER, 'bash', '-c', `${PRELUDE}true`], {
        env: { ...process.env, PROJECT: root },
        stdio: 'ignore',
        timeout: 20_000,
      });
      canEnter = true;
    } catch {
      canEnter = false;
    }
  }
  return canEnter;
}

/**
 * A group of tests that need programs; a sandbox where 'sandbox' is among them, a guest where 'guest' is, and to be root where 'root' is. Without them it
 * is skipped by name; with CI=true it fails and says what is missing.
 */
export function describeWith(needs: readonly string[], name: string, tests: () => void): void {
  const missing = needs.map(lackOf).filter((lack) => lack !== undefined);
  if (missing.length === 0) {
    describe(name, tests);
  } else if (process.env['CI'] === 'true') {
    describe(name, () => {
      it('has the programs it needs', () => {
        throw new Error(`not there: ${missing.join(', ')}`);
      });
    });
  } else {
    describe.skip(`${name} (not there: ${missing.join(', ')})`, tests);
  }
}

/** Functions that every script has. */
export const HELPERS = `wait_for() { for _ in $(seq 200); do "$@" >/dev/null 2>&1 && return 0; sleep 0.05; done; echo "never: $*" >&2; return 1; }
`;

/** How a script in a sandbox ended. */
export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Most bytes kept of each stream of a sandbox. */
export const MAX_OUTPUT_BYTES = 4 * 1024 * 1024;

/**
 * Runs a bash script in a sandbox; everything it started ends with it. The project is at /run/project,
 * where every user may read it, and `$BIN` is the folder of the built commands; `wait_for COMMAND...` polls until a command succeeds, up to 10 s. A script
 * that takes longer than `limitMs` is ended.
 */
export function sandbox(script: string, limitMs = 60_000, env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn('unshare', [...ENTER, 'bash', '-c', PRELUDE + HELPERS + script], {
      env: {
        ...process.env,
        PATH: `${process.env['PATH']}:/usr/sbin:/sbin`,
        BIN: '/run/project/dist/cli',
        PROJECT: root,
        ...env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: limitMs,
      killSignal: 'SIGKILL',
    });
    const texts = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8');
      child[name].on('data', (text: string) => {
        if (texts[name].length < MAX_OUTPUT_BYTES) texts[name] += text;
      });
    }
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...texts }));
  });
}
