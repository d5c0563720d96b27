/**
 * Which connections a listener has, and which has to go when there is no room. Any host can open
 * connections by the thousand and leave them idle; without shares, all others would find the listener full.
 *
 *   - A source (see source.ts; on a unix socket a user) has at most a share. One more closes its own longest idle.
 *     Where users of this host can be told, all of loopback is one source: a user can call from each of 127.0.0.0/8.
 *     Within it, the longest idle of the user who has most goes.
 *   - Some places are kept for callers of this host, which must reach their rpcbind whatever others do.
 *   - When all places are taken, the longest idle connection of the source that has most makes room.
 *   - The descriptors of the process are counted over all its listeners, with some kept for everything else.
 */

import { readdirSync, readFileSync } from 'node:fs';

/** Default for the connections of one listener. */
export const DEFAULT_MAX_CONNECTIONS = 4_096;
/** Default for the connections of one source to one listener. */
export const DEFAULT_MAX_CONNECTIONS_PER_SOURCE = 1_024;
/** Default for the places that only callers of this host take: so many, or a sixteenth of all where that is less. */
export const DEFAULT_RESERVED_CONNECTIONS = 256;
/** Descriptors left for everything else when connections are counted against the system's limit. */
export const RESERVED_DESCRIPTORS = 64;

/** See {@link ConnectionTable}. */
export interface ConnectionLimits {
  /**
   * Most connections at a time; when one more comes, the longest idle of the source that has most is closed.
   * Never more than the system's limit of descriptors allows. Default {@link DEFAULT_MAX_CONNECTIONS}.
   */
  readonly maxConnections?: number;
  /**
   * Most connections of one source: an IPv4 address, an IPv6 network of 64 bits, a user on a unix socket. When one
   * more comes, its longest idle one is closed. Default {@link DEFAULT_MAX_CONNECTIONS_PER_SOURCE}.
   */
  readonly maxConnectionsPerSource?: number;
  /** Places out of `maxConnections` that only callers of this host take. Default {@link DEFAULT_RESERVED_CONNECTIONS}. */
  readonly reservedConnections?: number;
}

/** One connection, as far as the table knows it. */
export interface Member {
  /** The source that it is counted for; see source.ts. */
  readonly caller: string;
  /** Whether the caller is on this host. */
  readonly isLocal: boolean;
  /** Which of the users that share `caller` it is of; undefined where one alone has it. Asked only where one has to go. */
  readonly user: string | undefined;
  /** Whether a call of it is under way. */
  readonly isBusy: boolean;
  /** Grows with each use of any connection: the smallest is the longest idle. */
  readonly lastUse: number;
  cutOff(): void;
}

/** Tables of this process that are open. */
const tables = new Set<ConnectionTable>();
/** Connections that all tables together may have. */
let room = Number.MAX_SAFE_INTEGER;

/** The connections of one listener. */
export class ConnectionTable {
  private readonly max: number;
  private readonly maxPerSource: number;
  private readonly maxRemote: number;
  /** At most as many sources as connections. */
  private readonly sources = new Map<string, Set<Member>>();
  private count = 0;
  private localCount = 0;
  private isClosed = false;

  /** Throws RangeError where a limit is no whole number over 0, or more places are kept than there are. */
  constructor(limits: ConnectionLimits = {}) {
    this.max = limits.maxConnections ?? DEFAULT_MAX_CONNECTIONS;
    this.maxPerSource = limits.maxConnectionsPerSource ?? DEFAULT_MAX_CONNECTIONS_PER_SOURCE;
    const reserved =
      limits.reservedConnections ?? Math.min(DEFAULT_RESERVED_CONNECTIONS, Math.floor(this.max / 16));
    this.maxRemote = this.max - reserved;
    const isWhole = [this.max, this.maxPerSource, reserved].every(Number.isSafeInteger);
    if (!isWhole || this.max < 1 || this.maxPerSource < 1 || reserved < 0 || this.maxRemote < 0)
      throw new RangeError(
        `maxConnections ${this.max}, maxConnectionsPerSource ${this.maxPerSource}, reservedConnections ${reserved}: whole numbers, the first two over 0, the last not over the first`,
      );
    tables.add(this);
    room = roomForConnections(total());
  }

  get size(): number {
    return this.count;
  }

  /** Takes a connection, closing another for it where there is no room. False where none may be closed. */
  admit(newcomer: Member): boolean {
    const own = this.sources.get(newcomer.caller);
    const ownCount = own?.size ?? 0;
    if (own !== undefined && ownCount >= this.maxPerSource && !this.evictOwn(own, newcomer)) return false;
    const isRemoteFull = !newcomer.isLocal && this.count - this.localCount >= this.maxRemote;
    if (isRemoteFull && !this.evict(ownCount, true)) return false;
    if (this.count >= this.max && !this.evict(ownCount, false)) return false;
    if (total() >= room && fullest()?.evict(ownCount, false) !== true) return false;
    let members = this.sources.get(newcomer.caller);
    if (members === undefined) {
      members = new Set();
      this.sources.set(newcomer.caller, members);
    }
    members.add(newcomer);
    this.count += 1;
    if (newcomer.isLocal) this.localCount += 1;
    return true;
  }

  /** Forgets a connection that was closed; one that is not here changes nothing. */
  delete(member: Member): void {
    const members = this.sources.get(member.caller);
    if (members?.delete(member) !== true) return;
    if (members.size === 0) this.sources.delete(member.caller);
    this.count -= 1;
    if (member.isLocal) this.localCount -= 1;
    if (this.isClosed && this.count === 0) tables.delete(this);
  }

  /** No more connections come; those that are here count until they are gone. */
  close(): void {
    this.isClosed = true;
    if (this.count === 0) tables.delete(this);
  }

  /** Closes one connection of the newcomer's own source. */
  private evictOwn(own: ReadonlySet<Member>, { user }: Member): boolean {
    if (user === undefined) return this.evictFrom(own, false);
    const users = byUser(own);
    const largest = largestOf(users.values());
    // As between sources: calls under way are given up only where their user keeps as many connections as the newcomer's.
    return largest !== undefined && this.evictFrom(largest, largest.size > (users.get(user)?.size ?? 0) + 1);
  }

  /** Closes one connection of the source that has most, for one that has `ownCount`. False where that would be unfair. */
  private evict(ownCount: number, isRemote: boolean): boolean {
    const sources = [...this.sources.values()].filter((members) => !(isRemote && isLocalSource(members)));
    const largest = largestOf(sources);
    if (largest === undefined) return false;
    // Calls under way are given up only where their source would still have as many connections as the newcomer's.
    return this.evictFrom(largestOf(byUser(largest).values()) ?? largest, largest.size > ownCount + 1);
  }

  /** Closes the longest idle of these; one with a call under way only where there is no other and it may be. */
  private evictFrom(members: ReadonlySet<Member>, mayBeBusy: boolean): boolean {
    let victim: Member | undefined;
    for (const member of members) {
      if (member.isBusy && !mayBeBusy) continue;
      if (
        victim === undefined ||
        (victim.isBusy && !member.isBusy) ||
        (victim.isBusy === member.isBusy && member.lastUse < victim.lastUse)
      )
        victim = member;
    }
    if (victim === undefined) return false;
    this.delete(victim);
    victim.cutOff();
    return true;
  }
}

function largestOf(groups: Iterable<ReadonlySet<Member>>): ReadonlySet<Member> | undefined {
  let largest: ReadonlySet<Member> | undefined;
  for (const group of groups) if (largest === undefined || group.size > largest.size) largest = group;
  return largest;
}

/** The connections of one source by their users. */
function byUser(members: ReadonlySet<Member>): Map<string | undefined, Set<Member>> {
  const users = new Map<string | undefined, Set<Member>>();
  for (const member of members) {
    const { user } = member;
    const group = users.get(user);
    if (group === undefined) users.set(user, new Set([member]));
    else group.add(member);
  }
  return users;
}

/** All of one source are local, or none. */
function isLocalSource(members: ReadonlySet<Member>): boolean {
  for (const { isLocal } of members) return isLocal;
  return false;
}

function total(): number {
  let sum = 0;
  for (const { size } of tables) sum += size;
  return sum;
}

function fullest(): ConnectionTable | undefined {
  let found: ConnectionTable | undefined;
  for (const table of tables) if (found === undefined || table.size > found.size) found = table;
  return found;
}

/** Connections that the descriptors of this process allow, while `open` of them are connections. */
function roomForConnections(open: number): number {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    if (limit === undefined) return Number.MAX_SAFE_INTEGER;
    const others = readdirSync('/proc/self/fd').length - open;
    return Math.max(1, Number(limit) - RESERVED_DESCRIPTORS - others);
  } catch {
    // Another system than Linux: only the options count.
    return Number.MAX_SAFE_INTEGER;
  }
}
