/** One call while it runs: what its procedure may know of it, and its one way back. */

import type { Credentials } from '../protocol/auth.js';
import type { CallContext, Procedure } from '../protocol/procedure.js';
import type { Peer, ReplyChannel, TransportKind } from '../protocol/transport.js';
import type { Counters } from '../telemetry/metrics.js';

/** A call under way. Everything that costs is made when it is asked for. */
export class Context implements CallContext {
  readonly origin: ReplyChannel;
  readonly credentials: Credentials;
  readonly procedure: Procedure;
  readonly xid: number;
  readonly startedAt: number;
  readonly deadline: number;
  /** Where the call is counted; undefined for one that reached no procedure. */
  readonly counters: Counters | undefined;
  /** Its entry in the duplicate request cache; negative where it has none. */
  readonly duplicate: number;
  /** True once it was answered, or met with silence: what comes later is not sent. */
  isSettled = false;
  private controller: AbortController | undefined;
  private unlink: (() => void) | undefined;

  constructor(
    origin: ReplyChannel,
    credentials: Credentials,
    procedure: Procedure,
    xid: number,
    startedAt: number,
    deadline: number,
    counters: Counters | undefined,
    duplicate: number,
  ) {
    this.origin = origin;
    this.credentials = credentials;
    this.procedure = procedure;
    this.xid = xid;
    this.startedAt = startedAt;
    this.deadline = deadline;
    this.counters = counters;
    this.duplicate = duplicate;
  }

  get peer(): Peer {
    return this.origin.peer;
  }

  get transport(): TransportKind {
    return this.origin.peer.transport;
  }

  get localAddress(): string {
    return this.origin.peer.localAddress;
  }

  get signal(): AbortSignal {
    if (this.controller === undefined) {
      const controller = new AbortController();
      this.controller = controller;
      const { signal } = this.origin;
      const gone = (): void => controller.abort(signal.reason);
      if (signal.aborted) gone();
      else if (!this.isSettled) {
        signal.addEventListener('abort', gone, { once: true });
        this.unlink = () => signal.removeEventListener('abort', gone);
      }
    }
    return this.controller.signal;
  }

  /** Tells the procedure that nobody waits any more. */
  abort(reason: unknown): void {
    this.controller?.abort(reason);
  }

  /** The connection lives longer than the call: it must not remember it. */
  settle(): void {
    this.isSettled = true;
    this.unlink?.();
  }
}
