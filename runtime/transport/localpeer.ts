/**
 * What tells callers of this host from others: a filter by which UDP sockets take packets with a loopback
 * source from the interface `lo` alone, and the kernel's own number (inode) of our end of a TCP
 * connection, by which it can be found in the kernel's tables. Who a caller is, is not decided here.
 */

import { fstatSync } from 'node:fs';
import type net from 'node:net';
import type { Peer } from '../protocol/transport.js';
import { type Native, native } from './native.js';

const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;

/** Classic BPF (linux/filter.h), as four fields: operation, offset where true, offset where false, operand. */
const LOAD_BYTE = 0x30;
const LOAD_WORD = 0x20;
const SHIFT_RIGHT = 0x74;
const JUMP_EQUAL = 0x15;
const RETURN = 0x06;
/** Offsets that count from the header of IP, and the number of the interface. */
const SKF_NET_OFF = -0x10_0000;
const SKF_AD_IFINDEX = -0x1000 + 8;
/** The number that `lo` has in every network namespace. */
const LO = 1;

/**
 * Drops packets of IPv4 whose source is in 127.0.0.0/8 and that did not come in on `lo`. Where
 * `route_localnet` is set, the kernel lets them through, and a host on the link can send as
 * 127.0.0.1. IPv6 needs no filter: the kernel takes ::1 from `lo` alone (RFC 4291 section 2.5.3).
 */
const LOOPBACK_FROM_LO: readonly (readonly [number, number, number, number])[] = [
  [LOAD_BYTE, 0, 0, SKF_NET_OFF], // version and header length
  [SHIFT_RIGHT, 0, 0, 4],
  [JUMP_EQUAL, 0, 4, 4], // not IPv4: accept
  [LOAD_BYTE, 0, 0, SKF_NET_OFF + 12], // first byte of the source
  [JUMP_EQUAL, 0, 2, 127], // no loopback source: accept
  [LOAD_WORD, 0, 0, SKF_AD_IFINDEX],
  [JUMP_EQUAL, 0, 1, LO],
  [RETURN, 0, 0, -1], // accept, whole
  [RETURN, 0, 0, 0], // drop
];

let program: { readonly header: BigUint64Array; readonly code: Uint8Array } | undefined;
let hasUnguarded = false;

/**
 * Makes a UDP socket take packets with a loopback source from `lo` alone. TCP needs no filter, and some kernels let
 * only the privileged set one there (seen: Linux 6.18): the answer to a forged SYN goes to `lo`, where nobody waits for it and
 * the kernel resets the connection. Where that is not possible (no koffi, no descriptor: -1), {@link isLoopbackGuarded}
 * is false from then on.
 */
export function guardLoopback(fd: number): void {
  const fast = native();
  if (fast === undefined || fd < 0) {
    hasUnguarded = true;
    return;
  }
  program ??= assemble(fast);
  if (fast.calls.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, program.header, 16) < 0) hasUnguarded = true;
}

/** True where every UDP socket that this process opened for serving has the filter of {@link guardLoopback}. */
export function isLoopbackGuarded(): boolean {
  return native() !== undefined && !hasUnguarded;
}

/** struct sock_fprog: count 2, padding 6, address 8; each instruction: operation 2, jumps 1 and 1, operand 4. */
function assemble(fast: Native): { readonly header: BigUint64Array; readonly code: Uint8Array } {
  const code = new Uint8Array(8 * LOOPBACK_FROM_LO.length);
  const view = new DataView(code.buffer);
  for (const [i, [operation, ifTrue, ifFalse, operand]] of LOOPBACK_FROM_LO.entries()) {
    view.setUint16(i * 8, operation, true);
    view.setUint8(i * 8 + 2, ifTrue);
    view.setUint8(i * 8 + 3, ifFalse);
    view.setInt32(i * 8 + 4, operand, true);
  }
  return { header: new BigUint64Array([BigInt(LOOPBACK_FROM_LO.length), fast.address(code)]), code };
}

/**
 * The descriptor behind a socket of Node's, or -1. It is undocumented in Node, and the only
 * way to it; where it is gone nothing is known.
 */
function descriptorOf(of: net.Socket): number {
  const handle: unknown = Reflect.get(of, '_handle');
  if (typeof handle !== 'object' || handle === null) return -1;
  const fd: unknown = Reflect.get(handle, 'fd');
  return typeof fd === 'number' ? fd : -1;
}

/** The user at the other end of a unix socket (SO_PEERCRED), or undefined where nobody can tell. About 1 us. */
export function peerUid(socket: net.Socket): number | undefined {
  const fd = descriptorOf(socket);
  return fd < 0 ? undefined : native()?.peerUid(fd);
}

const sockets = new WeakMap<Peer, net.Socket>();

/** Remembers whose connection a peer is at the other end of. */
export function rememberConnection(peer: Peer, socket: net.Socket): void {
  sockets.set(peer, socket);
}

/**
 * The kernel's number (inode) of our end of a peer's TCP connection. Undefined for every other peer,
 * where the connection is closed, and where Node does not tell its descriptor.
 */
export function inodeOfConnection(peer: Peer): number | undefined {
  const socket = sockets.get(peer);
  const fd = socket === undefined || socket.destroyed ? -1 : descriptorOf(socket);
  if (fd < 0) return undefined;
  try {
    return fstatSync(fd).ino;
  } catch {
    return undefined;
  }
}
