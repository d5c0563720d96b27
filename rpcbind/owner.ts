/**
 * Who registers: the name under which a caller owns what it registers (RFC 1833 section 2.1,
 * r_owner). What the caller itself writes there is ignored. Where the system does not say who
 * called, the answer is `unknown`, who owns nothing: rather a registration that stays than one
 * that anybody can take away.
 */

import { readFileSync } from 'node:fs';
import type { Peer } from '../runtime/index.js';
import { uidOfCaller } from './procnet.js';
import { SUPERUSER, UNKNOWN } from './registry.js';
import { isLoopback } from './uaddr.js';

/** Ports below are for root alone, unless the system says otherwise. */
const RESERVED_PORTS = 1024;

/** True for a caller on this host: the local socket, or a loopback address. */
export function isLocalPeer(peer: Peer): boolean {
  return peer.transport === 'unix' || peer.transport === 'loopback' || isLoopback(peer.address);
}

/**
 * `superuser`, a uid in decimal, or `unknown`. On the local socket by the peer's credentials; on
 * loopback IP by the uid that /proc/net has for the caller's socket, or its reserved port.
 */
export function ownerOf(peer: Peer): string {
  // In memory there is one process, and it asks itself.
  if (peer.transport === 'loopback') return SUPERUSER;
  if (peer.transport === 'unix') return nameOf(peer.uid);
  if (!isLoopback(peer.address)) return UNKNOWN;
  if (peer.transport === 'udp') return ownerOfSocket(peer);
  // A connection has one peer and one owner for its whole life; the tables of TCP take milliseconds to read.
  const known = connections.get(peer) ?? ownerOfSocket(peer);
  if (known !== UNKNOWN) connections.set(peer, known);
  return known;
}

/** Owners of TCP connections, as long as the connections live. */
const connections = new WeakMap<Peer, string>();

function ownerOfSocket(peer: Peer): string {
  if (peer.port < firstUnprivilegedPort()) return SUPERUSER;
  const protocol = peer.transport === 'udp' ? 'udp' : 'tcp';
  return nameOf(uidOfCaller(protocol, peer.address, peer.port, peer.localPort));
}

/** True where this system can tell callers apart at all. */
export function canTellOwners(): boolean {
  return process.platform === 'linux';
}

function nameOf(uid: number | undefined): string {
  if (uid === undefined) return UNKNOWN;
  return uid === 0 ? SUPERUSER : String(uid);
}

/** A host may hand reserved ports to everybody (Linux: ip_unprivileged_port_start); they prove nothing there. */
function firstUnprivilegedPort(): number {
  try {
    const text = readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'latin1');
    return Math.min(RESERVED_PORTS, Number.parseInt(text, 10));
  } catch {
    return RESERVED_PORTS;
  }
}
