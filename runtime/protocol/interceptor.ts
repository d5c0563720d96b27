/**
 * Interceptors: functions around a call, the same type on both sides. For logging, metrics,
 * authorization, tracing; what they do with a call is theirs.
 */

import type { CallContext, CallOptions, Procedure } from './procedure.js';

/** A call as an interceptor sees it. */
export interface InterceptedCall {
  readonly side: 'client' | 'server';
  readonly procedure: Procedure;
  /** That of the message. On the client, a call that an interceptor makes once more gets another one. */
  readonly xid: number;
  /** Where the call goes: `udp 127.0.0.1:111`. On the server, the address it came to. */
  readonly target: string;
  /** The arguments, decoded. */
  readonly args: unknown;
  /** On the server: who calls, and how. */
  readonly context?: CallContext;
  /** On the client: how the call is made. */
  readonly options?: CallOptions;
}

/**
 * Does what it wants before and after `next(call)`, which may be given another call than came, and
 * returns the result, or a promise of it, or throws. On the server `next` returns at once where the
 * procedure does; `await` it to serve both.
 */
export type Interceptor = (call: InterceptedCall, next: (call: InterceptedCall) => unknown) => unknown;

/** The first interceptor is the outermost; `last` makes the call itself. */
export function compose(
  interceptors: readonly Interceptor[],
  last: (call: InterceptedCall) => unknown,
): (call: InterceptedCall) => unknown {
  return interceptors.reduceRight<(call: InterceptedCall) => unknown>(
    (next, interceptor) => (call) => interceptor(call, next),
    last,
  );
}
