/**
 * Who registers: the name under which a caller owns what it registers (RFC 1833 section 2.1,
 * r_owner). What the caller itself writes there is ignored. What each way of calling proves is in
 * docs/operations.md; where it proves nothing, the caller is `unknown`.
 *
 * Everybody on this host may send datagrams, open and close sockets, and time both. So a user is known
 * only by what the kernel says of the one socket at the other end, while that socket is there:
 * - the credentials of the local socket;
 * - the row of exactly this TCP connection;
 * - a reserved port on loopback, which the kernel gives to the privileged alone.
 * A datagram from an unprivileged port names no socket: its sender may have closed it, and another user's
 * wildcard socket may have the same port. Its sender is `unknown`.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { type Peer, StatusError } from '../../runtime/index.js';
import { accept_stat, hasNative, inodeOfConnection, isLoopbackGuarded } from '../../runtime/protocol.js';
import { SUPERUSER, UNKNOWN } from '../table/registry.js';
import { isLoopback } from '../uaddr.js';
import { inetSockets } from './procnet.js';
import {
  CLOSE_WAIT,
  type ConnectionEnds,
  connectionOf,
  ESTABLISHED,
  FIN_WAIT1,
  FIN_WAIT2,
  type InetSocket,
} from './sockdiag.js';

/** Ports below are for the privileged alone, unless the host says otherwise (ip_unprivileged_port_start). */
export const RESERVED_PORTS = 1024;
/**
 * Without koffi, a connection's user is read from /proc/net, which takes milliseconds and which
 * everybody on this host can ask for: at most one part in so many of the daemon's time goes there.
 */
export const TABLE_COST_SHARE = 10;
/** Time for reading tables that may be saved up: 200 ms. */
export const MAX_TABLE_CREDIT_MS = 200;
/** For so long what was read of `route_localnet` is good: 10 s. */
const ROUTES_MS = 10_000;

/** True for a caller on this host: the local socket, or a loopback address. */
export function isLocalPeer(peer: Peer): boolean {
  return peer.transport === 'unix' || peer.transport === 'loopback' || isLoopback(peer.address);
}

/**
 * `superuser`, a uid in decimal, or `unknown`. Throws StatusError SYSTEM_ERR where the user of a
 * TCP connection would have to be read from /proc/net, and too much time went there lately
 * ({@link TABLE_COST_SHARE}): the caller may ask again.
 */
export function ownerOf(peer: Peer): string {
  // In memory there is one process, and it asks itself.
  if (peer.transport === 'loopback') return SUPERUSER;
  if (peer.transport === 'unix') return nameOf(peer.uid);
  if (!isLoopback(peer.address)) return UNKNOWN;
  if (peer.transport === 'udp') return isReserved(peer.port) && comesByLo(peer) ? SUPERUSER : UNKNOWN;
  // A connection has one peer and one owner for its whole life.
  let owner = connections.get(peer);
  if (owner === undefined) {
    owner = ownerOfConnection(peer);
    connections.set(peer, owner);
  }
  return owner;
}

/**
 * The user of a loopback connection, for sharing connections out: {@link UNKNOWN} where telling would take more than a
 * question to the kernel (no koffi).
 */
export function userOfConnection(peer: Peer): string {
  if (!hasNative()) return UNKNOWN;
  try {
    return ownerOf(peer);
  } catch {
    return UNKNOWN;
  }
}

/** Owners of TCP connections, as long as the connections live. */
const connections = new WeakMap<Peer, string>();

/** True where this system can tell callers apart at all. */
export function canTellOwners(): boolean {
  return process.platform === 'linux';
}

/** Why a caller that looks like one of this host may be another's, for an operator; undefined where it may not. */
export function doubtOfLoopback(): string | undefined {
  if (process.platform !== 'linux' || isLoopbackGuarded() || !routesLoopback()) return undefined;
  return 'route_localnet is set, so hosts on the link can send as 127.0.0.1, and without the optional package koffi they cannot be told from this host: a reserved port proves nothing over UDP, and they may register as `unknown`';
}

function ownerOfConnection(peer: Peer): string {
  const reserved = (): string => (isReserved(peer.port) && comesByLo(peer) ? SUPERUSER : UNKNOWN);
  if (!canTellOwners()) return reserved();
  const ends: ConnectionEnds = {
    localAddress: plain(peer.address),
    localPort: peer.port,
    remoteAddress: plain(peer.localAddress),
    remotePort: peer.localPort,
  };
  const inode = inodeOfConnection(peer);
  let uid: number | undefined;
  try {
    uid = inode === undefined ? undefined : uidOfConnection(ends, inode);
  } catch (error) {
    // Everybody on this host can use up the time for reading tables: root, which has a reserved port, goes on meanwhile.
    if (reserved() === SUPERUSER) return SUPERUSER;
    throw error;
  }
  if (uid !== undefined) return nameOf(uid);
  // Where neither way works (/proc/net is hidden), a reserved port is all there is, as for Debian's daemon.
  return hasTables ? UNKNOWN : reserved();
}

/** False where /proc/net was asked and is not there. */
let hasTables = true;

/**
 * The user at the other end of a TCP connection of this host, whose end of ours has this inode.
 * First the caller's socket is found by both its ends. Then ours is found in the same way, and must
 * be the one that the call came on, still connected: a caller that closed its socket, so that another
 * user's connection could take its place, closed ours with it.
 */
function uidOfConnection(ends: ConnectionEnds, inode: number): number | undefined {
  const find = hasNative() ? connectionOf : () => undefined;
  // Asked once for both looks: else the second could find the time gone that the first took, each time anew.
  let isAdmitted = false;
  const inTables = (of: ConnectionEnds): InetSocket | undefined => {
    if (!isAdmitted) admitTables();
    isAdmitted = true;
    return findInTables(of);
  };
  const theirs = find(ends) ?? inTables(ends);
  if (theirs === undefined || theirs === 'none' || theirs.inode === 0 || !HAS_OWNER.has(theirs.state))
    return undefined;
  const back = reversed(ends);
  const ours = find(back) ?? inTables(back);
  if (ours === undefined || ours === 'none' || ours.inode !== inode || !IS_CONNECTED.has(ours.state))
    return undefined;
  return theirs.uid;
}

/** States in which a process may hold its end; in all others the row's uid may be of nobody. */
const HAS_OWNER: ReadonlySet<number> = new Set([ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT]);
/** States of our end as long as the other one was not replaced. */
const IS_CONNECTED: ReadonlySet<number> = new Set([ESTABLISHED, CLOSE_WAIT, FIN_WAIT1, FIN_WAIT2]);

function reversed({ localAddress, localPort, remoteAddress, remotePort }: ConnectionEnds): ConnectionEnds {
  return {
    localAddress: remoteAddress,
    localPort: remotePort,
    remoteAddress: localAddress,
    remotePort: localPort,
  };
}

let creditMs = MAX_TABLE_CREDIT_MS;
let creditAt = performance.now();

/** Throws StatusError SYSTEM_ERR where too much time went into reading tables lately ({@link TABLE_COST_SHARE}). */
function admitTables(): void {
  const now = performance.now();
  creditMs = Math.min(MAX_TABLE_CREDIT_MS, creditMs + (now - creditAt) / TABLE_COST_SHARE);
  creditAt = now;
  if (creditMs <= 0) throw new StatusError({ status: accept_stat.SYSTEM_ERR });
}

/**
 * The same from /proc/net/tcp and tcp6. A row that is there is true; one that is not may have moved
 * while the table was read, so that is tried once more, and then it is unknown.
 */
function findInTables(ends: ConnectionEnds): InetSocket | undefined {
  const startedAt = performance.now();
  try {
    return readRow(ends) ?? readRow(ends);
  } finally {
    creditMs -= performance.now() - startedAt;
  }
}

function readRow(ends: ConnectionEnds): InetSocket | undefined {
  const tables = ends.localAddress.includes(':') ? (['tcp6'] as const) : (['tcp', 'tcp6'] as const);
  const rows = tables.map(inetSockets);
  hasTables = rows.some((table) => table !== undefined);
  const found = rows.flatMap((table) =>
    (table ?? []).filter(
      (row) =>
        row.localPort === ends.localPort &&
        row.remotePort === ends.remotePort &&
        row.localAddress === ends.localAddress &&
        row.remoteAddress === ends.remoteAddress,
    ),
  );
  // Two rows of one connection: one of them is gone, and nobody can say which.
  return found.length === 1 ? found[0] : undefined;
}

/** `::ffff:127.0.0.1` is 127.0.0.1. */
function plain(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address;
}

/** The owner's name for a uid, and `unknown` for one that stands for several users. */
export function nameOf(uid: number | undefined): string {
  if (uid === undefined || !isOneUser(uid)) return UNKNOWN;
  return uid === 0 ? SUPERUSER : String(uid);
}

/**
 * Within a user namespace that does not map all users, the kernel shows the others as one, the overflow
 * uid: it then proves nothing.
 */
export function isOneUser(uid: number): boolean {
  overflowUid ??= readOverflowUid();
  return uid !== overflowUid;
}

let overflowUid: number | undefined;

function readOverflowUid(): number {
  const isWhole = /^\s*0\s+0\s+4294967295\s*$/.test(read('/proc/self/uid_map') ?? '0 0 4294967295');
  return isWhole ? -1 : Number(read('/proc/sys/kernel/overflowuid') ?? 65_534);
}

/** Whether the kernel gave this port to a privileged process. */
function isReserved(port: number): boolean {
  return port > 0 && port < RESERVED_PORTS && port < firstUnprivilegedPort();
}

/**
 * Ports from here on are for everybody (Linux: ip_unprivileged_port_start). Where the host's settings
 * cannot be read, all are. A port that was bound before the host raised the number stays bound.
 */
function firstUnprivilegedPort(): number {
  if (process.platform !== 'linux') return RESERVED_PORTS;
  const text = read('/proc/sys/net/ipv4/ip_unprivileged_port_start');
  // Before Linux 4.11 there is no such setting.
  if (text === undefined) return read('/proc/sys/net/ipv4/ip_default_ttl') === undefined ? 0 : RESERVED_PORTS;
  const port = Number.parseInt(text, 10);
  return Number.isInteger(port) ? port : 0;
}

/** Whether a call with a loopback source came in on `lo`, and not from the link. */
function comesByLo({ address }: Peer): boolean {
  // The kernel takes ::1 from `lo` alone.
  if (address === '::1' || isLoopbackGuarded() || process.platform !== 'linux') return true;
  return !routesLoopback();
}

let routes = { at: Number.NEGATIVE_INFINITY, isOn: false };

/** Whether some interface takes packets with a loopback source (route_localnet); true where that cannot be read. */
function routesLoopback(): boolean {
  const now = performance.now();
  if (now - routes.at > ROUTES_MS) routes = { at: now, isOn: readRoutes() };
  return routes.isOn;
}

function readRoutes(): boolean {
  const folder = '/proc/sys/net/ipv4/conf';
  try {
    return readdirSync(folder).some((name) => {
      const text = read(`${folder}/${name}/route_localnet`);
      // An interface that went meanwhile routes nothing.
      return text !== undefined && text.trim() !== '0';
    });
  } catch {
    return true;
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return undefined;
  }
}
