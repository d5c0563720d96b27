/**
 * Security mechanisms of calls: authentication flavors that do more than name the caller, such as RPCSEC_GSS (RFC 2203)
 * and the start of TLS (RFC 9289). A mechanism sees the raw bytes of the header, may replace arguments and results, and
 * gives replies a verifier. AUTH_NONE and AUTH_SYS are in auth.ts and use nothing of this file.
 *
 * Threat: everything here comes from the network. What a mechanism has not verified must not be acted on: arguments are
 * decoded, and the duplicate request cache is asked, only after {@link ServerSecurity.accept} has accepted the call.
 */

import { XdrReader, XdrWriter } from '../../xdr/index.js';
import type { Credentials } from './auth.js';
import { accept_stat, MAX_AUTH_BYTES, msg_type, RPC_VERSION, reply_stat } from './rpcmsg.gen.js';
import type { Peer, ReplyChannel } from './transport.js';

/** `opaque_auth` of RFC 5531 section 8.2: a flavor and at most 400 bytes. */
export interface AuthField {
  readonly flavor: number;
  readonly body: Uint8Array;
}

/** The verifier of AUTH_NONE. */
export const NO_VERIFIER: AuthField = { flavor: 0, body: new Uint8Array(0) };

/** A call as a mechanism of a server sees it. The bytes are valid until {@link ServerSecurity.accept} returns. */
export interface SecuredCall {
  readonly xid: number;
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  /** The credential's body. */
  readonly credential: Uint8Array;
  readonly verifier: AuthField;
  /** The header as it came, from the xid to the end of the credential: what a verifier is computed over (RFC 2203 section 5.3.1). */
  readonly signedBytes: Uint8Array;
  /** Everything behind the header: the arguments, as they were sent. */
  readonly args: Uint8Array;
  readonly peer: Peer;
  /** Whether the connection can be upgraded, as {@link SecurityReply.upgrade} asks for. */
  readonly canUpgrade: boolean;
}

/** How the replies to one call are protected. */
export interface ReplyProtection {
  /** The verifier of every accepted reply. */
  readonly verifier: AuthField;
  /** Bytes by which verifier and wrapping make a reply longer, at most. */
  readonly overheadBytes: number;
  /**
   * Replaces the encoded result of a call that succeeded. Where it throws, no reply is sent and `onError` of the server is
   * told (RFC 2203 section 5.3.3.4.4). Default: the result as it is.
   */
  readonly wrapResult?: (result: Uint8Array) => Uint8Array;
}

/** The call is from whom it says, and is to be run. */
export interface SecurityAcceptance {
  readonly kind: 'accept';
  /** What handlers see of the caller. */
  readonly credentials: Credentials;
  /**
   * Names the caller to the duplicate request cache: a principal, or the handle of a context. Equal for all transmissions
   * of a call. Different for two callers: else one of them could be sent the reply of the other.
   */
  readonly caller: string;
  /** The arguments in the clear, where they were sent wrapped. They are also what the duplicate request cache compares. */
  readonly args?: Uint8Array | undefined;
  /** Default: replies as without security. */
  readonly protection?: ReplyProtection | undefined;
}

/** The caller is known, but the arguments cannot be unwrapped: GARBAGE_ARGS (RFC 2203 section 5.3.3.4.3). */
export interface SecurityGarbage {
  readonly kind: 'garbage';
  /** The verifier of the reply. */
  readonly verifier: AuthField;
}

/** The mechanism answers by itself, with SUCCESS: as for the creation of a context. */
export interface SecurityReply {
  readonly kind: 'reply';
  readonly verifier: AuthField;
  readonly result: Uint8Array;
  /** True where the connection is to be upgraded behind this reply (RFC 9289 section 4.1). */
  readonly upgrade?: boolean;
}

/** What a mechanism decides. 'silence' is for what may be a replay (RFC 2203 section 5.3.3.1). */
export type SecurityDecision =
  | SecurityAcceptance
  | SecurityGarbage
  | SecurityReply
  | { readonly kind: 'silence' };

/** A mechanism of a server: one flavor number (RFC 5531 section 8.2). */
export interface ServerSecurity {
  readonly flavor: number;
  /**
   * Judges a call. Throws AuthError (or rejects with it) to refuse it. One that returns a promise copies the bytes that it
   * needs later.
   */
  accept(call: SecuredCall): SecurityDecision | Promise<SecurityDecision>;
}

/** Where a message goes. */
export interface CallTarget {
  readonly xid: number;
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
}

/** One call of a client under protection, with all its transmissions. */
export interface ProtectedCall {
  /** The whole message. Called for each transmission, so that each can have a sequence number of its own. */
  seal(target: CallTarget): Uint8Array;
  /** Throws where the reply's verifier is not the server's. */
  verify(verifier: AuthField): void;
  /** The result in the clear. Throws where it was altered. */
  unwrap(result: Uint8Array): Uint8Array;
}

/**
 * Sends a message of the mechanism itself to procedure 0 (RFC 2203 section 5.2.2), and resolves with the answer. It is sent
 * again as a call is, with the times of the client. `sign` makes its verifier over the header up to the credential's end;
 * default: the verifier of AUTH_NONE. The answer's verifier is for the mechanism to check. Rejects as a call does.
 */
export type SecurityExchange = (
  credential: AuthField,
  args: Uint8Array,
  sign?: (signedBytes: Uint8Array) => AuthField,
) => Promise<{ readonly verifier: AuthField; readonly result: Uint8Array }>;

/** A mechanism of one client. */
export interface ClientSecurity {
  /**
   * Called before each call: undefined where calls can be protected now; else a promise of that, shared by all calls that
   * wait. Each of them waits no longer than its own `timeoutMs` and `signal` say; the exchange goes on for the others.
   */
  prepare(exchange: SecurityExchange): Promise<void> | undefined;
  /** Protects a call with these encoded arguments. */
  protect(args: Uint8Array): ProtectedCall;
  /** The server refused with this `auth_stat` (RFC 5531 section 9): true where {@link prepare} can help; the call is then made once more. */
  renew(why: number): boolean;
  /**
   * The client closes, with no call under way: may tell the server, as RPCSEC_GSS_DESTROY does (RFC 2203 section 5.4). Not
   * waited for longer than {@link SECURITY_CLOSE_MS}; failures are ignored. Default: nothing.
   */
  close?(exchange: SecurityExchange): Promise<void>;
}

/** How long a client that closes waits for {@link ClientSecurity.close}: 1 s. */
export const SECURITY_CLOSE_MS = 1_000;

const writer = new XdrWriter();

/** A whole call. `sign` makes the verifier over the header up to the credential's end. Throws XdrError for a body over 400 bytes. */
export function sealCall(
  target: CallTarget,
  credential: AuthField,
  sign: (signedBytes: Uint8Array) => AuthField,
  args: Uint8Array,
): Uint8Array {
  writer.reset();
  writer.uint32(target.xid);
  writer.uint32(msg_type.CALL);
  writer.uint32(RPC_VERSION);
  writer.uint32(target.program);
  writer.uint32(target.version);
  writer.uint32(target.procedure);
  writeField(credential);
  writeField(sign(writer.peek().slice()));
  writer.encoded(args);
  return writer.peek().slice();
}

/** An accepted reply, with SUCCESS unless another status is given. */
export function sealReply(
  xid: number,
  verifier: AuthField,
  result: Uint8Array,
  status: accept_stat = accept_stat.SUCCESS,
): Uint8Array {
  writer.reset();
  writer.uint32(xid);
  writer.uint32(msg_type.REPLY);
  writer.uint32(reply_stat.MSG_ACCEPTED);
  writeField(verifier);
  writer.uint32(status);
  writer.encoded(result);
  return writer.peek().slice();
}

function writeField({ flavor, body }: AuthField): void {
  writer.uint32(flavor);
  writer.opaque(body, MAX_AUTH_BYTES);
}

/** An accepted reply (RFC 5531 section 9), from its verifier on. */
export interface AcceptedReply {
  readonly verifier: AuthField;
  /** `accept_stat`. */
  readonly status: number;
  /** Everything after the status: the result, or the versions of PROG_MISMATCH. */
  readonly result: Uint8Array;
}

/** Bytes of a reply up to its verifier: xid, message type, reply_stat. */
const ACCEPTED_BYTES = 12;

/** Reads an accepted reply; undefined for any other message. Throws XdrError where it is cut off. */
export function readAcceptedReply(message: Uint8Array): AcceptedReply | undefined {
  const reader = new XdrReader(message);
  reader.uint32();
  if (reader.uint32() !== msg_type.REPLY || reader.uint32() !== reply_stat.MSG_ACCEPTED) return undefined;
  const verifier = { flavor: reader.uint32(), body: reader.opaque(MAX_AUTH_BYTES) };
  return { verifier, status: reader.uint32(), result: reader.rest() };
}

/** A reply channel that protects what is sent. Refusals of the caller (MSG_DENIED) have no verifier and pass as they are. */
export class ProtectedChannel implements ReplyChannel {
  readonly maxReplyBytes: number;
  private readonly channel: ReplyChannel;
  private readonly protection: ReplyProtection;
  private readonly onError: (error: unknown) => void;

  constructor(channel: ReplyChannel, protection: ReplyProtection, onError: (error: unknown) => void) {
    this.channel = channel;
    this.protection = protection;
    this.onError = onError;
    this.maxReplyBytes = Math.max(0, channel.maxReplyBytes - protection.overheadBytes);
  }

  get peer(): Peer {
    return this.channel.peer;
  }

  get signal(): AbortSignal {
    return this.channel.signal;
  }

  get source(): string | number | undefined {
    return this.channel.source;
  }

  callStarted(): void {
    this.channel.callStarted?.();
  }

  callEnded(): void {
    this.channel.callEnded?.();
  }

  reply(message: Uint8Array): void {
    let bytes = message;
    try {
      const accepted = readAcceptedReply(message);
      if (accepted !== undefined) bytes = this.protect(message, accepted);
    } catch (error) {
      this.onError(error);
      return;
    }
    this.channel.reply(bytes);
  }

  private protect(message: Uint8Array, { status, result }: AcceptedReply): Uint8Array {
    const { verifier, wrapResult } = this.protection;
    const isWrapped = status === accept_stat.SUCCESS && wrapResult !== undefined;
    const rest = isWrapped ? wrapResult(result) : result;
    writer.reset();
    writer.encoded(message.subarray(0, ACCEPTED_BYTES));
    writeField(verifier);
    writer.uint32(status);
    writer.encoded(rest);
    return writer.peek();
  }
}
