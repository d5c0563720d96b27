/**
 * Netids and universal addresses (RFC 5665): an address as text, and the kind of address of each netid. For IP it is the
 * host and the two bytes of the port: `127.0.0.1.0.111`, `::1.0.111` (sections 5.2.3.3 and 5.2.3.4); for `local` it is the
 * path of the socket.
 */

import { isIPv4, isIPv6 } from 'node:net';

/** What a netid means: the fields of rpcb_entry (RFC 1833 section 2.1). */
export interface Transport {
  readonly family: 'inet' | 'inet6' | 'loopback';
  /** "-" for none, as in netconfig(5). */
  readonly protocol: string;
  /** 1 datagrams, 3 connections that close in order (RFC 1833 section 2.1). */
  readonly semantics: 1 | 3;
}

/** The netids that can be registered (RFC 5665 section 5.1.4), and `local` of Unix hosts. */
export const netids: Readonly<Record<string, Transport>> = {
  udp: { family: 'inet', protocol: 'udp', semantics: 1 },
  tcp: { family: 'inet', protocol: 'tcp', semantics: 3 },
  udp6: { family: 'inet6', protocol: 'udp', semantics: 1 },
  tcp6: { family: 'inet6', protocol: 'tcp', semantics: 3 },
  local: { family: 'loopback', protocol: '-', semantics: 3 },
  sctp: { family: 'inet', protocol: 'sctp', semantics: 3 },
  sctp6: { family: 'inet6', protocol: 'sctp', semantics: 3 },
  rdma: { family: 'inet', protocol: 'rdma', semantics: 3 },
  rdma6: { family: 'inet6', protocol: 'rdma', semantics: 3 },
};

/** Maximum length in bytes of a `local` address: the path of a unix socket. */
export const MAX_LOCAL_ADDRESS_BYTES = 107;
/** Maximum length of another universal address: a full IPv6 address, two dots and six digits. */
const MAX_INET_ADDRESS = 64;

/** The parts of a universal address. */
export interface Endpoint {
  readonly family: Transport['family'];
  /** IP address without zone, or the path. */
  readonly host: string;
  /** 0 for a path. */
  readonly port: number;
}

/** The transport of a netid; undefined for an unknown netid. */
export function transportOf(netid: string): Transport | undefined {
  return Object.hasOwn(netids, netid) ? netids[netid] : undefined;
}

/**
 * The parts of a universal address (RFC 5665 section 5.2.3). Undefined if it is not valid for the netid: a host of another
 * family, a byte of the port over 255, a path that is empty or longer than {@link MAX_LOCAL_ADDRESS_BYTES}.
 */
export function parseUaddr(netid: string, uaddr: string): Endpoint | undefined {
  const family = transportOf(netid)?.family;
  if (family === undefined) return undefined;
  if (family === 'loopback') {
    const isPath = /^[/@\0][^\0]+$/.test(uaddr) && Buffer.byteLength(uaddr) <= MAX_LOCAL_ADDRESS_BYTES;
    return isPath ? { family, host: uaddr, port: 0 } : undefined;
  }
  if (uaddr.length > MAX_INET_ADDRESS) return undefined;
  const parts = /^(.+)\.(\d{1,3})\.(\d{1,3})$/.exec(uaddr);
  if (parts === null) return undefined;
  const [, host, high, low] = parts as unknown as [string, string, string, string];
  const isHost = family === 'inet' ? isIPv4(host) : isIPv6(host) && !host.includes('%');
  if (!isHost || Number(high) > 255 || Number(low) > 255) return undefined;
  return { family, host, port: Number(high) * 256 + Number(low) };
}

/** The port's part of a universal address: `.0.111`. */
export function portSuffix(port: number): string {
  return `.${port >> 8}.${port & 255}`;
}

/** The universal address of an IP address and a port, 0 to 65535; a zone (`%eth0`) is left out. */
export function formatUaddr(host: string, port: number): string {
  return withoutZone(host) + portSuffix(port);
}

/** An IPv6 address without its zone, which is valid on its own host alone. */
export function withoutZone(host: string): string {
  const zone = host.indexOf('%');
  return zone === -1 ? host : host.slice(0, zone);
}

/** True for the address that means all addresses of a host: 0.0.0.0 and ::. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || (host.includes(':') && /^[0:]+$/.test(host));
}

/** True for an address of this host that no other host can reach. */
export function isLoopback(host: string): boolean {
  return host.startsWith('127.') || host === '::1' || host.startsWith('::ffff:127.');
}

const AF_LOCAL = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
const SOCKADDR_UN_BYTES = 110;

/**
 * An endpoint as a struct sockaddr of Linux, the result of UADDR2TADDR: the family in the byte order of most hosts
 * (little-endian), the port in network byte order.
 */
export function toSockaddr(endpoint: Endpoint): Uint8Array {
  if (endpoint.family === 'loopback') {
    const bytes = Buffer.alloc(SOCKADDR_UN_BYTES);
    bytes.writeUInt16LE(AF_LOCAL, 0);
    bytes.write(endpoint.host.replace(/^@/, '\0'), 2);
    return bytes;
  }
  if (endpoint.family === 'inet') {
    const bytes = Buffer.alloc(SOCKADDR_IN_BYTES);
    bytes.writeUInt16LE(AF_INET, 0);
    bytes.writeUInt16BE(endpoint.port, 2);
    endpoint.host.split('.').forEach((part, i) => {
      bytes[4 + i] = Number(part);
    });
    return bytes;
  }
  const bytes = Buffer.alloc(SOCKADDR_IN6_BYTES);
  bytes.writeUInt16LE(AF_INET6, 0);
  bytes.writeUInt16BE(endpoint.port, 2);
  groupsOf(endpoint.host).forEach((group, i) => {
    bytes.writeUInt16BE(group, 8 + 2 * i);
  });
  return bytes;
}

/** The universal address in a struct sockaddr of the netid's family; undefined if it is none. */
export function fromSockaddr(netid: string, bytes: Uint8Array): string | undefined {
  const family = transportOf(netid)?.family;
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.length < 2) return undefined;
  const tag = view.readUInt16LE(0);
  if (family === 'inet' && tag === AF_INET && view.length >= 8)
    return formatUaddr(view.subarray(4, 8).join('.'), view.readUInt16BE(2));
  if (family === 'inet6' && tag === AF_INET6 && view.length >= 24) {
    const groups = Array.from({ length: 8 }, (_, i) => view.readUInt16BE(8 + 2 * i).toString(16));
    return formatUaddr(canonicalIPv6(groups.join(':')), view.readUInt16BE(2));
  }
  if (family === 'loopback') {
    // Debian's rpcbind takes whatever comes by the local socket for a path, and its callers expect that.
    const text = view.subarray(2).toString('latin1');
    const isAbstract = text.startsWith('\0') && text.length > 1 && text[1] !== '\0';
    const path = text.slice(isAbstract ? 1 : 0).replace(/\0.*$/s, '');
    return [...path].every((c) => c <= '\x7f') ? `${isAbstract ? '@' : ''}${path}` : undefined;
  }
  return undefined;
}

/** The canonical text of an IPv6 address (RFC 5952). */
export function canonicalIPv6(host: string): string {
  return new URL(`http://[${withoutZone(host)}]`).hostname.slice(1, -1);
}

/** The eight groups of an IPv6 address. */
export function groupsOf(host: string): number[] {
  const [head = '', tail] = canonicalIPv6(host).split('::');
  const numbers = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
  const front = numbers(head);
  const back = tail === undefined ? [] : numbers(tail);
  return [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
}
