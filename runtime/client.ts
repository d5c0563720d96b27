/**
 * The calling end: the table of calls under way, their deadlines, and which reply belongs to
 * which. One client speaks to one server over one transport, any number of calls at a time.
 * It does not know how messages travel.
 */

import { nothing, withPath, XdrError, XdrReader, type XdrReaderOptions, XdrWriter } from '../xdr/index.js';
import { type Credentials, noCredentials } from './auth.js';
import { ResultError, TimeoutError, TransportError } from './errors.js';
import { readReply, readReplyXid, refusalError, writeCall } from './message.js';
import type { Caller, CallOptions, Procedure } from './procedure.js';
import { nextStep, type RetryOptions, retryOptions } from './retry.js';
import type { ClientTransport } from './transport.js';

/** How a client makes its calls; each call may say otherwise. */
export interface ClientOptions {
  /** Milliseconds without a reply before the call is sent again (UDP). Default 5000. */
  readonly timeoutMs?: number;
  /** Milliseconds until TimeoutError. Default 25000. */
  readonly totalMs?: number;
  /** What each wait is multiplied by to make the next; 1 to 16. Default 1. */
  readonly backoff?: number;
  /** Default: none. */
  readonly credentials?: Credentials;
  /** Most calls under way at a time; one more is refused. Default {@link DEFAULT_MAX_PENDING_CALLS}. */
  readonly maxPendingCalls?: number;
  /** Bounds on what a reply may make us build. */
  readonly reader?: XdrReaderOptions;
}

/** Default for the calls of one client under way at a time. */
export const DEFAULT_MAX_PENDING_CALLS = 65_536;

/** What a client has seen so far. */
export interface ClientStats {
  readonly pending: number;
  readonly calls: number;
  readonly resends: number;
  /** Replies that no call was waiting for: late, doubled or forged. */
  readonly strayReplies: number;
  readonly timeouts: number;
}

interface Pending {
  readonly xid: number;
  readonly procedure: Procedure;
  readonly startedAt: number;
  readonly retry: RetryOptions;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
  /** Kept for sending again; undefined where the transport does not lose messages. */
  readonly message: Uint8Array | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
  attempt: number;
  dueAt: number;
}

/** A client for one server. Made by {@link createClient}. */
export class RpcClient implements Caller {
  private readonly transport: ClientTransport;
  private readonly retry: RetryOptions;
  private readonly credentials: Credentials;
  private readonly maxPendingCalls: number;
  private readonly pending = new Map<number, Pending>();
  private readonly writer: XdrWriter;
  private readonly reader: XdrReader;
  private nextXid = Math.floor(Math.random() * 0x1_0000_0000);
  private timer: NodeJS.Timeout | undefined;
  private timerDueAt = Number.POSITIVE_INFINITY;
  private isClosed = false;
  private calls = 0;
  private resends = 0;
  private strayReplies = 0;
  private timeouts = 0;

  constructor(transport: ClientTransport, options: ClientOptions = {}) {
    this.transport = transport;
    this.retry = retryOptions(options);
    this.credentials = options.credentials ?? noCredentials;
    this.maxPendingCalls = options.maxPendingCalls ?? DEFAULT_MAX_PENDING_CALLS;
    this.writer = new XdrWriter({ maxBytes: transport.maxMessageBytes });
    this.reader = new XdrReader(new Uint8Array(0), options.reader);
    transport.start({
      message: (bytes) => this.onMessage(bytes),
      lost: (error) => this.failAll(error),
    });
  }

  /** For error messages: where the calls go. */
  get target(): string {
    return this.transport.target;
  }

  /** What this client has seen so far. */
  stats(): ClientStats {
    return {
      pending: this.pending.size,
      calls: this.calls,
      resends: this.resends,
      strayReplies: this.strayReplies,
      timeouts: this.timeouts,
    };
  }

  /**
   * Calls a procedure and waits for its result. Rejects with XdrError where `args` do not fit
   * (nothing was sent), TransportError, TimeoutError after `totalMs`, ReplyError, ResultError, or
   * the reason of `signal`.
   */
  call<A, R>(procedure: Procedure<A, R>, args: A, options: CallOptions = {}): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      const refusal = this.refusalToStart(options.signal);
      if (refusal !== undefined) {
        reject(refusal);
        return;
      }
      const xid = this.takeXid();
      const message = this.encodeCall(xid, procedure, args, options.credentials ?? this.credentials);
      const retry =
        options.timeoutMs === undefined && options.totalMs === undefined
          ? this.retry
          : retryOptions({ ...this.retry, ...given(options) });
      const startedAt = performance.now();
      const { signal } = options;
      const onAbort =
        signal === undefined
          ? undefined
          : () => {
              this.forget(call);
              reject(signal.reason);
            };
      const call: Pending = {
        xid,
        procedure: procedure as Procedure,
        startedAt,
        retry,
        resolve: resolve as (value: unknown) => void,
        reject,
        message: this.transport.isLossy ? message.slice() : undefined,
        signal,
        onAbort,
        attempt: 0,
        dueAt: startedAt + (this.transport.isLossy ? nextStep(retry, 0).atMs : retry.totalMs),
      };
      if (onAbort !== undefined) signal?.addEventListener('abort', onAbort, { once: true });
      // Between calls the timer is left armed but does not keep the process alive.
      if (this.pending.size === 0) this.timer?.ref();
      this.pending.set(xid, call);
      this.calls += 1;
      if (call.dueAt < this.timerDueAt) this.setTimer(call.dueAt, startedAt);
      this.transport.send(message);
    });
  }

  /** Calls procedure 0, which every program has (RFC 5531 section 12.1), and says how long it took in milliseconds. */
  async ping(program: number, version: number, options?: CallOptions): Promise<number> {
    const startedAt = performance.now();
    const procedure = { program, version, number: 0, name: 'NULL', args: nothing, result: nothing };
    await this.call(procedure, undefined, options);
    return performance.now() - startedAt;
  }

  /** Ends the client; calls under way reject with TransportError `RPC_CLOSED`. May be called twice. */
  async close(): Promise<void> {
    if (!this.isClosed) {
      this.isClosed = true;
      this.failAll(new TransportError('RPC_CLOSED', 'the client was closed', 'unknown'));
    }
    await this.transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private refusalToStart(signal: AbortSignal | undefined): unknown {
    if (this.isClosed) return new TransportError('RPC_CLOSED', `${this.target}: the client is closed`, 'no');
    if (signal?.aborted) return signal.reason;
    if (this.pending.size >= this.maxPendingCalls)
      return new RangeError(`${this.target}: ${this.maxPendingCalls} calls are under way (maxPendingCalls)`);
    return undefined;
  }

  /** The call as bytes, valid until the next call. */
  private encodeCall<A>(
    xid: number,
    procedure: Procedure<A, unknown>,
    args: A,
    credentials: Credentials,
  ): Uint8Array {
    const { writer } = this;
    try {
      writer.reset();
      writeCall(writer, xid, procedure, credentials);
      procedure.args.encode(writer, args);
    } catch (error) {
      throw withPath(error, procedure.args, args);
    }
    return writer.peek();
  }

  private takeXid(): number {
    do this.nextXid = (this.nextXid + 1) >>> 0;
    while (this.pending.has(this.nextXid));
    return this.nextXid;
  }

  private onMessage(bytes: Uint8Array): void {
    const { reader } = this;
    reader.reset(bytes);
    const xid = readReplyXid(reader);
    const call = xid === undefined ? undefined : this.pending.get(xid);
    if (call === undefined) {
      this.strayReplies += 1;
      return;
    }
    this.forget(call);
    const { procedure } = call;
    try {
      const refusal = readReply(reader);
      if (refusal === undefined) {
        const result = procedure.result.decode(reader);
        reader.finish();
        call.resolve(result);
      } else {
        call.reject(refusalError(`${procedure.name} at ${this.target}`, refusal));
      }
    } catch (error) {
      const text = error instanceof XdrError ? error.message : 'its codec failed';
      const message = `${procedure.name} at ${this.target}: the reply does not decode: ${text}`;
      call.reject(new ResultError(message, { cause: error }));
    }
  }

  private forget(call: Pending): void {
    this.pending.delete(call.xid);
    if (call.onAbort !== undefined) call.signal?.removeEventListener('abort', call.onAbort);
    if (this.pending.size === 0) this.timer?.unref();
  }

  private failAll(error: TransportError): void {
    for (const call of [...this.pending.values()]) {
      this.forget(call);
      const text = `${call.procedure.name} at ${this.target}: ${error.message}`;
      // A call that went out more than once may have been run by a server that is gone now.
      const executed = call.attempt > 0 ? 'unknown' : error.executed;
      call.reject(new TransportError(error.code, text, executed, error.cause ?? error));
    }
  }

  /**
   * One timer for all calls, set to the earliest due time. A call that is answered leaves it be: it
   * then fires once for nothing, which is cheaper than a timer made and cleared a call.
   */
  private setTimer(dueAt: number, now: number): void {
    clearTimeout(this.timer);
    this.timerDueAt = dueAt;
    this.timer = setTimeout(() => this.onTimer(), Math.max(1, Math.ceil(dueAt - now)));
  }

  private onTimer(): void {
    this.timer = undefined;
    this.timerDueAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let earliest = Number.POSITIVE_INFINITY;
    for (const call of [...this.pending.values()]) {
      if (call.dueAt <= now) this.onDue(call);
      if (this.pending.has(call.xid) && call.dueAt < earliest) earliest = call.dueAt;
    }
    if (earliest < this.timerDueAt) this.setTimer(earliest, now);
  }

  private onDue(call: Pending): void {
    const elapsed = Math.round(call.retry.totalMs);
    if (call.message === undefined || nextStep(call.retry, call.attempt).action === 'give up') {
      this.forget(call);
      this.timeouts += 1;
      call.reject(
        new TimeoutError(`${call.procedure.name} at ${this.target}: no reply within ${elapsed / 1000} s`),
      );
      return;
    }
    call.attempt += 1;
    this.resends += 1;
    call.dueAt = call.startedAt + nextStep(call.retry, call.attempt).atMs;
    this.transport.send(call.message);
  }
}

/** A client that calls over `transport`, which it owns from now on. Throws RangeError for times out of range. */
export function createClient(transport: ClientTransport, options?: ClientOptions): RpcClient {
  return new RpcClient(transport, options);
}

function given(options: CallOptions): Partial<RetryOptions> {
  return {
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    ...(options.totalMs === undefined ? {} : { totalMs: options.totalMs }),
  };
}
