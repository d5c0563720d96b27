/**
 * Bytes in, bytes out, or silence. Every way into a server meets here: it judges the header,
 * finds the procedure, and maps whatever happens to a status of RFC 5531 section 9. It knows
 * no sockets. A procedure that returns at once is answered at once; only a promise is waited for.
 */

import { XdrError, XdrReader, XdrWriter } from '../../xdr/index.js';
import { type Credentials, noCredentials, readSysCredentials } from '../protocol/auth.js';
import { DUPLICATE_REPLAYED, DupCache, type DupCacheStats } from '../protocol/dupcache.js';
import { AuthError, GarbageArgs, NoReply, type Refusal, StatusError } from '../protocol/errors.js';
import { emptyCallHeader, readCall, writeRefusal, writeSuccess } from '../protocol/message.js';
import type { CallContext, Procedure, Service } from '../protocol/procedure.js';
import { accept_stat, auth_flavor, auth_stat, RPC_VERSION } from '../protocol/rpcmsg.gen.js';
import type { Peer, ReplyChannel } from '../protocol/transport.js';
import { duplicateChannel, type Outcome, serverCallChannel } from '../telemetry/events.js';
import type { ProcedureStats } from '../telemetry/metrics.js';
import { type AcceptedCall, Authenticator, type SecurityStats } from './authenticator.js';
import { Context } from './context.js';
import { type CallRequest, checkDispatcherOptions, type DispatcherOptions } from './dispatcheroptions.js';
import { type MethodEntry, ProgramTable } from './programs.js';

/** What a dispatcher has seen so far. */
export interface DispatcherStats {
  readonly pending: number;
  /** Of each procedure that was called. */
  readonly procedures: readonly ProcedureStats[];
  /** Undefined where there is no cache. */
  readonly dupCache: DupCacheStats | undefined;
  /** Undefined where there are no mechanisms beyond AUTH_NONE and AUTH_SYS. */
  readonly security: SecurityStats | undefined;
}

/** Finds and runs procedures. Made by a server; used alone where calls come by other ways than its listeners. */
export class Dispatcher {
  private readonly programs: ProgramTable;
  private readonly authenticator: Authenticator | undefined;
  private readonly authorize: ((request: CallRequest) => void) | undefined;
  private readonly onError: (error: unknown, context: CallContext) => void;
  private readonly cache: DupCache | undefined;
  private readonly mayReplay: ((peer: Peer, bytes: number) => boolean) | undefined;
  private readonly callTimeoutMs: number;
  private readonly maxPending: number;
  private readonly header = emptyCallHeader();
  private readonly reader: XdrReader;
  private readonly writer: XdrWriter;
  /** Calls waited for, in the order they came. */
  private readonly waiting = new Set<Context>();
  private timer: NodeJS.Timeout | undefined;
  private timerDueAt = Number.POSITIVE_INFINITY;
  /** When the last call of this turn of the loop ended: the next one of a batch begins then, which saves a look at the clock. */
  private clock = 0;
  private isSameTurn = false;
  private readonly idleWaiters: (() => void)[] = [];

  /** Throws RangeError for an option out of range. */
  constructor(options: DispatcherOptions = {}) {
    const { maxReplyBytes, callTimeoutMs, maxPending } = checkDispatcherOptions(options);
    this.onError = options.onError ?? (() => undefined);
    this.programs = new ProgramTable(options.interceptors ?? []);
    this.cache = options.dupCache === false ? undefined : new DupCache(options.dupCache);
    this.mayReplay = options.mayReplay;
    this.callTimeoutMs = callTimeoutMs;
    this.maxPending = maxPending;
    this.reader = new XdrReader(new Uint8Array(0), options.reader);
    this.writer = new XdrWriter({ maxBytes: maxReplyBytes });
    this.authorize = options.authorize;
    const mechanisms = options.security ?? [];
    this.authenticator =
      mechanisms.length === 0
        ? undefined
        : new Authenticator(mechanisms, this.maxPending, {
            accepted: (call) => this.resume(call),
            failed: (error, channel, xid) => this.refuseCaller(error, channel, xid),
            replyFailed: (error, channel, xid) => this.report(error, unknownContext(channel, xid)),
            idle: () => this.wakeIfIdle(),
          });
  }

  /** Calls whose procedures have not settled, or that a security mechanism has not decided. */
  get pendingCalls(): number {
    return this.waiting.size + (this.authenticator?.pending ?? 0);
  }

  /** Every service, in the order they were added. */
  get services(): readonly Service[] {
    return this.programs.services;
  }

  /** Counters and latencies so far, of the services there are now. */
  stats(): DispatcherStats {
    const procedures = this.programs.stats();
    return {
      pending: this.pendingCalls,
      procedures,
      dupCache: this.cache?.stats(),
      security: this.authenticator?.stats(),
    };
  }

  /** Adds one version of a program. Throws RangeError where it is served already, or two procedures share a number. */
  add(service: Service): void {
    this.programs.add(service);
  }

  /** Takes a service out again. Calls under way are finished. */
  remove(service: Service): void {
    this.programs.remove(service);
  }

  /** Resolves when no call is under way. */
  idle(): Promise<void> {
    if (this.pendingCalls === 0) return Promise.resolve();
    return new Promise((resolve) => this.idleWaiters.push(resolve));
  }

  /** Tells every procedure under way, by its signal, that nobody waits for it any more. */
  abort(reason: unknown): void {
    for (const context of this.waiting) context.abort(reason);
  }

  /** Takes one message. What is no call gets silence: an answer to it could only feed a loop or a flood. */
  handle(message: Uint8Array, origin: ReplyChannel): void {
    const { reader, header } = this;
    reader.reset(message);
    let credentials: Credentials;
    try {
      const reading = readCall(reader, header);
      if (reading === 'no call') return;
      if (reading === 'wrong RPC version') {
        this.refuse(origin, header.xid, { denied: 'RPC_MISMATCH', low: RPC_VERSION, high: RPC_VERSION });
        return;
      }
      if (this.authenticator?.handle(header, message, reader.offset, origin) === true) return;
      credentials = this.authenticate();
    } catch (error) {
      // A header that is cut off was never a call.
      if (!(error instanceof XdrError) || error.code === 'XDR_LIMIT')
        this.refuseCaller(error, origin, header.xid);
      return;
    }
    this.find(message, reader.offset, origin, credentials, undefined);
  }

  /** Goes on with a call that a mechanism has accepted, perhaps later than it came. */
  private resume({ message, channel, credentials, caller, args }: AcceptedCall): void {
    const { reader, header } = this;
    reader.reset(message);
    readCall(reader, header);
    if (args === undefined) this.find(message, reader.offset, channel, credentials, caller);
    else {
      reader.reset(args);
      this.find(args, 0, channel, credentials, caller);
    }
  }

  /** Tells a caller that it is not let in, or that its mechanism failed here. */
  private refuseCaller(error: unknown, channel: ReplyChannel, xid: number): void {
    if (error instanceof AuthError) this.refuse(channel, xid, { denied: 'AUTH_ERROR', why: error.why });
    else if (error instanceof XdrError)
      this.refuse(channel, xid, { denied: 'AUTH_ERROR', why: auth_stat.AUTH_BADCRED });
    else {
      this.refuse(channel, xid, { status: accept_stat.SYSTEM_ERR });
      this.report(error, unknownContext(channel, xid));
    }
  }

  private authenticate(): Credentials {
    const { credFlavor, credBody } = this.header;
    // A body of AUTH_NONE is allowed and ignored.
    if (credFlavor === auth_flavor.AUTH_NONE) return noCredentials;
    if (credFlavor === auth_flavor.AUTH_SYS) return readSysCredentials(credBody);
    throw new AuthError(auth_stat.AUTH_REJECTEDCRED, `flavor ${credFlavor} is not supported here`);
  }

  /** From the header on: program, version, procedure, in the order a caller learns most from. */
  private find(
    message: Uint8Array,
    argsAt: number,
    origin: ReplyChannel,
    credentials: Credentials,
    caller: string | undefined,
  ): void {
    const { header } = this;
    const { xid } = header;
    if (this.authorize !== undefined) {
      try {
        const { program, version, procedure } = header;
        this.authorize({ program, version, procedure, peer: origin.peer, credentials });
      } catch (error) {
        this.refuseCaller(error, origin, xid);
        return;
      }
    }
    const program = this.programs.get(header.program);
    if (program === undefined) {
      this.refuse(origin, xid, { status: accept_stat.PROG_UNAVAIL });
      return;
    }
    const version = program.versions.get(header.version);
    if (version === undefined) {
      const { low, high } = program;
      this.refuse(origin, xid, { status: accept_stat.PROG_MISMATCH, low, high });
      return;
    }
    const method = version.procedures.get(header.procedure);
    if (method === undefined) {
      // Procedure 0 answers in every program by itself (RFC 5531 section 12.1).
      if (header.procedure === 0) this.replyToNull(origin, xid);
      else this.refuse(origin, xid, { status: accept_stat.PROC_UNAVAIL });
      return;
    }
    const now = this.isSameTurn ? this.clock : this.beginTurn();
    let duplicate = NO_ENTRY;
    const { source } = origin;
    if (source !== undefined) {
      if (this.waiting.size >= this.maxPending) return;
      if (this.cache !== undefined && !method.isIdempotent) {
        duplicate = this.first(this.cache, source, message, argsAt, origin, method.procedure, now, caller);
        if (duplicate < 0) return;
      }
    }
    const { counters, procedure } = method;
    counters.calls += 1;
    const { deadlineMs } = procedure;
    const deadline =
      now + (deadlineMs === undefined ? this.callTimeoutMs : Math.min(deadlineMs, this.callTimeoutMs));
    this.run(method, new Context(origin, credentials, procedure, xid, now, deadline, counters, duplicate));
  }

  private beginTurn(): number {
    this.isSameTurn = true;
    queueMicrotask(this.endTurn);
    this.clock = performance.now();
    return this.clock;
  }

  private readonly endTurn = (): void => {
    this.isSameTurn = false;
  };

  /** The entry of a call that has not come before; negative where it has, and was answered as it should. */
  private first(
    cache: DupCache,
    source: number | string,
    message: Uint8Array,
    argsAt: number,
    origin: ReplyChannel,
    procedure: Procedure,
    now: number,
    caller: string | undefined,
  ): number {
    const entry = cache.begin(source, this.header, message, argsAt, now, caller);
    if (entry >= 0) return entry;
    const { reply } = cache;
    const isReplayed =
      entry === DUPLICATE_REPLAYED &&
      (reply === undefined || this.mayReplay === undefined || this.mayReplay(origin.peer, reply.length));
    if (duplicateChannel.hasSubscribers)
      duplicateChannel.publish({
        peer: origin.peer,
        procedure,
        xid: this.header.xid,
        action: isReplayed ? 'replayed' : 'dropped',
      });
    if (isReplayed && reply !== undefined) origin.reply(reply);
    return entry;
  }

  private run(method: MethodEntry, context: Context): void {
    const { reader } = this;
    let args: unknown;
    try {
      args = method.procedure.args.decode(reader);
      reader.finish();
    } catch (error) {
      this.settle(error instanceof XdrError ? new GarbageArgs() : error, context);
      return;
    }
    if (this.waiting.size >= this.maxPending) {
      this.settle(new Error(`${this.maxPending} calls are under way (maxPending)`), context);
      return;
    }
    let result: unknown;
    try {
      result = method.handle(args as never, context);
    } catch (error) {
      this.settle(error, context);
      return;
    }
    if (isPromise(result)) this.await(result, context);
    else this.succeed(result, context);
  }

  private await(result: PromiseLike<unknown>, context: Context): void {
    this.waiting.add(context);
    context.origin.callStarted?.();
    if (context.deadline < this.timerDueAt) this.setTimer(context.deadline);
    result.then(
      (value) => {
        if (context.isSettled) return;
        this.succeed(value, context);
        this.done(context);
      },
      (error: unknown) => {
        if (context.isSettled) return;
        this.settle(error, context);
        this.done(context);
      },
    );
  }

  private done(context: Context): void {
    this.waiting.delete(context);
    context.origin.callEnded?.();
    this.wakeIfIdle();
  }

  private wakeIfIdle(): void {
    if (this.idleWaiters.length > 0 && this.pendingCalls === 0)
      for (const wake of this.idleWaiters.splice(0)) wake();
  }

  /** One timer for all calls, at the earliest deadline there was when it was set. */
  private setTimer(dueAt: number): void {
    clearTimeout(this.timer);
    this.timerDueAt = dueAt;
    this.timer = setTimeout(() => this.onTimer(), Math.max(1, Math.ceil(dueAt - performance.now()))).unref();
  }

  /** Calls past their deadline are answered now; whatever their procedures come to later is lost. */
  private onTimer(): void {
    this.timerDueAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let earliest = Number.POSITIVE_INFINITY;
    for (const context of this.waiting) {
      if (context.deadline > now) {
        earliest = Math.min(earliest, context.deadline);
        continue;
      }
      const seconds = Math.round(context.deadline - context.startedAt) / 1000;
      const error = new Error(`${context.procedure.name} did not settle within ${seconds} s`);
      this.settle(error, context);
      context.abort(error);
      this.done(context);
    }
    if (earliest < this.timerDueAt) this.setTimer(earliest);
  }

  private succeed(result: unknown, context: Context): void {
    const { writer } = this;
    try {
      writer.reset();
      writeSuccess(writer, context.xid);
      context.procedure.result.encode(writer, result);
      const { maxReplyBytes } = context.origin;
      if (writer.length > maxReplyBytes)
        throw new XdrError(
          'XDR_LIMIT',
          `a reply of ${writer.length} bytes, where ${maxReplyBytes} can be sent`,
        );
    } catch (error) {
      this.settle(error, context);
      return;
    }
    this.answer(context, writer.peek(), 'success', undefined);
  }

  private replyToNull(origin: ReplyChannel, xid: number): void {
    if (this.reader.remaining > 0) {
      this.refuse(origin, xid, { status: accept_stat.GARBAGE_ARGS });
      return;
    }
    this.writer.reset();
    writeSuccess(this.writer, xid);
    origin.reply(this.writer.peek());
  }

  /** The one table from what went wrong to what the caller is told. */
  private settle(error: unknown, context: Context): void {
    if (error instanceof NoReply) this.answer(context, undefined, 'silent', undefined);
    else if (error instanceof GarbageArgs)
      this.answer(context, this.refusal(context.xid, { status: accept_stat.GARBAGE_ARGS }), 'refused', error);
    else if (error instanceof AuthError)
      this.answer(
        context,
        this.refusal(context.xid, { denied: 'AUTH_ERROR', why: error.why }),
        'refused',
        error,
      );
    else if (error instanceof StatusError)
      this.answer(context, this.refusal(context.xid, error.refusal), 'refused', error);
    else {
      // A fault of ours: told to the operator, never to the caller.
      this.answer(context, this.refusal(context.xid, { status: accept_stat.SYSTEM_ERR }), 'failed', error);
      this.report(error, context);
    }
  }

  /** Every call that reached a procedure ends here, once. */
  private answer(context: Context, reply: Uint8Array | undefined, outcome: Outcome, error: unknown): void {
    context.settle();
    const now = performance.now();
    this.clock = now;
    const durationMs = now - context.startedAt;
    context.counters?.end(outcome, durationMs);
    if (context.duplicate >= 0) this.cache?.finish(context.duplicate, reply, now);
    if (reply !== undefined) context.origin.reply(reply);
    if (serverCallChannel.hasSubscribers)
      serverCallChannel.publish({
        context,
        outcome,
        durationMs,
        error,
      });
  }

  private report(error: unknown, context: Context): void {
    try {
      this.onError(error, context);
    } catch (fault) {
      process.emitWarning(`onError of an RPC server failed: ${String(fault)}`);
    }
  }

  private refuse(origin: ReplyChannel, xid: number, refusal: Refusal): void {
    origin.reply(this.refusal(xid, refusal));
  }

  private refusal(xid: number, refusal: Refusal): Uint8Array {
    this.writer.reset();
    writeRefusal(this.writer, xid, refusal);
    return this.writer.peek();
  }
}

const NO_ENTRY = -1;

/** For reports about a call whose procedure is not known. */
function unknownContext(channel: ReplyChannel, xid: number): Context {
  return new Context(channel, noCredentials, unknownProcedure, xid, 0, 0, undefined, NO_ENTRY);
}

const unknownProcedure: Procedure = {
  program: 0,
  version: 0,
  number: 0,
  name: '(before the procedure was known)',
  args: { minBytes: 0, encode: () => undefined, decode: () => undefined },
  result: { minBytes: 0, encode: () => undefined, decode: () => undefined },
};

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
