/**
 * The sockets of this host as the kernel lists them (Linux sock_diag, linux/inet_diag.h and linux/unix_diag.h): those on
 * one port, one exact connection, and unix sockets that listen. Every user may ask. /proc/net is read in pieces, between
 * which rows move; a filtered answer of sock_diag that came in one pass misses no socket that existed all the time. Every
 * failure (no koffi, no module in the kernel, a filter of system calls, an answer that was interrupted or is too long) is
 * undefined, which means "not known" and never "no socket".
 *
 *   inet_diag_req_v2: family 1 | protocol 1 | extensions 1 | 0 | states 4 | inet_diag_sockid 48
 *   inet_diag_sockid: local port 2 | remote port 2 | local 16 | remote 16 | interface 4 | cookie 8
 *   inet_diag_msg:    family 1 | state 1 | timer 1 | retransmits 1 | inet_diag_sockid 48 | expires 4 |
 *                     receive queue 4 | send queue 4 | uid 4 | inode 4 | attributes
 *   unix_diag_req:    family 1 | protocol 1 | 0 2 | states 4 | inode 4 | show 4 | cookie 8
 *   unix_diag_msg:    family 1 | type 1 | state 1 | 0 | inode 4 | cookie 8 | attributes
 *   attribute:        length 2 | type 2 | value, padded to 4 bytes
 *
 * Ports and addresses are big-endian, all other fields are in the byte order of the host.
 */

import { isIPv4 } from 'node:net';
import { ENOENT, NETLINK_SOCK_DIAG, Netlink, NLM_F_DUMP } from '../../runtime/protocol.js';
import { canonicalIPv6, groupsOf } from '../uaddr.js';

const SOCK_DIAG_BY_FAMILY = 20;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const PROTOCOLS = { tcp: 6, udp: 17 } as const;
const INET_ROW_BYTES = 72;
const UNIX_ROW_BYTES = 16;
const INET_DIAG_SKV6ONLY = 11;
const UNIX_DIAG_NAME = 0;
const UNIX_DIAG_UID = 7;
const UDIAG_SHOW_NAME = 0x1;
const UDIAG_SHOW_UID = 0x40;

/** States of sockets (net/tcp_states.h); UDP has ESTABLISHED and UNCONNECTED alone. */
export const ESTABLISHED = 1;
export const FIN_WAIT1 = 4;
export const FIN_WAIT2 = 5;
/** A UDP socket that is bound and not connected. */
export const UNCONNECTED = 7;
export const CLOSE_WAIT = 8;
export const LISTEN = 10;

/** One socket of IPv4 or IPv6. */
export interface InetSocket {
  /** The family that the socket was opened with; one of IPv6 may serve IPv4 as well. */
  readonly family: 4 | 6;
  readonly state: number;
  /** IPv4 addresses in dotted form, also those of an IPv6 socket. */
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** The user who opened the socket. */
  readonly uid: number;
  /** 0 if no process has the socket open any more; its uid is meaningless then. */
  readonly inode: number;
  /** True for an IPv6 socket that does not serve IPv4; undefined if the kernel does not say. */
  readonly isV6Only: boolean | undefined;
}

/** A unix socket that listens. */
export interface UnixListener {
  /** The path as it was bound; an abstract one begins with a NUL. */
  readonly path: string;
  /** Undefined if the kernel does not say (before Linux 5.3). */
  readonly uid: number | undefined;
}

const netlink = new Netlink(NETLINK_SOCK_DIAG);

/**
 * The sockets of one family that are bound to a port: of UDP all, of TCP those that listen. Takes about 15 us. Undefined
 * if not known, also if there are more than the kernel lists in one pass (about 300).
 */
export function socketsOnPort(
  protocol: 'udp' | 'tcp',
  family: 4 | 6,
  port: number,
): InetSocket[] | undefined {
  const states = protocol === 'tcp' ? 1 << LISTEN : 0xffff_ffff;
  const answer = netlink.request(
    SOCK_DIAG_BY_FAMILY,
    NLM_F_DUMP,
    inetRequest(protocol, family, states, { localPort: port }),
  );
  if ('errno' in answer || !answer.isOnePass) return undefined;
  const rows = answer.messages.map(parseInetSocket);
  return rows.every((row) => row !== undefined) ? rows.filter((row) => row.localPort === port) : undefined;
}

/** Both ends of a connection; canonical addresses of one family. */
export interface ConnectionEnds {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

/**
 * The socket with exactly these two addresses, never one that listens. `none` if the kernel has no such socket;
 * undefined if not known. Takes about 10 us.
 */
export function connectionOf(ends: ConnectionEnds): InetSocket | 'none' | undefined {
  const family = isIPv4(ends.localAddress) ? 4 : 6;
  const answer = netlink.request(SOCK_DIAG_BY_FAMILY, 0, inetRequest('tcp', family, 0xffff_ffff, ends));
  if ('errno' in answer) {
    if (answer.errno !== ENOENT) return undefined;
    // ENOENT also means that the kernel lacks the module. A dump that succeeds shows that it has it.
    return socketsOnPort('tcp', family, ends.localPort) === undefined ? undefined : 'none';
  }
  const [message] = answer.messages;
  const row = message === undefined ? undefined : parseInetSocket(message);
  if (row === undefined) return undefined;
  // If there is none, the kernel answers with a socket that listens at the address.
  const isExact =
    row.localPort === ends.localPort &&
    row.remotePort === ends.remotePort &&
    row.localAddress === ends.localAddress &&
    row.remoteAddress === ends.remoteAddress;
  return isExact ? row : 'none';
}

/** All unix sockets that listen; undefined if not all of them are known. */
export function unixListeners(): UnixListener[] | undefined {
  const body = new Uint8Array(24);
  const view = new DataView(body.buffer);
  body[0] = AF_UNIX;
  view.setUint32(4, 1 << LISTEN, true);
  view.setUint32(12, UDIAG_SHOW_NAME | UDIAG_SHOW_UID, true);
  body.fill(0xff, 16);
  const answer = netlink.request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, body);
  if ('errno' in answer || !answer.isOnePass) return undefined;
  return answer.messages.flatMap((message) => parseUnixListener(message) ?? []);
}

function inetRequest(
  protocol: 'udp' | 'tcp',
  family: 4 | 6,
  states: number,
  ends: Partial<ConnectionEnds>,
): Uint8Array {
  const body = new Uint8Array(56);
  const view = new DataView(body.buffer);
  body[0] = family === 4 ? AF_INET : AF_INET6;
  body[1] = PROTOCOLS[protocol];
  view.setUint32(4, states >>> 0, true);
  view.setUint16(8, ends.localPort ?? 0);
  view.setUint16(10, ends.remotePort ?? 0);
  if (ends.localAddress !== undefined) body.set(addressBytes(ends.localAddress), 12);
  if (ends.remoteAddress !== undefined) body.set(addressBytes(ends.remoteAddress), 28);
  // All ones in the cookie: any socket.
  body.fill(0xff, 48);
  return body;
}

/** A row of inet_diag; undefined if it is too short or of another family. */
export function parseInetSocket(message: Uint8Array): InetSocket | undefined {
  if (message.length < INET_ROW_BYTES) return undefined;
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const tag = message[0];
  if (tag !== AF_INET && tag !== AF_INET6) return undefined;
  const family = tag === AF_INET ? 4 : 6;
  const v6Only = attributesOf(message, INET_ROW_BYTES).get(INET_DIAG_SKV6ONLY)?.[0];
  return {
    family,
    state: message[1] as number,
    localPort: view.getUint16(4),
    remotePort: view.getUint16(6),
    localAddress: addressText(message.subarray(8, 24), family),
    remoteAddress: addressText(message.subarray(24, 40), family),
    uid: view.getUint32(64, true),
    inode: view.getUint32(68, true),
    isV6Only: v6Only === undefined ? undefined : v6Only !== 0,
  };
}

/** A row of unix_diag; undefined if the socket has no name, or the row is too short. */
export function parseUnixListener(message: Uint8Array): UnixListener | undefined {
  if (message.length < UNIX_ROW_BYTES || message[0] !== AF_UNIX || message[2] !== LISTEN) return undefined;
  const attributes = attributesOf(message, UNIX_ROW_BYTES);
  const name = attributes.get(UNIX_DIAG_NAME);
  if (name === undefined || name.length === 0) return undefined;
  const uid = attributes.get(UNIX_DIAG_UID);
  const text = Buffer.from(name).toString('utf8');
  return {
    // Some programs bind an abstract name together with the NULs behind it in the structure.
    path: text[0] === '\0' ? text.replace(/\0+$/, '') : text.replace(/\0.*$/s, ''),
    uid:
      uid === undefined || uid.length < 4
        ? undefined
        : new DataView(uid.buffer, uid.byteOffset).getUint32(0, true),
  };
}

function attributesOf(message: Uint8Array, from: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  for (let at = from; at + 4 <= message.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > message.length) break;
    found.set(view.getUint16(at + 2, true), message.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

function addressBytes(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split('.').map(Number));
  return Uint8Array.from(groupsOf(address).flatMap((group) => [group >>> 8, group & 0xff]));
}

function addressText(bytes: Uint8Array, family: 4 | 6): string {
  if (family === 4) return bytes.subarray(0, 4).join('.');
  const isMapped =
    bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (isMapped) return bytes.subarray(12, 16).join('.');
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(i * 2).toString(16));
  return canonicalIPv6(groups.join(':'));
}
