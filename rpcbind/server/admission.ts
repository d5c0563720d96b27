/**
 * What happens to calls that access.ts refuses: silence or an error, and an event. Every procedure asks here before it
 * does anything.
 */

import { AuthError, type CallContext, NoReply, type Peer, StatusError } from '../../runtime/index.js';
import { accept_stat, auth_stat, MAX_DATAGRAM_BYTES } from '../../runtime/protocol.js';
import type { EventListener } from './events.js';
import type { RpcbindVersion } from './stats.js';

/** The checks that admission needs; see {@link Access}. */
export interface AccessChecks {
  mayConnect(peer: Peer): boolean;
  mayCall(peer: Peer): boolean;
  mayRegister(peer: Peer): boolean;
  maySend(peer: Peer, bytes: number): boolean;
}

/** Admits calls, or throws what the caller gets instead of a result. */
export class Admission {
  private readonly access: AccessChecks;
  private readonly counters: { countCall(version: RpcbindVersion, procedure: number): void };
  private readonly onEvent: EventListener;

  constructor(
    access: AccessChecks,
    counters: { countCall(version: RpcbindVersion, procedure: number): void },
    onEvent: EventListener,
  ) {
    this.access = access;
    this.counters = counters;
    this.onEvent = onEvent;
  }

  /** Whether a new connection is read from at all. */
  admitConnection(peer: Peer): boolean {
    if (this.access.mayConnect(peer)) return true;
    this.onEvent({
      event: 'refused',
      what: 'connection',
      why: 'its address is not on the access list',
      peer,
    });
    return false;
  }

  /**
   * Counts a call, and returns its peer if it may be answered. Otherwise throws NoReply over UDP, since the address may
   * be forged and its host has not called; AuthError AUTH_FAILED over a connection.
   */
  admitCall({ peer, procedure }: CallContext): Peer {
    this.counters.countCall(procedure.version as RpcbindVersion, procedure.number);
    if (!this.access.mayCall(peer)) {
      if (peer.transport === 'udp') throw new NoReply();
      throw new AuthError(auth_stat.AUTH_FAILED, 'the caller is not on the access list, or calls too often');
    }
    return peer;
  }

  /** Throws AuthError AUTH_TOOWEAK if the caller may not register (RFC 1833 section 2.2.1). `what` is for the event. */
  admitChange(peer: Peer, what: string): void {
    if (this.access.mayRegister(peer)) return;
    const why = 'only this host may register';
    this.onEvent({ event: 'refused', what, why, peer });
    throw new AuthError(auth_stat.AUTH_TOOWEAK, why);
  }

  /**
   * Throws NoReply for a caller over UDP whose budget of bytes is used up: the reply could not be sent, so the call is not
   * forwarded. Nothing is charged before the size of the reply is known.
   */
  admitForward(peer: Peer): void {
    if (!this.access.maySend(peer, 0)) throw new NoReply();
  }

  /**
   * Charges a table, or the reply to a forwarded call, to its caller. Throws NoReply over a source's budget of bytes: the
   * source of a datagram may be forged, and its host would be sent many times what the attacker sent. Throws
   * StatusError SYSTEM_ERR for a reply that no datagram holds, so that the caller need not wait, and can call over TCP.
   */
  admitReply(peer: Peer, bytes: number): void {
    if (peer.transport === 'udp' && bytes > MAX_DATAGRAM_BYTES)
      throw new StatusError({ status: accept_stat.SYSTEM_ERR });
    if (!this.access.maySend(peer, bytes)) throw new NoReply();
  }
}
