/**
 * Services in worker threads: for procedures that keep a processor busy. The server's thread
 * passes the arguments on as bytes and gets the result as bytes; decoding, the procedure and encoding
 * happen in the worker. Both ends of that conversation are here.
 */

import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { type Codec, XdrError, XdrReader, XdrWriter } from '../xdr/index.js';
import type { Credentials } from './auth.js';
import { AuthError, GarbageArgs, NoReply } from './errors.js';
import type { CallContext, ServedProcedure, Service } from './procedure.js';
import type { Peer } from './transport.js';

/** See {@link startWorkers}. */
export interface WorkerOptions {
  /** The JavaScript module that each worker runs; it calls {@link serveInWorker}. */
  readonly module: URL;
  /** How many threads. Default {@link DEFAULT_WORKERS}. */
  readonly workers?: number;
}

/** Default for the threads of a pool: one for each processor. */
export const DEFAULT_WORKERS = availableParallelism();

/** A worker that dies is replaced after so many milliseconds. */
const REPLACE_MS = 100;

/** Threads that serve. Made by {@link startWorkers}. */
export interface WorkerPool {
  /** For a server's `services`: what the module serves, run in the threads. */
  readonly services: readonly Service[];
  /** Ends the threads; calls in them fail with SYSTEM_ERR. */
  close(): Promise<void>;
}

/** What a worker says of a procedure when it starts. */
interface Description {
  readonly program: number;
  readonly version: number;
  readonly name: string;
  readonly procedures: readonly {
    readonly number: number;
    readonly name: string;
    readonly isIdempotent: boolean;
  }[];
}

type ToWorker =
  | {
      readonly id: number;
      readonly program: number;
      readonly version: number;
      readonly number: number;
      readonly args: Uint8Array;
      readonly xid: number;
      readonly peer: Peer;
      readonly credentials: Credentials;
      readonly budgetMs: number;
    }
  | { readonly id: number; readonly cancel: true };

type FromWorker =
  | { readonly ready: readonly Description[] }
  | { readonly id: number; readonly result: Uint8Array }
  | { readonly id: number; readonly failed: 'garbage' | 'silence' }
  | { readonly id: number; readonly failed: 'auth'; readonly why: AuthError['why']; readonly message: string }
  | { readonly id: number; readonly failed: 'error'; readonly message: string };

/** The arguments as they came. */
const raw: Codec<Uint8Array> = {
  minBytes: 0,
  encode: (writer, value) => writer.encoded(value),
  decode: (reader) => reader.rest().slice(),
};

interface Waiting {
  readonly resolve: (result: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

/** One thread and what it is asked. */
class Thread {
  readonly waiting = new Map<number, Waiting>();
  readonly worker: Worker;

  constructor(module: URL) {
    this.worker = new Worker(module);
    this.worker.unref();
  }

  fail(error: Error): void {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}

/** Starts threads. Rejects where the module cannot be loaded, or does not call {@link serveInWorker}. */
export async function startWorkers(options: WorkerOptions): Promise<WorkerPool> {
  const count = options.workers ?? DEFAULT_WORKERS;
  if (!(Number.isInteger(count) && count >= 1 && count <= 1024))
    throw new RangeError(`workers is ${count}; it must be from 1 to 1024`);
  const pool = new Pool(options.module, count);
  await pool.start();
  return pool;
}

class Pool implements WorkerPool {
  services: readonly Service[] = [];
  private readonly module: URL;
  private readonly count: number;
  private readonly threads: Thread[] = [];
  private nextId = 0;
  private isClosed = false;

  constructor(module: URL, count: number) {
    this.module = module;
    this.count = count;
  }

  async start(): Promise<void> {
    try {
      const all = await Promise.all(Array.from({ length: this.count }, () => this.startOne()));
      this.services = (all[0] as readonly Description[]).map((description) => this.serviceOf(description));
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    const threads = this.threads.splice(0);
    for (const thread of threads) thread.fail(new Error('the workers were closed'));
    await Promise.all(threads.map(({ worker }) => worker.terminate()));
  }

  private startOne(): Promise<readonly Description[]> {
    const thread = new Thread(this.module);
    const { worker } = thread;
    this.threads.push(thread);
    return new Promise((resolve, reject) => {
      let isReady = false;
      worker.on('message', (message: FromWorker) => {
        if ('ready' in message) {
          isReady = true;
          resolve(message.ready);
        } else settle(thread, message);
      });
      worker.on('error', (error) => thread.fail(error instanceof Error ? error : new Error(String(error))));
      worker.on('exit', (code) => {
        const error = new Error(`a worker of ${this.module.pathname} ended with code ${code}`);
        thread.fail(error);
        reject(error);
        const at = this.threads.indexOf(thread);
        if (at >= 0) this.threads.splice(at, 1);
        // One that never was ready would not be the next time.
        if (isReady && !this.isClosed)
          setTimeout(() => {
            if (!this.isClosed) void this.startOne().catch(() => undefined);
          }, REPLACE_MS).unref();
      });
    });
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
    // To whoever has least to do.
    let thread = this.threads[0];
    for (const other of this.threads)
      if (thread === undefined || other.waiting.size < thread.waiting.size) thread = other;
    if (thread === undefined) return Promise.reject(new Error('no worker is running'));
    const { worker, waiting } = thread;
    const id = this.nextId++;
    const { program, version, number } = context.procedure;
    const { xid, peer, credentials, signal } = context;
    const budgetMs = context.deadline - performance.now();
    return new Promise<Uint8Array>((resolve, reject) => {
      const cancel = (): void => worker.postMessage({ id, cancel: true } satisfies ToWorker);
      signal.addEventListener('abort', cancel, { once: true });
      const over = (): void => {
        signal.removeEventListener('abort', cancel);
        waiting.delete(id);
        if (waiting.size === 0) worker.unref();
      };
      if (waiting.size === 0) worker.ref();
      waiting.set(id, {
        resolve: (result) => {
          over();
          resolve(result);
        },
        reject: (error) => {
          over();
          reject(error);
        },
      });
      worker.postMessage({
        ...{ id, program, version, number, args, xid, peer, credentials, budgetMs },
      } satisfies ToWorker);
    });
  }
}

function settle(thread: Thread, message: Exclude<FromWorker, { ready: unknown }>): void {
  const waiting = thread.waiting.get(message.id);
  if (waiting === undefined) return;
  if ('result' in message) waiting.resolve(message.result);
  else if (message.failed === 'garbage') waiting.reject(new GarbageArgs());
  else if (message.failed === 'silence') waiting.reject(new NoReply());
  else if (message.failed === 'auth') waiting.reject(new AuthError(message.why, message.message));
  else if (message.failed === 'error') waiting.reject(new Error(message.message));
}

/** In a worker's module: serves these services to the thread that started it. Throws in the main thread. */
export function serveInWorker(services: readonly Service[]): void {
  if (isMainThread || parentPort === null)
    throw new Error('serveInWorker is for modules that startWorkers runs');
  const port = parentPort;
  const procedures = new Map<string, ServedProcedure>();
  for (const { program, version, procedures: served } of services)
    for (const one of served) procedures.set(`${program} ${version} ${one.procedure.number}`, one);
  const aborts = new Map<number, AbortController>();
  const say = (message: FromWorker): void => port.postMessage(message);
  port.on('message', (message: ToWorker) => {
    if ('cancel' in message) {
      aborts.get(message.id)?.abort(new Error('nobody waits for the answer any more'));
      return;
    }
    const { id, program, version, number, args, xid, peer, credentials, budgetMs } = message;
    const served = procedures.get(`${program} ${version} ${number}`) as ServedProcedure;
    const abort = new AbortController();
    aborts.set(id, abort);
    const context: CallContext = {
      ...{ peer, credentials, xid, procedure: served.procedure, signal: abort.signal },
      ...{ transport: peer.transport, localAddress: peer.localAddress },
      deadline: performance.now() + budgetMs,
    };
    void runOne(served, args, context)
      .then(
        (result) => say({ id, result }),
        (error: unknown) => say(failureOf(id, error)),
      )
      .finally(() => aborts.delete(id));
  });
  say({
    ready: services.map(({ program, version, name, procedures: served }) => ({
      ...{ program, version, name },
      procedures: served.map(({ procedure }) => ({
        number: procedure.number,
        name: procedure.name,
        isIdempotent: procedure.idempotent === true,
      })),
    })),
  });
}

async function runOne(served: ServedProcedure, bytes: Uint8Array, context: CallContext): Promise<Uint8Array> {
  const { procedure } = served;
  let args: unknown;
  try {
    const reader = new XdrReader(bytes);
    args = procedure.args.decode(reader);
    reader.finish();
  } catch (error) {
    throw error instanceof XdrError ? new GarbageArgs() : error;
  }
  const result = await served.handle(args, context);
  const writer = new XdrWriter();
  procedure.result.encode(writer, result);
  return writer.take();
}

function failureOf(id: number, error: unknown): FromWorker {
  if (error instanceof GarbageArgs) return { id, failed: 'garbage' };
  if (error instanceof NoReply) return { id, failed: 'silence' };
  if (error instanceof AuthError) return { id, failed: 'auth', why: error.why, message: error.message };
  return { id, failed: 'error', message: error instanceof Error ? error.message : String(error) };
}
