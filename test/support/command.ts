/** Running the built commands as a person would: a process, its output, its exit code. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import path from 'node:path';
import { bin, root } from './sandbox.js';
import { until } from './until.js';

/** How a command ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The file of a built command; `start` is what `npm start` runs. */
function fileOf(name: string): string {
  return name === 'start' ? path.join(root, 'dist/scripts/start.js') : path.join(bin, `${name}/main.js`);
}

/** Runs a built command to its end; one that takes longer than `limitMs` is ended. */
export function runCommand(
  name: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  limitMs = 20_000,
): Promise<Ended> {
  const file = fileOf(name);
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [file, ...args],
      { env: { ...process.env, ...env }, timeout: limitMs },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ code, stdout, stderr });
      },
    );
  });
}

/** A command that stays up. */
export interface Running {
  readonly process: ChildProcess;
  output(): string;
  /** Sends a signal and waits for the end; the exit code, or null where the signal itself ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Starts a built command and waits until it has printed what matches `ready`. */
export async function startCommand(
  name: string,
  args: readonly string[],
  ready: RegExp,
  env: NodeJS.ProcessEnv = {},
): Promise<Running> {
  const child = spawn(process.execPath, [fileOf(name), ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (output += String(text)));
  const ended = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
  await until(() => ready.test(output) || child.exitCode !== null, 15_000, `${ready} from ${name}`).catch(
    (error: unknown) => {
      child.kill('SIGKILL');
      throw error;
    },
  );
  if (!ready.test(output)) throw new Error(`${name} ended with ${child.exitCode}: ${output}`);
  return {
    process: child,
    output: () => output,
    stop(signal = 'SIGTERM') {
      child.kill(signal);
      return ended;
    },
  };
}
