/** The netids that can be pinged, and which transport and family each is. */

import { parseUaddr } from '../../rpcbind/index.js';

/** The netids of Debian's /etc/netconfig that can be pinged. */
export const NETIDS = ['udp', 'tcp', 'udp6', 'tcp6', 'local'] as const;

export type PingNetid = (typeof NETIDS)[number];

/** Which transport and which family of addresses a netid stands for. */
export function netidKind(
  netid: string,
): { readonly kind: 'udp' | 'tcp'; readonly family: 4 | 6 } | undefined {
  const [, kind, six] = /^(udp|tcp)(6?)$/.exec(netid) ?? [];
  return kind === undefined ? undefined : { kind: kind as 'udp' | 'tcp', family: six === '6' ? 6 : 4 };
}

/** The address and port of a universal address that can be called, or undefined. */
export function callable(
  netid: string,
  uaddr: string,
): { readonly address: string; readonly port: number } | undefined {
  const endpoint = parseUaddr(netid, uaddr);
  if (endpoint === undefined || endpoint.port === 0) return undefined;
  return { address: endpoint.host, port: endpoint.port };
}
