/**
 * Asks the security mechanisms of a server about calls of their flavors, waits for those that answer later, and passes on
 * what they accept. Calls of AUTH_NONE and AUTH_SYS never come here.
 *
 * Threat: a stranger makes us work for mechanisms (a Kerberos acceptor takes milliseconds). The calls that mechanisms have
 * not decided yet are counted; beyond the limit a call is dropped before its mechanism is asked.
 */

import type { Credentials } from '../protocol/auth.js';
import type { CallHeader } from '../protocol/message.js';
import { accept_stat } from '../protocol/rpcmsg.gen.js';
import {
  ProtectedChannel,
  type SecurityDecision,
  type ServerSecurity,
  sealReply,
} from '../protocol/security.js';
import type { ReplyChannel } from '../protocol/transport.js';

/** An accepted call. */
export interface AcceptedCall {
  /** The whole message as it came. */
  readonly message: Uint8Array;
  readonly channel: ReplyChannel;
  readonly credentials: Credentials;
  /** See SecurityAcceptance. */
  readonly caller: string;
  /** The arguments in the clear, where they are not those of the message. */
  readonly args: Uint8Array | undefined;
}

/** What happens to the calls that mechanisms have decided. */
export interface AuthenticatorEvents {
  accepted(call: AcceptedCall): void;
  /** The mechanism threw. The caller is to be answered. */
  failed(error: unknown, channel: ReplyChannel, xid: number): void;
  /** A reply could not be protected and was not sent. */
  replyFailed(error: unknown, channel: ReplyChannel, xid: number): void;
  /** No call waits for a mechanism any more. */
  idle(): void;
}

/** What the mechanisms of a server have decided so far. */
export interface SecurityStats {
  /** Calls that are being decided. */
  readonly pending: number;
  readonly accepted: number;
  /** Calls that a mechanism answered by itself. */
  readonly answered: number;
  /** Calls refused, or with arguments that could not be unwrapped. */
  readonly refused: number;
  /** Replays, met with silence. */
  readonly silenced: number;
  /** Calls dropped because `maxPending` calls were being decided. */
  readonly dropped: number;
}

/** See the head of this file. */
export class Authenticator {
  private readonly mechanisms = new Map<number, ServerSecurity>();
  private readonly maxPending: number;
  private readonly events: AuthenticatorEvents;
  private undecided = 0;
  private accepted = 0;
  private answered = 0;
  private refused = 0;
  private silenced = 0;
  private dropped = 0;

  constructor(mechanisms: readonly ServerSecurity[], maxPending: number, events: AuthenticatorEvents) {
    for (const mechanism of mechanisms) this.mechanisms.set(mechanism.flavor, mechanism);
    this.maxPending = maxPending;
    this.events = events;
  }

  /** Calls that are being decided. */
  get pending(): number {
    return this.undecided;
  }

  stats(): SecurityStats {
    const { undecided: pending, accepted, answered, refused, silenced, dropped } = this;
    return { pending, accepted, answered, refused, silenced, dropped };
  }

  /** False where no mechanism has the call's flavor; else the call is taken care of. */
  handle(header: CallHeader, message: Uint8Array, argsAt: number, channel: ReplyChannel): boolean {
    const mechanism = this.mechanisms.get(header.credFlavor);
    if (mechanism === undefined) return false;
    if (this.undecided >= this.maxPending) {
      this.dropped += 1;
      return true;
    }
    const { xid } = header;
    try {
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
      if ('then' in decision) this.wait(decision, message.slice(), xid, channel);
      else this.act(decision, message, xid, channel);
    } catch (error) {
      this.fail(error, channel, xid);
    }
    return true;
  }

  private wait(
    decision: Promise<SecurityDecision>,
    message: Uint8Array,
    xid: number,
    channel: ReplyChannel,
  ): void {
    this.undecided += 1;
    channel.callStarted?.();
    void decision
      .then((made) => this.act(made, message, xid, channel))
      .catch((error: unknown) => this.fail(error, channel, xid))
      .finally(() => {
        this.undecided -= 1;
        channel.callEnded?.();
        if (this.undecided === 0) this.events.idle();
      });
  }

  private fail(error: unknown, channel: ReplyChannel, xid: number): void {
    this.refused += 1;
    this.events.failed(error, channel, xid);
  }

  private act(decision: SecurityDecision, message: Uint8Array, xid: number, channel: ReplyChannel): void {
    switch (decision.kind) {
      case 'silence':
        this.silenced += 1;
        return;
      case 'garbage':
        this.refused += 1;
        channel.reply(sealReply(xid, decision.verifier, new Uint8Array(0), accept_stat.GARBAGE_ARGS));
        return;
      case 'reply':
        this.answered += 1;
        channel.reply(sealReply(xid, decision.verifier, decision.result));
        if (decision.upgrade === true) channel.upgrade?.();
        return;
      case 'accept': {
        this.accepted += 1;
        const { protection, credentials, caller, args } = decision;
        const protectedChannel =
          protection === undefined
            ? channel
            : new ProtectedChannel(channel, protection, (error) =>
                this.events.replyFailed(error, channel, xid),
              );
        this.events.accepted({ message, channel: protectedChannel, credentials, caller, args });
      }
    }
  }
}

/** Bytes from the xid to the end of the credential: eight words and the body with its padding. */
function signedLength(header: CallHeader): number {
  return 32 + Math.ceil(header.credBody.length / 4) * 4;
}
