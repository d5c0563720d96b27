/**
 * When a call that has no answer goes out again, and when it ends. Pure: no clock, no timer.
 * The default is the rule of RPC over datagrams as everyone knows it: the same call every
 * 5 s until 25 s are over.
 */

/** See {@link nextStep}. */
export interface RetryOptions {
  /** Milliseconds to the first resend. */
  readonly retransmitMs: number;
  /** Milliseconds from the first sending to the TimeoutError. */
  readonly timeoutMs: number;
  /** What each wait is multiplied by to make the next. 1 keeps them equal. */
  readonly backoff: number;
}

/** 5 s. */
export const DEFAULT_RETRANSMIT_MS = 5_000;
/** 25 s. */
export const DEFAULT_TIMEOUT_MS = 25_000;

/** The longest time one call may take, as Node's timers hold it: 2^31-1 ms, 24 days. */
export const MAX_TIMEOUT_MS = 2_147_483_647;

/** Milliseconds after the first sending at which the call goes out for the `attempt`th time again (1 is the first resend). */
export function resendAt(options: RetryOptions, attempt: number): number {
  if (options.backoff === 1) return options.retransmitMs * attempt;
  return (options.retransmitMs * (options.backoff ** attempt - 1)) / (options.backoff - 1);
}

/**
 * What to wait for next, `attempt` resends having been made: the time of the next resend or, where
 * that is not before the end, the end. Milliseconds after the first sending.
 */
export function nextStep(
  options: RetryOptions,
  attempt: number,
): { readonly atMs: number; readonly action: 'resend' | 'give up' } {
  const atMs = resendAt(options, attempt + 1);
  return atMs < options.timeoutMs
    ? { atMs, action: 'resend' }
    : { atMs: options.timeoutMs, action: 'give up' };
}

/** The options with their defaults. Throws RangeError for times that are not 1 ms to {@link MAX_TIMEOUT_MS}. */
export function retryOptions(
  given: { readonly [Name in keyof RetryOptions]?: number | undefined } = {},
): RetryOptions {
  const options = {
    retransmitMs: given.retransmitMs ?? DEFAULT_RETRANSMIT_MS,
    timeoutMs: given.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    backoff: given.backoff ?? 1,
  };
  for (const name of ['retransmitMs', 'timeoutMs'] as const) {
    const value = options[name];
    if (!(value >= 1 && value <= MAX_TIMEOUT_MS))
      throw new RangeError(`${name} is ${value}; it must be from 1 to ${MAX_TIMEOUT_MS} milliseconds`);
  }
  if (!(options.backoff >= 1 && options.backoff <= 16))
    throw new RangeError(`backoff is ${options.backoff}; it must be from 1 to 16`);
  return options;
}
