/**
 * Options of a dispatcher: what they mean, their defaults, and their validation.
 */

import type { XdrReaderOptions } from '../../xdr/index.js';
import { DEFAULT_MAX_MESSAGE_BYTES } from '../../xdr/index.js';
import type { Credentials } from '../protocol/auth.js';
import type { DupCacheOptions } from '../protocol/dupcache.js';
import type { Interceptor } from '../protocol/interceptor.js';
import { integerOption } from '../protocol/limits.js';
import type { CallContext } from '../protocol/procedure.js';
import { MAX_TIMEOUT_MS } from '../protocol/retry.js';
import type { ServerSecurity } from '../protocol/security.js';
import type { Peer } from '../protocol/transport.js';

/** See {@link Dispatcher}. */
export interface DispatcherOptions {
  /** Called with each failure of a procedure; the caller is only sent SYSTEM_ERR. Default: nothing. */
  readonly onError?: ((error: unknown, context: CallContext) => void) | undefined;
  /** Mechanisms beyond AUTH_NONE and AUTH_SYS, at most one for each flavor number; one with their number replaces them. Default: none. */
  readonly security?: readonly ServerSecurity[] | undefined;
  /**
   * Called for each call when the caller is known, before its arguments are decoded. Throws AuthError to refuse the call
   * (AUTH_TOOWEAK where the caller should prove more). Default: every call is allowed.
   */
  readonly authorize?: ((request: CallRequest) => void) | undefined;
  /** Limits for the values that are decoded from arguments. Default: those of XdrReader. */
  readonly reader?: XdrReaderOptions | undefined;
  /**
   * Maximum size of one reply in bytes, 1024 to 2^31-1. Default 64 MiB; the transport may allow less (a datagram: 65507).
   * A longer one is answered with SYSTEM_ERR.
   */
  readonly maxReplyBytes?: number | undefined;
  /** Functions around every procedure, the first outermost. Default: none. */
  readonly interceptors?: readonly Interceptor[] | undefined;
  /** The duplicate request cache for calls over UDP, or false for none. Default: one with its defaults. */
  readonly dupCache?: DupCacheOptions | false | undefined;
  /**
   * Asked before a reply of so many bytes is sent again to a call that was sent again over UDP; false drops it. The source
   * may be forged, and each copy of a small call would cause a large reply. Default: it is sent.
   */
  readonly mayReplay?: ((peer: Peer, bytes: number) => boolean) | undefined;
  /**
   * Milliseconds a procedure's promise may take, 1 to 2^31-1; then the call is answered with SYSTEM_ERR. Default
   * {@link DEFAULT_CALL_TIMEOUT_MS}.
   */
  readonly callTimeoutMs?: number | undefined;
  /**
   * Maximum number of calls in progress, of all peers together, 1 to {@link MAX_PENDING}. A further call over UDP is
   * dropped, so that it is sent again; elsewhere it is answered with SYSTEM_ERR. Default {@link DEFAULT_MAX_PENDING}.
   */
  readonly maxPending?: number | undefined;
}

/** Default for the time a procedure's promise may take: 5 minutes. */
export const DEFAULT_CALL_TIMEOUT_MS = 300_000;
/** Default for the number of calls in progress. */
export const DEFAULT_MAX_PENDING = 65_536;
/** The largest number of calls in progress that can be configured: 2^24. */
export const MAX_PENDING = 16_777_216;
/** The smallest maximum size of a reply: any refusal fits in it, with a verifier of 400 bytes. */
const MIN_REPLY_BYTES = 1_024;
const MAX_REPLY_BYTES = 0x7fff_ffff;

/** A call that is to be allowed or refused. */
export interface CallRequest {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly peer: Peer;
  readonly credentials: Credentials;
}

/** The numeric options of a dispatcher with their defaults. Throws RangeError for one out of range, and for two mechanisms of one flavor. */
export function checkDispatcherOptions({
  security = [],
  maxReplyBytes,
  callTimeoutMs,
  maxPending,
}: DispatcherOptions): {
  readonly maxReplyBytes: number;
  readonly callTimeoutMs: number;
  readonly maxPending: number;
} {
  const numbers = new Set<number>();
  for (const { flavor } of security) {
    if (numbers.has(flavor)) throw new RangeError(`security has two mechanisms for flavor ${flavor}`);
    numbers.add(flavor);
  }
  const bytes = DEFAULT_MAX_MESSAGE_BYTES;
  return {
    maxReplyBytes: integerOption('maxReplyBytes', maxReplyBytes, bytes, MIN_REPLY_BYTES, MAX_REPLY_BYTES),
    callTimeoutMs: integerOption('callTimeoutMs', callTimeoutMs, DEFAULT_CALL_TIMEOUT_MS, 1, MAX_TIMEOUT_MS),
    maxPending: integerOption('maxPending', maxPending, DEFAULT_MAX_PENDING, 1, MAX_PENDING),
  };
}
