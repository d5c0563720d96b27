/**
 * Where calls of a security mechanism enter: asks the mechanism, waits where it takes its time, and hands on what it
 * accepts. Calls of AUTH_NONE and AUTH_SYS pass it by.
 *
 * Threat: a stranger makes us wait for mechanisms (a Kerberos acceptor takes milliseconds). The calls being judged are
 * counted, and one over the limit is not judged.
 */

import type { Credentials } from '../protocol/auth.js';
import type { CallHeader } from '../protocol/message.js';
import {
  ProtectedChannel,
  type SecurityDecision,
  type ServerSecurity,
  sealReply,
} from '../protocol/security.js';
import type { ReplyChannel } from '../protocol/transport.js';

/** What becomes of calls. */
export interface SecurityOutcomes {
  /** `args` are the arguments in the clear, where they are not those of `message`. */
  accepted(
    message: Uint8Array,
    channel: ReplyChannel,
    credentials: Credentials,
    args: Uint8Array | undefined,
  ): void;
  failed(error: unknown, channel: ReplyChannel, xid: number): void;
}

/** Calls on their way through the mechanisms of one server. */
export class SecurityGate {
  private readonly mechanisms = new Map<number, ServerSecurity>();
  private readonly maxPending: number;
  private readonly outcomes: SecurityOutcomes;
  private pending = 0;

  constructor(mechanisms: readonly ServerSecurity[], maxPending: number, outcomes: SecurityOutcomes) {
    for (const mechanism of mechanisms) this.mechanisms.set(mechanism.flavor, mechanism);
    this.maxPending = maxPending;
    this.outcomes = outcomes;
  }

  /** True where a mechanism has the call in hand. Throws what the mechanism throws. */
  handle(header: CallHeader, message: Uint8Array, argsAt: number, channel: ReplyChannel): boolean {
    const mechanism = this.mechanisms.get(header.credFlavor);
    if (mechanism === undefined) return false;
    const { xid } = header;
    const decision = mechanism.accept({
      xid,
      program: header.program,
      version: header.version,
      procedure: header.procedure,
      credential: header.credBody,
      verifier: { flavor: header.verfFlavor, body: header.verfBody },
      signedBytes: message.subarray(0, signedLength(header)),
      args: message.subarray(argsAt),
      peer: channel.peer,
      canUpgrade: channel.upgrade !== undefined,
    });
    if (!('then' in decision)) {
      this.decided(decision, message, xid, channel);
      return true;
    }
    if (this.pending >= this.maxPending) {
      decision.then(undefined, () => undefined);
      return true;
    }
    const copy = message.slice();
    this.pending += 1;
    channel.callStarted?.();
    decision
      .then(
        (made) => this.decided(made, copy, xid, channel),
        (error: unknown) => this.outcomes.failed(error, channel, xid),
      )
      .finally(() => {
        this.pending -= 1;
        channel.callEnded?.();
      });
    return true;
  }

  private decided(decision: SecurityDecision, message: Uint8Array, xid: number, channel: ReplyChannel): void {
    if (decision.kind === 'silence') return;
    if (decision.kind === 'reply') {
      channel.reply(sealReply(xid, decision.verifier, decision.result));
      if (decision.upgrade === true) channel.upgrade?.();
      return;
    }
    const { protection, credentials, args } = decision;
    const protectedChannel = protection === undefined ? channel : new ProtectedChannel(channel, protection);
    this.outcomes.accepted(message, protectedChannel, credentials, args);
  }
}

/** Bytes from the xid to the end of the credential: eight words and the body with its padding. */
function signedLength(header: CallHeader): number {
  return 32 + Math.ceil(header.credBody.length / 4) * 4;
}
