/**
 * Bytes in, bytes out, or silence. Every way into a server meets here: it judges the header,
 * finds the procedure, and maps whatever happens to a status of RFC 5531 section 9. It knows
 * no sockets. A procedure that returns at once is answered at once; only a promise is waited for.
 */

import { XdrError, XdrReader, type XdrReaderOptions, XdrWriter } from '../xdr/index.js';
import { authNone, authSys, type Credentials, type Flavor, noCredentials } from './auth.js';
import { AuthError, NoReply, type Refusal } from './errors.js';
import { emptyCallHeader, readCall, writeRefusal, writeSuccess } from './message.js';
import type { CallContext, Procedure, ServedProcedure, Service } from './procedure.js';
import { accept_stat, auth_flavor, auth_stat, RPC_VERSION } from './rpcmsg.gen.js';
import type { Origin, Peer } from './transport.js';

/** See {@link Dispatcher}. */
export interface DispatcherOptions {
  /** Called with whatever a procedure failed with; the caller only learns SYSTEM_ERR. Default: nothing. */
  readonly onError?: (error: unknown, context: CallContext) => void;
  /** Flavors beyond AUTH_NONE and AUTH_SYS; one with their number takes their place. */
  readonly flavors?: readonly Flavor[];
  /** Bounds on what a call's arguments may make us build. */
  readonly reader?: XdrReaderOptions;
  /** Most bytes of one reply. Default 64 MiB; a datagram holds less and says so itself. */
  readonly maxReplyBytes?: number;
}

interface Program {
  readonly versions: Map<number, Version>;
  low: number;
  high: number;
}

interface Version {
  readonly service: Service;
  readonly procedures: Map<number, ServedProcedure>;
}

/** What one call is known by while it runs. */
class Context implements CallContext {
  readonly origin: Origin;
  readonly credentials: Credentials;
  readonly procedure: Procedure;
  readonly xid: number;

  constructor(origin: Origin, credentials: Credentials, procedure: Procedure, xid: number) {
    this.origin = origin;
    this.credentials = credentials;
    this.procedure = procedure;
    this.xid = xid;
  }

  get peer(): Peer {
    return this.origin.peer;
  }

  get signal(): AbortSignal {
    return this.origin.signal;
  }
}

/** Finds and runs procedures. Made by a server; used alone where calls come by other ways than its listeners. */
export class Dispatcher {
  private readonly programs = new Map<number, Program>();
  private readonly flavors = new Map<number, Flavor>();
  private readonly onError: (error: unknown, context: CallContext) => void;
  private readonly header = emptyCallHeader();
  private readonly reader: XdrReader;
  private readonly writer: XdrWriter;
  private inFlight = 0;
  private readonly idleWaiters: (() => void)[] = [];

  constructor(options: DispatcherOptions = {}) {
    this.onError = options.onError ?? (() => undefined);
    this.reader = new XdrReader(new Uint8Array(0), options.reader);
    this.writer = new XdrWriter(
      options.maxReplyBytes === undefined ? {} : { maxBytes: options.maxReplyBytes },
    );
    for (const flavor of [authNone, authSys, ...(options.flavors ?? [])])
      this.flavors.set(flavor.number, flavor);
  }

  /** Calls whose procedures have not settled. */
  get pendingCalls(): number {
    return this.inFlight;
  }

  /** Every service, in the order they were added. */
  get services(): readonly Service[] {
    return [...this.programs.values()].flatMap((program) =>
      [...program.versions.values()].map(({ service }) => service),
    );
  }

  /** Adds one version of a program. Throws RangeError where it is served already, or two procedures share a number. */
  add(service: Service): void {
    const program = this.programs.get(service.program) ?? {
      versions: new Map<number, Version>(),
      low: service.version,
      high: service.version,
    };
    const name = `${service.name} (program ${service.program}) version ${service.version}`;
    if (program.versions.has(service.version)) throw new RangeError(`${name} is served already`);
    const procedures = new Map<number, ServedProcedure>();
    for (const served of service.procedures) {
      const { number } = served.procedure;
      if (procedures.has(number)) throw new RangeError(`${name} has two procedures of number ${number}`);
      procedures.set(number, served);
    }
    program.versions.set(service.version, { service, procedures });
    program.low = Math.min(program.low, service.version);
    program.high = Math.max(program.high, service.version);
    this.programs.set(service.program, program);
  }

  /** Takes a service out again. Calls under way are finished. */
  remove(service: Service): void {
    const program = this.programs.get(service.program);
    if (program?.versions.get(service.version)?.service !== service) return;
    program.versions.delete(service.version);
    if (program.versions.size === 0) this.programs.delete(service.program);
    const versions = [...program.versions.keys()];
    program.low = Math.min(...versions);
    program.high = Math.max(...versions);
  }

  /** Resolves when no call is under way. */
  idle(): Promise<void> {
    if (this.inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => this.idleWaiters.push(resolve));
  }

  /** Takes one message. What is no call gets silence: an answer to it could only feed a loop or a flood. */
  handle(message: Uint8Array, origin: Origin): void {
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
      credentials = this.authenticate();
    } catch (error) {
      if (error instanceof AuthError)
        this.refuse(origin, header.xid, { denied: 'AUTH_ERROR', why: error.why });
      else if (error instanceof XdrError && error.code === 'XDR_LIMIT')
        this.refuse(origin, header.xid, { denied: 'AUTH_ERROR', why: auth_stat.AUTH_BADCRED });
      // A header that is cut off was never a call; anything else is a fault of a flavor.
      else if (!(error instanceof XdrError)) this.fail(error, origin, header.xid, noCredentials);
      return;
    }
    this.run(origin, credentials);
  }

  private authenticate(): Credentials {
    const { header } = this;
    if (header.credFlavor === auth_flavor.AUTH_NONE && header.credBody.length === 0) return noCredentials;
    const flavor = this.flavors.get(header.credFlavor);
    if (flavor === undefined)
      throw new AuthError(auth_stat.AUTH_REJECTEDCRED, `flavor ${header.credFlavor} is not spoken here`);
    return flavor.accept(header.credBody, { flavor: header.verfFlavor, body: header.verfBody });
  }

  /** From the header on: program, version, procedure, arguments, in the order a caller learns most from. */
  private run(origin: Origin, credentials: Credentials): void {
    const { reader, header } = this;
    const { xid } = header;
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
    const served = version.procedures.get(header.procedure);
    if (served === undefined) {
      // Procedure 0 answers in every program by itself (RFC 5531 section 12.1).
      if (header.procedure === 0) this.replyToNull(origin, xid);
      else this.refuse(origin, xid, { status: accept_stat.PROC_UNAVAIL });
      return;
    }
    const context = new Context(origin, credentials, served.procedure, xid);
    let args: unknown;
    try {
      args = served.procedure.args.decode(reader);
      reader.finish();
    } catch (error) {
      this.settle(error instanceof XdrError ? new GarbageArgs() : error, context);
      return;
    }
    let result: unknown;
    try {
      result = served.handle(args, context);
    } catch (error) {
      this.settle(error, context);
      return;
    }
    if (isPromise(result)) this.await(result, context);
    else this.succeed(result, context);
  }

  private await(result: PromiseLike<unknown>, context: Context): void {
    this.inFlight += 1;
    const done = (): void => {
      this.inFlight -= 1;
      if (this.inFlight === 0) for (const wake of this.idleWaiters.splice(0)) wake();
    };
    result.then(
      (value) => {
        this.succeed(value, context);
        done();
      },
      (error: unknown) => {
        this.settle(error, context);
        done();
      },
    );
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
    context.origin.reply(writer.peek());
  }

  private replyToNull(origin: Origin, xid: number): void {
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
    const { origin, xid } = context;
    if (error instanceof NoReply) return;
    if (error instanceof GarbageArgs) this.refuse(origin, xid, { status: accept_stat.GARBAGE_ARGS });
    else if (error instanceof AuthError) this.refuse(origin, xid, { denied: 'AUTH_ERROR', why: error.why });
    else this.fail(error, origin, xid, context.credentials, context.procedure);
  }

  /** A fault of ours: told to the operator, never to the caller. */
  private fail(
    error: unknown,
    origin: Origin,
    xid: number,
    credentials: Credentials,
    procedure: Procedure = unknownProcedure,
  ): void {
    this.refuse(origin, xid, { status: accept_stat.SYSTEM_ERR });
    this.onError(error, new Context(origin, credentials, procedure, xid));
  }

  private refuse(origin: Origin, xid: number, refusal: Refusal): void {
    this.writer.reset();
    writeRefusal(this.writer, xid, refusal);
    origin.reply(this.writer.peek());
  }
}

/** Arguments that do not decode; a class of its own so that an XdrError of the procedure's own work is no GARBAGE_ARGS. */
class GarbageArgs extends Error {}

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
