/**
 * The calling end: the table of calls under way, their deadlines, and which reply belongs to
 * which. One client speaks to one server over one transport, any number of calls at a time.
 * It does not know how messages travel.
 */

import { withPath, XdrError, XdrReader, XdrWriter } from '../../xdr/index.js';
import { type Credentials, noCredentials } from '../protocol/auth.js';
import { type Refusal, ResultError, SecurityError, TransportError } from '../protocol/errors.js';
import { compose, type InterceptedCall } from '../protocol/interceptor.js';
import { readReply, readReplyXid, refusalError, writeCall } from '../protocol/message.js';
import { type Caller, type CallOptions, nullProcedure, type Procedure } from '../protocol/procedure.js';
import { nextStep, type RetryOptions, retryOptions } from '../protocol/retry.js';
import type { ClientTransport } from '../protocol/transport.js';
import { randomXid } from '../protocol/xid.js';
import { clientCallChannel, clientResendChannel } from '../telemetry/events.js';
import { Counters, type ProcedureStats, procedureStats } from '../telemetry/metrics.js';
import { type ClientOptions, checkClientOptions } from './clientoptions.js';
import { KeepAlive } from './keepalive.js';
import { type Pending, timeoutOf } from './pending.js';
import { openReply, type SecuredCall, SecuredCalls, sealFor } from './securedcalls.js';

/** What a client has seen so far. */
export interface ClientStats {
  readonly pending: number;
  readonly calls: number;
  readonly resends: number;
  /** Replies that no call was waiting for: late, doubled or forged. */
  readonly strayReplies: number;
  /** Replies over UDP that had the xid of a call under way and did not decode; they were ignored. */
  readonly undecodedReplies: number;
  readonly timeouts: number;
  /** Of each procedure that was called: how its calls ended and how long they took. */
  readonly procedures: readonly ProcedureStats[];
}

/** Most procedures a client counts by name; further ones are called and not counted. */
export const MAX_COUNTED_PROCEDURES = 1_024;

const NO_OPTIONS: CallOptions = {};

/** A client for one server. Made by {@link createClient}. */
export class RpcClient implements Caller {
  private readonly transport: ClientTransport;
  private readonly retry: RetryOptions;
  /** Whether the client was told a timeout: then deadlines of procedures do not count. */
  private readonly hasTimeout: boolean;
  private readonly credentials: Credentials;
  private readonly secured: SecuredCalls | undefined;
  private readonly maxPendingCalls: number;
  private readonly pending = new Map<number, Pending>();
  private readonly writer: XdrWriter;
  private readonly reader: XdrReader;
  private timer: NodeJS.Timeout | undefined;
  private timerDueAt = Number.POSITIVE_INFINITY;
  private isClosed = false;
  private closing: Promise<void> | undefined;
  private lastNull: Procedure<void, void> | undefined;
  /** The xid that an interceptor's call was made with last. */
  private usedXid: number | undefined;
  private readonly intercepted: ((call: InterceptedCall) => unknown) | undefined;
  private readonly counters = new Map<Procedure, Counters>();
  private readonly keepAlive: KeepAlive | undefined;
  private calls = 0;
  private resends = 0;
  private strayReplies = 0;
  private undecodedReplies = 0;
  private timeouts = 0;

  constructor(transport: ClientTransport, options: ClientOptions = {}) {
    const { retry, maxPendingCalls, keepAliveMs } = checkClientOptions(options);
    this.transport = transport;
    this.retry = retry;
    this.hasTimeout = options.timeoutMs !== undefined;
    this.credentials = options.credentials ?? noCredentials;
    this.maxPendingCalls = maxPendingCalls;
    this.writer = new XdrWriter({ maxBytes: transport.maxMessageBytes });
    this.reader = new XdrReader(new Uint8Array(0), options.reader);
    if (options.security !== undefined)
      this.secured = new SecuredCalls(options.security, {
        target: transport.target,
        maxMessageBytes: transport.maxMessageBytes,
        maxPendingCalls,
        call: (procedure, args, how, xid, secured) => this.makeCall(procedure, args, how, xid, secured),
        transmit: (message) => transport.send(message),
        newXid: () => this.takeXid(),
        timeoutOf: ({ deadlineMs }, how) => this.retryFor(deadlineMs, how).timeoutMs,
      });
    const { interceptors = [] } = options;
    if (interceptors.length > 0)
      this.intercepted = compose(interceptors, ({ procedure, args, options: how, xid }) =>
        this.secure(procedure, args, how, xid),
      );
    if (keepAliveMs > 0 && transport.reset !== undefined)
      this.keepAlive = new KeepAlive(keepAliveMs, {
        isNeeded: () => this.pending.size > 0,
        ping: ({ program, version }, timeoutMs) =>
          this.makeCall(this.nullOf(program, version), undefined, { timeoutMs }),
        giveUp: (error) => transport.reset?.(error),
      });
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
      undecodedReplies: this.undecodedReplies,
      timeouts: this.timeouts,
      procedures: [...this.counters].map(([procedure, counters]) => procedureStats(procedure, counters)),
    };
  }

  /**
   * Calls a procedure and waits for its result. Rejects with XdrError where `args` do not fit
   * (nothing was sent), TransportError, TimeoutError after `timeoutMs`, ReplyError, ResultError (not over UDP, where a
   * reply that does not decode is ignored), or the reason of `signal`.
   */
  call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R> {
    if (this.intercepted === undefined) return this.secure(procedure, args, options);
    const call: InterceptedCall = {
      side: 'client',
      procedure: procedure as Procedure,
      xid: this.takeXid(),
      target: this.target,
      args,
      options: options ?? NO_OPTIONS,
    };
    const { intercepted } = this;
    return new Promise<R>((resolve) => resolve(intercepted(call) as R));
  }

  /**
   * Sends a call and waits for nothing: for procedures that answer with silence. Resends nothing, so over
   * UDP it may get lost. Many in one turn, followed by a call that is answered, are what RFC 5531 section
   * 7.4.1 calls batching: they leave in one write, and the answer says that all have arrived. Throws what
   * {@link call} would reject with before sending.
   */
  send<A>(procedure: Procedure<A, unknown>, args: A, options: CallOptions = NO_OPTIONS): void {
    const refusal = this.refusalToStart(options.signal);
    if (refusal !== undefined) throw refusal;
    if (this.secured !== undefined && options.credentials === undefined) {
      this.secured.send(procedure, args);
      return;
    }
    const credentials = options.credentials ?? this.credentials;
    this.transport.send(this.encodeCall(this.takeXid(), procedure, args, credentials));
  }

  /** Makes the call as it is, or protected where there is a mechanism. */
  private secure<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions, xid?: number): Promise<R> {
    return this.secured === undefined || options?.credentials !== undefined
      ? this.makeCall(procedure, args, options, xid)
      : this.secured.call(procedure, args, options ?? NO_OPTIONS, xid);
  }

  private makeCall<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    options: CallOptions = NO_OPTIONS,
    givenXid?: number,
    secured?: SecuredCall,
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      const refusal = this.refusalToStart(options.signal, secured?.isLast);
      if (refusal !== undefined) {
        reject(refusal);
        return;
      }
      const xid = givenXid === undefined || this.usedXid === givenXid ? this.takeXid() : givenXid;
      this.usedXid = givenXid;
      const message =
        secured === undefined
          ? this.encodeCall(xid, procedure, args, options.credentials ?? this.credentials)
          : sealFor(secured, xid, procedure as Procedure);
      const retry =
        options.retransmitMs === undefined &&
        options.timeoutMs === undefined &&
        (procedure.deadlineMs === undefined || this.hasTimeout)
          ? this.retry
          : this.retryFor(procedure.deadlineMs, options);
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
        message: this.transport.isLossy ? (secured === undefined ? message.slice() : message) : undefined,
        secured,
        signal,
        onAbort,
        counters: this.countersOf(procedure as Procedure),
        attempt: 0,
        undecoded: 0,
        lastReason: undefined,
        dueAt: startedAt + (this.transport.isLossy ? nextStep(retry, 0).atMs : retry.timeoutMs),
      };
      if (onAbort !== undefined) signal?.addEventListener('abort', onAbort, { once: true });
      // Between calls the timer is left armed but does not keep the process alive.
      if (this.pending.size === 0) this.timer?.ref();
      this.pending.set(xid, call);
      this.calls += 1;
      call.counters.calls += 1;
      if (call.dueAt < this.timerDueAt) this.setTimer(call.dueAt, startedAt);
      this.transport.send(message);
    });
  }

  /** Calls procedure 0, which every program has (RFC 5531 section 12.1), and says how long it took in milliseconds. */
  async ping(program: number, version: number, options?: CallOptions): Promise<number> {
    const startedAt = performance.now();
    await this.call(this.nullOf(program, version), undefined, options);
    return performance.now() - startedAt;
  }

  /** The same object for the same program version as the last time: calls are counted by object. */
  private nullOf(program: number, version: number): Procedure<void, void> {
    if (this.lastNull?.program !== program || this.lastNull.version !== version)
      this.lastNull = nullProcedure(program, version);
    return this.lastNull;
  }

  /**
   * Ends the client: calls in progress reject with TransportError `RPC_CLOSED`. May be called twice. With a security
   * mechanism and no call in progress, it first tells the server, for at most `SECURITY_CLOSE_MS`.
   */
  close(): Promise<void> {
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async shutDown(): Promise<void> {
    this.isClosed = true;
    this.keepAlive?.close();
    const error = new TransportError('RPC_CLOSED', 'the client was closed', 'unknown');
    const isIdle = this.pending.size === 0;
    if (!isIdle) this.transport.reset?.(error);
    this.failAll(error);
    await this.secured?.close(isIdle);
    await this.transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private refusalToStart(signal: AbortSignal | undefined, isLast = false): unknown {
    if (this.isClosed && !isLast)
      return new TransportError('RPC_CLOSED', `${this.target}: the client is closed`, 'no');
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

  private retryFor(deadlineMs: number | undefined, options: CallOptions): RetryOptions {
    const { retransmitMs, timeoutMs, backoff } = this.retry;
    return retryOptions({
      retransmitMs: options.retransmitMs ?? retransmitMs,
      timeoutMs: options.timeoutMs ?? (this.hasTimeout ? timeoutMs : (deadlineMs ?? timeoutMs)),
      backoff,
    });
  }

  private takeXid(): number {
    for (;;) {
      const xid = randomXid();
      if (!this.pending.has(xid)) return xid;
    }
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
    const { procedure, secured } = call;
    let refusal: Refusal | undefined;
    let result: unknown;
    try {
      if (secured !== undefined) openReply(secured, call.xid, bytes, reader);
      refusal = readReply(reader);
      if (refusal === undefined) {
        result = procedure.result.decode(reader);
        reader.finish();
      }
    } catch (error) {
      if (error instanceof SecurityError) {
        this.onUnusable(call, error);
        return;
      }
      const text = error instanceof XdrError ? error.message : 'its codec failed';
      const message = `${procedure.name} at ${this.target}: the reply does not decode: ${text}`;
      this.onUnusable(call, new ResultError(message, { cause: error }));
      return;
    }
    this.heard(call);
    if (refusal === undefined) {
      this.end(call, 'success', undefined);
      call.resolve(result);
    } else this.reject(call, refusalError(`${procedure.name} at ${this.target}`, refusal), 'refused');
  }

  private heard(call: Pending): void {
    this.forget(call);
    this.keepAlive?.heard(call.procedure);
  }

  /**
   * On a connection that is the server's answer. A datagram proves nothing: anybody on the way, or who guesses port
   * and xid, can send one, and it is not to end a call whose answer may still come.
   */
  private onUnusable(call: Pending, error: ResultError | SecurityError): void {
    if (this.transport.isLossy) {
      this.undecodedReplies += 1;
      call.undecoded += 1;
      call.lastReason = error;
      return;
    }
    this.heard(call);
    this.reject(call, error);
  }

  private reject(call: Pending, error: unknown, outcome: 'refused' | 'failed' = 'failed'): void {
    this.end(call, outcome, error);
    call.reject(error);
  }

  private end(call: Pending, outcome: 'success' | 'refused' | 'failed', error: unknown): void {
    const durationMs = performance.now() - call.startedAt;
    call.counters.end(outcome, durationMs);
    if (clientCallChannel.hasSubscribers) this.tell(clientCallChannel, call, durationMs, error);
  }

  private tell(on: typeof clientCallChannel, call: Pending, durationMs: number, error?: unknown): void {
    const { procedure, xid } = call;
    on.publish({
      procedure,
      target: this.target,
      xid,
      durationMs,
      error,
    });
  }

  private countersOf(procedure: Procedure): Counters {
    let counters = this.counters.get(procedure);
    if (counters === undefined) {
      counters = new Counters();
      // Procedures made anew for each call would fill it for ever.
      if (this.counters.size < MAX_COUNTED_PROCEDURES) this.counters.set(procedure, counters);
    }
    return counters;
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
      this.reject(call, new TransportError(error.code, text, executed, error.cause ?? error));
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
    if (call.message === undefined || nextStep(call.retry, call.attempt).action === 'give up') {
      this.forget(call);
      this.timeouts += 1;
      this.reject(call, timeoutOf(call, this.target));
      return;
    }
    call.attempt += 1;
    this.resends += 1;
    call.dueAt = call.startedAt + nextStep(call.retry, call.attempt).atMs;
    if (clientResendChannel.hasSubscribers)
      this.tell(clientResendChannel, call, performance.now() - call.startedAt);
    const { secured } = call;
    this.transport.send(secured === undefined ? call.message : sealFor(secured, call.xid, call.procedure));
  }
}

/** A client that calls over `transport`, which it owns from now on. Throws RangeError for times out of range. */
export function createClient(transport: ClientTransport, options?: ClientOptions): RpcClient {
  return new RpcClient(transport, options);
}
