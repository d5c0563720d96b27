/** Options of a client: what they mean, their defaults, and their validation. */

import type { XdrReaderOptions } from '../../xdr/index.js';
import type { Credentials } from '../protocol/auth.js';
import type { Interceptor } from '../protocol/interceptor.js';
import { integerOption } from '../protocol/limits.js';
import { MAX_TIMEOUT_MS, type RetryOptions, retryOptions } from '../protocol/retry.js';
import type { ClientSecurity } from '../protocol/security.js';

/** How a client makes its calls. {@link CallOptions} of a call take precedence. */
export interface ClientOptions {
  /** Milliseconds without a reply after which the call is sent again (UDP), 1 to 2^31-1. Default 5000. */
  readonly retransmitMs?: number | undefined;
  /** Milliseconds until TimeoutError, 1 to 2^31-1. Default: the procedure's `deadlineMs`, else 25000. */
  readonly timeoutMs?: number | undefined;
  /** Factor from each wait before a retransmission to the next, 1 to 16. Default 1. */
  readonly backoff?: number | undefined;
  /** Default: none. */
  readonly credentials?: Credentials | undefined;
  /**
   * A mechanism that protects every call that has no credentials of its own, as RPCSEC_GSS does. It belongs to this client.
   * Default: none.
   */
  readonly security?: ClientSecurity | undefined;
  /**
   * Maximum number of calls in progress, 1 to 2^24; a further one is refused with RangeError. Default
   * {@link DEFAULT_MAX_PENDING_CALLS}.
   */
  readonly maxPendingCalls?: number | undefined;
  /** Limits for the values that are decoded from replies. Default: those of XdrReader. */
  readonly reader?: XdrReaderOptions | undefined;
  /** Functions around every call, the first outermost. Default: none. */
  readonly interceptors?: readonly Interceptor[] | undefined;
  /**
   * Milliseconds, up to 2^31-1, without any message of the server while calls over a stream are in progress, after which
   * procedure 0 is called. Where that is not answered within the same time, the connection is closed. 0 for never, the
   * default.
   */
  readonly keepAliveMs?: number | undefined;
}

/** Default for the number of calls of one client in progress. */
export const DEFAULT_MAX_PENDING_CALLS = 65_536;
const MAX_PENDING_CALLS = 16_777_216;

/** The numeric options with their defaults. Throws RangeError for one out of range. */
export function checkClientOptions(options: ClientOptions): {
  readonly retry: RetryOptions;
  readonly maxPendingCalls: number;
  readonly keepAliveMs: number;
} {
  const { maxPendingCalls, keepAliveMs } = options;
  const calls = DEFAULT_MAX_PENDING_CALLS;
  return {
    retry: retryOptions(options),
    maxPendingCalls: integerOption('maxPendingCalls', maxPendingCalls, calls, 1, MAX_PENDING_CALLS),
    keepAliveMs: integerOption('keepAliveMs', keepAliveMs, 0, 0, MAX_TIMEOUT_MS),
  };
}
