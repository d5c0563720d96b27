/**
 * Whether a server that is silent while calls are under way is still there: procedure 0 of the
 * program that answered last is called, and when that is not answered either, the connection is
 * given up. It knows no transport and no calls but its own.
 */

import { TransportError } from '../protocol/errors.js';
import type { Procedure } from '../protocol/procedure.js';

/** What a {@link KeepAlive} may do. */
export interface KeepAliveDoer {
  /** True while somebody waits for an answer. */
  isNeeded(): boolean;
  /** Calls procedure 0 of the program version that this procedure belongs to. */
  ping(procedure: Procedure, timeoutMs: number): Promise<void>;
  giveUp(error: TransportError): void;
}

/** Looks at one client's silence. */
export class KeepAlive {
  private readonly everyMs: number;
  private readonly doer: KeepAliveDoer;
  private readonly timer: NodeJS.Timeout;
  private heardAt = performance.now();
  private last: Procedure | undefined;
  private isPinging = false;

  constructor(everyMs: number, doer: KeepAliveDoer) {
    this.everyMs = everyMs;
    this.doer = doer;
    this.timer = setInterval(() => void this.look(), everyMs).unref();
  }

  /** An answer came. */
  heard(procedure: Procedure): void {
    this.heardAt = performance.now();
    this.last = procedure;
  }

  close(): void {
    clearInterval(this.timer);
  }

  private async look(): Promise<void> {
    const { last, everyMs } = this;
    const isSilent = performance.now() - this.heardAt >= everyMs * 0.9;
    if (this.isPinging || last === undefined || !isSilent || !this.doer.isNeeded()) return;
    this.isPinging = true;
    try {
      await this.doer.ping(last, everyMs);
    } catch (error) {
      const text = `the server has been silent for ${(everyMs * 2) / 1000} s`;
      // Any answer, even a refusal, is a sign of life; the want of one is not.
      if (performance.now() - this.heardAt >= everyMs * 0.9)
        this.doer.giveUp(new TransportError('RPC_CLOSED', text, 'unknown', error));
    } finally {
      this.isPinging = false;
    }
  }
}
