/**
 * Who is counted as one caller where limits are shared between callers: an IPv4 address, or an IPv6
 * network of 64 bits, since a host is given as many addresses of its own network as it likes (RFC 4291
 * section 2.5.1). A number that a caller can choose, as a port, never makes it another source.
 */

import { isIP } from 'node:net';
import { ipv6Words } from './sockaddr.js';

/** The source of an IP address; IPv4 within IPv6 (`::ffff:192.0.2.1`) is the IPv4 address. */
export function sourceOf(address: string): string {
  const [host = '', zone = ''] = address.split('%') as [string, string?];
  if (isIP(host) !== 6) return host;
  const words = ipv6Words(host);
  if (words[5] === 0xffff && words.slice(0, 5).every((word) => word === 0))
    return words
      .slice(6)
      .flatMap((word) => [word >>> 8, word & 0xff])
      .join('.');
  const network = words.slice(0, 4).map((word) => word.toString(16));
  // Loopback shares its first 64 bits with nothing else that can call; addresses of a link are told apart by it.
  return `${network.join(':')}::/64${zone === '' ? '' : `%${zone}`}`;
}

/** Whether an IP address is one of loopback (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3). */
export function isLoopback(address: string): boolean {
  return address === '::1' || sourceOf(address).startsWith('127.');
}
