/**
 * One bound UDP socket of a server: the plain way, a datagram an event of Node's, or the fast one,
 * where Node says that there is something and native.ts takes and sends many datagrams a call.
 */

import type dgram from 'node:dgram';
import { networkInterfaces } from 'node:os';
import {
  adopt,
  MAX_DATAGRAM_BYTES,
  openSocket,
  RECEIVE_BUFFER_BYTES,
  type UdpSocket,
  widen,
} from './datagram.js';
import { guardLoopback } from './localpeer.js';
import { type Inbox, type Native, Outbox } from './native.js';
import { addressOf, destinationOf, keyOf, portOf, socketName, unmapped, zoneOf } from './sockaddr.js';
import type { Origin, Peer, Receive } from './transport.js';

/** One bound socket. */
export interface Door {
  readonly address: string;
  readonly port: number;
  /** Whether other sockets may be bound to the same port just now, where that can be changed. */
  share(isAllowed: boolean): void;
  /** Joins a multicast group on an interface; false where the system does not let it. */
  join(group: string, link: string): boolean;
  stop(): void;
  close(): Promise<void>;
}

/** Replies of the plain way that are kept back at most. */
const MAX_KEPT = 32;
/** Turns of the loop that a reply is kept back at most, while each brings more of them. */
const MAX_TURNS = 8;

/**
 * Replies of the plain way, sent at the end of the loop's turn, or of the next where several calls came at once and
 * more may follow: to wake the caller costs most of a datagram, and one that is awake already need not be woken.
 */
class Kept {
  private readonly socket: dgram.Socket;
  private messages: Buffer[] = [];
  private to: dgram.RemoteInfo[] = [];
  private seen = 0;
  private turns = 0;

  constructor(socket: dgram.Socket) {
    this.socket = socket;
  }

  add(message: Uint8Array, to: dgram.RemoteInfo): void {
    this.messages.push(Buffer.from(message));
    this.to.push(to);
    if (this.messages.length >= MAX_KEPT) this.flush();
    else if (this.messages.length === 1) {
      this.seen = 0;
      this.turns = 0;
      setImmediate(this.onTurn);
    }
  }

  /** Sends all. A reply that the system refuses is a reply lost: the caller will ask again. */
  flush(): void {
    const { socket, messages, to } = this;
    this.messages = [];
    this.to = [];
    for (const [i, { port, address }] of to.entries()) socket.send(messages[i] as Buffer, port, address);
  }

  private readonly onTurn = (): void => {
    const count = this.messages.length;
    const isMoreComing = count - this.seen > 1 && this.turns < MAX_TURNS;
    this.seen = count;
    this.turns += 1;
    if (isMoreComing) setImmediate(this.onTurn);
    else this.flush();
  };
}

class PlainDoor implements Door {
  readonly address: string;
  readonly port: number;
  protected readonly owner: UdpSocket;
  readonly socket: dgram.Socket;
  readonly kept: Kept;
  readonly gone = new AbortController();
  isClosed = false;

  constructor(owner: UdpSocket) {
    this.owner = owner;
    this.socket = owner.socket;
    this.kept = new Kept(this.socket);
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
    this.kept.flush();
    this.gone.abort();
    await this.owner.close();
  }
}

/** A socket bound the plain way. Rejects with the system's error. */
export async function openPlain(
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
export function serve(
  owner: UdpSocket,
  fast: Native | undefined,
  fd: number,
  tellsAddress: boolean,
  receive: Receive,
): PlainDoor {
  if (fast !== undefined) {
    // A datagram from this host is one that came in on `lo`.
    guardLoopback(fd);
    return new NativeDoor(owner, fast, fd, tellsAddress, receive);
  }
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
      address: unmapped(this.from.address),
      port: this.from.port,
      localAddress: this.door.address,
      localPort: this.door.port,
    };
  }

  reply(message: Uint8Array): void {
    if (!this.door.isClosed) this.door.kept.add(message, this.from);
  }
}

/** A socket bound the fast way. Rejects with the system's error. */
export async function openNative(
  fast: Native,
  family: 4 | 6,
  address: string,
  port: number,
  reuse: boolean,
  receive: Receive,
): Promise<PlainDoor> {
  const tellsAddress = address === '0.0.0.0' || address === '::';
  const name = socketName(withZoneNumber(address), port);
  const fd = fast.openUdp({
    name,
    reuse,
    tellsAddress,
    receiveBufferBytes: RECEIVE_BUFFER_BYTES,
    prepare: guardLoopback,
  });
  const owner = openSocket(family);
  await adopt(owner, fd, fast);
  return serve(owner, fast, fd, tellsAddress, receive);
}

/** Batches taken in one turn of the loop, so that a flood of datagrams does not keep everything else waiting. */
const MAX_ROUNDS = 8;

/** Replies kept back at most while a batch is worked off. */
const REPLIES_AT_ONCE = 16;

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
        for (let i = 0; i < count && !this.isStopped; i++) {
          this.takeOne(i);
          // The caller works on these while we work on the rest.
          if (i % REPLIES_AT_ONCE === REPLIES_AT_ONCE - 1 && !this.isClosed) this.outbox.flush();
        }
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
      address: unmapped(withZone(this.name)),
      port: portOf(this.name),
      localAddress: local === undefined ? this.door.address : unmapped(local),
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
