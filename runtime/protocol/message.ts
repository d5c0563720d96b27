/**
 * The RPC message header (RFC 5531 section 9), written and read by hand because every call
 * passes here. The only file that knows the order of its fields:
 *
 *   call:   xid | 0 | 2 | program | version | procedure | cred | verf | arguments
 *   reply:  xid | 1 | 0 | verf | accept_stat | results or, on PROG_MISMATCH, low, high
 *           xid | 1 | 1 | 0 | low | high            (RPC_MISMATCH)
 *           xid | 1 | 1 | 1 | auth_stat             (AUTH_ERROR)
 *
 * where cred and verf are each: flavor | length | body, at most 400 bytes.
 */

import type { XdrReader, XdrWriter } from '../../xdr/index.js';
import { type Credentials, writeCredentials } from './auth.js';
import { type Refusal, ReplyError, type ReplyErrorCode } from './errors.js';
import type { Procedure } from './procedure.js';
import {
  accept_stat,
  auth_flavor,
  auth_stat,
  MAX_AUTH_BYTES,
  msg_type,
  RPC_VERSION,
  reject_stat,
  reply_stat,
} from './rpcmsg.gen.js';

const NO_BYTES = new Uint8Array(0);

/** The header of a call, reused from call to call by whoever reads many. */
export interface CallHeader {
  xid: number;
  program: number;
  version: number;
  procedure: number;
  credFlavor: number;
  credBody: Uint8Array;
  verfFlavor: number;
  verfBody: Uint8Array;
}

/** A header to be filled by {@link readCall}. */
export function emptyCallHeader(): CallHeader {
  return {
    xid: 0,
    program: 0,
    version: 0,
    procedure: 0,
    credFlavor: 0,
    credBody: NO_BYTES,
    verfFlavor: 0,
    verfBody: NO_BYTES,
  };
}

/** What {@link readCall} found. */
export type CallReading = 'call' | 'no call' | 'wrong RPC version';

/**
 * Reads a call's header; the reader then stands at the arguments. 'no call' is anything that
 * deserves silence: a reply, or a message too short to be told what is wrong with it. Throws
 * XdrError where the header is cut off or an auth body is over 400 bytes.
 */
export function readCall(reader: XdrReader, header: CallHeader): CallReading {
  if (reader.remaining < 12) return 'no call';
  header.xid = reader.uint32();
  if (reader.uint32() !== msg_type.CALL) return 'no call';
  if (reader.uint32() !== RPC_VERSION) return 'wrong RPC version';
  header.program = reader.uint32();
  header.version = reader.uint32();
  header.procedure = reader.uint32();
  header.credFlavor = reader.uint32();
  header.credBody = readBody(reader);
  header.verfFlavor = reader.uint32();
  header.verfBody = readBody(reader);
  return 'call';
}

/** Writes a call up to its arguments. */
export function writeCall(
  writer: XdrWriter,
  xid: number,
  procedure: Pick<Procedure, 'program' | 'version' | 'number'>,
  credentials: Credentials,
): void {
  writer.uint32(xid);
  writer.uint32(msg_type.CALL);
  writer.uint32(RPC_VERSION);
  writer.uint32(procedure.program);
  writer.uint32(procedure.version);
  writer.uint32(procedure.number);
  writeCredentials(writer, credentials);
  writer.uint32(auth_flavor.AUTH_NONE);
  writer.uint32(0);
}

/** Writes the reply to a call that succeeded, up to its results. */
export function writeSuccess(writer: XdrWriter, xid: number): void {
  writer.uint32(xid);
  writer.uint32(msg_type.REPLY);
  writer.uint32(reply_stat.MSG_ACCEPTED);
  writer.uint32(auth_flavor.AUTH_NONE);
  writer.uint32(0);
  writer.uint32(accept_stat.SUCCESS);
}

/** Writes a whole reply that refuses the call. */
export function writeRefusal(writer: XdrWriter, xid: number, refusal: Refusal): void {
  writer.uint32(xid);
  writer.uint32(msg_type.REPLY);
  if ('denied' in refusal) {
    writer.uint32(reply_stat.MSG_DENIED);
    if (refusal.denied === 'AUTH_ERROR') {
      writer.uint32(reject_stat.AUTH_ERROR);
      writer.uint32(refusal.why);
      return;
    }
    writer.uint32(reject_stat.RPC_MISMATCH);
  } else {
    writer.uint32(reply_stat.MSG_ACCEPTED);
    writer.uint32(auth_flavor.AUTH_NONE);
    writer.uint32(0);
    writer.uint32(refusal.status);
    if (refusal.status !== accept_stat.PROG_MISMATCH) return;
  }
  writer.uint32(refusal.low);
  writer.uint32(refusal.high);
}

/** The xid of a reply, or undefined where the message is none. Reads 8 bytes. */
export function readReplyXid(reader: XdrReader): number | undefined {
  if (reader.remaining < 8) return undefined;
  const xid = reader.uint32();
  return reader.uint32() === msg_type.REPLY ? xid : undefined;
}

/**
 * Reads the rest of a reply's header after {@link readReplyXid}. Undefined is success: the reader
 * stands at the results. Throws XdrError where the bytes are no reply.
 */
export function readReply(reader: XdrReader): Refusal | undefined {
  const stat = reader.uint32();
  if (stat === reply_stat.MSG_ACCEPTED) {
    reader.uint32();
    readBody(reader);
    const status = reader.uint32();
    if (status === accept_stat.SUCCESS) return undefined;
    if (status === accept_stat.PROG_MISMATCH) return { status, low: reader.uint32(), high: reader.uint32() };
    if (status > accept_stat.SYSTEM_ERR) reader.badEnum('accept_stat', status);
    return { status: status as Exclude<accept_stat, 0 | 2> };
  }
  if (stat !== reply_stat.MSG_DENIED) reader.badEnum('reply_stat', stat);
  const reason = reader.uint32();
  if (reason === reject_stat.RPC_MISMATCH)
    return { denied: 'RPC_MISMATCH', low: reader.uint32(), high: reader.uint32() };
  if (reason !== reject_stat.AUTH_ERROR) reader.badEnum('reject_stat', reason);
  // RPCSEC_GSS has statuses of its own beyond these (RFC 2203): the number is passed on.
  return { denied: 'AUTH_ERROR', why: reader.uint32() as auth_stat };
}

const ACCEPT: Record<Exclude<accept_stat, 0>, [ReplyErrorCode, string]> = {
  [accept_stat.PROG_UNAVAIL]: ['RPC_PROG_UNAVAIL', 'the program is not served there'],
  [accept_stat.PROG_MISMATCH]: ['RPC_PROG_MISMATCH', 'that version of the program is not served there'],
  [accept_stat.PROC_UNAVAIL]: ['RPC_PROC_UNAVAIL', 'the program has no such procedure'],
  [accept_stat.GARBAGE_ARGS]: ['RPC_GARBAGE_ARGS', 'the server could not decode the arguments'],
  [accept_stat.SYSTEM_ERR]: ['RPC_SYSTEM_ERR', 'the server failed while running the procedure'],
};

/** The error that tells a caller of a refusal. `what` names the call. */
export function refusalError(what: string, refusal: Refusal): ReplyError {
  if ('denied' in refusal) {
    if (refusal.denied === 'RPC_MISMATCH') {
      const text = `the server speaks RPC version ${refusal.low} to ${refusal.high}, not ${RPC_VERSION}`;
      return new ReplyError('RPC_VERSION', `${what}: ${text}`, refusal);
    }
    const name = Object.entries(auth_stat).find(([, value]) => value === refusal.why)?.[0];
    const text = `the server refuses the caller: ${name ?? `auth_stat ${refusal.why}`}`;
    return new ReplyError('RPC_AUTH', `${what}: ${text}`, refusal);
  }
  const [code, text] = ACCEPT[refusal.status];
  const range =
    refusal.status === accept_stat.PROG_MISMATCH ? ` (${refusal.low} to ${refusal.high} are)` : '';
  return new ReplyError(code, `${what}: ${text}${range}`, refusal);
}

function readBody(reader: XdrReader): Uint8Array {
  // The empty body is nearly every body: no array is made for it.
  if (reader.peekUint32() === 0) {
    reader.uint32();
    return NO_BYTES;
  }
  return reader.opaque(MAX_AUTH_BYTES);
}
