/**
 * Which address of this host a caller is told. A registration usually has the wildcard address; the caller needs one
 * that it can call (RFC 1833 section 2.2.1, GETADDR). That is the address to which its own call came; if there is no such
 * address, one of its network.
 */

import { BlockList, isIPv6 } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import type { Peer } from '../../runtime/index.js';
import type { TableEntry } from '../table/registry.js';
import { isLoopback, parseUaddr, transportOf, withoutZone } from '../uaddr.js';

/** The list of interfaces is read again after 5 s. */
const INTERFACES_MS = 5_000;

/** See {@link AddressSelector}. */
export interface AddressSelectorOptions {
  /**
   * IP addresses that callers on other hosts are told, at most one of each family: for a host behind network address
   * translation. Default: the host's own.
   */
  readonly advertise?: readonly string[] | undefined;
}

/** Selects addresses for callers. */
export class AddressSelector {
  private readonly advertised: { readonly inet: string | undefined; readonly inet6: string | undefined };
  private interfaces: readonly NetworkInterfaceInfo[] = [];
  private own: ReadonlySet<string> = new Set();
  private readAt = Number.NEGATIVE_INFINITY;

  constructor(options: AddressSelectorOptions = {}) {
    const of = options.advertise ?? [];
    this.advertised = { inet: of.find((a) => !isIPv6(a)), inet6: of.find((a) => isIPv6(a)) };
  }

  /**
   * The universal address by which `peer` reaches a registration. `hint` is a universal address of the network for which
   * the caller wants the answer; empty for none.
   */
  addressFor(entry: TableEntry, peer: Peer, hint = ''): string {
    if (!entry.isWildcard) return entry.address;
    return this.hostFor(entry.netid, peer, hint) + entry.suffix;
  }

  /** The IP address of this host by which `peer` reaches what listens on the wildcard address. */
  hostFor(netid: string, peer: Peer, hint = ''): string {
    const family = transportOf(netid)?.family === 'inet6' ? 'inet6' : 'inet';
    const isHere = peer.transport === 'unix' || isLoopback(peer.address);
    const advertised = this.advertised[family];
    if (advertised !== undefined && !isHere) return advertised;
    const { localAddress } = peer;
    const isOfFamily = localAddress.includes(':') === (family === 'inet6');
    // The call may have come by broadcast, to an address that is not of this host.
    if (hint === '' && isOfFamily && this.isOurs(localAddress)) return withoutZone(localAddress);
    const near = parseUaddr(netid, hint)?.host ?? (isOfFamily ? peer.address : '');
    return this.nearest(family, near, isHere);
  }

  /** Whether an IP address is one of this host. */
  isOurs(host: string): boolean {
    if (isLoopback(host)) return true;
    this.addresses();
    return this.own.has(withoutZone(host));
  }

  private nearest(family: 'inet' | 'inet6', near: string, isHere: boolean): string {
    const own = this.addresses().filter((one) => (one.family === 'IPv6') === (family === 'inet6'));
    const neighbour = near === '' ? undefined : own.find((one) => isOnNetwork(near, one));
    if (neighbour !== undefined) return neighbour.address;
    const loopback = family === 'inet6' ? '::1' : '127.0.0.1';
    if (isHere) return loopback;
    const outward = own.filter((one) => !one.internal);
    return (outward.find((one) => !one.address.startsWith('fe80:')) ?? outward[0])?.address ?? loopback;
  }

  private addresses(): readonly NetworkInterfaceInfo[] {
    const now = performance.now();
    if (now - this.readAt > INTERFACES_MS) {
      this.readAt = now;
      this.interfaces = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
      this.own = new Set(this.interfaces.map(({ address }) => withoutZone(address)));
    }
    return this.interfaces;
  }
}

function isOnNetwork(host: string, of: NetworkInterfaceInfo): boolean {
  if (of.cidr === null || isIPv6(host) !== (of.family === 'IPv6')) return false;
  const family = of.family === 'IPv6' ? 'ipv6' : 'ipv4';
  const network = new BlockList();
  network.addSubnet(of.address, Number(of.cidr.split('/')[1]), family);
  return network.check(withoutZone(host), family);
}
