/**
 * The inner end of a service in a worker thread: decoding, the procedure and encoding. The outer end, and who
 * starts and ends threads, is workers.ts; what the two say to each other is here.
 */

import { isMainThread, parentPort } from 'node:worker_threads';
import { XdrError, XdrReader, XdrWriter } from '../../xdr/index.js';
import type { Credentials } from '../protocol/auth.js';
import { AuthError, GarbageArgs, NoReply } from '../protocol/errors.js';
import type { CallContext, ServedProcedure, Service } from '../protocol/procedure.js';
import type { Peer } from '../protocol/transport.js';

/** What a worker says of a procedure when it starts. */
export interface Description {
  readonly program: number;
  readonly version: number;
  readonly name: string;
  readonly procedures: readonly {
    readonly number: number;
    readonly name: string;
    readonly isIdempotent: boolean;
  }[];
}

/** What a thread is told. */
export type ToWorker =
  | {
      readonly id: number;
      readonly program: number;
      readonly version: number;
      readonly number: number;
      readonly args: Uint8Array;
      readonly xid: number;
      readonly peer: Peer;
      readonly credentials: Credentials;
      /** By {@link monotonicMs}. */
      readonly deadlineAt: number;
    }
  | { readonly id: number; readonly cancel: true }
  | { readonly ping: true };

/** What a thread says. */
export type FromWorker =
  | { readonly ready: readonly Description[] }
  | { readonly pong: true }
  | { readonly id: number; readonly result: Uint8Array }
  | { readonly id: number; readonly failed: 'garbage' | 'silence' }
  | { readonly id: number; readonly failed: 'auth'; readonly why: AuthError['why']; readonly message: string }
  | { readonly id: number; readonly failed: 'error'; readonly message: string };

/** Milliseconds by a clock that all threads of a process share and nobody sets. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
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
    if ('ping' in message) {
      say({ pong: true });
      return;
    }
    if ('cancel' in message) {
      aborts.get(message.id)?.abort(new Error('nobody waits for the answer any more'));
      return;
    }
    const { id, program, version, number, args, xid, peer, credentials, deadlineAt } = message;
    const leftMs = deadlineAt - monotonicMs();
    if (leftMs <= 0) {
      // It was queued behind others for too long: its caller has been answered.
      say({ id, failed: 'error', message: 'no thread was free before its deadline' });
      return;
    }
    const served = procedures.get(`${program} ${version} ${number}`) as ServedProcedure;
    const abort = new AbortController();
    aborts.set(id, abort);
    const context: CallContext = {
      ...{ peer, credentials, xid, procedure: served.procedure, signal: abort.signal },
      ...{ transport: peer.transport, localAddress: peer.localAddress },
      deadline: performance.now() + leftMs,
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
