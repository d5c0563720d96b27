/**
 * The files of Debian's rpcbind: `rpcbind.xdr`, the list that DUMP of version 4 sends, and `portmap.xdr`, that of version 2
 * (RFC 1833 sections 2.1 and 3.1), in XDR. Either daemon can take over from the other.
 */

import { decode, encode } from '../../xdr/index.js';
import { UNKNOWN } from '../registration.js';
import { PMAP_IPPROTO_TCP, PMAP_IPPROTO_UDP, pmaplistCodec, rpcblist_ptrCodec } from '../rpcbind.gen.js';
import { formatUaddr, parseUaddr } from '../uaddr.js';
import { type StoredRegistration, THIS_HOST } from './store.js';

export const SNAPSHOT_FILE = 'rpcbind.xdr';
export const PORTMAP_FILE = 'portmap.xdr';

/** The contents of {@link SNAPSHOT_FILE}. */
export function encodeSnapshot(registrations: readonly StoredRegistration[]): Uint8Array {
  const rows = registrations.map(({ program, version, netid, address, owner }) => ({
    rpcb_map: { r_prog: program, r_vers: version, r_netid: netid, r_addr: address, r_owner: owner },
  }));
  return encode(rpcblist_ptrCodec, rows);
}

/** The contents of {@link PORTMAP_FILE}: registrations of `udp` and `tcp` alone. */
export function encodePortmap(registrations: readonly StoredRegistration[]): Uint8Array {
  const rows = registrations.flatMap(({ program, version, netid, address }) => {
    const port = parseUaddr(netid, address)?.port ?? 0;
    const prot = netid === 'udp' ? PMAP_IPPROTO_UDP : netid === 'tcp' ? PMAP_IPPROTO_TCP : 0;
    return prot === 0 ? [] : [{ map: { prog: program, vers: version, prot, port } }];
  });
  return encode(pmaplistCodec, rows);
}

/** Throws XdrError. Debian's rpcbind does not store whether a server was running. */
export function decodeSnapshot(bytes: Uint8Array): StoredRegistration[] {
  return decode(rpcblist_ptrCodec, bytes).map(({ rpcb_map: row }) => ({
    program: row.r_prog,
    version: row.r_vers,
    netid: row.r_netid,
    address: row.r_addr,
    owner: row.r_owner,
    host: THIS_HOST,
    wasAlive: false,
  }));
}

/** Throws XdrError. */
export function decodePortmap(bytes: Uint8Array): StoredRegistration[] {
  return decode(pmaplistCodec, bytes).flatMap(({ map }) => {
    const netid = map.prot === PMAP_IPPROTO_UDP ? 'udp' : map.prot === PMAP_IPPROTO_TCP ? 'tcp' : undefined;
    if (netid === undefined || map.port > 65_535) return [];
    const address = formatUaddr('0.0.0.0', map.port);
    const { prog: program, vers: version } = map;
    return [{ program, version, netid, address, owner: UNKNOWN, host: THIS_HOST, wasAlive: false }];
  });
}
