/**
 * RPC over UDP, the serving end. A wildcard address is served by one socket for each address of
 * this host beside the wildcard one: a reply must leave from the address that was asked, and the
 * socket a call came in on tells which that was. Each socket works the plain way, or the fast one
 * of native.ts where it is possible.
 */

import type dgram from 'node:dgram';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import {
  adopt,
  MAX_DATAGRAM_BYTES,
  openSocket,
  RECEIVE_BUFFER_BYTES,
  type UdpSocket,
  widen,
} from './datagram.js';
import { type Inbox, type Native, native, Outbox } from './native.js';
import { addressOf, destinationOf, keyOf, portOf, socketName, zoneOf } from './sockaddr.js';
import type { Listener, Netid, Origin, Peer, Receive } from './transport.js';

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

/** One bound socket. */
interface Door {
  readonly address: string;
  readonly port: number;
  /** Whether other sockets may be bound to the same port just now, where that can be changed. */
  share(isAllowed: boolean): void;
  /** Joins a multicast group on an interface; false where the system does not let it. */
  join(group: string, link: string): boolean;
  stop(): void;
  close(): Promise<void>;
}

class PlainDoor implements Door {
  readonly address: string;
  readonly port: number;
  protected readonly owner: UdpSocket;
  readonly socket: dgram.Socket;
  readonly gone = new AbortController();
  isClosed = false;

  constructor(owner: UdpSocket) {
    this.owner = owner;
    this.socket = owner.socket;
    const { address, port } = this.socket.address();
    this.address = address;
    this.port = port;
    // An error here concerns one datagram (a reply that could not be sent), never the socket.
    this.socket.on('error', () => undefined);
  }

  share(_isAllowed: boolean): void {
    // Node decides this when it binds.
  }

  join(group: string, link: string): boolean {
    try {
      this.socket.addMembership(group, link);
      return true;
    } catch {
      return false;
    }
  }

  stop(): void {
    this.socket.removeAllListeners('message');
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    this.gone.abort();
    await this.owner.close();
  }
}

async function openPlain(
  family: 4 | 6,
  address: string,
  port: number,
  reuse: boolean,
  receive: Receive,
): Promise<PlainDoor> {
  const owner = openSocket(family, { reuse });
  try {
    await owner.bind({ address, port, exclusive: true });
  } catch (error) {
    await owner.close();
    throw error;
  }
  widen(owner);
  return serve(owner, undefined, 0, false, receive);
}

/** A bound socket, served the fast way where there is one. */
function serve(
  owner: UdpSocket,
  fast: Native | undefined,
  fd: number,
  tellsAddress: boolean,
  receive: Receive,
): PlainDoor {
  if (fast !== undefined) return new NativeDoor(owner, fast, fd, tellsAddress, receive);
  const door = new PlainDoor(owner);
  owner.socket.on('message', (bytes, from) => receive(bytes, new Datagram(door, from)));
  return door;
}

/** The sender of a datagram that Node delivered, as the origin of a call. */
class Datagram implements Origin {
  readonly maxReplyBytes = MAX_DATAGRAM_BYTES;
  private readonly door: PlainDoor;
  private readonly from: dgram.RemoteInfo;

  constructor(door: PlainDoor, from: dgram.RemoteInfo) {
    this.door = door;
    this.from = from;
  }

  get signal(): AbortSignal {
    return this.door.gone.signal;
  }

  get source(): string {
    return `${this.from.address} ${this.from.port}`;
  }

  get peer(): Peer {
    return {
      transport: 'udp',
      address: this.from.address,
      port: this.from.port,
      localAddress: this.door.address,
      localPort: this.door.port,
    };
  }

  reply(message: Uint8Array): void {
    // A reply that the system refuses is a reply lost: the caller will ask again.
    if (!this.door.isClosed) this.door.socket.send(Buffer.from(message), this.from.port, this.from.address);
  }
}

async function openNative(
  fast: Native,
  family: 4 | 6,
  address: string,
  port: number,
  reuse: boolean,
  receive: Receive,
): Promise<PlainDoor> {
  const tellsAddress = address === '0.0.0.0' || address === '::';
  const name = socketName(withZoneNumber(address), port);
  const fd = fast.openUdp({ name, reuse, tellsAddress, receiveBufferBytes: RECEIVE_BUFFER_BYTES });
  const owner = openSocket(family);
  await adopt(owner, fd, fast);
  return serve(owner, fast, fd, tellsAddress, receive);
}

/** Batches taken in one turn of the loop, so that a flood of datagrams does not keep everything else waiting. */
const MAX_ROUNDS = 8;

class NativeDoor extends PlainDoor {
  private readonly fast: Native;
  private readonly fd: number;
  private readonly inbox: Inbox;
  private readonly outbox: Outbox;
  private readonly receive: Receive;
  private readonly tellsAddress: boolean;
  /** While calls are taken, replies wait for the end of the batch. */
  private isTaking = false;
  private isFlushing = false;
  private isStopped = false;
  private lastAddress = '';
  private lastName = new Uint8Array(0);

  constructor(owner: UdpSocket, fast: Native, fd: number, tellsAddress: boolean, receive: Receive) {
    super(owner);
    this.fast = fast;
    this.fd = fd;
    this.inbox = fast.received;
    this.receive = receive;
    this.tellsAddress = tellsAddress;
    this.outbox = new Outbox(
      fast,
      fd,
      // No room just now: Node waits for it.
      (message, name) => this.socket.send(message, portOf(name), withZone(name)),
      () => undefined,
    );
    this.socket.on('message', (bytes, from) => this.take(bytes, from));
  }

  override share(isAllowed: boolean): void {
    if (!this.isClosed) this.fast.setReuse(this.fd, isAllowed);
  }

  override stop(): void {
    this.isStopped = true;
    super.stop();
  }

  send(message: Uint8Array, name: Uint8Array, control: Uint8Array | undefined): void {
    if (this.isClosed) return;
    this.outbox.add(message, name, control);
    if (this.isTaking || this.isFlushing) return;
    this.isFlushing = true;
    queueMicrotask(() => {
      this.isFlushing = false;
      if (!this.isClosed) this.outbox.flush();
    });
  }

  /** Node brought one datagram: take with it what else is waiting, and answer all in one call. */
  private take(first: Uint8Array, from: dgram.RemoteInfo): void {
    const { inbox, receive } = this;
    this.isTaking = true;
    try {
      if (from.address.includes('%')) receive(first, new Datagram(this, from));
      else receive(first, new NativeDatagram(this, this.nameOf(from), undefined));
      for (let round = 0; round < MAX_ROUNDS && !this.isStopped; round++) {
        const count = inbox.receive(this.fd);
        for (let i = 0; i < count && !this.isStopped; i++) this.takeOne(i);
        if (!this.isClosed) this.outbox.flush();
        if (count === 0) break;
      }
    } finally {
      this.isTaking = false;
      if (!this.isClosed) this.outbox.flush();
    }
  }

  private takeOne(i: number): void {
    const { inbox, tellsAddress } = this;
    const control = tellsAddress ? inbox.control[i] : undefined;
    const origin = new NativeDatagram(this, inbox.name[i] as Uint8Array, control);
    this.receive(inbox.bytes(i), origin);
    if (!origin.isAnswered) origin.detach();
  }

  private nameOf(from: dgram.RemoteInfo): Uint8Array {
    const { address, port } = from;
    if (address !== this.lastAddress) {
      this.lastAddress = address;
      this.lastName = socketName(address, port) as Uint8Array<ArrayBuffer>;
    }
    const name = this.lastName.slice();
    name[2] = port >>> 8;
    name[3] = port & 0xff;
    return name;
  }
}

/** The sender of a datagram taken in a batch. Its bytes are the batch's until {@link detach}. */
class NativeDatagram implements Origin {
  readonly maxReplyBytes = MAX_DATAGRAM_BYTES;
  isAnswered = false;
  private readonly door: NativeDoor;
  private name: Uint8Array;
  private control: Uint8Array | undefined;

  constructor(door: NativeDoor, name: Uint8Array, control: Uint8Array | undefined) {
    this.door = door;
    this.name = name;
    this.control = control;
  }

  get signal(): AbortSignal {
    return this.door.gone.signal;
  }

  get source(): number | string {
    return keyOf(this.name);
  }

  get peer(): Peer {
    const local = this.control === undefined ? undefined : destinationOf(this.control);
    return {
      transport: 'udp',
      address: withZone(this.name),
      port: portOf(this.name),
      localAddress: local ?? this.door.address,
      localPort: this.door.port,
    };
  }

  /** Keeps the way back: the batch's memory is about to be used again. */
  detach(): void {
    this.name = this.name.slice();
    this.control = this.control?.slice();
  }

  reply(message: Uint8Array): void {
    this.isAnswered = true;
    this.door.send(message, this.name, this.control);
  }
}

/** The address in a name, with the zone that a link-local one needs. */
function withZone(name: Uint8Array): string {
  const zone = zoneOf(name);
  return zone === 0 ? addressOf(name) : `${addressOf(name)}%${interfaceOf(zone)}`;
}

function interfaceOf(zone: number): string {
  for (const [name, addresses] of Object.entries(networkInterfaces()))
    if (addresses?.some((address) => address.family === 'IPv6' && address.scopeid === zone)) return name;
  return String(zone);
}

/** The address with its zone as the number of the interface, as the kernel wants it. */
function withZoneNumber(address: string): string {
  const [text, zone] = address.split('%') as [string, string?];
  if (zone === undefined || /^\d+$/.test(zone)) return address;
  const found = networkInterfaces()[zone]?.find(({ scopeid }) => scopeid !== undefined && scopeid > 0);
  return found?.family === 'IPv6' ? `${text}%${found.scopeid}` : text;
}
