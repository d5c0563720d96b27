/**
 * Where registrations are kept beyond the table in memory: the seam between the daemon and its files, or a directory of
 * several hosts. What a store does not confirm is not acknowledged to who registers.
 */

import type { Registration } from '../registration.js';
import type { HeldRegistration } from '../table/holds.js';

/** The host of registrations that are this daemon's own. */
export const THIS_HOST = '';

/** A registration as a store keeps it. Its key is (host, program, version, netid). */
export interface StoredRegistration extends Registration {
  /** Where it was made: {@link THIS_HOST}, or the name of another host in a directory. */
  readonly host: string;
  /** Whether a listener was seen at its address. */
  readonly wasAlive: boolean;
}

/** What a daemon begins with. */
export interface StoredTable {
  readonly registrations: readonly StoredRegistration[];
  /** Places that were held for their owners when the last daemon ended. */
  readonly holds: readonly HeldRegistration[];
}

/** What the daemon has now: a store that writes its files anew asks for it. */
export interface CurrentTable {
  registrations(): Iterable<StoredRegistration>;
  holds(): Iterable<HeldRegistration>;
}

/** A change that was made elsewhere, as by another daemon that shares the store. */
export type StoreChange =
  | { readonly put: StoredRegistration }
  | { readonly delete: Pick<StoredRegistration, 'host' | 'program' | 'version' | 'netid'> };

/**
 * A store. Methods that return a promise are waited for; those that return nothing have done their work, and cost no
 * promise. One that throws or rejects has changed nothing.
 */
export interface RegistrationStore {
  /** Takes the store for this daemon, and reads it. Called once, first. */
  load(current: CurrentTable): StoredTable | Promise<StoredTable>;
  /** The table holds what was loaded, as far as it is taken over: from here on changes come. Called once. */
  start?(): void | Promise<void>;
  put(registration: StoredRegistration): void | Promise<void>;
  /** All of them, or none. */
  delete(registrations: readonly StoredRegistration[]): void | Promise<void>;
  /** Tells of changes that were not made through this object, until it is closed. */
  watch?(onChange: (change: StoreChange) => void): void;
  /** Ends it in order. May be called twice. */
  close(): void | Promise<void>;
  /** Ends it, leaving everything as it is: the start of the daemon failed. May be called twice. */
  abandon(): void | Promise<void>;
}

/** A store in memory: what one daemon of a process leaves, another can take over. */
export class MemoryStore implements RegistrationStore {
  private readonly all = new Map<string, StoredRegistration>();

  load(): StoredTable {
    return { registrations: [...this.all.values()], holds: [] };
  }

  put(registration: StoredRegistration): void {
    this.all.set(storeKey(registration), registration);
  }

  delete(registrations: readonly StoredRegistration[]): void {
    for (const one of registrations) this.all.delete(storeKey(one));
  }

  close(): void {}

  abandon(): void {}
}

/** The key of a registration as text. A netid has no space. */
export function storeKey({
  host,
  program,
  version,
  netid,
}: Pick<StoredRegistration, 'host' | 'program' | 'version' | 'netid'>): string {
  return `${program} ${version} ${netid} ${host}`;
}
