/**
 * What the three versions have in common: registering, taking back and finding, under the rules of
 * ownership and access. It speaks of peers, not of sockets, and leaves files, liveness and
 * forwarding to those who know them.
 */

import { AuthError, type CallContext, NoReply, type Peer, StatusError } from '../../runtime/index.js';
import { accept_stat, auth_stat, MAX_DATAGRAM_BYTES } from '../../runtime/protocol.js';
import { ownerOf } from '../kernel/owner.js';
import { RPCBPROG } from '../rpcbind.gen.js';
import { type AddressRegistration, type Entry, type Registry, SUPERUSER } from '../table/registry.js';
import { parseUaddr } from '../uaddr.js';
import type { Access } from './access.js';
import type { AddressSelector } from './addresses.js';
import type { RpcbindVersion, Statistics } from './stats.js';

/** A noteworthy event, for the log. */
export type RpcbindEvent =
  | { readonly event: 'set' | 'unset' | 'stale'; readonly registration: AddressRegistration }
  | {
      readonly event: 'refused';
      readonly what: string;
      readonly why: string;
      readonly peer: Peer;
    };

/** Keeps what is acknowledged; both throw where that is impossible, and nothing is acknowledged then. */
export interface Keeper {
  added(entry: Entry): void;
  removed(entries: readonly Entry[]): void;
}

/** Finds out which registrations are of servers that are gone, and tells {@link RpcbindCore.drop}. */
export interface Watcher {
  /** Notes that somebody asked for a registration: it is looked at soon. */
  asks(entry: Entry): void;
  /** Notes a new registration, and whether it has a listener. */
  noteNew(entry: Entry): void;
}

/** See {@link RpcbindCore}. */
export interface RpcbindCoreOptions {
  readonly registry: Registry;
  readonly access: Access;
  readonly addresses: AddressSelector;
  readonly stats: Statistics;
  readonly keeper?: Keeper | undefined;
  readonly watcher?: Watcher | undefined;
  readonly onEvent?: ((event: RpcbindEvent) => void) | undefined;
}

/** The rules, over one table. */
export class RpcbindCore {
  readonly registry: Registry;
  readonly access: Access;
  readonly addresses: AddressSelector;
  readonly stats: Statistics;
  private readonly keeper: Keeper | undefined;
  private readonly watcher: Watcher | undefined;
  private readonly onEvent: (event: RpcbindEvent) => void;

  constructor(parts: RpcbindCoreOptions) {
    this.registry = parts.registry;
    this.access = parts.access;
    this.addresses = parts.addresses;
    this.stats = parts.stats;
    this.keeper = parts.keeper;
    this.watcher = parts.watcher;
    this.onEvent = parts.onEvent ?? (() => undefined);
  }

  /**
   * Counts a call and asks whether it may be answered. Over UDP the answer to those who may not is
   * silence: their address may be forged, and whoever is behind it has not asked. Returns the peer.
   */
  admit(version: RpcbindVersion, procedure: number, context: CallContext): Peer {
    const { peer } = context;
    this.stats.called(version, procedure);
    if (!this.access.mayCall(peer)) {
      if (peer.transport === 'udp') throw new NoReply();
      throw new AuthError(auth_stat.AUTH_FAILED, 'the caller is on no list, or calls too often');
    }
    return peer;
  }

  /** Throws AuthError AUTH_TOOWEAK where the caller may not register (RFC 1833 section 2.2.1). */
  admitRegistrar(peer: Peer, what: string): void {
    if (this.access.mayRegister(peer)) return;
    this.refused(what, 'only this host may register', peer);
    throw new AuthError(auth_stat.AUTH_TOOWEAK, 'only this host may register');
  }

  /**
   * Silence for a caller over UDP that has no budget of bytes left: whatever the program answers could
   * not be sent, so it is not called. Nothing is charged before the size of the reply is known.
   */
  admitForwarding(peer: Peer): void {
    if (!this.access.mayTakeTable(peer, 0)) throw new NoReply();
  }

  /**
   * Charges a table or a forwarded reply to its caller. Silence for one that would go over a source's budget
   * of bytes: the source of a datagram may be forged, and we would send to a victim many times what was sent
   * to us. SYSTEM_ERR for one that no datagram holds, so that the caller need not wait, and can ask over TCP.
   */
  admitTable(peer: Peer, bytes: number): void {
    if (peer.transport === 'udp' && bytes > MAX_DATAGRAM_BYTES)
      throw new StatusError({ status: accept_stat.SYSTEM_ERR });
    if (!this.access.mayTakeTable(peer, bytes)) throw new NoReply();
  }

  /** SET: true where the registration is there now, by this call or an earlier one. */
  set(of: Omit<AddressRegistration, 'owner'>, version: RpcbindVersion, peer: Peer): boolean {
    this.admitRegistrar(peer, 'SET');
    // Our own numbers are ours.
    if (of.program === RPCBPROG) return false;
    const registration = { ...of, owner: ownerOf(peer) };
    // A user of this host may try the number of a system program that is not running, or whose service is
    // being started again, to be sent what its clients send. The owner is what the kernel says of the caller.
    const port = parseUaddr(of.netid, of.address)?.port ?? 0;
    const reserved = this.access.reservationOf(registration.owner, of.program, port);
    if (reserved !== undefined) {
      this.refused(`SET ${nameOf(registration)}`, reserved, peer);
      return false;
    }
    const held = this.registry.heldPlace(of.program, of.version, of.netid);
    const outcome = this.registry.set(registration);
    if (outcome === 'taken') {
      const holder = this.registry.findExact(of.program, of.version, of.netid);
      if (holder !== undefined) this.watcher?.asks(holder);
    }
    if (outcome === 'added') {
      const entry = this.registry.findExact(of.program, of.version, of.netid) as Entry;
      this.watcher?.noteNew(entry);
      try {
        this.keeper?.added(entry);
      } catch (error) {
        this.registry.remove(entry);
        if (held !== undefined) this.registry.hold(held);
        throw error;
      }
      this.stats.wasSet(version);
      this.onEvent({ event: 'set', registration });
      return true;
    }
    if (outcome === 'full') this.access.refused.full += 1;
    if (outcome !== 'same') {
      const why = {
        taken: 'another address is registered',
        invalid: 'the netid or the address is none',
        full: 'too many registrations',
        held: `the place is held for its last owner, ${held?.owner ?? SUPERUSER}`,
        owned: 'another owner has the program, or had it until just now',
      }[outcome];
      this.refused(`SET ${nameOf(registration)}`, why, peer);
    }
    return outcome === 'same';
  }

  /**
   * UNSET on these netids, or on all: all or nothing. True also where nothing is registered. The places are
   * kept for whose they were, also where root takes the registration back.
   */
  unset(
    program: number,
    version: number,
    netids: readonly string[] | undefined,
    by: RpcbindVersion,
    peer: Peer,
  ): boolean {
    this.admitRegistrar(peer, 'UNSET');
    const entries = this.registry.select(program, version, netids);
    if (entries.length === 0) {
      this.stats.wasUnset(by);
      return true;
    }
    const owner = ownerOf(peer);
    const others = entries.filter((entry) => !this.registry.mayRemove(entry, owner));
    if (others.length > 0) {
      for (const entry of others) this.watcher?.asks(entry);
      const what = `UNSET of program ${program} version ${version}`;
      this.refused(what, `${owner} is not the owner`, peer);
      return false;
    }
    this.keeper?.removed(entries);
    for (const entry of entries) {
      this.registry.release(entry);
      this.onEvent({ event: 'unset', registration: entry });
    }
    this.stats.wasUnset(by);
    return true;
  }

  /** A registration of the program on the netid: of this version, or of another unless `isExact`. */
  find(
    program: number,
    version: number,
    netid: string,
    by: RpcbindVersion,
    isExact = false,
  ): Entry | undefined {
    const entry = isExact
      ? this.registry.findExact(program, version, netid)
      : this.registry.find(program, version, netid);
    if (entry !== undefined) this.watcher?.asks(entry);
    this.stats.lookedUp(by, program, version, netid, entry !== undefined);
    return entry;
  }

  /** The whole table, oldest first. */
  table(): Entry[] {
    return [...this.registry.entries()];
  }

  /** Removes a registration whose server is gone, and keeps its place; nothing where it was removed already. */
  drop(entry: Entry): void {
    if (entry.isPermanent || this.registry.findExact(entry.program, entry.version, entry.netid) !== entry)
      return;
    try {
      this.keeper?.removed([entry]);
    } catch {
      // A full disk is no reason to send callers to a port where nobody is. The next start finds it dead again.
    }
    this.registry.release(entry);
    this.onEvent({ event: 'stale', registration: entry });
  }

  /** Tells of a refusal. */
  refused(what: string, why: string, peer: Peer): void {
    this.onEvent({ event: 'refused', what, why, peer });
  }
}

/** A registration as a log line names it. */
export function nameOf(of: Omit<AddressRegistration, 'owner'>): string {
  return `${of.program} version ${of.version} ${of.netid} ${of.address}`;
}
