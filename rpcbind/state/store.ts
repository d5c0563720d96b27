/**
 * The seam between the daemon and what keeps its registrations: files of this host (journal.ts), memory, or a directory
 * that many hosts share. A SET or UNSET is acknowledged to its caller once the store has it, and changes nothing if
 * the store fails.
 */

import type { HeldRegistration, Registration, RegistrationKey } from '../registration.js';

/** The host of registrations that belong to the daemon itself. */
export const THIS_HOST = '';

/** What identifies a registration in a store of many hosts. */
export interface StoreKey extends RegistrationKey {
  /** {@link THIS_HOST}, or the name of another host. A daemon reads and changes registrations of {@link THIS_HOST} alone. */
  readonly host: string;
}

/** A registration as a store keeps it. */
export interface StoredRegistration extends Registration, StoreKey {
  /** Whether a server was seen listening at the address. Only such a registration can be found stale. */
  readonly wasAlive: boolean;
}

/** What a daemon starts with. */
export interface StoredTable {
  readonly registrations: readonly StoredRegistration[];
  /** What was held for its owners when the last daemon ended. */
  readonly held: readonly HeldRegistration[];
}

/** What the daemon has now, for a store that writes everything anew. */
export interface CurrentTable {
  registrations(): Iterable<StoredRegistration>;
  held(): Iterable<HeldRegistration>;
}

/** A change that was not made through this object, such as by another daemon that shares the store. */
export type StoreChange = { readonly put: StoredRegistration } | { readonly delete: StoreKey };

/** Counters of a store. */
export interface StoreStats {
  /** Bytes of the journal; 0 for a store without files. */
  readonly journalBytes: number;
  /** Lines of the journal that later ones made obsolete. */
  readonly obsoleteLines: number;
  /** How often the journal was written anew. */
  readonly rewrites: number;
}

/**
 * A store of registrations. A method that returns nothing has finished; a promise is waited for. What throws or rejects
 * has changed nothing: the caller of SET or UNSET gets SYSTEM_ERR, and the table stays as it was.
 *
 * The daemon has at most one change of a program under way, so a store need not order changes of one registration.
 * A promise that never settles blocks further changes of its program, so a store over a network needs a deadline of
 * its own, and must reject only if the change was not and will not be made.
 */
export interface RegistrationStore {
  /** Takes the store for this daemon, and reads it. Called once, before all others. */
  load(current: CurrentTable): StoredTable | Promise<StoredTable>;
  /** The table holds what was loaded, as far as the daemon took it over; changes follow. Called once. */
  start?(): void | Promise<void>;
  /**
   * Adds a registration. Where several daemons share the store, it must reject if another one has put a different
   * address under the key meanwhile (compare and set).
   */
  put(registration: StoredRegistration): void | Promise<void>;
  /** Deletes registrations of one program: all of them, or none. Those that are not there are no error. */
  delete(registrations: readonly StoredRegistration[]): void | Promise<void>;
  /**
   * Reports each change since {@link load} that was not made through this object, in the order in which the store made
   * them, until it is closed. Called once.
   */
  watch?(listener: (change: StoreChange) => void): void;
  /** Counters, for {@link RpcbindStats}. */
  stats?(): StoreStats;
  /** The daemon has ended; no change follows. May be called twice. */
  close(): void | Promise<void>;
  /** The start of the daemon failed: what is stored stays as it is. Default: {@link close}. May be called twice. */
  abandon?(): void | Promise<void>;
}

/** A store in memory: what one daemon of a process leaves, the next one takes over. Holds are not kept. */
export class MemoryStore implements RegistrationStore {
  private readonly registrations = new Map<string, StoredRegistration>();

  load(): StoredTable {
    return { registrations: [...this.registrations.values()], held: [] };
  }

  put(registration: StoredRegistration): void {
    this.registrations.set(storeKey(registration), registration);
  }

  delete(registrations: readonly StoredRegistration[]): void {
    for (const registration of registrations) this.registrations.delete(storeKey(registration));
  }

  close(): void {}
}

/** A key as text, unique among keys: netids have no space. */
export function storeKey({ host, program, version, netid }: StoreKey): string {
  return `${program} ${version} ${netid} ${host}`;
}
