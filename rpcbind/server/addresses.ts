/**
 * Which of a host's addresses a caller can addresses. A registration usually names the wildcard
 * address; what a caller needs is one to call (RFC 1833 section 2.2.1, GETADDR). Best is the
 * address that its own question arrived on; after that, one on its network.
 */

import { BlockList, isIPv6 } from 'node:net';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import type { Peer } from '../../runtime/index.js';
import type { TableEntry } from '../table/registry.js';
import { isLoopback, parseUaddr, transportOf, withoutZone } from '../uaddr.js';

/** How long a look at the interfaces is good for: 5 s. */
const INTERFACES_MS = 5_000;

/** See {@link AddressSelector}. */
export interface AddressSelectorOptions {
  /**
   * IP addresses to answer with, at most one of a family, to callers on other hosts: those of a host
   * behind address translation. Default: the host's own.
   */
  readonly advertise?: readonly string[] | undefined;
}

/** Fits addresses to callers. */
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
   * The universal address by which `peer` reaches a registration. `hint` is the caller's own address
   * on the network it wants to be answered for, as a universal address; empty for none.
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
    // A question may arrive by broadcast, on an address that is nobody's.
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
