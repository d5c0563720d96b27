/** Universal addresses (RFC 5665 section 5.2): an IP address and the two bytes of a port, with dots. */

import { isIP } from 'node:net';

/** The netids of RFC 5665 that Debian's /etc/netconfig has and that can be pinged. */
export const NETIDS = ['udp', 'tcp', 'udp6', 'tcp6', 'local'] as const;

export type PingNetid = (typeof NETIDS)[number];

/** Which transport and which family of addresses a netid stands for. */
export function netidKind(
  netid: string,
): { readonly kind: 'udp' | 'tcp'; readonly family: 4 | 6 } | undefined {
  const [, kind, six] = /^(udp|tcp)(6?)$/.exec(netid) ?? [];
  return kind === undefined ? undefined : { kind: kind as 'udp' | 'tcp', family: six === '6' ? 6 : 4 };
}

/** `127.0.0.1.0.111` or `::1.0.111`. */
export function formatUniversal(address: string, port: number): string {
  return `${address}.${port >> 8}.${port & 255}`;
}

/** The two parts of a universal address, or undefined where it is none. */
export function parseUniversal(
  text: string,
): { readonly address: string; readonly port: number; readonly family: 4 | 6 } | undefined {
  const [, address = '', high = '', low = ''] = /^(.+)\.(\d{1,3})\.(\d{1,3})$/.exec(text) ?? [];
  const family = isIP(address);
  if (family === 0 || Number(high) > 255 || Number(low) > 255) return undefined;
  return { address, port: Number(high) * 256 + Number(low), family: family as 4 | 6 };
}

/** Whether an address stands for all addresses of its host. */
export function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || /^[0:]+$/.test(address);
}

/** Whether an address is of this host's loopback interface. */
export function isLoopback(address: string): boolean {
  return /^127\./.test(address) || /^(0*:)+0*1$/.test(address) || /^::ffff:127\./i.test(address);
}
