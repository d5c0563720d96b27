/**
 * Calls under a security mechanism (protocol/security.ts), the calling end: the exchange before the first call, each
 * transmission sealed anew, replies believed only once their verifier is.
 */

import { encode, withPath, type XdrReader } from '../../xdr/index.js';
import { ReplyError, SecurityError } from '../protocol/errors.js';
import { readReplyXid } from '../protocol/message.js';
import type { CallOptions, Procedure } from '../protocol/procedure.js';
import { rawCodec } from '../protocol/raw.js';
import { accept_stat } from '../protocol/rpcmsg.gen.js';
import {
  type AuthField,
  type ClientSecurity,
  NO_VERIFIER,
  type ProtectedCall,
  readAcceptedReply,
  type SecurityExchange,
  sealCall,
  sealReply,
} from '../protocol/security.js';

/** Makes a call whose messages `secured` makes and opens. */
export type ProtectedCaller = <A, R>(
  procedure: Procedure<A, R>,
  args: A,
  options: CallOptions,
  secured: ProtectedCall,
) => Promise<R>;

/** One that the server refuses since it does not know our context (any more) is made once more under a new one. */
export async function callProtected<A, R>(
  security: ClientSecurity,
  procedure: Procedure<A, R>,
  args: A,
  options: CallOptions,
  maxBytes: number,
  call: ProtectedCaller,
): Promise<R> {
  let encoded: Uint8Array;
  try {
    encoded = encode(procedure.args, args, { maxBytes });
  } catch (error) {
    throw withPath(error, procedure.args, args);
  }
  const { program, version } = procedure;
  const exchange = exchangeWith(program, version, options, call);
  for (let attempt = 1; ; attempt++) {
    await security.prepare(exchange);
    try {
      return await call(procedure, args, options, security.protect(encoded));
    } catch (error) {
      const refusal = error instanceof ReplyError && 'denied' in error.refusal ? error.refusal : undefined;
      if (attempt === 2 || refusal?.denied !== 'AUTH_ERROR' || !security.renew(refusal.why)) throw error;
    }
  }
}

/** Messages of the mechanism itself travel on procedure 0 (RFC 2203 section 5.2.2). */
function exchangeWith(
  program: number,
  version: number,
  options: CallOptions,
  call: ProtectedCaller,
): SecurityExchange {
  const procedure: Procedure<Uint8Array, Uint8Array> = {
    program,
    version,
    number: 0,
    name: 'NULL',
    args: rawCodec,
    result: rawCodec,
  };
  return async (credential: AuthField, args: Uint8Array) => {
    let verifier = NO_VERIFIER;
    const result = await call(procedure, args, options, {
      seal: (target) => sealCall(target, credential, () => NO_VERIFIER, args),
      verify: (given) => {
        verifier = { flavor: given.flavor, body: given.body.slice() };
      },
      unwrap: (bytes) => bytes,
    });
    return { verifier, result };
  };
}

/** The message of one transmission. */
export function sealFor(secured: ProtectedCall, xid: number, procedure: Procedure): Uint8Array {
  const { program, version, number } = procedure;
  return secured.seal({ xid, program, version, procedure: number });
}

/**
 * Checks a protected reply, and has the reader stand behind the xid of the same reply in the clear. Throws SecurityError
 * where it is not the server's. A refusal of the caller has no verifier (RFC 5531 section 9): it is read as it is.
 */
export function openReply(secured: ProtectedCall, xid: number, bytes: Uint8Array, reader: XdrReader): void {
  const accepted = readAcceptedReply(bytes);
  if (accepted === undefined) return;
  try {
    secured.verify(accepted.verifier);
    if (accepted.status !== accept_stat.SUCCESS) return;
    reader.reset(sealReply(xid, NO_VERIFIER, secured.unwrap(accepted.result)));
  } catch (error) {
    throw new SecurityError('RPC_UNVERIFIED', 'the reply is not from the server, or was altered', error);
  }
  readReplyXid(reader);
}
