/**
 * RPC over UDP, the serving end. A reply must leave from the address that was asked, and no other user of
 * this host may bind the service's port at one of its addresses: datagrams to it would be that user's.
 *
 * The fast way (native.ts): one socket for the wildcard address, bound for itself alone; the kernel tells
 * with each datagram which address was asked.
 *
 * The plain way (Node alone): Node tells no addresses, so a wildcard is served by one socket for each unicast
 * and broadcast address of this host and for each multicast group joined, each bound for itself alone, and none
 * for the wildcard: sockets that overlap would have to allow it, to other users as well. What this cannot
 * hold: an address that the host gets is unserved, and open to other users, until the next look at the
 * addresses; so are addresses that no interface lists, as 127.0.0.2.
 */

import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Listener, Netid, Receive } from '../protocol/transport.js';
import { guardLoopback } from './localpeer.js';
import { native } from './native.js';
import {
  adoptNativeSocket,
  adoptNodeSocket,
  openNativeSocket,
  openNodeSocket,
  type UdpServerSocket,
} from './udpsocket.js';

/** Default for the time between two looks at this host's addresses: 10 s. */
export const DEFAULT_RESCAN_MS = 10_000;
/** Default for the addresses of this host that get a socket of their own, the plain way. */
export const DEFAULT_MAX_LOCAL_ADDRESSES = 1_024;
/** How often another free port is tried where 0 asks for any: it may be taken at one of the addresses. */
const PORT_TRIES = 20;

/** Where a UDP listener listens. */
export interface UdpListenOptions {
  /** IP address; `0.0.0.0` or `::` for all. */
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  /** False for the plain way even where the fast one is possible; see docs/runtime.md. Default true. */
  readonly native?: boolean;
  /**
   * Milliseconds between two looks at this host's addresses and interfaces: for a wildcard served the plain
   * way, and for a multicast group. Default {@link DEFAULT_RESCAN_MS}.
   */
  readonly rescanMs?: number;
  /**
   * Most addresses of this host, unicast and broadcast, that a wildcard is served at the plain way. Where
   * there are more when it opens, it rejects with RangeError; later ones beyond it are not served. The fast
   * way has no such limit. Default {@link DEFAULT_MAX_LOCAL_ADDRESSES}.
   */
  readonly maxLocalAddresses?: number;
  /** For the wildcard of IPv6: a multicast group (`ff02::202`) to be joined on every interface. */
  readonly multicastGroup?: string;
  /**
   * A descriptor that is bound already, as a service manager hands it over; port is then its own. It is
   * the only socket, so on a wildcard address without the fast way, replies leave from whichever address
   * the system prefers, and Node sets SO_REUSEADDR on it: other users may bind the port, if it is over 1023.
   */
  readonly fd?: number;
  /**
   * Told of an address that the host got later and that could not be bound (EADDRINUSE: another process
   * has the port there), once until it can be. Default: nobody.
   */
  readonly onError?: (error: unknown) => void;
}

/** Opens UDP sockets for serving. Rejects with the system's error (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
export async function listenUdp(options: UdpListenOptions, receive: Receive): Promise<Listener> {
  const { host, port, fd } = options;
  const family = isIP(host.split('%')[0] as string) === 6 ? 6 : 4;
  const fast = options.native === false ? undefined : native();
  // Without koffi no socket can tell what came in on `lo`.
  if (fast === undefined) guardLoopback(-1);
  const isWildcard = host === '0.0.0.0' || host === '::';
  if (fast !== undefined) {
    const door =
      fd === undefined
        ? openNativeSocket(fast, host, port, receive)
        : adoptNativeSocket(fast, family, fd, isWildcard, receive);
    const isJoining = isWildcard && fd === undefined && options.multicastGroup !== undefined;
    return isJoining ? new GroupListener(door, family, options) : new UdpListener(door, family);
  }
  if (fd !== undefined) return new UdpListener(await adoptNodeSocket(family, fd, receive), family);
  if (!isWildcard) return new UdpListener(await openNodeSocket(family, host, port, receive), family);
  return openWildcard(family, options, receive);
}

/** The plain way on a wildcard address. */
async function openWildcard(family: 4 | 6, options: UdpListenOptions, receive: Receive): Promise<Listener> {
  for (let attempt = 1; ; attempt++) {
    // A port that is free at every address of the family now; the sockets that stay are bound for themselves alone.
    const probe = await openNodeSocket(family, options.host, options.port, () => undefined);
    await probe.close();
    const listener = new WildcardListener(probe.port, family, options, receive);
    try {
      await listener.open();
      return listener;
    } catch (error) {
      await listener.close();
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      if (options.port !== 0 || !isTaken || attempt === PORT_TRIES) throw error;
    }
  }
}

/** One socket. */
class UdpListener implements Listener {
  readonly netid: Netid;
  readonly address: string;
  readonly port: number;
  protected readonly door: UdpServerSocket;

  constructor(door: UdpServerSocket, family: 4 | 6) {
    this.door = door;
    this.netid = family === 6 ? 'udp6' : 'udp';
    this.address = door.address;
    this.port = door.port;
  }

  stop(): Promise<void> {
    this.door.stop();
    return Promise.resolve();
  }

  close(): Promise<void> {
    return this.door.close();
  }
}

/** One socket that joins a multicast group on every interface there is. */
class GroupListener extends UdpListener {
  private readonly group: string;
  private readonly timer: NodeJS.Timeout;
  /** Interfaces on which the group was joined. */
  private readonly joined = new Set<string>();

  constructor(door: UdpServerSocket, family: 4 | 6, options: UdpListenOptions) {
    super(door, family);
    this.group = options.multicastGroup ?? '';
    this.timer = setInterval(() => this.join(), options.rescanMs ?? DEFAULT_RESCAN_MS);
    this.timer.unref();
    this.join();
  }

  private join(): void {
    const present = links();
    for (const name of this.joined) if (!present.includes(name)) this.joined.delete(name);
    for (const name of present)
      if (!this.joined.has(name) && this.door.join(this.group, name)) this.joined.add(name);
  }

  override stop(): Promise<void> {
    clearInterval(this.timer);
    return super.stop();
  }

  override async close(): Promise<void> {
    clearInterval(this.timer);
    await super.close();
  }
}

/** What a socket is bound to for a wildcard. */
interface Place {
  /** The address to bind. */
  readonly address: string;
  readonly kind: 'unicast' | 'broadcast' | 'group';
  /** The interface, for a group. */
  readonly link?: string;
}

/** A wildcard served the plain way: a socket for each address of this host. */
class WildcardListener implements Listener {
  readonly netid: Netid;
  readonly address: string;
  readonly port: number;
  private readonly family: 4 | 6;
  private readonly options: UdpListenOptions;
  private readonly receive: Receive;
  private readonly doors = new Map<string, UdpServerSocket>();
  /** Addresses that could not be bound at the last look. */
  private readonly failed = new Set<string>();
  private readonly timer: NodeJS.Timeout;
  private scanning: Promise<void> | undefined;
  private isStopped = false;

  constructor(port: number, family: 4 | 6, options: UdpListenOptions, receive: Receive) {
    this.netid = family === 6 ? 'udp6' : 'udp';
    this.address = options.host;
    this.port = port;
    this.family = family;
    this.options = options;
    this.receive = receive;
    this.timer = setInterval(() => void this.rescan(), options.rescanMs ?? DEFAULT_RESCAN_MS);
    this.timer.unref();
  }

  /** Binds what there is. Rejects with the system's error, or RangeError where there are too many addresses. */
  async open(): Promise<void> {
    const places = this.places();
    if (places.length > this.max)
      throw new RangeError(
        `this host has ${places.length} addresses, and maxLocalAddresses is ${this.max}: serve given addresses, or install koffi`,
      );
    await this.fit(places, (error) => {
      throw error;
    });
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    clearInterval(this.timer);
    await this.scanning;
    for (const door of this.doors.values()) door.stop();
  }

  async close(): Promise<void> {
    await this.stop();
    await Promise.all([...this.doors.values()].map((door) => door.close()));
    this.doors.clear();
  }

  private get max(): number {
    return this.options.maxLocalAddresses ?? DEFAULT_MAX_LOCAL_ADDRESSES;
  }

  private places(): Place[] {
    return placesOf(this.family, this.options.multicastGroup);
  }

  /** Makes the sockets fit the addresses this host has now. */
  private rescan(): Promise<void> {
    this.scanning ??= this.fit(this.places().slice(0, this.max), (error, place) => {
      if (this.failed.has(place.address)) return;
      this.failed.add(place.address);
      this.options.onError?.(error);
    }).finally(() => {
      this.scanning = undefined;
    });
    return this.scanning;
  }

  private async fit(
    places: readonly Place[],
    onError: (error: unknown, place: Place) => void,
  ): Promise<void> {
    const wanted = new Map(places.map((place) => [place.address, place]));
    for (const address of this.failed) if (!wanted.has(address)) this.failed.delete(address);
    for (const [address, door] of this.doors) {
      if (wanted.has(address)) continue;
      this.doors.delete(address);
      await door.close();
    }
    for (const place of wanted.values()) {
      if (this.isStopped || this.doors.has(place.address)) continue;
      try {
        this.doors.set(place.address, await this.bind(place));
        this.failed.delete(place.address);
      } catch (error) {
        // An address that is going, or not usable yet (RFC 4862 section 5.4): the next look finds out.
        if ((error as NodeJS.ErrnoException).code !== 'EADDRNOTAVAIL') onError(error, place);
      }
    }
  }

  private async bind({ address, kind, link }: Place): Promise<UdpServerSocket> {
    const localAddress = kind === 'unicast' ? undefined : this.options.host;
    const door = await openNodeSocket(this.family, address, this.port, this.receive, localAddress);
    if (link !== undefined) door.join(this.options.multicastGroup as string, link);
    return door;
  }
}

/** Interfaces that have an address of their link, which is where IPv6 multicast goes. */
function links(): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    addresses?.some((one) => one.family === 'IPv6' && one.scopeid > 0) ? [name] : [],
  );
}

/** The addresses that datagrams for this host are sent to. */
function placesOf(family: 4 | 6, group: string | undefined): Place[] {
  const places: Place[] = [];
  for (const [link, addresses] of Object.entries(networkInterfaces()))
    for (const one of addresses ?? []) {
      if (one.family !== `IPv${family}`) continue;
      const zone = one.family === 'IPv6' && one.scopeid > 0 ? `%${link}` : '';
      places.push({ address: `${one.address}${zone}`, kind: 'unicast' });
      const broadcast = one.family === 'IPv4' ? broadcastOf(one.address, one.netmask) : undefined;
      if (broadcast !== undefined) places.push({ address: broadcast, kind: 'broadcast' });
    }
  if (family === 4) places.push({ address: '255.255.255.255', kind: 'broadcast' });
  else if (group !== undefined)
    for (const link of links()) places.push({ address: `${group}%${link}`, kind: 'group', link });
  // Addresses of one network share its broadcast address.
  return [...new Map(places.map((place) => [place.address, place])).values()];
}

/** The broadcast address of a network; undefined where it has none (RFC 3021). */
function broadcastOf(address: string, netmask: string): string | undefined {
  const bytes = address.split('.').map(Number);
  const mask = netmask.split('.').map(Number);
  if (mask[3]! >= 254 && mask.slice(0, 3).every((byte) => byte === 255)) return undefined;
  return bytes.map((byte, i) => byte | (~mask[i]! & 0xff)).join('.');
}
