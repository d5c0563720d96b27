/**
 * The table: (program, version, netid) -> address and owner, and the rules of who may change it
 * (RFC 1833 section 2.2.1). No sockets and no files here. Lookups take the same time whatever the
 * number of registrations.
 */

import type { Registration } from '../registration.js';
import { isWildcard, parseUaddr, portSuffix } from '../uaddr.js';
import { type HeldRegistration, Holds } from './holds.js';

/** The owner that may do everything. */
export const SUPERUSER = 'superuser';
/** The owner of whoever could not be identified. */
export const UNKNOWN = 'unknown';

/** Default for all registrations together. */
export const DEFAULT_MAX_REGISTRATIONS = 131_072;
/**
 * One part in so many of all registrations is the superuser's alone. One user may have thousands of uids (subuid(5)), each of
 * them an owner with a share of its own: they could else fill the table, and root's services would not start.
 */
export const SUPERUSER_SHARE = 16;
/** Default for the registrations of one owner that is not the superuser. */
export const DEFAULT_MAX_REGISTRATIONS_PER_OWNER = 4_096;

/** A registration as the table keeps it. */
export interface TableEntry extends Registration {
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
  /** True until the store has it: callers do not find it yet. */
  isUnconfirmed: boolean;
}

/** See {@link Registry}. */
export interface RegistryOptions {
  /** Default {@link DEFAULT_MAX_REGISTRATIONS}. */
  readonly maxRegistrations?: number;
  /** Default {@link DEFAULT_MAX_REGISTRATIONS_PER_OWNER}. */
  readonly maxRegistrationsPerOwner?: number;
  /**
   * Milliseconds for which a place is kept for its owner once the registration is gone; 0 for no time.
   * Default {@link DEFAULT_HOLD_MS}, at most {@link MAX_HOLD_MS}.
   */
  readonly holdMs?: number | undefined;
}

/** What became of a registration; see {@link Registry.set}. */
export type SetOutcome = 'added' | 'same' | 'taken' | 'invalid' | 'full' | 'held' | 'owned';

/** Which rules a registration is not subject to. */
export interface SetExceptions {
  /** It is the daemon's own, which nobody may take away. */
  readonly isPermanent?: boolean;
  /** It was accepted by the last daemon: who else has the program is not asked. */
  readonly isRestored?: boolean;
}

/** The versions of one program on one netid. */
interface Versions {
  /** The one registered last: the answer for a version that is not there. */
  last: TableEntry;
  /** All of them, once there were several: a Map takes more room than everything else about a program. */
  byVersion: Map<number, TableEntry> | undefined;
}

/** The table of one daemon. */
export class Registry {
  /** By netid, of which there are few, and then by program. */
  private readonly netids = new Map<string, Map<number, Versions>>();
  /** In the order of registration, which is the order of DUMP. */
  private readonly all = new Set<TableEntry>();
  private readonly countByOwner = new Map<string, number>();
  private readonly holds: Holds;
  /** Bytes of the rows of versions 3 and 4's DUMP, and the rows of version 2's. */
  private bytes = 0;
  private mappings = 0;
  private serial = 0;
  private readonly maxRegistrations: number;
  private readonly maxRegistrationsPerOwner: number;

  constructor(options: RegistryOptions = {}) {
    this.maxRegistrations = options.maxRegistrations ?? DEFAULT_MAX_REGISTRATIONS;
    this.maxRegistrationsPerOwner = options.maxRegistrationsPerOwner ?? DEFAULT_MAX_REGISTRATIONS_PER_OWNER;
    this.holds = new Holds(options.holdMs);
  }

  get size(): number {
    return this.all.size;
  }

  /** Bytes of all registrations as rows of DUMP in versions 3 and 4. Kept up to date, not computed. */
  get rowBytes(): number {
    return this.bytes;
  }

  /** Registrations that version 2 can name: those of `udp` and `tcp`. Kept up to date, not computed. */
  get mappingCount(): number {
    return this.mappings;
  }

  /** Every place that is kept for its owner, oldest first. */
  heldPlaces(): IterableIterator<HeldRegistration> {
    return this.holds.places();
  }

  /** Every registration, oldest first. */
  entries(): IterableIterator<TableEntry> {
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
   * `held` where the place is kept for another owner, `owned` where another owner has or had the program
   * on another version or netid; `full` over a limit. The superuser is told neither `held` nor `owned`.
   */
  set(of: Registration, options: SetExceptions = {}): SetOutcome {
    const endpoint = parseUaddr(of.netid, of.address);
    if (endpoint === undefined) return 'invalid';
    const found = this.findExact(of.program, of.version, of.netid);
    if (found !== undefined) return found.address === of.address ? 'same' : 'taken';
    if (options.isPermanent !== true && options.isRestored !== true) {
      const refusal = this.refusalOf(of);
      if (refusal !== undefined) return refusal;
    }
    if (!this.makeRoomFor(of.owner)) return 'full';
    const entry: TableEntry = {
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
      isUnconfirmed: false,
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
    this.holds.remove(entry);
    this.all.add(entry);
    this.count(entry, 1);
    this.countByOwner.set(of.owner, (this.countByOwner.get(of.owner) ?? 0) + 1);
    return 'added';
  }

  /** The registrations of a version of a program on these netids, or on all; oldest first. */
  select(program: number, version: number, netids?: readonly string[]): TableEntry[] {
    return [...(netids ?? this.netids.keys())]
      .flatMap((netid) => this.findExact(program, version, netid) ?? [])
      .sort((a, b) => a.serial - b.serial);
  }

  /**
   * Whether `owner` may take a registration back: its owner, and the superuser. All that could not be
   * identified are one owner, as with Debian's daemon: programs that register by UDP from an unprivileged
   * port can only so take back what they registered.
   */
  mayRemove(entry: TableEntry, owner: string): boolean {
    if (entry.isPermanent) return false;
    return owner === SUPERUSER || entry.owner === owner;
  }

  /**
   * Removes a registration, and keeps its place for its owner. What `unknown` registered is kept for nobody:
   * everybody on this host may call without being known.
   */
  release(entry: TableEntry): void {
    this.remove(entry);
    if (!entry.isPermanent) this.hold(entry);
  }

  /** Keeps a place for an owner, within the limits; see {@link release}. */
  hold(place: HeldRegistration): void {
    const isTaken = this.findExact(place.program, place.version, place.netid) !== undefined;
    if (!isTaken && place.owner !== UNKNOWN && this.makeRoomFor(place.owner)) this.holds.add(place);
  }

  /** The hold of a place, if there is one. */
  heldPlace(program: number, version: number, netid: string): HeldRegistration | undefined {
    return this.holds.find({ program, version, netid });
  }

  /** Removes a registration without an ownership check, and keeps nothing. */
  remove(entry: TableEntry): void {
    if (!this.all.delete(entry)) return;
    this.count(entry, -1);
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
  findExact(program: number, version: number, netid: string): TableEntry | undefined {
    const versions = this.netids.get(netid)?.get(program);
    if (versions === undefined) return undefined;
    return versions.last.version === version ? versions.last : versions.byVersion?.get(version);
  }

  /**
   * The registration of this version; where there is none, that of the version registered last. Nothing
   * where the place is held: what is registered beside it may be a stranger's.
   */
  find(program: number, version: number, netid: string): TableEntry | undefined {
    const exact = this.findExact(program, version, netid);
    if (exact !== undefined || this.holds.find({ program, version, netid }) !== undefined) return exact;
    return this.netids.get(netid)?.get(program)?.last;
  }

  /**
   * Why somebody may not register here. A program number belongs to the known owners that have or had it:
   * a stranger could otherwise register another version or netid beside root's, and GETPORT for a version
   * that is not there would lead to it. Who owns every known registration of the program may add to it.
   */
  private refusalOf(of: Registration): 'held' | 'owned' | undefined {
    if (of.owner === SUPERUSER) return undefined;
    const held = this.holds.find(of);
    if (held !== undefined) return held.owner === of.owner ? undefined : 'held';
    const isOther = ({ owner }: HeldRegistration): boolean => owner !== of.owner && owner !== UNKNOWN;
    for (const hold of this.holds.ofProgram(of.program)) if (isOther(hold)) return 'owned';
    for (const programs of this.netids.values()) {
      const versions = programs.get(of.program);
      if (versions === undefined) continue;
      if (isOther(versions.last)) return 'owned';
      for (const entry of versions.byVersion?.values() ?? []) if (isOther(entry)) return 'owned';
    }
    return undefined;
  }

  /**
   * Whether there is room for one more of an owner, a registration or a hold. Holds count as registrations
   * do, and are given up for a new one: the owner's own first, and for the superuser anybody's. Nobody else
   * can push out what is held for another.
   */
  private makeRoomFor(owner: string): boolean {
    const isOverOwn = (): boolean =>
      owner !== SUPERUSER &&
      (this.countByOwner.get(owner) ?? 0) + this.holds.countOf(owner) >= this.maxRegistrationsPerOwner;
    while (isOverOwn()) if (!this.holds.removeOldest(owner)) return false;
    const reserved = owner === SUPERUSER ? 0 : Math.floor(this.maxRegistrations / SUPERUSER_SHARE);
    while (this.all.size + this.holds.size >= this.maxRegistrations - reserved)
      if (!this.holds.removeOldest(owner) && !(owner === SUPERUSER && this.holds.removeOldest()))
        return false;
    return true;
  }

  private count(entry: TableEntry, sign: 1 | -1): void {
    this.bytes += sign * rowBytesOf(entry);
    if (entry.netid === 'udp' || entry.netid === 'tcp') this.mappings += sign;
  }
}

/** Program, version, three texts with their lengths, and the mark that a row follows. */
function rowBytesOf({ netid, address, owner }: Registration): number {
  return 24 + padded(netid) + padded(address) + padded(owner);
}

/** Bytes of a text as XDR has it, without its length (RFC 4506 section 4.11). */
function padded(text: string): number {
  return (Buffer.byteLength(text) + 3) & ~3;
}

function lastOf(entries: Map<number, TableEntry> | undefined): TableEntry | undefined {
  let last: TableEntry | undefined;
  for (const entry of entries?.values() ?? []) last = entry;
  return last;
}
