/** A call of a client that is under way. */

import { XdrError } from '../../xdr/index.js';
import { type ResultError, SecurityError, TimeoutError } from '../protocol/errors.js';
import type { Procedure } from '../protocol/procedure.js';
import type { RetryOptions } from '../protocol/retry.js';
import type { ProtectedCall } from '../protocol/security.js';
import type { Counters } from '../telemetry/metrics.js';

/** See the head of this file. */
export interface Pending {
  readonly xid: number;
  readonly procedure: Procedure;
  readonly startedAt: number;
  readonly retry: RetryOptions;
  readonly resolve: (value: unknown) => void;
  readonly reject: (reason: unknown) => void;
  /** Kept for sending again; undefined where the transport does not lose messages. */
  readonly message: Uint8Array | undefined;
  /** Where the call is protected: makes each transmission anew, and opens the reply. */
  readonly secured: ProtectedCall | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: (() => void) | undefined;
  readonly counters: Counters;
  attempt: number;
  dueAt: number;
  /** Replies that did not decode and were ignored, and why the last of them did not. */
  undecoded: number;
  lastReason: ResultError | SecurityError | undefined;
}

/** The error of a call that nobody answered in time, or not usably. */
export function timeoutOf(
  { procedure, retry, undecoded, lastReason }: Pending,
  target: string,
): TimeoutError {
  const text = `${procedure.name} at ${target}: no reply within ${Math.round(retry.timeoutMs) / 1000} s`;
  if (undecoded === 0) return new TimeoutError(text);
  const count = undecoded === 1 ? '1 reply that did' : `${undecoded} replies that did`;
  const why =
    lastReason instanceof SecurityError
      ? 'its verifier is wrong'
      : lastReason?.cause instanceof XdrError
        ? lastReason.cause.message
        : 'its codec failed';
  return new TimeoutError(`${text} but ${count} not decode; the last: ${why}`, undecoded, lastReason);
}
