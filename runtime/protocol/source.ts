/**
 * Who is counted as one caller where limits are shared between callers: an IPv4 address, or an IPv6
 * network of 64 bits, since a host is given as many addresses of its own network as it likes (RFC 4291
 * section 2.5.1). A number that a caller can choose, as a port, never makes it another source.
 */

import { isIP } from 'node:net';

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

/** The eight words of an IPv6 address in text, without a zone. */
export function ipv6Words(text: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted !== null) {
    const [a, b, c, d] = dotted.slice(2).map(Number) as [number, number, number, number];
    return ipv6Words(`${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`);
  }
  const [head = '', tail] = text.split('::') as [string, string?];
  const words = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16));
  if (tail === undefined) return words(head);
  const [first, last] = [words(head), words(tail)];
  return [...first, ...Array<number>(Math.max(0, 8 - first.length - last.length)).fill(0), ...last];
}

/**
 * The host behind a sender, given by the key of its socket address (`keyOf` in transport/sockaddr.ts) or as `address port`: an IPv4 address as a number, also where it
 * came mapped into IPv6; the /64 network of an IPv6 address, since one host may use every address of it; the
 * whole of a link-local address, whose network is everybody's on that link; any other text without what follows its
 * last space. Ports are not part of it: one host can call from all of them.
 */
export function hostOf(key: number | string): number | string {
  if (typeof key === 'number') return Math.floor(key / 65_536) | 0;
  // The last of a binary key is the highest byte of an interface's number, which is 0; a text ends in a digit.
  if (key.length === 26 && key.charCodeAt(25) === 0)
    return hostOfWords((i) => (key.charCodeAt(6 + 2 * i) << 8) | key.charCodeAt(7 + 2 * i));
  const end = key.lastIndexOf(' ');
  const address = end < 0 ? key : key.slice(0, end);
  if (address.includes(':')) {
    const words = ipv6Words(address.split('%')[0] as string);
    return hostOfWords((i) => words[i] as number);
  }
  const parts = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(address);
  if (parts === null) return address;
  return (Number(parts[1]) << 24) | (Number(parts[2]) << 16) | (Number(parts[3]) << 8) | Number(parts[4]);
}

function hostOfWords(word: (i: number) => number): number | string {
  const [a, b, c, d] = [word(0), word(1), word(2), word(3)];
  if ((a | b | c | d | word(4)) === 0 && word(5) === 0xffff) return (word(6) << 16) | word(7);
  const network = String.fromCharCode(a, b, c, d);
  return (a & 0xffc0) === 0xfe80
    ? network + String.fromCharCode(word(4), word(5), word(6), word(7))
    : network;
}
