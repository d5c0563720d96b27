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
  /** Replaces the encoded result of a call that succeeded. Default: the result as it is. */
  readonly wrapResult?: (result: Uint8Array) => Uint8Array;
}

/** The call is from whom it says, and is to be run. */
export interface SecurityAcceptance {
  readonly kind: 'accept';
  readonly credentials: Credentials;
  /** The arguments in the clear, where they were sent wrapped. They are also what the duplicate request cache compares. */
  readonly args?: Uint8Array | undefined;
  /** Default: replies as without security. */
  readonly protection?: ReplyProtection | undefined;
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
export type SecurityDecision = SecurityAcceptance | SecurityReply | { readonly kind: 'silence' };

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

/** Sends a message of the mechanism itself to procedure 0, and resolves with the answer. Rejects as a call does. */
export type SecurityExchange = (
  credential: AuthField,
  args: Uint8Array,
) => Promise<{ readonly verifier: AuthField; readonly result: Uint8Array }>;

/** A mechanism of one client. */
export interface ClientSecurity {
  /** Called before each call: undefined where calls can be protected now; else a promise of that, shared by all who wait. */
  prepare(exchange: SecurityExchange): Promise<void> | undefined;
  /** Protects a call with these encoded arguments. */
  protect(args: Uint8Array): ProtectedCall;
  /** The server refused with this `auth_stat` (RFC 5531 section 9): true where {@link prepare} can help; the call is then made once more. */
  renew(why: number): boolean;
  /** The client closes. Default: nothing. */
  close?(exchange: SecurityExchange): Promise<void>;
}

const writer = new XdrWriter();

/** A whole call. `verify` makes the verifier over the header up to the credential's end. Throws XdrError for a body over 400 bytes. */
export function sealCall(
  target: CallTarget,
  credential: AuthField,
  verify: (signedBytes: Uint8Array) => AuthField,
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
  writeField(verify(writer.peek().slice()));
  writer.encoded(args);
  return writer.peek().slice();
}

/** An accepted reply with SUCCESS. */
export function sealReply(xid: number, verifier: AuthField, result: Uint8Array): Uint8Array {
  writer.reset();
  writer.uint32(xid);
  writer.uint32(msg_type.REPLY);
  writer.uint32(reply_stat.MSG_ACCEPTED);
  writeField(verifier);
  writer.uint32(accept_stat.SUCCESS);
  writer.encoded(result);
  return writer.peek().slice();
}

function writeField({ flavor, body }: AuthField): void {
  writer.uint32(flavor);
  writer.opaque(body, MAX_AUTH_BYTES);
}

/** The verifier and what stands behind it of an accepted reply; undefined for any other message. Throws XdrError where it is cut off. */
export function readAcceptedReply(
  message: Uint8Array,
): { readonly verifier: AuthField; readonly status: number; readonly result: Uint8Array } | undefined {
  const reader = new XdrReader(message);
  reader.uint32();
  if (reader.uint32() !== msg_type.REPLY || reader.uint32() !== reply_stat.MSG_ACCEPTED) return undefined;
  const verifier = { flavor: reader.uint32(), body: reader.opaque(MAX_AUTH_BYTES) };
  return { verifier, status: reader.uint32(), result: reader.rest() };
}

/** Bytes of an accepted reply up to its status, where the verifier is that of AUTH_NONE. */
const PLAIN_HEADER_BYTES = 24;

/** A reply channel that protects what is sent. Refusals of the caller (MSG_DENIED) have no verifier and pass as they are. */
export class ProtectedChannel implements ReplyChannel {
  readonly maxReplyBytes: number;
  private readonly channel: ReplyChannel;
  private readonly protection: ReplyProtection;

  constructor(channel: ReplyChannel, protection: ReplyProtection) {
    this.channel = channel;
    this.protection = protection;
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
    const accepted = readAcceptedReply(message);
    if (accepted === undefined) {
      this.channel.reply(message);
      return;
    }
    const { verifier, wrapResult } = this.protection;
    const isSuccess = accepted.status === accept_stat.SUCCESS && wrapResult !== undefined;
    const behind = isSuccess ? wrapResult(accepted.result) : message.subarray(PLAIN_HEADER_BYTES);
    writer.reset();
    writer.encoded(message.subarray(0, 12));
    writeField(verifier);
    writer.uint32(accepted.status);
    writer.encoded(behind);
    this.channel.reply(writer.peek());
  }
}
