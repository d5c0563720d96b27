/**
 * Threads for functions that compute for long: a pool that runs exported functions of modules, so that
 * two of them run side by side and nothing else waits. It knows no calls and no MessagePack.
 */

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { limit } from '../support/limits.js';
import { MethodFault } from './fault.js';
import { methods_code } from './methods.gen.js';

/** Bounds of a {@link WorkerPool}. */
export interface WorkerPoolOptions {
  /** Most threads. Default: as many as the machine has cores, from 2 to 4. */
  readonly maxWorkers?: number;
  /** Most calls that wait for a thread. Default {@link DEFAULT_MAX_WAITING_CALLS}. */
  readonly maxWaiting?: number;
  /** Longest one call may take in milliseconds; then its thread is ended. Default {@link DEFAULT_MAX_CALL_MS}. */
  readonly maxCallMs?: number;
  /** Most memory of a thread's values, in MiB. Default {@link DEFAULT_MAX_WORKER_MIB}. */
  readonly maxMemoryMib?: number;
}

/** Default for the calls that wait for a thread. */
export const DEFAULT_MAX_WAITING_CALLS = 256;
/** Default for the time of one call: 20 s, below the 25 s after which a client gives up. */
export const DEFAULT_MAX_CALL_MS = 20_000;
/** Default for the memory of one thread. */
export const DEFAULT_MAX_WORKER_MIB = 256;

/** What a thread runs: it imports the module a job names, calls the function and answers. */
const BOOTSTRAP = `
const { parentPort } = require('node:worker_threads');
parentPort.on('message', async ({ module, name, params }) => {
  try {
    const loaded = await import(module);
    parentPort.postMessage({ value: await loaded[name](...params) });
  } catch (error) {
    const isFault = error?.name === 'MethodFault' && Number.isInteger(error.code);
    parentPort.postMessage(isFault ? { fault: { code: error.code, message: error.message } } : { error: String(error?.stack ?? error) });
  }
});
`;

interface Answer {
  readonly value?: unknown;
  readonly fault?: { readonly code: number; readonly message: string };
  readonly error?: string;
}

interface Job {
  readonly module: string;
  readonly name: string;
  readonly params: readonly unknown[];
  readonly signal: AbortSignal | undefined;
  settle(answer: Answer): void;
}

/** Threads, made when they are needed and kept for the next call. */
export class WorkerPool {
  private readonly maxWorkers: number;
  private readonly maxWaiting: number;
  private readonly maxCallMs: number;
  private readonly maxMemoryMib: number;
  private readonly idle: Worker[] = [];
  private readonly all = new Set<Worker>();
  private readonly waiting: Job[] = [];

  constructor(options: WorkerPoolOptions = {}) {
    const cores = Math.min(4, Math.max(2, availableParallelism()));
    this.maxWorkers = limit('maxWorkers', options.maxWorkers, cores, 1, 256);
    this.maxWaiting = limit('maxWaiting', options.maxWaiting, DEFAULT_MAX_WAITING_CALLS, 0, 1_000_000);
    this.maxCallMs = limit('maxCallMs', options.maxCallMs, DEFAULT_MAX_CALL_MS, 1, 86_400_000);
    this.maxMemoryMib = limit('maxMemoryMib', options.maxMemoryMib, DEFAULT_MAX_WORKER_MIB, 16, 65_536);
  }

  /** Threads there are now. */
  get size(): number {
    return this.all.size;
  }

  /**
   * Runs an exported function. Rejects with {@link MethodFault}: the function's own, METHODS_BUSY or
   * METHODS_TOO_LONG; with Error for anything else it failed with.
   */
  run(
    module: string,
    name: string,
    params: readonly unknown[],
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    if (this.idle.length === 0 && this.all.size >= this.maxWorkers && this.waiting.length >= this.maxWaiting)
      return Promise.reject(new MethodFault(methods_code.METHODS_BUSY, 'too many calls wait: later again'));
    return new Promise((resolve, reject) => {
      const settle = ({ value, fault, error }: Answer): void => {
        if (fault !== undefined) reject(new MethodFault(fault.code, fault.message));
        else if (error !== undefined) reject(new Error(`${name} failed in its thread: ${error}`));
        else resolve(value);
      };
      this.waiting.push({ module, name, params, signal, settle });
      this.next();
    });
  }

  /** Ends all threads, whatever they do. */
  async close(): Promise<void> {
    for (const job of this.waiting.splice(0)) job.settle({ error: 'the pool was closed' });
    await Promise.all([...this.all].map((worker) => worker.terminate()));
  }

  private next(): void {
    while (this.waiting.length > 0) {
      const worker = this.idle.pop() ?? this.start();
      if (worker === undefined) return;
      const job = this.waiting.shift()!;
      if (job.signal?.aborted) {
        job.settle({ error: 'its caller is gone' });
        this.idle.push(worker);
      } else this.give(worker, job);
    }
  }

  private start(): Worker | undefined {
    if (this.all.size >= this.maxWorkers) return undefined;
    const worker = new Worker(BOOTSTRAP, {
      eval: true,
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: this.maxMemoryMib },
    });
    // A pool without work does not keep its process alive.
    worker.unref();
    worker.on('error', () => undefined);
    worker.once('exit', () => {
      this.all.delete(worker);
      const at = this.idle.indexOf(worker);
      if (at >= 0) this.idle.splice(at, 1);
      this.next();
    });
    this.all.add(worker);
    return worker;
  }

  private give(worker: Worker, job: Job): void {
    worker.ref();
    const done = (answer: Answer, isAlive: boolean): void => {
      clearTimeout(timer);
      job.signal?.removeEventListener('abort', onAbort);
      worker.off('message', onAnswer);
      worker.off('exit', onExit);
      worker.off('error', onError);
      worker.unref();
      if (isAlive) this.idle.push(worker);
      else void worker.terminate();
      job.settle(answer);
      if (isAlive) this.next();
    };
    const onAnswer = (answer: Answer): void => done(answer, true);
    const onExit = (): void => done({ error: 'its thread ended' }, false);
    const onError = (error: Error): void => done({ error: error.message }, false);
    const onAbort = (): void => done({ error: 'its caller is gone' }, false);
    const fault = {
      code: methods_code.METHODS_TOO_LONG,
      message: `the method took longer than ${this.maxCallMs / 1000} s`,
    };
    const timer = setTimeout(() => done({ fault }, false), this.maxCallMs);
    job.signal?.addEventListener('abort', onAbort);
    worker.on('message', onAnswer);
    worker.on('exit', onExit);
    worker.on('error', onError);
    try {
      worker.postMessage({ module: job.module, name: job.name, params: job.params });
    } catch (error) {
      done({ error: String(error) }, true);
    }
  }
}
