/**
 * The socket tables of Linux in /proc/net: the IP sockets of this network namespace and their users. Nothing is cached.
 * A table is read in pieces, between which rows move: a row that is listed is true, a missing one proves nothing. Where
 * there is no /proc/net, every result is undefined.
 *
 * A line of /proc/net/udp or tcp, by columns:
 *   sl  local_address:port  remote_address:port  state  queues  timer  retransmits  uid  timeout  inode
 * with addresses in hexadecimal, each 32-bit word in the byte order of the host.
 */

import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { canonicalIPv6 } from '../uaddr.js';
import { type InetSocket, LISTEN } from './sockdiag.js';

/** A table of /proc/net. */
export type InetTable = 'udp' | 'tcp' | 'udp6' | 'tcp6';

/** By port, the users who listen on it. */
export type ListeningUsers = Readonly<Record<InetTable, ReadonlyMap<number, ReadonlySet<number>>>>;

/** The users who listen on each port of this host; undefined where there is no /proc/net. */
export function listeningUsers(): ListeningUsers | undefined {
  const [udp, tcp] = [usersOf('udp'), usersOf('tcp')];
  if (udp === undefined || tcp === undefined) return undefined;
  const none = new Map<number, ReadonlySet<number>>();
  return { udp, tcp, udp6: usersOf('udp6') ?? none, tcp6: usersOf('tcp6') ?? none };
}

function usersOf(table: InetTable): Map<number, Set<number>> | undefined {
  const text = read(table);
  if (text === undefined) return undefined;
  const users = new Map<number, Set<number>>();
  for (const { localPort, state, uid } of parse(text)) {
    if (table.startsWith('tcp') && state !== LISTEN) continue;
    const known = users.get(localPort);
    if (known === undefined) users.set(localPort, new Set([uid]));
    else known.add(uid);
  }
  return users;
}

/** The sockets of a table; undefined where there is no such table. */
export function inetSockets(table: InetTable): InetSocket[] | undefined {
  const text = read(table);
  return text === undefined ? undefined : [...parse(text)];
}

function* parse(text: string): Generator<InetSocket> {
  let at = text.indexOf('\n') + 1;
  while (at > 0 && at < text.length) {
    const next = text.indexOf('\n', at);
    const columns = text
      .slice(at, next === -1 ? undefined : next)
      .trim()
      .split(/\s+/);
    at = next + 1;
    const [, local = '', remote = '', state = '', , , , uid, , inode] = columns;
    const [localColon, remoteColon] = [local.lastIndexOf(':'), remote.lastIndexOf(':')];
    if (localColon === -1 || remoteColon === -1 || inode === undefined) continue;
    yield {
      family: localColon === 8 ? 4 : 6,
      state: Number.parseInt(state, 16),
      get localAddress() {
        return addressOfHex(local.slice(0, localColon));
      },
      localPort: Number.parseInt(local.slice(localColon + 1), 16),
      get remoteAddress() {
        return addressOfHex(remote.slice(0, remoteColon));
      },
      remotePort: Number.parseInt(remote.slice(remoteColon + 1), 16),
      uid: Number(uid),
      inode: Number(inode),
      isV6Only: undefined,
    };
  }
}

function read(table: string): string | undefined {
  try {
    return readFileSync(`/proc/net/${table}`, 'latin1');
  } catch {
    return undefined;
  }
}

/** A socket that is bound, as /proc/net lists it. */
export interface BoundSocket {
  readonly netid: 'udp' | 'tcp' | 'udp6' | 'tcp6' | 'local';
  /** IP address, or the path; an abstract path begins with a NUL. */
  readonly address: string;
  readonly port: number;
}

/** The socket with an inode, in the network namespace of this process; undefined if none is listed. */
export function socketOfInode(inode: number): BoundSocket | undefined {
  for (const netid of ['udp', 'tcp', 'udp6', 'tcp6'] as const) {
    const row = inetSockets(netid)?.find((one) => one.inode === inode);
    if (row !== undefined) return { netid, address: row.localAddress, port: row.localPort };
  }
  for (const line of (read('unix') ?? '').split('\n')) {
    const [, , , , , , found, path] = line.trim().split(/\s+/);
    if (Number(found) === inode && path !== undefined)
      return { netid: 'local', address: path.replace(/^@/, '\0'), port: 0 };
  }
  return undefined;
}

/** An IPv4 address in dotted form, also that of an IPv6 socket (`::ffff:0:0/96`). */
function addressOfHex(text: string): string {
  const bytes = Buffer.from(text, 'hex');
  if (endianness() === 'LE') bytes.swap32();
  if (bytes.length === 4) return bytes.join('.');
  if (text.length === 32 && bytes.readUInt32BE(8) === 0xffff && bytes.readBigUInt64BE(0) === 0n)
    return bytes.subarray(12).join('.');
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(i * 2).toString(16));
  return canonicalIPv6(groups.join(':'));
}
