/**
 * The owner of what a caller registers (RFC 1833 section 2.1, r_owner). What the caller itself writes there is ignored.
 * docs/operations.md has a table of what each kind of caller proves; a caller that proves nothing is `unknown`.
 *
 * Every user of this host can send datagrams, open and close sockets, and choose the time of each. So a user is identified
 * only by what the kernel says of the one socket at the other end, while that socket exists:
 * - the credentials of the peer of a local socket;
 * - the row of exactly this TCP connection;
 * - a reserved port on loopback, which the kernel gives to privileged users alone.
 * A datagram from an unprivileged port identifies no socket: its sender may have closed it, and a wildcard socket of
 * another user may have the same port. Its sender is `unknown`.
 */

import { readdirSync, readFileSync } from 'node:fs';
import { type Peer, StatusError } from '../../runtime/index.js';
import { accept_stat, hasNative, inodeOfConnection, isLoopbackGuarded } from '../../runtime/protocol.js';
import { SUPERUSER, UNKNOWN } from '../registration.js';
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

/** Ports below are reserved for privileged users, unless the host lowers the limit (ip_unprivileged_port_start). */
export const RESERVED_PORTS = 1024;
/**
 * Without koffi the user of a connection is read from /proc/net, which takes milliseconds and which every user of this
 * host can cause: at most 1/10 of the daemon's time is spent on it.
 */
export const TABLE_COST_SHARE = 10;
/** Maximum time for reading tables that can accumulate: 200 ms. */
export const MAX_TABLE_CREDIT_MS = 200;
/** What was read of `route_localnet` is valid for 10 s. */
const ROUTES_MS = 10_000;

/** True for a caller on this host: by the local socket, in memory, or from a loopback address. */
export function isLocalPeer(peer: Peer): boolean {
  return peer.transport === 'unix' || peer.transport === 'loopback' || isLoopback(peer.address);
}

/**
 * `superuser`, a uid in decimal, or `unknown`. Throws StatusError SYSTEM_ERR if the user of a TCP connection would have to
 * be read from /proc/net, and too much time was spent on that lately ({@link TABLE_COST_SHARE}): the caller may call
 * again.
 */
export function ownerOf(peer: Peer): string {
  // In memory caller and daemon are one process.
  if (peer.transport === 'loopback') return SUPERUSER;
  if (peer.transport === 'unix') return ownerOfUid(peer.uid);
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
 * The user of a loopback connection, for the shares of connections: {@link UNKNOWN} without koffi, where finding out would
 * mean to read tables.
 */
export function userOfConnection(peer: Peer): string {
  if (!hasNative()) return UNKNOWN;
  try {
    return ownerOf(peer);
  } catch {
    return UNKNOWN;
  }
}

/** Owners of TCP connections, as long as these exist. */
const connections = new WeakMap<Peer, string>();

/** Whether this system can identify the user of a TCP connection. */
function canIdentifyUsers(): boolean {
  return process.platform === 'linux';
}

/** A warning for the operator where another host can pass for this one; undefined where none can. */
export function loopbackWarning(): string | undefined {
  if (process.platform !== 'linux' || isLoopbackGuarded() || !routesLoopback()) return undefined;
  return 'route_localnet is set, so hosts on the link can send from 127.0.0.1, and without the optional package koffi the daemon cannot distinguish them from this host: over UDP a reserved port proves nothing, and such hosts can register as `unknown`';
}

function ownerOfConnection(peer: Peer): string {
  const reserved = (): string => (isReserved(peer.port) && comesByLo(peer) ? SUPERUSER : UNKNOWN);
  if (!canIdentifyUsers()) return reserved();
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
    // Every user of this host can use up the time for reading tables. Root can go on: it has a reserved port.
    if (reserved() === SUPERUSER) return SUPERUSER;
    throw error;
  }
  if (uid !== undefined) return ownerOfUid(uid);
  // Neither source is available (/proc/net is hidden): a reserved port is the only proof, as in Debian's rpcbind.
  return hasTables ? UNKNOWN : reserved();
}

/** False once /proc/net was read and found missing. */
let hasTables = true;

/**
 * The user at the other end of a TCP connection within this host; `inode` is that of the daemon's socket. First the
 * caller's socket is looked up by both addresses. Then the daemon's socket is looked up in the same way: it must be the
 * one by which the call came, and still connected. So a caller cannot close its socket and have another user's
 * connection from the same port taken for its own.
 */
function uidOfConnection(ends: ConnectionEnds, inode: number): number | undefined {
  const find = hasNative() ? connectionOf : () => undefined;
  // Once for both lookups: otherwise the time that the first takes could make every second one fail.
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

/** States in which a process may have the socket open; in all others the uid of the row may be wrong. */
const HAS_OWNER: ReadonlySet<number> = new Set([ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT]);
/** States of the daemon's socket while the peer is still the same one. */
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

/** Throws StatusError SYSTEM_ERR if too much time was spent on reading tables lately ({@link TABLE_COST_SHARE}). */
function admitTables(): void {
  const now = performance.now();
  creditMs = Math.min(MAX_TABLE_CREDIT_MS, creditMs + (now - creditAt) / TABLE_COST_SHARE);
  creditAt = now;
  if (creditMs <= 0) throw new StatusError({ status: accept_stat.SYSTEM_ERR });
}

/**
 * The same from /proc/net/tcp and tcp6. A row that is listed is true; a missing one may have moved while the table was
 * read, so the tables are read once more. After that the connection is not known.
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
  // Two rows of one connection: one of them is obsolete, and it is not known which.
  return found.length === 1 ? found[0] : undefined;
}

/** `::ffff:127.0.0.1` is 127.0.0.1. */
function plain(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address;
}

/** The owner that a uid is: `unknown` for one that stands for several users. */
export function ownerOfUid(uid: number | undefined): string {
  if (uid === undefined || !isOneUser(uid)) return UNKNOWN;
  return uid === 0 ? SUPERUSER : String(uid);
}

/**
 * False for the overflow uid in a user namespace that does not map all users: the kernel shows all others as this one, so
 * it identifies none of them.
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

/** Whether the kernel gives this port to privileged processes alone. */
function isReserved(port: number): boolean {
  return port > 0 && port < RESERVED_PORTS && port < firstUnprivilegedPort();
}

/**
 * The first port that every user may bind (Linux: ip_unprivileged_port_start); 0 where the setting cannot be read. A port
 * that was bound before the host raised the number stays bound.
 */
function firstUnprivilegedPort(): number {
  if (process.platform !== 'linux') return RESERVED_PORTS;
  const text = read('/proc/sys/net/ipv4/ip_unprivileged_port_start');
  // Before Linux 4.11 there was no such setting.
  if (text === undefined) return read('/proc/sys/net/ipv4/ip_default_ttl') === undefined ? 0 : RESERVED_PORTS;
  const port = Number.parseInt(text, 10);
  return Number.isInteger(port) ? port : 0;
}

/** Whether a call with a loopback source came in by `lo`, and not from the link. */
function comesByLo({ address }: Peer): boolean {
  // The kernel accepts ::1 from `lo` alone.
  if (address === '::1' || isLoopbackGuarded() || process.platform !== 'linux') return true;
  return !routesLoopback();
}

let routes = { at: Number.NEGATIVE_INFINITY, isOn: false };

/** Whether an interface accepts packets with a loopback source (route_localnet); true where that cannot be read. */
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
      // The interface was removed meanwhile.
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
