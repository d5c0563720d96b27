/**
 * The table of one daemon: (program, version, netid) -> address and owner, and the rules by which it changes (RFC 1833
 * section 2.2.1). No sockets and no files here. The time of a lookup does not depend on the number of registrations.
 *
 * A registration is added in two steps, since the store must have it before anybody finds it: `prepare` applies the
 * rules and takes up a place within the limits, `commit` adds it, `cancel` gives the place back.
 */

import {
  type HeldRegistration,
  type Registration,
  type RegistrationKey,
  SUPERUSER,
  UNKNOWN,
} from '../registration.js';
import { isWildcard, parseUaddr, portSuffix } from '../uaddr.js';
import { DEFAULT_HOLD_MS, HeldRegistrations, type HoldListener } from './held.js';

/** Default of `maxRegistrations`. */
export const DEFAULT_MAX_REGISTRATIONS = 131_072;
/** Maximum of `maxRegistrations` and `maxRegistrationsPerOwner`: the size of a Set in V8. */
export const MAX_REGISTRATIONS = 16_777_216;
/**
 * The superuser alone may use the last sixteenth of `maxRegistrations`. One user may have thousands of uids (subuid(5)),
 * each of them an owner with a limit of its own: together they could otherwise fill the table, and services of root
 * would not start.
 */
export const SUPERUSER_SHARE = 16;
/** Default of `maxRegistrationsPerOwner`. */
export const DEFAULT_MAX_REGISTRATIONS_PER_OWNER = 4_096;

/** A registration in the table, with what lookups need of its address. */
export interface TableEntry extends Registration {
  /** IP address, or the path of a socket. */
  readonly host: string;
  /** 0 for a path. */
  readonly port: number;
  readonly isWildcard: boolean;
  /** The port's part of the universal address. */
  readonly suffix: string;
  /** Whether it is the daemon's own, which nobody may unset. */
  readonly isPermanent: boolean;
  /** Increases from registration to registration. */
  readonly serial: number;
  /** Whether a server was ever seen listening at the address: only then can it be found stale. */
  wasAlive: boolean;
}

/** See {@link Registry}. */
export interface RegistryOptions {
  /** Registrations and holds together, 1 to {@link MAX_REGISTRATIONS}. Default {@link DEFAULT_MAX_REGISTRATIONS}. */
  readonly maxRegistrations?: number | undefined;
  /**
   * Registrations and holds of one owner other than the superuser, 1 to {@link MAX_REGISTRATIONS}. Default
   * {@link DEFAULT_MAX_REGISTRATIONS_PER_OWNER}.
   */
  readonly maxRegistrationsPerOwner?: number | undefined;
  /**
   * Milliseconds for which a registration that is gone is held for its owner, 0 (not at all) to {@link MAX_HOLD_MS}.
   * Default {@link DEFAULT_HOLD_MS}.
   */
  readonly holdMs?: number | undefined;
}

/**
 * Why a registration is not added. `same`: it is there already, with this address. `taken`: it is there with another
 * address. `invalid`: the netid or the address is not valid. `held`: the key is held for another owner. `owned`: another
 * owner has, or had until just now, the program on another version or netid. `full`: a limit is reached.
 */
export type Refusal = 'same' | 'taken' | 'invalid' | 'full' | 'held' | 'owned';

/** Which rules do not apply to a registration. */
export interface SetExceptions {
  /** It is the daemon's own, which nobody may unset. */
  readonly isPermanent?: boolean;
  /** It comes from the store: the rules were applied when it was made. */
  readonly isStored?: boolean;
}

/** The versions of one program on one netid. */
interface Versions {
  /** The one registered last: the answer to a lookup of a version that is not registered. */
  last: TableEntry;
  /** All of them, once there were several: a Map takes more memory than everything else about a program. */
  byVersion: Map<number, TableEntry> | undefined;
}

/** The table of one daemon. */
export class Registry {
  /** By netid, of which there are few, and then by program. */
  private readonly netids = new Map<string, Map<number, Versions>>();
  /** In the order of registration, which is the order of DUMP. */
  private readonly all = new Set<TableEntry>();
  /** Prepared, and neither committed nor cancelled yet. They count within the limits. */
  private readonly prepared = new Set<TableEntry>();
  private readonly countByOwner = new Map<string, number>();
  private readonly holds: HeldRegistrations;
  /** Bytes of the rows of DUMP in versions 3 and 4, and the number of rows of DUMP in version 2. */
  private bytes = 0;
  private mappings = 0;
  private serial = 0;
  private readonly maxRegistrations: number;
  private readonly maxRegistrationsPerOwner: number;

  /** Options are checked in server/options.ts. `listener` is told of holds. */
  constructor(options: RegistryOptions = {}, listener?: HoldListener) {
    this.maxRegistrations = options.maxRegistrations ?? DEFAULT_MAX_REGISTRATIONS;
    this.maxRegistrationsPerOwner = options.maxRegistrationsPerOwner ?? DEFAULT_MAX_REGISTRATIONS_PER_OWNER;
    this.holds = new HeldRegistrations(options.holdMs ?? DEFAULT_HOLD_MS, listener);
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

  /** The number of holds. */
  get heldCount(): number {
    return this.holds.size;
  }

  /** Every hold, oldest first. */
  held(): IterableIterator<HeldRegistration> {
    return this.holds.entries();
  }

  /** Every registration, oldest first. */
  entries(): IterableIterator<TableEntry> {
    return this.all.values();
  }

  /** Moves the daemon's own registrations before all others: they are made last, once its sockets are open. */
  movePermanentFirst(): void {
    const others = [...this.all].filter((entry) => !entry.isPermanent);
    for (const entry of others) {
      this.all.delete(entry);
      this.all.add(entry);
    }
  }

  /**
   * Applies the rules to a registration. Returns an entry to {@link commit} or {@link cancel}, which counts within the
   * limits from now on; or why it is refused. `held` and `owned` do not concern the superuser.
   */
  prepare(of: Registration, exceptions: SetExceptions = {}): TableEntry | Refusal {
    // An invalid address would spoil every list that has it.
    const endpoint = parseUaddr(of.netid, of.address);
    if (endpoint === undefined) return 'invalid';
    const found = this.findExact(of.program, of.version, of.netid);
    if (found !== undefined) return found.address === of.address ? 'same' : 'taken';
    if (exceptions.isPermanent !== true && exceptions.isStored !== true) {
      const refusal = this.refusalOf(of);
      if (refusal !== undefined) return refusal;
    }
    if (!this.makeRoomFor(of.owner)) return 'full';
    const isPath = endpoint.family === 'loopback';
    const entry: TableEntry = {
      program: of.program,
      version: of.version,
      netid: of.netid,
      address: of.address,
      owner: of.owner,
      host: endpoint.host,
      port: endpoint.port,
      isWildcard: !isPath && isWildcard(endpoint.host),
      suffix: isPath ? '' : portSuffix(endpoint.port),
      isPermanent: exceptions.isPermanent ?? false,
      serial: this.serial,
      wasAlive: false,
    };
    this.serial += 1;
    this.prepared.add(entry);
    this.countByOwner.set(of.owner, (this.countByOwner.get(of.owner) ?? 0) + 1);
    return entry;
  }

  /** Adds a prepared entry, and ends the hold of its key. No other entry of its key may have been committed meanwhile. */
  commit(entry: TableEntry): void {
    if (!this.prepared.delete(entry)) return;
    const programs = this.netids.get(entry.netid) ?? new Map<number, Versions>();
    this.netids.set(entry.netid, programs);
    const versions = programs.get(entry.program);
    if (versions === undefined) programs.set(entry.program, { last: entry, byVersion: undefined });
    else {
      versions.byVersion ??= new Map([[versions.last.version, versions.last]]);
      versions.byVersion.set(entry.version, entry);
      versions.last = entry;
    }
    this.holds.release(entry);
    this.all.add(entry);
    this.countRow(entry, 1);
  }

  /** Gives up a prepared entry. Holds that had to make room for it are not restored. */
  cancel(entry: TableEntry): void {
    if (this.prepared.delete(entry)) this.uncount(entry.owner);
  }

  /** {@link prepare} and {@link commit} in one: the entry, or why it is refused. */
  set(of: Registration, exceptions: SetExceptions = {}): TableEntry | Refusal {
    const entry = this.prepare(of, exceptions);
    if (typeof entry !== 'string') this.commit(entry);
    return entry;
  }

  /** The registrations of a version of a program on these netids, or on all; oldest first. */
  select(program: number, version: number, netids?: readonly string[]): TableEntry[] {
    return [...(netids ?? this.netids.keys())]
      .flatMap((netid) => this.findExact(program, version, netid) ?? [])
      .sort((a, b) => a.serial - b.serial);
  }

  /**
   * Whether `owner` may unset a registration: its owner may, and the superuser. All callers that could not be identified
   * are one owner, as in Debian's rpcbind: programs that register over UDP from an unprivileged port could otherwise
   * not unset what they registered.
   */
  mayRemove(entry: TableEntry, owner: string): boolean {
    if (entry.isPermanent) return false;
    return owner === SUPERUSER || entry.owner === owner;
  }

  /**
   * Removes a registration, and holds it for its owner. What `unknown` registered is held for nobody: every user of this
   * host can call without being identified.
   */
  removeAndHold(entry: TableEntry): void {
    this.remove(entry);
    if (!entry.isPermanent) this.hold(entry);
  }

  /** Holds a key for an owner, within the limits, if it is not registered; see {@link removeAndHold}. */
  hold(registration: HeldRegistration): void {
    const { program, version, netid, owner } = registration;
    const isRegistered = this.findExact(program, version, netid) !== undefined;
    if (!isRegistered && owner !== UNKNOWN && this.makeRoomFor(owner)) this.holds.add(registration);
  }

  /** The hold of a key, or undefined. */
  findHeld(key: RegistrationKey): HeldRegistration | undefined {
    return this.holds.find(key);
  }

  /** Ends the holds whose time is over. */
  expireHolds(): void {
    this.holds.expire();
  }

  /** Removes a registration without an ownership check, and without a hold. */
  remove(entry: TableEntry): void {
    if (!this.all.delete(entry)) return;
    this.countRow(entry, -1);
    this.uncount(entry.owner);
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
   * The registration of this version; where there is none, that of the version registered last. Nothing while the key is
   * held: another version may be another user's.
   */
  find(program: number, version: number, netid: string): TableEntry | undefined {
    const exact = this.findExact(program, version, netid);
    if (exact !== undefined || this.holds.find({ program, version, netid }) !== undefined) return exact;
    return this.netids.get(netid)?.get(program)?.last;
  }

  /**
   * Why an owner may not register a key. A program number belongs to the identified owners that have it or had it until
   * just now: another user could otherwise register a further version or netid beside root's, and GETPORT of a version
   * that is not registered would lead there. An owner who has every such registration of the program may add to it.
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
   * Whether there is room for one more registration or hold of an owner. Holds count as registrations do, and end to make
   * room for a new one: those of the owner itself, oldest first, and for the superuser those of all owners. No other user
   * can end the hold of another owner.
   */
  private makeRoomFor(owner: string): boolean {
    const isOverOwn = (): boolean =>
      owner !== SUPERUSER &&
      (this.countByOwner.get(owner) ?? 0) + this.holds.countOf(owner) >= this.maxRegistrationsPerOwner;
    while (isOverOwn()) if (!this.holds.releaseOldest(owner)) return false;
    const reserved = owner === SUPERUSER ? 0 : Math.floor(this.maxRegistrations / SUPERUSER_SHARE);
    while (this.all.size + this.prepared.size + this.holds.size >= this.maxRegistrations - reserved)
      if (!this.holds.releaseOldest(owner) && !(owner === SUPERUSER && this.holds.releaseOldest()))
        return false;
    return true;
  }

  private uncount(owner: string): void {
    const left = (this.countByOwner.get(owner) ?? 1) - 1;
    if (left > 0) this.countByOwner.set(owner, left);
    else this.countByOwner.delete(owner);
  }

  private countRow(entry: TableEntry, sign: 1 | -1): void {
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
