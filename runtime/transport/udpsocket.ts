/**
 * One bound UDP socket of a server: the plain way, a datagram an event of Node's, or the fast one, where
 * readiness.ts says that there is something and native.ts takes and sends many datagrams a call, each with
 * the address it was sent to.
 *
 * A socket has its port for itself. Were SO_REUSEADDR set, any user of this host could bind the same port
 * at a single address and take the datagrams to it, since the kernel prefers the closer address.
 */

import type dgram from 'node:dgram';
import { networkInterfaces } from 'node:os';
import type { Peer, Receive, ReplyChannel } from '../protocol/transport.js';
import { MAX_DATAGRAM_BYTES, openSocket, RECEIVE_BUFFER_BYTES, type UdpSocket, widen } from './datagram.js';
import { guardLoopback } from './localpeer.js';
import { type Inbox, type Native, Outbox } from './native.js';
import { Readiness } from './readiness.js';
import { addressOf, destinationOf, encodeSockaddr, keyOf, portOf, unmapped, zoneOf } from './sockaddr.js';

/** One bound socket. */
export interface UdpServerSocket {
  readonly address: string;
  readonly port: number;
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
class ReplyBatch {
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

class NodeUdpServerSocket implements UdpServerSocket {
  readonly address: string;
  readonly port: number;
  private readonly owner: UdpSocket;
  private readonly socket: dgram.Socket;
  readonly kept: ReplyBatch;
  readonly gone = new AbortController();
  isClosed = false;

  constructor(owner: UdpSocket, receive: Receive, localAddress: string | undefined) {
    this.owner = owner;
    this.socket = owner.socket;
    this.kept = new ReplyBatch(this.socket);
    const { address, port } = this.socket.address();
    this.address = localAddress ?? address;
    this.port = port;
    // An error here concerns one datagram (a reply that could not be sent), never the socket.
    this.socket.on('error', () => undefined);
    this.socket.on('message', (bytes, from) => receive(bytes, new NodeReplyChannel(this, from)));
  }

  join(group: string, link: string): boolean {
    try {
      this.socket.addMembership(group, `::%${link}`);
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

/**
 * A socket bound the plain way. `localAddress` is what calls are told they came to where that is not the
 * address bound, as with a broadcast address. Rejects with the system's error.
 */
export async function openNodeSocket(
  family: 4 | 6,
  address: string,
  port: number,
  receive: Receive,
  localAddress?: string,
): Promise<UdpServerSocket> {
  const owner = openSocket(family);
  try {
    await owner.bind({ address, port, exclusive: true });
  } catch (error) {
    await owner.close();
    throw error;
  }
  widen(owner);
  return new NodeUdpServerSocket(owner, receive, localAddress);
}

/** A descriptor that is bound already, served the plain way. */
export async function adoptNodeSocket(family: 4 | 6, fd: number, receive: Receive): Promise<UdpServerSocket> {
  const owner = openSocket(family);
  await owner.bind({ fd, exclusive: true });
  return new NodeUdpServerSocket(owner, receive, undefined);
}

/** The sender of a datagram that Node delivered, as the origin of a call. */
class NodeReplyChannel implements ReplyChannel {
  readonly maxReplyBytes = MAX_DATAGRAM_BYTES;
  private readonly door: NodeUdpServerSocket;
  private readonly from: dgram.RemoteInfo;

  constructor(door: NodeUdpServerSocket, from: dgram.RemoteInfo) {
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

/** A socket bound the fast way. Throws the system's error. */
export function openNativeSocket(
  fast: Native,
  address: string,
  port: number,
  receive: Receive,
): UdpServerSocket {
  const tellsAddress = address === '0.0.0.0' || address === '::';
  const name = encodeSockaddr(withZoneNumber(address), port);
  const fd = fast.openUdp({
    name,
    tellsAddress,
    receiveBufferBytes: RECEIVE_BUFFER_BYTES,
    prepare: guardLoopback,
  });
  return new NativeUdpServerSocket(fast, fd, tellsAddress, receive);
}

/** A descriptor that is bound already, served the fast way; closed where it cannot be. Throws the system's error. */
export function adoptNativeSocket(
  fast: Native,
  family: 4 | 6,
  fd: number,
  tellsAddress: boolean,
  receive: Receive,
): UdpServerSocket {
  fast.makeExclusive(fd);
  // A datagram from this host is one that came in on `lo`.
  guardLoopback(fd);
  if (tellsAddress) fast.tellAddress(fd, family);
  return new NativeUdpServerSocket(fast, fd, tellsAddress, receive);
}

/** Batches taken in one turn of the loop, so that a flood of datagrams does not keep everything else waiting. */
const MAX_ROUNDS = 8;

/** Replies kept back at most while a batch is worked off. */
const REPLIES_AT_ONCE = 16;

/** Bytes of replies that wait for room in the socket at most; further ones are lost, and the caller asks again. */
export const MAX_WAITING_REPLY_BYTES = 1024 * 1024;

/** A reply for which the socket had no room. */
interface WaitingReply {
  readonly message: Uint8Array;
  readonly name: Uint8Array;
  readonly control: Uint8Array | undefined;
}

class NativeUdpServerSocket implements UdpServerSocket {
  readonly address: string;
  readonly port: number;
  readonly gone = new AbortController();
  private readonly fast: Native;
  private readonly fd: number;
  private readonly readiness: Readiness;
  private readonly inbox: Inbox;
  private readonly outbox: Outbox;
  private readonly receive: Receive;
  private readonly tellsAddress: boolean;
  /** While calls are taken, replies wait for the end of the batch. */
  private isTaking = false;
  private isFlushing = false;
  private isStopped = false;
  private isClosed = false;
  private waiting: WaitingReply[] = [];
  private waitingBytes = 0;

  constructor(fast: Native, fd: number, tellsAddress: boolean, receive: Receive) {
    this.fast = fast;
    this.fd = fd;
    this.inbox = fast.received;
    this.receive = receive;
    this.tellsAddress = tellsAddress;
    this.outbox = new Outbox(
      fast,
      fd,
      (message, name, control) => this.wait({ message, name, control }),
      () => undefined,
    );
    try {
      const name = fast.nameOf(fd);
      this.address = withZone(name);
      this.port = portOf(name);
      this.readiness = new Readiness(fast, fd, () => this.take());
    } catch (error) {
      fast.calls.close(fd);
      throw error;
    }
  }

  join(group: string, link: string): boolean {
    return this.fast.joinGroup(this.fd, encodeSockaddr(group, 0), zoneNumber(link));
  }

  stop(): void {
    this.isStopped = true;
    if (!this.isClosed) this.readiness.stop();
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.outbox.flush();
    this.isClosed = true;
    this.gone.abort();
    await this.readiness.close();
    this.fast.calls.close(this.fd);
  }

  send(message: Uint8Array, name: Uint8Array, control: Uint8Array | undefined): void {
    if (this.isClosed) return;
    this.outbox.add(message, name, control);
    if (this.isTaking || this.isFlushing) return;
    this.isFlushing = true;
    queueMicrotask(() => {
      this.isFlushing = false;
      this.flush();
    });
  }

  /** Sends what is ready. */
  private flush(): void {
    if (!this.isClosed) this.outbox.flush();
  }

  /** Keeps a reply until the socket has room. */
  private wait(reply: WaitingReply): void {
    if (this.isStopped || this.waitingBytes + reply.message.length > MAX_WAITING_REPLY_BYTES) return;
    if (this.waiting.length === 0) this.readiness.waitForRoom(true);
    this.waiting.push(reply);
    this.waitingBytes += reply.message.length;
  }

  private sendWaiting(): void {
    const { waiting } = this;
    if (waiting.length === 0) return;
    this.waiting = [];
    this.waitingBytes = 0;
    for (const { message, name, control } of waiting) this.outbox.add(message, name, control);
    this.flush();
    if (this.waiting.length === 0) this.readiness.waitForRoom(false);
  }

  /** Takes what is waiting, and answers it in few calls. */
  private take(): void {
    const { inbox } = this;
    this.sendWaiting();
    this.isTaking = true;
    try {
      for (let round = 0; round < MAX_ROUNDS && !this.isStopped; round++) {
        const count = inbox.receive(this.fd);
        for (let i = 0; i < count && !this.isStopped; i++) {
          this.takeOne(i);
          // The caller works on these while we work on the rest.
          if (i % REPLIES_AT_ONCE === REPLIES_AT_ONCE - 1) this.flush();
        }
        this.flush();
        // Nothing more came while one was worked off: the caller waits for its answer.
        if (count <= 1) break;
      }
    } finally {
      this.isTaking = false;
      this.flush();
    }
  }

  private takeOne(i: number): void {
    const { inbox, tellsAddress } = this;
    const control = tellsAddress ? inbox.control[i] : undefined;
    const origin = new NativeReplyChannel(this, inbox.name[i] as Uint8Array, control);
    this.receive(inbox.bytes(i), origin);
    if (!origin.isAnswered) origin.detach();
  }
}

/** The sender of a datagram taken in a batch. Its bytes are the batch's until {@link detach}. */
class NativeReplyChannel implements ReplyChannel {
  readonly maxReplyBytes = MAX_DATAGRAM_BYTES;
  isAnswered = false;
  private readonly door: NativeUdpServerSocket;
  private name: Uint8Array;
  private control: Uint8Array | undefined;

  constructor(door: NativeUdpServerSocket, name: Uint8Array, control: Uint8Array | undefined) {
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
  const number = zoneNumber(zone);
  return number === 0 ? text : `${text}%${number}`;
}

/** The number of an interface that has an address of its link; 0 where it has none. */
function zoneNumber(link: string): number {
  const found = networkInterfaces()[link]?.find(({ scopeid }) => scopeid !== undefined && scopeid > 0);
  return found?.family === 'IPv6' ? found.scopeid : 0;
}
