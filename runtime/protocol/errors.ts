/**
 * What a call can end in other than its result. Each class answers "may I try again?" with
 * `executed`; none of them borrows a wire number for a local failure.
 */

import type { accept_stat, auth_stat } from './rpcmsg.gen.js';

/** Whether the server ran the procedure: it did not, it did, or nobody can say. */
export type Executed = 'no' | 'unknown' | 'yes';

/** Codes of {@link TransportError}. */
export type TransportErrorCode =
  | 'RPC_CONNECT'
  | 'RPC_CLOSED'
  | 'RPC_FRAMING'
  | 'RPC_TLS_NOT_OFFERED'
  | 'RPC_TLS_UNTRUSTED'
  | 'RPC_TLS_NAME'
  | 'RPC_TLS_CLIENT'
  | 'RPC_TLS';
/** Codes of {@link ReplyError}. */
export type ReplyErrorCode =
  | 'RPC_PROG_UNAVAIL'
  | 'RPC_PROG_MISMATCH'
  | 'RPC_PROC_UNAVAIL'
  | 'RPC_GARBAGE_ARGS'
  | 'RPC_SYSTEM_ERR'
  | 'RPC_VERSION'
  | 'RPC_AUTH';
/** Every code an {@link RpcError} may have; each has a row in docs/errors.md. */
export type RpcErrorCode =
  | TransportErrorCode
  | ReplyErrorCode
  | 'RPC_TIMEOUT'
  | 'RPC_GARBAGE_RESULT'
  | 'RPC_UNVERIFIED'
  | 'RPC_SECURITY';

/** A call that did not end in a result. */
export abstract class RpcError extends Error {
  abstract readonly code: RpcErrorCode;
  /** 'no': sending it again is safe. 'unknown' and 'yes': only if the procedure may run twice. */
  abstract readonly executed: Executed;
}

/** The way to the server failed: it could not be reached, or went away with calls under way. */
export class TransportError extends RpcError {
  override readonly name = 'TransportError';
  readonly code: TransportErrorCode;
  readonly executed: Executed;

  constructor(code: TransportErrorCode, message: string, executed: Executed, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.executed = executed;
  }
}

/**
 * No reply within the total time (25 s unless said otherwise). Over UDP replies may have come that did not decode;
 * where the two ends have different `.x` files, this is how it shows.
 */
export class TimeoutError extends RpcError {
  override readonly name = 'TimeoutError';
  readonly code = 'RPC_TIMEOUT';
  readonly executed = 'unknown';
  /** Replies with the xid of this call that did not decode and were ignored. */
  readonly undecodedReplies: number;
  /** What was wrong with the last of them: its cause is the XdrError. Also the cause of this error. */
  readonly lastReason: ResultError | SecurityError | undefined;

  constructor(message: string, undecodedReplies = 0, lastReason?: ResultError | SecurityError) {
    super(message, lastReason === undefined ? undefined : { cause: lastReason });
    this.undecodedReplies = undecodedReplies;
    this.lastReason = lastReason;
  }
}

/** What the server said in its refusal (RFC 5531 section 9). */
export type Refusal =
  | { readonly status: Exclude<accept_stat, 0 | 2> }
  | { readonly status: 2; readonly low: number; readonly high: number }
  | { readonly denied: 'RPC_MISMATCH'; readonly low: number; readonly high: number }
  | { readonly denied: 'AUTH_ERROR'; readonly why: auth_stat };

/** The server answered, and refused the call. */
export class ReplyError extends RpcError {
  override readonly name = 'ReplyError';
  readonly code: ReplyErrorCode;
  readonly refusal: Refusal;
  /** SYSTEM_ERR may come after the procedure did some of its work; all other refusals come before it. */
  readonly executed: Executed;

  constructor(code: ReplyErrorCode, message: string, refusal: Refusal) {
    super(message);
    this.code = code;
    this.refusal = refusal;
    this.executed = code === 'RPC_SYSTEM_ERR' ? 'unknown' : 'no';
  }
}

/**
 * The server answers on a connection with what is no reply, or with a result that is not of the procedure's type. The
 * cause is an XdrError. Over UDP such a reply is ignored, and counted in {@link TimeoutError.undecodedReplies}.
 */
export class ResultError extends RpcError {
  override readonly name = 'ResultError';
  readonly code = 'RPC_GARBAGE_RESULT';
  readonly executed = 'yes';
}

/**
 * The security mechanism of a client failed: `RPC_UNVERIFIED` where a reply on a connection has a verifier that is not the
 * server's, or a result that was altered (over UDP such a reply is ignored, as one that does not decode is);
 * `RPC_SECURITY` where calls cannot be protected, as without a Kerberos ticket.
 */
export class SecurityError extends RpcError {
  override readonly name = 'SecurityError';
  readonly code: 'RPC_UNVERIFIED' | 'RPC_SECURITY';
  readonly executed: Executed;

  constructor(code: 'RPC_UNVERIFIED' | 'RPC_SECURITY', message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.executed = code === 'RPC_SECURITY' ? 'no' : 'unknown';
  }
}

/**
 * Thrown by a procedure or a security mechanism to refuse a call: the answer is MSG_DENIED, AUTH_ERROR
 * with this status (RFC 5531 section 9).
 */
export class AuthError extends Error {
  override readonly name = 'AuthError';
  readonly why: Exclude<auth_stat, 0>;

  constructor(why: Exclude<auth_stat, 0>, message = 'the caller may not do this') {
    super(message);
    this.why = why;
  }
}

/**
 * Thrown by a procedure that passes calls on: the answer is this refusal, as the program behind it
 * gave it (RFC 5531 section 9).
 */
export class StatusError extends Error {
  override readonly name = 'StatusError';
  readonly refusal: Refusal;

  constructor(refusal: Refusal, message = 'the call is refused') {
    super(message);
    this.refusal = refusal;
  }
}

/** Thrown by a procedure that answers with silence, as CALLIT does on failure (RFC 1833 section 2.2.1). */
export class NoReply extends Error {
  override readonly name = 'NoReply';
}

/** Arguments that do not decode; a class of its own so that an XdrError of the procedure's own work is no GARBAGE_ARGS. */
export class GarbageArgs extends Error {
  override readonly name = 'GarbageArgs';
}
