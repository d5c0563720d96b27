/**
 * SET and UNSET: changes of the table under the rules of ownership and access, confirmed by the store before they are
 * acknowledged. Changes by the store itself and by liveness checks come here, too.
 */

import { type Peer, StatusError } from '../../runtime/index.js';
import { accept_stat } from '../../runtime/protocol.js';
import {
  describeRegistration,
  type HeldRegistration,
  type NewRegistration,
  plain,
  type Registration,
  type RegistrationKey,
  SUPERUSER,
} from '../registration.js';
import { RPCBPROG } from '../rpcbind.gen.js';
import {
  type RegistrationStore,
  type StoreChange,
  type StoredRegistration,
  THIS_HOST,
} from '../state/store.js';
import type { Refusal, SetExceptions, TableEntry } from '../table/registry.js';
import { parseUaddr } from '../uaddr.js';
import type { EventListener } from './events.js';
import { ChangeQueue } from './queue.js';
import type { RpcbindVersion } from './stats.js';

/** What the registrar needs of the table; see {@link Registry}. */
export interface ChangeableTable {
  prepare(of: Registration, exceptions?: SetExceptions): TableEntry | Refusal;
  commit(entry: TableEntry): void;
  cancel(entry: TableEntry): void;
  remove(entry: TableEntry): void;
  removeAndHold(entry: TableEntry): void;
  hold(registration: HeldRegistration): void;
  select(program: number, version: number, netids?: readonly string[]): TableEntry[];
  findExact(program: number, version: number, netid: string): TableEntry | undefined;
  findHeld(key: RegistrationKey): HeldRegistration | undefined;
  mayRemove(entry: TableEntry, owner: string): boolean;
}

/** See {@link Registrar}. */
export interface RegistrarParts {
  readonly table: ChangeableTable;
  readonly store: Pick<RegistrationStore, 'put' | 'delete'> | undefined;
  readonly admission: { admitChange(peer: Peer, what: string): void };
  readonly access: {
    reservationOf(owner: string, program: number, port: number): string | undefined;
    countFull(): void;
  };
  readonly counters: { countSet(version: RpcbindVersion): void; countUnset(version: RpcbindVersion): void };
  readonly liveness: { checkNew(entry: TableEntry): void; request(entry: TableEntry): void };
  /** The owner of what a peer registers. */
  readonly ownerOf: (peer: Peer) => string;
  readonly onEvent: EventListener;
}

/** Counters of a registrar. */
export interface ChangeStats {
  /** Changes under way or waiting, since the store takes its time. */
  readonly pending: number;
  /** Changes that the store failed to make. */
  readonly failed: number;
}

const WHY: Readonly<Record<Exclude<Refusal, 'same' | 'held'>, string>> = {
  taken: 'another address is registered',
  invalid: 'the netid or the address is not valid',
  full: 'too many registrations',
  owned: 'another owner has the program, or had it until just now',
};

/** Changes one table. */
export class Registrar {
  private readonly parts: RegistrarParts;
  private readonly queue = new ChangeQueue();
  private failed = 0;
  private isClosed = false;

  constructor(parts: RegistrarParts) {
    this.parts = parts;
  }

  stats(): ChangeStats {
    return { pending: this.queue.size, failed: this.failed };
  }

  /** Ends it: changes that still wait fail with SYSTEM_ERR, and the store gets no further one. */
  close(): void {
    this.isClosed = true;
  }

  /**
   * SET: true if the registration is in the table afterwards, by this call or an earlier one. A promise if the store
   * answers later. Throws AuthError AUTH_TOOWEAK if the caller may not register, and what the store throws.
   */
  set(of: NewRegistration, version: RpcbindVersion, peer: Peer): boolean | Promise<boolean> {
    const { admission, access, ownerOf } = this.parts;
    admission.admitChange(peer, 'SET');
    // rpcbind's own registrations are the daemon's alone.
    if (of.program === RPCBPROG) return false;
    const registration: Registration = { ...of, owner: ownerOf(peer) };
    const { owner, program } = registration;
    // Threat: a local user registers the number of a system program that is not running, or is being restarted, and
    // receives what its clients send. The owner is what the kernel says of the caller, not what the caller says.
    const port = parseUaddr(of.netid, of.address)?.port ?? 0;
    const reserved = access.reservationOf(owner, program, port);
    if (reserved !== undefined) {
      this.refuse(`SET ${describeRegistration(registration)}`, reserved, peer);
      return false;
    }
    return this.queue.run(program, owner, () => this.add(registration, version, peer));
  }

  private add(registration: Registration, version: RpcbindVersion, peer: Peer): boolean | Promise<boolean> {
    const { table, store, liveness } = this.parts;
    this.checkOpen();
    const entry = table.prepare(registration);
    if (typeof entry === 'string') return this.isSame(entry, registration, peer);
    // Before it is stored: whether it is alive is stored with it.
    liveness.checkNew(entry);
    let stored: void | Promise<void>;
    try {
      stored = store?.put(storedOf(entry));
    } catch (error) {
      this.fail(entry);
      throw error;
    }
    if (stored === undefined) return this.commit(entry, version);
    return stored.then(
      () => this.commit(entry, version),
      (error: unknown) => {
        this.fail(entry);
        throw error;
      },
    );
  }

  private commit(entry: TableEntry, version: RpcbindVersion): true {
    this.parts.table.commit(entry);
    this.parts.counters.countSet(version);
    this.parts.onEvent({ event: 'set', registration: plain(entry), source: 'caller' });
    return true;
  }

  private fail(entry: TableEntry): void {
    this.failed += 1;
    this.parts.table.cancel(entry);
  }

  /** The result of a SET that adds nothing. */
  private isSame(refusal: Refusal, registration: Registration, peer: Peer): boolean {
    if (refusal === 'same') return true;
    const { table, liveness, access } = this.parts;
    if (refusal === 'taken') {
      const { program, version, netid } = registration;
      const holder = table.findExact(program, version, netid);
      // The server of the registration in the way may be gone.
      if (holder !== undefined) liveness.request(holder);
    }
    if (refusal === 'full') access.countFull();
    const why =
      refusal === 'held'
        ? `the registration is held for its last owner, ${table.findHeld(registration)?.owner ?? SUPERUSER}`
        : WHY[refusal];
    this.refuse(`SET ${describeRegistration(registration)}`, why, peer);
    return false;
  }

  /**
   * UNSET of a version of a program on these netids, or on all of them: all or nothing. True also if nothing is
   * registered. What is removed is held for its owners, also if root removes it. A promise if the store answers later.
   * Throws AuthError AUTH_TOOWEAK if the caller may not register, and what the store throws.
   */
  unset(
    {
      program,
      version,
      netids,
    }: { program: number; version: number; netids?: readonly string[] | undefined },
    by: RpcbindVersion,
    peer: Peer,
  ): boolean | Promise<boolean> {
    const { admission, table, ownerOf, counters } = this.parts;
    admission.admitChange(peer, 'UNSET');
    const select = (): TableEntry[] => table.select(program, version, netids);
    if (!this.queue.isBusy(program) && select().length === 0) {
      counters.countUnset(by);
      return true;
    }
    const owner = ownerOf(peer);
    return this.queue.run(program, owner, () => {
      this.checkOpen();
      const entries = select();
      const others = entries.filter((entry) => !table.mayRemove(entry, owner));
      if (others.length > 0) {
        for (const entry of others) this.parts.liveness.request(entry);
        const what = `UNSET of program ${program} version ${version}`;
        this.refuse(what, `${owner} is not the owner`, peer);
        return false;
      }
      return this.delete(entries, by);
    });
  }

  private delete(entries: readonly TableEntry[], by: RpcbindVersion): boolean | Promise<boolean> {
    const { table, store, counters, onEvent } = this.parts;
    const remove = (): true => {
      for (const entry of entries) {
        table.removeAndHold(entry);
        onEvent({ event: 'unset', registration: plain(entry), source: 'caller' });
      }
      counters.countUnset(by);
      return true;
    };
    if (entries.length === 0) return remove();
    let stored: void | Promise<void>;
    try {
      stored = store?.delete(entries.map(storedOf));
    } catch (error) {
      this.failed += 1;
      throw error;
    }
    return stored === undefined
      ? remove()
      : stored.then(remove, (error: unknown) => {
          this.failed += 1;
          throw error;
        });
  }

  /**
   * Removes a registration whose server is gone, and holds it for its owner. False, and nothing removed, if it was removed
   * already, or if a change of its program is under way (it will be found stale again).
   */
  removeStale(entry: TableEntry): boolean {
    const { table, store, onEvent } = this.parts;
    const { program } = entry;
    if (entry.isPermanent || !this.isRegistered(entry) || this.queue.isBusy(program)) return false;
    // A store that fails (a full disk) is no reason to send callers to a port where no server is. After the next start the
    // registration is found stale again.
    const countFailure = (): void => {
      this.failed += 1;
    };
    const stored = this.queue.run(program, undefined, () => {
      try {
        return store?.delete([storedOf(entry)])?.catch(countFailure);
      } catch {
        countFailure();
        return undefined;
      }
    });
    void stored;
    table.removeAndHold(entry);
    onEvent({ event: 'stale', registration: plain(entry) });
    return true;
  }

  /**
   * Takes over a change that was made in the store, once no change of its program is under way. Registrations of other
   * hosts are ignored.
   */
  apply(change: StoreChange): void {
    const of = 'put' in change ? change.put : change.delete;
    if (of.host !== THIS_HOST || of.program === RPCBPROG) return;
    void this.queue.run(of.program, undefined, () => {
      if (this.isClosed) return;
      if ('put' in change) this.replace(change.put);
      else this.withdraw(of, true);
    });
  }

  private replace(registration: StoredRegistration): void {
    const { table, onEvent } = this.parts;
    const known = table.findExact(registration.program, registration.version, registration.netid);
    if (known?.address === registration.address && known.owner === registration.owner) return;
    this.withdraw(registration, false);
    const entry = table.prepare(registration, { isStored: true });
    if (typeof entry === 'string') {
      onEvent({ event: 'dropped', registration: plain(registration), why: entry });
      return;
    }
    entry.wasAlive = registration.wasAlive;
    table.commit(entry);
    onEvent({ event: 'set', registration: plain(entry), source: 'store' });
  }

  private withdraw({ program, version, netid }: RegistrationKey, isHeld: boolean): void {
    const { table, onEvent } = this.parts;
    const entry = table.findExact(program, version, netid);
    if (entry === undefined) return;
    if (isHeld) table.removeAndHold(entry);
    else table.remove(entry);
    onEvent({ event: 'unset', registration: plain(entry), source: 'store' });
  }

  private checkOpen(): void {
    if (this.isClosed) throw new StatusError({ status: accept_stat.SYSTEM_ERR });
  }

  private isRegistered(entry: TableEntry): boolean {
    return this.parts.table.findExact(entry.program, entry.version, entry.netid) === entry;
  }

  private refuse(what: string, why: string, peer: Peer): void {
    this.parts.onEvent({ event: 'refused', what, why, peer });
  }
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
