import { describe, expect, it } from 'vitest';
import { MAX_TIMEOUT_MS, nextStep, resendAt, retryOptions } from '../../../runtime/protocol.js';

describe('the retransmission schedule', () => {
  it('sends again every 5 s and gives up at 25 s by default', () => {
    const options = retryOptions();
    expect([0, 1, 2, 3, 4].map((attempt) => nextStep(options, attempt))).toEqual([
      { atMs: 5_000, action: 'resend' },
      { atMs: 10_000, action: 'resend' },
      { atMs: 15_000, action: 'resend' },
      { atMs: 20_000, action: 'resend' },
      { atMs: 25_000, action: 'give up' },
    ]);
  });

  it('gives up at the total time where no whole wait fits before it', () => {
    expect(nextStep(retryOptions({ retransmitMs: 400, timeoutMs: 1_000 }), 2)).toEqual({
      atMs: 1_000,
      action: 'give up',
    });
    expect(nextStep(retryOptions({ retransmitMs: 5_000, timeoutMs: 100 }), 0)).toEqual({
      atMs: 100,
      action: 'give up',
    });
  });

  it('can back off', () => {
    const options = retryOptions({ retransmitMs: 100, timeoutMs: 10_000, backoff: 2 });
    expect([1, 2, 3].map((attempt) => resendAt(options, attempt))).toEqual([100, 300, 700]);
    expect([1, 2, 3].map((attempt) => resendAt({ ...options, backoff: 3 }, attempt))).toEqual([
      100, 400, 1_300,
    ]);
  });

  it.each([
    [{ retransmitMs: 0 }, 'retransmitMs is 0'],
    [{ timeoutMs: MAX_TIMEOUT_MS + 1 }, 'timeoutMs is 2147483648'],
    [{ timeoutMs: Number.NaN }, 'timeoutMs is NaN'],
    [{ backoff: 0.5 }, 'backoff is 0.5'],
    [{ backoff: 17 }, 'backoff is 17'],
  ])('refuses %o', (options, text) => {
    expect(() => retryOptions(options)).toThrow(text);
  });

  it('takes the limits themselves', () => {
    expect(retryOptions({ retransmitMs: 1, timeoutMs: MAX_TIMEOUT_MS, backoff: 16 }).timeoutMs).toBe(
      MAX_TIMEOUT_MS,
    );
  });
});
