/**
 * What the three versions have in common: registering, taking back and finding, under the rules of
 * ownership and access. It speaks of peers, not of sockets, and leaves files, liveness and
 * forwarding to those who know them.
 */

import { AuthError, type CallContext, NoReply, type Peer, StatusError } from '../../runtime/index.js';
import { accept_stat, auth_stat, MAX_DATAGRAM_BYTES } from '../../runtime/protocol.js';
import { ownerOf } from '../kernel/owner.js';
import type { Registration } from '../registration.js';
import { RPCBPROG } from '../rpcbind.gen.js';
import {
  type RegistrationStore,
  type StoreChange,
  type StoredRegistration,
  storeKey,
  THIS_HOST,
} from '../state/store.js';
import { type Registry, SUPERUSER, type TableEntry } from '../table/registry.js';
import { parseUaddr } from '../uaddr.js';
import type { Access } from './access.js';
import type { AddressSelector } from './addresses.js';
import type { RpcbindVersion, Statistics } from './stats.js';

/** A noteworthy event, for the log. */
export type RpcbindEvent =
  | { readonly event: 'set' | 'unset' | 'stale'; readonly registration: Registration }
  | {
      readonly event: 'refused';
      readonly what: string;
      readonly why: string;
      readonly peer: Peer;
    };

/** Finds out which registrations are of servers that are gone, and tells {@link RpcbindCore.drop}. */
export interface LivenessChecker {
  /** Notes that somebody asked for a registration: it is looked at soon. */
  asks(entry: TableEntry): void;
  /** Notes a new registration, and whether it has a listener. */
  noteNew(entry: TableEntry): void;
}

/** See {@link RpcbindCore}. */
export interface RpcbindCoreOptions {
  readonly registry: Registry;
  readonly access: Access;
  readonly addresses: AddressSelector;
  readonly stats: Statistics;
  /** Default: registrations end with the daemon. */
  readonly store?: RegistrationStore | undefined;
  /** Default: none is ever dropped. */
  readonly liveness?: LivenessChecker | undefined;
  readonly onEvent?: ((event: RpcbindEvent) => void) | undefined;
}

/** The rules, over one table. */
export class RpcbindCore {
  readonly registry: Registry;
  readonly access: Access;
  readonly addresses: AddressSelector;
  readonly stats: Statistics;
  private readonly store: RegistrationStore | undefined;
  private readonly liveness: LivenessChecker | undefined;
  /** Places whose change the store has not confirmed yet; further changes of them wait. */
  private readonly pending = new Map<string, Promise<unknown>>();
  private readonly onEvent: (event: RpcbindEvent) => void;

  constructor(parts: RpcbindCoreOptions) {
    this.registry = parts.registry;
    this.access = parts.access;
    this.addresses = parts.addresses;
    this.stats = parts.stats;
    this.store = parts.store;
    this.liveness = parts.liveness;
    this.onEvent = parts.onEvent ?? (() => undefined);
  }

  /**
   * Counts a call and asks whether it may be answered. Over UDP the answer to those who may not is
   * silence: their address may be forged, and whoever is behind it has not asked. Returns the peer.
   */
  admit(context: CallContext): Peer {
    const { peer, procedure } = context;
    this.stats.called(procedure.version as RpcbindVersion, procedure.number);
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

  /** SET: true where the registration is there now, by this call or an earlier one. A promise where the store takes its time. */
  set(of: Omit<Registration, 'owner'>, version: RpcbindVersion, peer: Peer): boolean | Promise<boolean> {
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
    return this.add(registration, version, peer);
  }

  private add(registration: Registration, version: RpcbindVersion, peer: Peer): boolean | Promise<boolean> {
    const { program, netid } = registration;
    const key = storeKey({ ...registration, host: THIS_HOST });
    const earlier = this.pending.get(key);
    if (earlier !== undefined) return settled(earlier).then(() => this.add(registration, version, peer));
    const held = this.registry.heldPlace(program, registration.version, netid);
    const outcome = this.registry.set(registration);
    if (outcome === 'added') {
      const entry = this.registry.findExact(program, registration.version, netid) as TableEntry;
      const undo = (): void => {
        this.registry.remove(entry);
        if (held !== undefined) this.registry.hold(held);
      };
      // Before it is stored: whether it has a listener is stored with it.
      this.liveness?.noteNew(entry);
      const acknowledge = (): true => {
        this.stats.wasSet(version);
        this.onEvent({ event: 'set', registration });
        return true;
      };
      let stored: void | Promise<void>;
      try {
        stored = this.store?.put(storedOf(entry));
      } catch (error) {
        undo();
        throw error;
      }
      if (stored === undefined) return acknowledge();
      // Until the store has it, callers are not to find it; its place is taken, so that nobody else gets it meanwhile.
      entry.isUnconfirmed = true;
      return this.confirm([key], stored, undo, () => {
        entry.isUnconfirmed = false;
        return acknowledge();
      });
    }
    if (outcome === 'taken') {
      const holder = this.registry.findExact(program, registration.version, netid);
      if (holder !== undefined) this.liveness?.asks(holder);
    }
    if (outcome === 'full') this.access.refused.full += 1;
    if (outcome !== 'same') {
      const why = {
        taken: 'another address is registered',
        invalid: 'the netid or the address is not valid',
        full: 'too many registrations',
        held: `the registration is held for its last owner, ${held?.owner ?? SUPERUSER}`,
        owned: 'another owner has the program, or had it until just now',
      }[outcome];
      this.refused(`SET ${nameOf(registration)}`, why, peer);
    }
    return outcome === 'same';
  }

  /**
   * UNSET on these netids, or on all: all or nothing. True also where nothing is registered. The places are
   * held for whose they were, also where root takes the registration back. A promise where the store takes its time.
   */
  unset(
    program: number,
    version: number,
    netids: readonly string[] | undefined,
    by: RpcbindVersion,
    peer: Peer,
  ): boolean | Promise<boolean> {
    this.admitRegistrar(peer, 'UNSET');
    const entries = this.registry.select(program, version, netids);
    if (entries.length === 0) {
      this.stats.wasUnset(by);
      return true;
    }
    const keys = entries.map((entry) => storeKey({ ...entry, host: THIS_HOST }));
    const earlier = keys.map((key) => this.pending.get(key)).find((one) => one !== undefined);
    if (earlier !== undefined)
      return settled(earlier).then(() => this.unset(program, version, netids, by, peer));
    const owner = ownerOf(peer);
    const others = entries.filter((entry) => !this.registry.mayRemove(entry, owner));
    if (others.length > 0) {
      for (const entry of others) this.liveness?.asks(entry);
      const what = `UNSET of program ${program} version ${version}`;
      this.refused(what, `${owner} is not the owner`, peer);
      return false;
    }
    const acknowledge = (): true => {
      for (const entry of entries) {
        this.registry.release(entry);
        this.onEvent({ event: 'unset', registration: entry });
      }
      this.stats.wasUnset(by);
      return true;
    };
    const stored = this.store?.delete(entries.map(storedOf));
    if (stored === undefined) return acknowledge();
    return this.confirm(keys, stored, () => undefined, acknowledge);
  }

  /** Waits for the store; changes of these places wait as well. */
  private confirm(
    keys: readonly string[],
    stored: Promise<void>,
    undo: () => void,
    acknowledge: () => true,
  ): Promise<boolean> {
    const confirmed = stored.then(acknowledge, (error: unknown) => {
      undo();
      throw error;
    });
    for (const key of keys) this.pending.set(key, confirmed);
    return confirmed.finally(() => {
      for (const key of keys) this.pending.delete(key);
    });
  }

  /** A change that was made elsewhere and is in the store already. */
  apply(change: StoreChange): void {
    if ('put' in change) {
      const registration = change.put;
      const known = this.registry.findExact(registration.program, registration.version, registration.netid);
      if (known?.isPermanent === true) return;
      if (known !== undefined) this.registry.remove(known);
      if (this.registry.set(registration, { isRestored: true }) === 'added')
        this.onEvent({ event: 'set', registration });
      return;
    }
    const { program, version, netid } = change.delete;
    const entry = this.registry.findExact(program, version, netid);
    if (entry === undefined || entry.isPermanent) return;
    this.registry.remove(entry);
    this.onEvent({ event: 'unset', registration: entry });
  }

  /** A registration of the program on the netid: of this version, or of another unless `isExact`. */
  find(
    program: number,
    version: number,
    netid: string,
    by: RpcbindVersion,
    isExact = false,
  ): TableEntry | undefined {
    const entry = isExact
      ? this.registry.findExact(program, version, netid)
      : this.registry.find(program, version, netid);
    if (entry?.isUnconfirmed === true) return undefined;
    if (entry !== undefined) this.liveness?.asks(entry);
    this.stats.lookedUp(by, program, version, netid, entry !== undefined);
    return entry;
  }

  /** The whole table, oldest first. */
  table(): TableEntry[] {
    return [...this.registry.entries()].filter(({ isUnconfirmed }) => !isUnconfirmed);
  }

  /** Removes a registration whose server is gone, and holds its place; nothing where it was removed already. */
  drop(entry: TableEntry): void {
    const isThere = this.registry.findExact(entry.program, entry.version, entry.netid) === entry;
    if (entry.isPermanent || !isThere || this.pending.has(storeKey({ ...entry, host: THIS_HOST }))) return;
    // A full disk is no reason to send callers to a port where nobody listens. The next start finds it gone again.
    try {
      this.store?.delete([storedOf(entry)])?.catch(() => undefined);
    } catch {
      // As above.
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
export function nameOf(of: Omit<Registration, 'owner'>): string {
  return `${of.program} version ${of.version} ${of.netid} ${of.address}`;
}

/** A registration of the table as stores keep it. */
export function storedOf({
  program,
  version,
  netid,
  address,
  owner,
  wasAlive,
}: TableEntry): StoredRegistration {
  return { host: THIS_HOST, program, version, netid, address, owner, wasAlive };
}

function settled(promise: Promise<unknown>): Promise<void> {
  return promise.then(
    () => undefined,
    () => undefined,
  );
}
