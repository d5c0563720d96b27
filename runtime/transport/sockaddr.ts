/**
 * Addresses as the Linux kernel writes them beside a datagram: struct sockaddr for the sender, a
 * control message for the address it was sent to. Bytes in, bytes out; no calls are made here.
 *
 *   sockaddr_in:   family 2 | port 2 (big-endian) | address 4 | zero 8
 *   sockaddr_in6:  family 2 | port 2 (big-endian) | flow 4 | address 16 | zone 4
 *   control:       length 8 | level 4 | type 4 | in_pktinfo 12 or in6_pktinfo 20
 */

import { ipv6Words } from '../protocol/source.js';

/** Room for either kind of address. */
export const NAME_BYTES = 32;
/** Room for either kind of control message. */
export const CONTROL_BYTES = 64;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const IPPROTO_IP = 0;
export const IP_PKTINFO = 8;
export const IPPROTO_IPV6 = 41;
const IPV6_PKTINFO = 50;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
/** IPv4 addresses whose text is remembered; a power of two. */
const TEXTS = 64;

/** Bytes of a sockaddr of this family. */
export function nameBytes(family: number): number {
  return family === AF_INET ? 16 : 28;
}

/** The address and port as the kernel writes them (sockaddr_in, sockaddr_in6). The address is numeric. */
export function encodeSockaddr(address: string, port: number): Uint8Array {
  const name = new Uint8Array(NAME_BYTES);
  name[2] = port >>> 8;
  name[3] = port & 0xff;
  if (!address.includes(':')) {
    name[0] = AF_INET;
    const parts = address.split('.');
    for (let i = 0; i < 4; i++) name[4 + i] = Number(parts[i]);
    return name;
  }
  name[0] = AF_INET6;
  const [text = '', zone] = address.split('%') as [string, string?];
  const words = ipv6Words(text);
  for (let i = 0; i < 8; i++) {
    const word = words[i] as number;
    name[8 + 2 * i] = word >>> 8;
    name[9 + 2 * i] = word & 0xff;
  }
  // A zone is given as the number of its interface; one given by name is looked up by the caller.
  if (zone !== undefined) new DataView(name.buffer).setUint32(24, Number(zone), true);
  return name;
}

/** The address in a name, as Node writes it, without a zone. */
export function addressOf(name: Uint8Array): string {
  if (name[0] === AF_INET) return ipv4Text(name, 4);
  return ipv6Text(name, 8);
}

const MAPPED_PREFIX = '::ffff:';

/**
 * The IPv4 address within an IPv4-mapped IPv6 address, `::ffff:192.0.2.1` or `::ffff:c000:201` (RFC 4291
 * section 2.5.5.2); any other text as it is. A socket that serves both families has IPv4 callers under such
 * addresses. Whoever keeps accounts, lists or names by address must see the same caller as on an IPv4 socket,
 * so peers are made with this.
 */
export function unmapped(address: string): string {
  if (!address.startsWith(MAPPED_PREFIX)) return address;
  const rest = address.slice(MAPPED_PREFIX.length);
  if (rest.includes('.')) return rest;
  const [high, low, ...more] = rest.split(':');
  // `::ffff:1` is 0:0:0:0:0:0:ffff:1, no mapped address.
  if (high === undefined || low === undefined || more.length > 0) return address;
  const word = Number.parseInt(high, 16) * 65_536 + Number.parseInt(low, 16);
  return [24, 16, 8, 0].map((bits) => (word >>> bits) & 0xff).join('.');
}

/** The zone of a link-local name as a number of an interface; 0 where it has none. */
export function zoneOf(name: Uint8Array): number {
  return name[0] === AF_INET6 ? (name[24]! | (name[25]! << 8) | (name[26]! << 16)) >>> 0 : 0;
}

/** The port in a name. */
export function portOf(name: Uint8Array): number {
  return ((name[2] as number) << 8) | (name[3] as number);
}

/** What tells one sender from all others. A number where that is enough: IPv4 address and port. */
export function keyOf(name: Uint8Array): number | string {
  if (name[0] === AF_INET)
    return (
      (((name[4]! << 24) | (name[5]! << 16) | (name[6]! << 8) | name[7]!) >>> 0) * 65_536 +
      ((name[2]! << 8) | name[3]!)
    );
  return String.fromCharCode(...name.subarray(2, 28));
}

/** Our own address that a datagram was sent to, from its control message; undefined where that was a group or nothing. */
export function destinationOf(control: Uint8Array): string | undefined {
  const kind = control[12];
  // in_pktinfo: interface, our address, the address in the header.
  if (control[8] === IPPROTO_IP && kind === IP_PKTINFO) return ipv4Text(control, 20);
  if (control[8] === IPPROTO_IPV6 && kind === IPV6_PKTINFO && control[16] !== 0xff)
    return ipv6Text(control, 16);
  return undefined;
}

/** Bytes of the control message that names an address of ours to send from; 0 where `control` names none. */
function sourceBytesOf(control: Uint8Array): number {
  if (control[8] === IPPROTO_IP) return control[12] === IP_PKTINFO ? 32 : 0;
  // A group is no address to send from.
  return control[12] === IPV6_PKTINFO && control[16] !== 0xff ? 40 : 0;
}

/** Where the number of the interface is within a control message that names an address. */
function interfaceAt(bytes: number): number {
  return bytes === 32 ? 16 : 32;
}

/** Of IPv6 addresses only those of a link (fe80::/10) need their interface; the rest is left to the routes. */
function needsInterface(control: Uint8Array, bytes: number): boolean {
  return bytes === 40 && control[16] === 0xfe && (control[17]! & 0xc0) === 0x80;
}

/** Writes the control message that makes a reply leave from the address asked; its bytes. */
export function sourceFrom(control: Uint8Array, out: Uint8Array, at: number): number {
  const bytes = sourceBytesOf(control);
  if (bytes === 0) return 0;
  for (let i = 0; i < bytes; i++) out[at + i] = control[i]!;
  if (!needsInterface(control, bytes)) out.fill(0, at + interfaceAt(bytes), at + interfaceAt(bytes) + 4);
  return bytes;
}

/** Whether {@link sourceFrom} would write for `control` what it wrote at `at`, which had so many bytes. */
export function isSameSource(control: Uint8Array, out: Uint8Array, at: number, bytes: number): boolean {
  if (sourceBytesOf(control) !== bytes) return false;
  // Length, level and type are the same then; the address is what differs.
  const isV4 = bytes === 32;
  const start = isV4 ? 20 : 16;
  const end = isV4 ? 24 : needsInterface(control, bytes) ? 36 : 32;
  for (let i = start; i < end && bytes > 0; i++) if (control[i] !== out[at + i]) return false;
  return true;
}

/** Writes the control message that has a datagram cut into segments of `size` bytes (UDP_SEGMENT); its bytes. */
export function segmentsOf(size: number, out: Uint8Array, at: number): number {
  out.fill(0, at, at + 24);
  out[at] = 18;
  out[at + 8] = SOL_UDP;
  out[at + 12] = UDP_SEGMENT;
  out[at + 16] = size;
  out[at + 17] = size >>> 8;
  return 24;
}

/** The texts of the IPv4 addresses met last, by their last bits: a caller calls again, and on one address of ours. */
const texts: string[] = new Array<string>(TEXTS).fill('0.0.0.0');
const textsOf = new Int32Array(TEXTS);

function ipv4Text(bytes: Uint8Array, at: number): string {
  const [a, b, c, d] = [bytes[at]!, bytes[at + 1]!, bytes[at + 2]!, bytes[at + 3]!];
  const word = (a << 24) | (b << 16) | (c << 8) | d;
  const slot = (word ^ (word >>> 8)) & (TEXTS - 1);
  if (textsOf[slot] !== word) {
    textsOf[slot] = word;
    texts[slot] = `${a}.${b}.${c}.${d}`;
  }
  return texts[slot] as string;
}

function ipv6Text(bytes: Uint8Array, at: number): string {
  const words: number[] = [];
  for (let i = 0; i < 8; i++) words.push((bytes[at + 2 * i]! << 8) | bytes[at + 2 * i + 1]!);
  let [best, bestSize] = [-1, 1];
  for (let i = 0; i < 8; i++) {
    let size = 0;
    while (i + size < 8 && words[i + size] === 0) size += 1;
    if (size > bestSize) [best, bestSize] = [i, size];
  }
  const hex = (part: number[]): string => part.map((word) => word.toString(16)).join(':');
  if (best < 0) return hex(words);
  return `${hex(words.slice(0, best))}::${hex(words.slice(best + bestSize))}`;
}
