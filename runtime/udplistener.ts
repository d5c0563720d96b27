/**
 * RPC over UDP, the serving end. A wildcard address is served by one socket for each address of
 * this host beside the wildcard one: a reply must leave from the address that was asked, and the
 * socket a call came in on tells which that was. Each socket works the plain way, or the fast one
 * of native.ts where it is possible.
 */

import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { openSocket } from './datagram.js';
import { type Door, openNative, openPlain, serve } from './door.js';
import { guardLoopback } from './localpeer.js';
import { native } from './native.js';
import type { Listener, Netid, Receive } from './transport.js';

/** Default for the time between two looks at this host's addresses: 10 s. */
export const DEFAULT_RESCAN_MS = 10_000;
/** Default for the addresses of this host that get a socket of their own. */
export const DEFAULT_MAX_LOCAL_ADDRESSES = 256;

/** Where a UDP listener listens. */
export interface UdpListenOptions {
  /** IP address; `0.0.0.0` or `::` for all. */
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  /** False for the plain way even where the fast one is possible; see docs/runtime.md. Default true. */
  readonly native?: boolean;
  /** Milliseconds between two looks at this host's addresses, for a wildcard. Default {@link DEFAULT_RESCAN_MS}. */
  readonly rescanMs?: number;
  /**
   * Most addresses of this host that get a socket of their own, for a wildcard; calls to the others are
   * answered from whichever address the system prefers. Default {@link DEFAULT_MAX_LOCAL_ADDRESSES}.
   */
  readonly maxLocalAddresses?: number;
  /** For the wildcard of IPv6: a multicast group (`ff02::202`) to be joined on every interface. */
  readonly multicastGroup?: string;
  /**
   * A descriptor that is bound already, as a service manager hands it over; port is then its own. It is
   * the only socket, so on a wildcard address without the fast way, replies leave from whichever address
   * the system prefers.
   */
  readonly fd?: number;
}

/** Opens UDP sockets for serving. Rejects with the system's error (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
export async function listenUdp(options: UdpListenOptions, receive: Receive): Promise<Listener> {
  const family = isIP(options.host.split('%')[0] as string) === 6 ? 6 : 4;
  const fast = options.native === false ? undefined : native();
  if (fast === undefined) guardLoopback(-1);
  const isWildcard = options.host === '0.0.0.0' || options.host === '::';
  const open = (address: string, port: number, reuse: boolean): Promise<Door> =>
    fast === undefined
      ? openPlain(family, address, port, reuse, receive)
      : openNative(fast, family, address, port, reuse, receive);
  if (options.fd !== undefined) {
    const owner = openSocket(family);
    await owner.bind({ fd: options.fd, exclusive: true });
    if (isWildcard) fast?.tellAddress(options.fd, family);
    return new UdpListener(serve(owner, fast, options.fd, isWildcard, receive), family);
  }
  if (!isWildcard) {
    const door = await open(options.host, options.port, false);
    return new UdpListener(door, family);
  }
  // Sockets that share a port must all say so, and would then share it with a stranger as well: so
  // a socket that does not share finds out first whether the port is free.
  const probe = await openPlain(family, options.host, options.port, false, () => undefined);
  await probe.close();
  const listener = new WildcardListener(await open(options.host, probe.port, true), family, options, open);
  await listener.rescan();
  return listener;
}

class UdpListener implements Listener {
  readonly netid: Netid;
  readonly address: string;
  readonly port: number;
  protected readonly main: Door;

  constructor(main: Door, family: 4 | 6) {
    this.main = main;
    this.netid = family === 6 ? 'udp6' : 'udp';
    this.address = main.address;
    this.port = main.port;
  }

  stop(): Promise<void> {
    this.main.stop();
    return Promise.resolve();
  }

  close(): Promise<void> {
    return this.main.close();
  }
}

/** All addresses of this host: the wildcard's socket, and one for each address. */
class WildcardListener extends UdpListener {
  private readonly family: 4 | 6;
  private readonly doors = new Map<string, Door>();
  private readonly max: number;
  private readonly timer: NodeJS.Timeout;
  private readonly open: (address: string, port: number, reuse: boolean) => Promise<Door>;
  private readonly group: string | undefined;
  /** Interfaces on which the group was joined. */
  private readonly joined = new Set<string>();
  private scanning: Promise<void> | undefined;
  private isStopped = false;

  constructor(
    main: Door,
    family: 4 | 6,
    options: UdpListenOptions,
    open: (address: string, port: number, reuse: boolean) => Promise<Door>,
  ) {
    super(main, family);
    this.family = family;
    this.max = options.maxLocalAddresses ?? DEFAULT_MAX_LOCAL_ADDRESSES;
    this.open = open;
    this.group = options.multicastGroup;
    this.timer = setInterval(() => void this.rescan(), options.rescanMs ?? DEFAULT_RESCAN_MS);
    this.timer.unref();
  }

  /** Makes the sockets fit the addresses this host has now. */
  rescan(): Promise<void> {
    this.scanning ??= this.scan().finally(() => {
      this.scanning = undefined;
    });
    return this.scanning;
  }

  private join(group: string): void {
    const present = links();
    for (const name of this.joined) if (!present.includes(name)) this.joined.delete(name);
    for (const name of present) {
      if (this.joined.has(name) || !this.main.join(group, `::%${name}`)) continue;
      this.joined.add(name);
    }
  }

  override async stop(): Promise<void> {
    this.isStopped = true;
    clearInterval(this.timer);
    await this.scanning;
    for (const door of [this.main, ...this.doors.values()]) door.stop();
  }

  override async close(): Promise<void> {
    await this.stop();
    await Promise.all([this.main, ...this.doors.values()].map((door) => door.close()));
    this.doors.clear();
  }

  private async scan(): Promise<void> {
    if (this.group !== undefined) this.join(this.group);
    const wanted = new Set(localAddresses(this.family).slice(0, this.max));
    for (const [address, door] of this.doors) {
      if (wanted.has(address)) continue;
      this.doors.delete(address);
      await door.close();
    }
    const all = (): Door[] => [this.main, ...this.doors.values()];
    for (const door of all()) door.share(true);
    for (const address of wanted) {
      if (this.isStopped || this.doors.has(address)) continue;
      // An address that is going or not yet there, or whose port is another's: the wildcard socket serves it.
      const door = await this.open(address, this.port, true).catch(() => undefined);
      if (door !== undefined) this.doors.set(address, door);
    }
    for (const door of all()) door.share(false);
  }
}

/** Interfaces that have an address of their link, which is where IPv6 multicast goes. */
function links(): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses]) =>
    addresses?.some((one) => one.family === 'IPv6' && one.scopeid > 0) ? [name] : [],
  );
}

function localAddresses(family: 4 | 6): string[] {
  const found: string[] = [];
  for (const [name, addresses] of Object.entries(networkInterfaces()))
    for (const { address, family: kind, scopeid } of addresses as {
      address: string;
      family: string;
      scopeid?: number;
    }[])
      if (kind === `IPv${family}`) found.push(scopeid ? `${address}%${name}` : address);
  return found;
}
