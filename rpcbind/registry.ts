/**
 * The table: (program, version, netid) -> address and owner, and the rules of who may change it
 * (RFC 1833 section 2.2.1). Pure: no sockets, no clock, no files. Lookups take the same time
 * whatever the number of registrations.
 */

import { isWildcard, parseUaddr, portSuffix } from './uaddr.js';

/** The owner that may do everything. */
export const SUPERUSER = 'superuser';
/** The owner of whoever could not be identified. */
export const UNKNOWN = 'unknown';

/** Default for all registrations together. */
export const DEFAULT_MAX_REGISTRATIONS = 131_072;
/** Default for the registrations of one owner that is not the superuser. */
export const DEFAULT_MAX_REGISTRATIONS_PER_OWNER = 4_096;

/** What is registered; also the form it has in files. */
export interface AddressRegistration {
  readonly program: number;
  readonly version: number;
  readonly netid: string;
  /** Universal address (RFC 5665). */
  readonly address: string;
  /** `superuser`, a uid in decimal, or `unknown`. */
  readonly owner: string;
}

/** A registration as the table keeps it. */
export interface Entry extends AddressRegistration {
  readonly host: string;
  readonly port: number;
  readonly isWildcard: boolean;
  /** The port's part of the universal address. */
  readonly suffix: string;
  /** The daemon's own, which nobody may take away. */
  readonly isPermanent: boolean;
  /** Counts up from registration to registration. */
  readonly serial: number;
  /** Whether a listener was ever seen at the address: only what was there can be gone. */
  wasAlive: boolean;
}

/** See {@link Registry}. */
export interface RegistryOptions {
  /** Default {@link DEFAULT_MAX_REGISTRATIONS}. */
  readonly maxRegistrations?: number;
  /** Default {@link DEFAULT_MAX_REGISTRATIONS_PER_OWNER}. */
  readonly maxRegistrationsPerOwner?: number;
}

/** What became of a registration: `same` is one that was there already. */
export type SetOutcome = 'added' | 'same' | 'taken' | 'invalid' | 'full';

/** The versions of one program on one netid. */
interface Versions {
  /** The one registered last: the answer for a version that is not there. */
  last: Entry;
  /** All of them, once there were several: a Map takes more room than everything else about a program. */
  byVersion: Map<number, Entry> | undefined;
}

/** The table of one daemon. */
export class Registry {
  /** By netid, of which there are few, and then by program. */
  private readonly netids = new Map<string, Map<number, Versions>>();
  /** In the order of registration, which is the order of DUMP. */
  private readonly all = new Set<Entry>();
  private readonly countByOwner = new Map<string, number>();
  private serial = 0;
  private readonly maxRegistrations: number;
  private readonly maxRegistrationsPerOwner: number;

  constructor(options: RegistryOptions = {}) {
    this.maxRegistrations = options.maxRegistrations ?? DEFAULT_MAX_REGISTRATIONS;
    this.maxRegistrationsPerOwner = options.maxRegistrationsPerOwner ?? DEFAULT_MAX_REGISTRATIONS_PER_OWNER;
  }

  get size(): number {
    return this.all.size;
  }

  /** Every registration, oldest first. */
  entries(): IterableIterator<Entry> {
    return this.all.values();
  }

  /** Lists the daemon's own registrations before all others: they are made once its sockets are open, which is last. */
  movePermanentFirst(): void {
    const others = [...this.all].filter((entry) => !entry.isPermanent);
    for (const entry of others) {
      this.all.delete(entry);
      this.all.add(entry);
    }
  }

  /**
   * Adds a registration. `same` where it is there with the same address, `taken` where with another;
   * `invalid` where netid or address are none (one bad address would spoil every list it is in);
   * `full` over a limit.
   */
  set(of: AddressRegistration, options: { readonly isPermanent?: boolean } = {}): SetOutcome {
    const endpoint = parseUaddr(of.netid, of.address);
    if (endpoint === undefined) return 'invalid';
    const found = this.findExact(of.program, of.version, of.netid);
    if (found !== undefined) return found.address === of.address ? 'same' : 'taken';
    if (!this.hasRoomFor(of.owner)) return 'full';
    const entry: Entry = {
      program: of.program,
      version: of.version,
      netid: of.netid,
      address: of.address,
      owner: of.owner,
      host: endpoint.host,
      port: endpoint.port,
      isWildcard: endpoint.family !== 'loopback' && isWildcard(endpoint.host),
      suffix: endpoint.family === 'loopback' ? '' : portSuffix(endpoint.port),
      isPermanent: options.isPermanent ?? false,
      serial: this.serial,
      wasAlive: false,
    };
    this.serial += 1;
    const programs = this.netids.get(of.netid) ?? new Map<number, Versions>();
    this.netids.set(of.netid, programs);
    const versions = programs.get(of.program);
    if (versions === undefined) programs.set(of.program, { last: entry, byVersion: undefined });
    else {
      versions.byVersion ??= new Map([[versions.last.version, versions.last]]);
      versions.byVersion.set(of.version, entry);
      versions.last = entry;
    }
    this.all.add(entry);
    this.countByOwner.set(of.owner, (this.countByOwner.get(of.owner) ?? 0) + 1);
    return 'added';
  }

  /** The registrations of a version of a program on these netids, or on all; oldest first. */
  select(program: number, version: number, netids?: readonly string[]): Entry[] {
    return [...(netids ?? this.netids.keys())]
      .flatMap((netid) => this.findExact(program, version, netid) ?? [])
      .sort((a, b) => a.serial - b.serial);
  }

  /**
   * Whether `owner` may take a registration back: its owner, and the superuser. All that could not be
   * identified are one owner, as with Debian's daemon: programs that register by UDP from an unprivileged
   * port can only so take back what they registered.
   */
  mayRemove(entry: Entry, owner: string): boolean {
    if (entry.isPermanent) return false;
    return owner === SUPERUSER || entry.owner === owner;
  }

  /** Takes a registration out, no questions asked. */
  remove(entry: Entry): void {
    if (!this.all.delete(entry)) return;
    const left = (this.countByOwner.get(entry.owner) ?? 1) - 1;
    if (left > 0) this.countByOwner.set(entry.owner, left);
    else this.countByOwner.delete(entry.owner);
    const programs = this.netids.get(entry.netid);
    const versions = programs?.get(entry.program);
    if (programs === undefined || versions === undefined) return;
    versions.byVersion?.delete(entry.version);
    if (versions.last !== entry) return;
    const last = lastOf(versions.byVersion);
    if (last !== undefined) versions.last = last;
    else {
      programs.delete(entry.program);
      if (programs.size === 0) this.netids.delete(entry.netid);
    }
  }

  /** The registration of exactly this version. */
  findExact(program: number, version: number, netid: string): Entry | undefined {
    const versions = this.netids.get(netid)?.get(program);
    if (versions === undefined) return undefined;
    return versions.last.version === version ? versions.last : versions.byVersion?.get(version);
  }

  /** The registration of this version; where there is none, that of the version registered last. */
  find(program: number, version: number, netid: string): Entry | undefined {
    return this.findExact(program, version, netid) ?? this.netids.get(netid)?.get(program)?.last;
  }

  private hasRoomFor(owner: string): boolean {
    if (this.all.size >= this.maxRegistrations) return false;
    return owner === SUPERUSER || (this.countByOwner.get(owner) ?? 0) < this.maxRegistrationsPerOwner;
  }
}

function lastOf(entries: Map<number, Entry> | undefined): Entry | undefined {
  let last: Entry | undefined;
  for (const entry of entries?.values() ?? []) last = entry;
  return last;
}
