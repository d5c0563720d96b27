/**
 * What a procedure is to both of its ends: numbers, codecs, and the function that serves
 * it. Generated clients and services are made of these; nothing here does anything.
 */

import { type Codec, voidCodec } from '../../xdr/index.js';
import type { Credentials } from './auth.js';
import type { Peer, TransportKind } from './transport.js';

/** One remote procedure: where it is (RFC 5531 section 8.2) and what goes in and out. */
export interface Procedure<A = unknown, R = unknown> {
  readonly program: number;
  readonly version: number;
  readonly number: number;
  /** As the `.x` spells it, `PMAPPROC_GETPORT`; for messages and logs. */
  readonly name: string;
  readonly args: Codec<A>;
  readonly result: Codec<R>;
  /**
   * True where running it twice is as good as once, as with a look-up: calls over UDP then take no room
   * in the duplicate request cache. Default false.
   */
  readonly idempotent?: boolean | undefined;
  /**
   * How long one call may take, in milliseconds, as the `.x` says it (`@rpc:deadline`). Clients wait that long where neither
   * the call nor the client says `timeoutMs`; servers answer SYSTEM_ERR after it, where they allow no less (`callTimeoutMs`).
   * From 1 to 2^31-1.
   */
  readonly deadlineMs?: number | undefined;
}

/** What may be said of one call; what is not said is taken from the client's own options. */
export interface CallOptions {
  /** Milliseconds without an answer before the same call goes out again (UDP). Default 5000. */
  readonly retransmitMs?: number;
  /** Milliseconds until the call fails with TimeoutError. Default 25000. */
  readonly timeoutMs?: number;
  /** Gives up waiting; the promise rejects with the signal's reason. The server may still run the call. */
  readonly signal?: AbortSignal;
  readonly credentials?: Credentials;
}

/** Whatever can make calls: a client, or a test's stand-in. */
export interface Caller {
  call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R>;
}

/** What a serving procedure may know of the call it answers. */
export interface CallContext {
  readonly peer: Peer;
  readonly credentials: Credentials;
  readonly procedure: Procedure;
  readonly xid: number;
  /** How the call came. */
  readonly transport: TransportKind;
  /** The address of ours it was sent to; a wildcard where the system does not tell. */
  readonly localAddress: string;
  /** When the server gives up on this call and answers SYSTEM_ERR, in milliseconds as `performance.now()` counts. */
  readonly deadline: number;
  /** Fires when the answer can no longer be delivered: the connection is gone, the deadline is past, the server closes. */
  readonly signal: AbortSignal;
}

/** A procedure and the function that serves it. */
export interface ServedProcedure<A = unknown, R = unknown> {
  readonly procedure: Procedure<A, R>;
  /** A procedure that returns its result at once is answered at once; only a promise is waited for. */
  handle(args: A, context: CallContext): R | Promise<R>;
}

/** One version of one program, ready to be put into a server. Procedure 0 need not be among them. */
export interface Service {
  readonly program: number;
  readonly version: number;
  /** As the `.x` spells the program. */
  readonly name: string;
  readonly procedures: readonly ServedProcedure[];
}

/**
 * Procedure 0 of a program version, which has no arguments and no results (RFC 5531 section 12.1), or those of `codec`
 * where a security mechanism uses the procedure for messages of its own (RFC 2203 section 5.2.2).
 */
export function nullProcedure(program: number, version: number): Procedure<void, void>;
export function nullProcedure<T>(program: number, version: number, codec: Codec<T>): Procedure<T, T>;
export function nullProcedure(
  program: number,
  version: number,
  codec: Codec<unknown> = voidCodec as Codec<unknown>,
): Procedure {
  return { program, version, number: 0, name: 'NULL', args: codec, result: codec, idempotent: true };
}
