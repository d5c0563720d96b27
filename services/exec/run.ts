/**
 * One process with everything it starts, within bounds of time, output and number; when it is over,
 * nothing of it runs. It knows no calls and no encodings.
 */

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import os from 'node:os';
import { exec_end } from './exec.gen.js';
import { countRun, endRun, MARK_VARIABLE, signalGroup } from './processes.js';

/** Bounds of one run. */
export interface RunLimits {
  /** Milliseconds until everything is killed. SIGTERM comes {@link GRACE_MS} before, where there is time for it. */
  readonly timeMs: number;
  /** Most bytes of each output; who writes more is killed. */
  readonly outputBytes: number;
  /** Most processes at a time (Linux); who starts more is killed. */
  readonly processes: number;
}

/** What is run. */
export interface RunRequest extends RunLimits {
  /** Path of the program. No shell comes between. */
  readonly file: string;
  readonly args: readonly string[];
  readonly input: Uint8Array;
  /** The whole environment, to which only the mark is added. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** Fires when nobody waits for the outcome any more; everything is killed. */
  readonly signal: AbortSignal | undefined;
}

/** How it ended, and what it wrote. */
export interface RunOutcome {
  readonly end: exec_end;
  /** Exit code, or the number of the signal that ended it. */
  readonly code: number;
  readonly out: Uint8Array;
  readonly err: Uint8Array;
}

/** Time between SIGTERM and SIGKILL: 500 ms. */
export const GRACE_MS = 500;
/** How often the processes of a run are counted. */
const COUNT_MS = 100;
/** Longest wait for outputs that somebody else holds open after the end. */
const CLOSE_MS = 1_000;

/**
 * Runs a program to its end. Rejects with the system's error where it cannot be started (ENOENT,
 * EACCES, E2BIG, EAGAIN), TypeError for an argument with a NUL.
 */
export function run(request: RunRequest): Promise<RunOutcome> {
  const mark = randomUUID();
  return new Promise((resolve, reject) => {
    const child = spawn(request.file, [...request.args], {
      cwd: request.cwd,
      env: { ...request.env, [MARK_VARIABLE]: mark },
      // A session, and so a process group, of its own: what it starts can be ended with it.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const { pid } = child;
    if (pid === undefined) {
      child.once('error', reject);
      return;
    }
    let end: exec_end | undefined;
    const kill = (why: exec_end): void => {
      end ??= why;
      endRun(pid, mark);
    };
    const timers = [setTimeout(() => kill(exec_end.EXEC_TIME_LIMIT), request.timeMs)];
    if (request.timeMs > 2 * GRACE_MS)
      timers.push(
        setTimeout(() => {
          end ??= exec_end.EXEC_TIME_LIMIT;
          signalGroup(pid, 'SIGTERM');
        }, request.timeMs - GRACE_MS),
      );
    const counting = setInterval(() => {
      if (countRun(pid, mark) > request.processes) kill(exec_end.EXEC_PROCESS_LIMIT);
    }, COUNT_MS);
    const onAbort = (): void => kill(exec_end.EXEC_SIGNALLED);
    request.signal?.addEventListener('abort', onAbort);
    if (request.signal?.aborted) onAbort();
    const onTooMuch = (): void => kill(exec_end.EXEC_OUTPUT_LIMIT);
    const out = collect(child.stdout, request.outputBytes, onTooMuch);
    const err = collect(child.stderr, request.outputBytes, onTooMuch);
    // Who does not read its input loses it; that is no failure.
    child.stdin.on('error', () => undefined);
    child.stdin.end(request.input);
    child.on('error', () => undefined);
    child.once('exit', () => {
      // What it left in the background goes too: it may hold the outputs open for ever.
      endRun(pid, mark);
      timers.push(
        setTimeout(() => {
          child.stdout.destroy();
          child.stderr.destroy();
        }, CLOSE_MS),
      );
    });
    child.once('close', (code, signal) => {
      for (const timer of timers) clearTimeout(timer);
      clearInterval(counting);
      request.signal?.removeEventListener('abort', onAbort);
      const number = signal === null ? (code ?? 0) : os.constants.signals[signal];
      resolve({
        end: end ?? (signal === null ? exec_end.EXEC_EXITED : exec_end.EXEC_SIGNALLED),
        code: number,
        out: out(),
        err: err(),
      });
    });
  });
}

/** Keeps up to `most` bytes of a stream; the function returned gives them. */
function collect(stream: NodeJS.ReadableStream, most: number, onTooMuch: () => void): () => Uint8Array {
  const chunks: Uint8Array[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    if (size + chunk.length > most) onTooMuch();
    const kept = chunk.subarray(0, most - size);
    size += kept.length;
    if (kept.length > 0) chunks.push(kept);
  });
  stream.on('error', () => undefined);
  return () => Buffer.concat(chunks);
}
