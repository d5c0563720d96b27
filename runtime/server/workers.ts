/**
 * Services in worker threads: for procedures that keep a processor busy. The server's thread
 * passes the arguments on as bytes and gets the result as bytes; decoding, the procedure and encoding
 * happen in the worker, by inworker.ts.
 *
 * Nothing but its end stops a procedure in a loop. So a thread with a call past its deadline has to give a sign of
 * life, which one in a loop cannot; a thread that ended, for whatever reason, is started again, after longer and longer
 * waits as long as it comes to nothing.
 */

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Codec } from '../../xdr/index.js';
import { AuthError, GarbageArgs, NoReply } from '../protocol/errors.js';
import type { CallContext, Service } from '../protocol/procedure.js';
import { type Description, type FromWorker, monotonicMs, type ToWorker } from './inworker.js';

/** See {@link startWorkers}. */
export interface WorkerOptions {
  /** The JavaScript module that each worker runs; it calls `serveInWorker`. */
  readonly module: URL;
  /** How many threads. Default {@link DEFAULT_WORKERS}. */
  readonly workers?: number;
  /**
   * Milliseconds after the deadline of a call within which its thread has to give a sign of life; else it is taken to
   * be in a loop and ended, with every call in it. Default {@link DEFAULT_WORKER_GRACE_MS}.
   */
  readonly graceMs?: number;
  /** Milliseconds a thread may take to load the module. Default {@link DEFAULT_WORKER_START_MS}. */
  readonly startMs?: number;
  /** Milliseconds before a thread that ended is started again. Default {@link DEFAULT_MIN_RESTART_MS}. */
  readonly minRestartMs?: number;
  /**
   * The longest of these waits: each is twice the one before, until a thread has answered a call. Default
   * {@link DEFAULT_MAX_RESTART_MS}.
   */
  readonly maxRestartMs?: number;
  /** Told of each thread that ended or could not be started. Default: a warning of the process. */
  readonly onError?: (error: WorkerError) => void;
}

/** Default for the threads of a pool: one for each processor. */
export const DEFAULT_WORKERS = availableParallelism();
/** Default for the time in which a thread has to show that it is not in a loop: 1 s. */
export const DEFAULT_WORKER_GRACE_MS = 1_000;
/** Default for the time a thread may take to load its module: 30 s. */
export const DEFAULT_WORKER_START_MS = 30_000;
/** Default for the first wait before a thread is started again: 100 ms. */
export const DEFAULT_MIN_RESTART_MS = 100;
/** Default for the longest wait before a thread is started again: 30 s. */
export const DEFAULT_MAX_RESTART_MS = 30_000;

/** What happened to a thread. */
export class WorkerError extends Error {
  override readonly name = 'WorkerError';
  /** 'stuck': it was ended, as a call in it did not return. 'died': it ended by itself. 'start': it did not come up. */
  readonly reason: 'stuck' | 'died' | 'start';
  /** Milliseconds until it is started again; undefined where it is not. */
  readonly restartMs: number | undefined;

  constructor(reason: WorkerError['reason'], message: string, restartMs?: number, cause?: unknown) {
    const next = restartMs === undefined ? '' : `; it is started again in ${restartMs / 1000} s`;
    super(`${message}${next}`, cause === undefined ? undefined : { cause });
    this.reason = reason;
    this.restartMs = restartMs;
  }
}

/** What a pool has seen so far, and how it is. */
export interface WorkerStats {
  /** Threads that serve now. */
  readonly threads: number;
  /** Threads that are being started, or wait to be started again. */
  readonly missing: number;
  /** Calls in the threads. */
  readonly pending: number;
  /** Threads that were ended because a call in them did not return. */
  readonly stuck: number;
  /** Threads that ended by themselves. */
  readonly died: number;
  /** Starts in vain. */
  readonly failedStarts: number;
}

/** Threads that serve. Made by {@link startWorkers}. */
export interface WorkerPool {
  /** For a server's `services`: what the module serves, run in the threads. */
  readonly services: readonly Service[];
  stats(): WorkerStats;
  /** Ends the threads; calls in them fail with SYSTEM_ERR. */
  close(): Promise<void>;
}

/** The arguments as they came. */
const raw: Codec<Uint8Array> = {
  minBytes: 0,
  encode: (writer, value) => writer.encoded(value),
  decode: (reader) => reader.rest().slice(),
};

interface Waiting {
  readonly deadline: number;
  readonly resolve: (result: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** The longest wait of a timer of Node. */
const MAX_TIMER_MS = 2_147_483_647;

/** One thread and what it is asked. */
class Thread {
  readonly waiting = new Map<number, Waiting>();
  readonly worker: Worker;
  /** True once it has answered a call. */
  hasAnswered = false;
  /** True while it owes a sign of life. */
  isSuspect = false;
  private readonly graceMs: number;
  private readonly onStuck: () => void;
  private timer: NodeJS.Timeout | undefined;
  private dueAt = Number.POSITIVE_INFINITY;

  constructor(module: URL, graceMs: number, onStuck: () => void) {
    this.graceMs = graceMs;
    this.onStuck = onStuck;
    this.worker = new Worker(module);
    this.worker.unref();
  }

  add(id: number, call: Waiting): void {
    if (this.waiting.size === 0) this.worker.ref();
    this.waiting.set(id, call);
    if (!this.isSuspect && call.deadline < this.dueAt) this.lookAt(call.deadline);
  }

  remove(id: number): void {
    this.waiting.delete(id);
    if (this.waiting.size === 0) this.worker.unref();
  }

  /** Something came from it: so it is in no loop. */
  isAlive(): void {
    if (!this.isSuspect) return;
    this.isSuspect = false;
    const now = performance.now();
    for (const { deadline, reject } of [...this.waiting.values()])
      if (deadline <= now) reject(new Error('the procedure did not settle by its deadline'));
    this.lookAtNext();
  }

  /** Its end: of its calls, too. */
  fail(error: Error): void {
    clearTimeout(this.timer);
    for (const { reject } of [...this.waiting.values()]) reject(error);
  }

  private lookAtNext(): void {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { deadline } of this.waiting.values()) if (deadline < earliest) earliest = deadline;
    this.lookAt(earliest);
  }

  private lookAt(at: number): void {
    clearTimeout(this.timer);
    this.dueAt = at;
    if (at === Number.POSITIVE_INFINITY) return;
    const waitMs = Math.min(MAX_TIMER_MS, Math.max(1, Math.ceil(at - performance.now())));
    this.timer = setTimeout(() => this.look(), waitMs).unref();
  }

  /** A call is past its deadline: whether its thread is in a loop shows by whether it still answers. */
  private look(): void {
    const now = performance.now();
    if (![...this.waiting.values()].some(({ deadline }) => deadline <= now)) {
      this.lookAtNext();
      return;
    }
    this.isSuspect = true;
    this.worker.postMessage({ ping: true } satisfies ToWorker);
    this.timer = setTimeout(this.onStuck, this.graceMs).unref();
  }
}

/**
 * Starts threads. Rejects where the module cannot be loaded, or does not call `serveInWorker` in time, and with
 * RangeError for an option out of range.
 */
export async function startWorkers(options: WorkerOptions): Promise<WorkerPool> {
  const pool = new Pool(options);
  await pool.start();
  return pool;
}

/** A place of the pool: a thread, or the wait for the next one. */
interface Slot {
  thread: Thread | undefined;
  /** Ends in a row without an answered call between them. */
  failures: number;
  timer: NodeJS.Timeout | undefined;
}

class Pool implements WorkerPool {
  services: readonly Service[] = [];
  private readonly module: URL;
  private readonly graceMs: number;
  private readonly startMs: number;
  private readonly minRestartMs: number;
  private readonly maxRestartMs: number;
  private readonly onError: (error: WorkerError) => void;
  private readonly slots: readonly Slot[];
  /** Threads that are not ready yet. */
  private readonly starting = new Set<Thread>();
  private nextId = 0;
  private stuck = 0;
  private died = 0;
  private failedStarts = 0;
  private isStarted = false;
  private isClosed = false;

  constructor(options: WorkerOptions) {
    const count = bound('workers', options.workers, DEFAULT_WORKERS, 1_024);
    this.module = options.module;
    this.graceMs = bound('graceMs', options.graceMs, DEFAULT_WORKER_GRACE_MS, MAX_TIMER_MS);
    this.startMs = bound('startMs', options.startMs, DEFAULT_WORKER_START_MS, MAX_TIMER_MS);
    this.minRestartMs = bound('minRestartMs', options.minRestartMs, DEFAULT_MIN_RESTART_MS, MAX_TIMER_MS);
    const longest = Math.max(DEFAULT_MAX_RESTART_MS, this.minRestartMs);
    this.maxRestartMs = bound('maxRestartMs', options.maxRestartMs, longest, MAX_TIMER_MS);
    if (this.maxRestartMs < this.minRestartMs)
      throw new RangeError(`maxRestartMs is ${this.maxRestartMs}, less than minRestartMs`);
    this.onError = options.onError ?? ((error) => process.emitWarning(error));
    this.slots = Array.from({ length: count }, () => ({ thread: undefined, failures: 0, timer: undefined }));
  }

  async start(): Promise<void> {
    try {
      const all = await Promise.all(this.slots.map((slot) => this.startOne(slot)));
      this.services = (all[0] as readonly Description[]).map((description) => this.serviceOf(description));
      this.isStarted = true;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  stats(): WorkerStats {
    const { stuck, died, failedStarts } = this;
    const threads = this.slots.flatMap(({ thread }) => thread ?? []);
    const pending = threads.reduce((sum, { waiting }) => sum + waiting.size, 0);
    const missing = this.slots.length - threads.length;
    return { threads: threads.length, missing, pending, stuck, died, failedStarts };
  }

  async close(): Promise<void> {
    this.isClosed = true;
    const threads = this.slots.flatMap((slot) => {
      clearTimeout(slot.timer);
      return slot.thread ?? [];
    });
    for (const thread of threads) thread.fail(new Error('the workers were closed'));
    await Promise.all([...threads, ...this.starting].map(({ worker }) => worker.terminate()));
  }

  /** Resolves when the thread is ready. Its place is told of it then, and of its end in any case. */
  private startOne(slot: Slot): Promise<readonly Description[]> {
    return new Promise((resolve, reject) => {
      let reason: WorkerError['reason'] = 'start';
      let what: string | undefined;
      let cause: unknown;
      const end = (why: WorkerError['reason'], text: string): void => {
        reason = why;
        what = text;
        void thread.worker.terminate();
      };
      const thread = new Thread(this.module, this.graceMs, () =>
        end(
          'stuck',
          `was ended: a call in it did not return within ${this.graceMs / 1000} s after its deadline`,
        ),
      );
      const { worker } = thread;
      this.starting.add(thread);
      const late = setTimeout(
        () => end('start', `was not ready within ${this.startMs / 1000} s`),
        this.startMs,
      ).unref();
      worker.on('message', (message: FromWorker) => {
        thread.isAlive();
        if ('ready' in message) {
          clearTimeout(late);
          this.starting.delete(thread);
          reason = 'died';
          slot.thread = thread;
          resolve(message.ready);
        } else if ('id' in message) {
          thread.hasAnswered = true;
          slot.failures = 0;
          settle(thread, message);
        }
      });
      worker.on('error', (error) => {
        cause = error;
      });
      worker.on('exit', (code) => {
        clearTimeout(late);
        this.starting.delete(thread);
        slot.thread = undefined;
        const text = `a worker of ${this.module.pathname} ${what ?? `ended with code ${code}`}`;
        const isAgain = this.isStarted && !this.isClosed;
        const restartMs = isAgain ? this.restartMs(slot) : undefined;
        const error = new WorkerError(reason, text, restartMs, cause);
        thread.fail(error);
        reject(error);
        if (isAgain) this.startAgain(slot, error);
      });
    });
  }

  private restartMs(slot: Slot): number {
    slot.failures += 1;
    return Math.min(this.maxRestartMs, this.minRestartMs * 2 ** Math.min(30, slot.failures - 1));
  }

  private startAgain(slot: Slot, error: WorkerError): void {
    if (error.reason === 'stuck') this.stuck += 1;
    else if (error.reason === 'died') this.died += 1;
    else this.failedStarts += 1;
    // The rejection is for who waits for the first start; every other end is told below.
    slot.timer = setTimeout(() => void this.startOne(slot).catch(() => undefined), error.restartMs).unref();
    try {
      this.onError(error);
    } catch (fault) {
      process.emitWarning(`onError of a worker pool failed: ${String(fault)}`);
    }
  }

  private serviceOf({ program, version, name, procedures }: Description): Service {
    return {
      program,
      version,
      name,
      procedures: procedures.map(({ number, name: called, isIdempotent }) => ({
        procedure: {
          ...{ program, version, number, name: called, idempotent: isIdempotent },
          ...{ args: raw as Codec<unknown>, result: raw as Codec<unknown> },
        },
        handle: (args, context) => this.call(args as Uint8Array, context),
      })),
    };
  }

  private call(args: Uint8Array, context: CallContext): Promise<Uint8Array> {
    // To whoever has least to do, and is not in a loop as far as is known.
    let thread: Thread | undefined;
    for (const { thread: other } of this.slots) {
      if (other === undefined) continue;
      if (thread === undefined || load(other) < load(thread)) thread = other;
    }
    if (thread === undefined) return Promise.reject(new Error('no worker is running'));
    const taken = thread;
    const { worker } = taken;
    const id = this.nextId++;
    const { program, version, number } = context.procedure;
    const { xid, peer, credentials, signal, deadline } = context;
    return new Promise<Uint8Array>((resolve, reject) => {
      const cancel = (): void => worker.postMessage({ id, cancel: true } satisfies ToWorker);
      signal.addEventListener('abort', cancel, { once: true });
      const over = (): void => {
        signal.removeEventListener('abort', cancel);
        taken.remove(id);
      };
      taken.add(id, {
        deadline,
        resolve: (result) => {
          over();
          resolve(result);
        },
        reject: (error) => {
          over();
          reject(error);
        },
      });
      const deadlineAt = monotonicMs() + deadline - performance.now();
      worker.postMessage({
        ...{ id, program, version, number, args, xid, peer, credentials, deadlineAt },
      } satisfies ToWorker);
    });
  }
}

function load({ waiting, isSuspect }: Thread): number {
  return isSuspect ? Number.MAX_SAFE_INTEGER : waiting.size;
}

function bound(name: string, given: number | undefined, standard: number, most: number): number {
  const value = given ?? standard;
  if (!(Number.isInteger(value) && value >= 1 && value <= most))
    throw new RangeError(`${name} is ${value}; it must be from 1 to ${most}`);
  return value;
}

function settle(thread: Thread, message: Extract<FromWorker, { id: unknown }>): void {
  const waiting = thread.waiting.get(message.id);
  if (waiting === undefined) return;
  if ('result' in message) waiting.resolve(message.result);
  else if (message.failed === 'garbage') waiting.reject(new GarbageArgs());
  else if (message.failed === 'silence') waiting.reject(new NoReply());
  else if (message.failed === 'auth') waiting.reject(new AuthError(message.why, message.message));
  else if (message.failed === 'error') waiting.reject(new Error(message.message));
}
