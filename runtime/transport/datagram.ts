/**
 * RPC over UDP, the calling end: one message a datagram. The only importer of dgram-as-promised,
 * which opens, binds and closes the sockets; datagrams are received through the socket's own event,
 * because the package's recv() drops what arrives between two of its calls.
 */

import { lookup as resolve } from 'node:dns/promises';
import { isIP } from 'node:net';
import { DgramAsPromised, type SocketAsPromised } from 'dgram-as-promised';
import { TransportError } from '../protocol/errors.js';
import type { ClientTransport, TransportEvents } from '../protocol/transport.js';
import { ECONNREFUSED, type Native, native, Outbox } from './native.js';
import { encodeSockaddr } from './sockaddr.js';

/** Most payload bytes of a UDP datagram over IPv4: 65535 less 20 of IP and 8 of UDP header. */
export const MAX_DATAGRAM_BYTES = 65_507;

/** A UDP socket as the package of the mission gives it: its own is behind `.socket`. */
export type UdpSocket = SocketAsPromised;

/** Where a UDP client calls. */
export interface UdpOptions {
  /** Name or IP address. */
  readonly host: string;
  readonly port: number;
  /** 4 or 6 to insist on one family of addresses for a name. Default: as the resolver prefers. */
  readonly family?: 4 | 6;
  /** Local IP address to call from. Default: the system's choice. */
  readonly localAddress?: string;
  /** Local port to call from. Default 0: the system's choice. */
  readonly localPort?: number;
  /** False for the plain way even where the fast one is possible; see docs/runtime.md. Default true. */
  readonly native?: boolean;
}

/**
 * The address of a host, by the system's resolver. Rejects with TransportError `RPC_CONNECT`
 * where it is unknown.
 */
export async function resolveHost(
  name: string,
  family: 4 | 6 | undefined,
): Promise<{ readonly address: string; readonly family: 4 | 6 }> {
  // As in a URL: `[::1]`.
  const host = /^\[.*:.*\]$/.test(name) ? name.slice(1, -1) : name;
  if (host === '') throw new TransportError('RPC_CONNECT', 'no such host: the name is empty', 'no');
  const literal = isIP(host);
  if (literal !== 0 && (family === undefined || family === literal))
    return { address: host, family: literal as 4 | 6 };
  try {
    const found = await resolve(host, { family: family ?? 0 });
    return { address: found.address, family: found.family as 4 | 6 };
  } catch (error) {
    const which = family === undefined ? '' : ` with an IPv${family} address`;
    throw new TransportError('RPC_CONNECT', `no such host${which}: ${host}`, 'no', error);
  }
}

/** Opens a UDP way to one server. Rejects with TransportError `RPC_CONNECT`. */
export async function connectUdp(options: UdpOptions): Promise<ClientTransport> {
  const { address, family } = await resolveHost(options.host, options.family);
  const target = `udp ${options.host}:${options.port}`;
  const fast = options.native === false || address.includes('%') ? undefined : native();
  const socket = openSocket(family);
  try {
    if (fast !== undefined) {
      const fd = openConnected(fast, address, family, options);
      await adopt(socket, fd, fast);
      return new NativeUdpClient(socket, target, fast, fd, { address, port: options.port });
    }
    await socket.bind({
      port: options.localPort ?? 0,
      ...(options.localAddress === undefined ? {} : { address: options.localAddress }),
    });
    widen(socket);
    // Connected, so that the kernel lets through replies of this peer alone and reports its absence.
    await new Promise<void>((done, fail) => {
      socket.socket.once('error', fail);
      socket.socket.connect(options.port, address, () => {
        socket.socket.off('error', fail);
        done();
      });
    });
  } catch (error) {
    await socket.close();
    throw new TransportError('RPC_CONNECT', `${target}: ${reason(error)}`, 'no', error);
  }
  return new UdpClient(socket, target);
}

function openConnected(fast: Native, address: string, family: 4 | 6, options: UdpOptions): number {
  const fd = fast.openUdp({
    name: encodeSockaddr(options.localAddress ?? (family === 6 ? '::' : '0.0.0.0'), options.localPort ?? 0),
    tellsAddress: false,
    receiveBufferBytes: RECEIVE_BUFFER_BYTES,
  });
  try {
    fast.connectUdp(fd, encodeSockaddr(address, options.port));
  } catch (error) {
    fast.calls.close(fd);
    throw error;
  }
  return fd;
}

/** What is asked of the system for datagrams not yet read; it may give less. */
export const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

/** Asks for {@link RECEIVE_BUFFER_BYTES}, and takes what the system gives. */
export function widen(socket: SocketAsPromised): void {
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
  } catch {
    // Some systems refuse what is over their limit instead of giving less.
  }
}

/** Gives a descriptor to Node, which owns it from then on; closes it where Node does not take it. */
export async function adopt(socket: SocketAsPromised, fd: number, fast: Native): Promise<void> {
  try {
    const bound = socket.bind({ fd, exclusive: true });
    // Node has set SO_REUSEADDR by now: any user of this host could bind the same port beside us.
    fast.makeExclusive(fd);
    await bound;
  } catch (error) {
    fast.calls.close(fd);
    throw error;
  }
}

class UdpClient implements ClientTransport {
  readonly kind = 'udp';
  readonly isLossy = true;
  readonly maxMessageBytes = MAX_DATAGRAM_BYTES;
  readonly target: string;
  protected readonly owner: SocketAsPromised;
  protected events: TransportEvents | undefined;
  protected isClosed = false;

  constructor(owner: SocketAsPromised, target: string) {
    this.owner = owner;
    this.target = target;
  }

  start(events: TransportEvents): void {
    this.events = events;
    const { socket } = this.owner;
    socket.on('message', (bytes) => this.onMessage(bytes));
    socket.on('error', (error) => this.onError(error));
  }

  send(message: Uint8Array): void {
    if (!this.isClosed) this.owner.socket.send(Buffer.from(message), this.onSent);
  }

  private readonly onSent = (error: Error | null): void => {
    if (error !== null && !this.isClosed) this.onError(error);
  };

  private onError(error: NodeJS.ErrnoException): void {
    this.lose(error.code === 'ECONNREFUSED', error);
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.owner.close();
  }

  protected onMessage(bytes: Uint8Array): void {
    this.events?.message(bytes);
  }

  protected lose(isRefused: boolean, error: unknown): void {
    const text = isRefused ? 'nothing listens there' : reason(error);
    this.events?.lost(new TransportError('RPC_CONNECT', text, isRefused ? 'no' : 'unknown', error));
  }
}

/** Calls made in one turn of the loop leave in one system call; replies that wait are taken in one. */
class NativeUdpClient extends UdpClient {
  private readonly fast: Native;
  private readonly fd: number;
  private readonly outbox: Outbox;
  private isFlushing = false;

  constructor(
    owner: SocketAsPromised,
    target: string,
    fast: Native,
    fd: number,
    peer: { address: string; port: number },
  ) {
    super(owner, target);
    this.fast = fast;
    this.fd = fd;
    this.outbox = new Outbox(
      fast,
      fd,
      // No room just now: Node waits for it.
      (message) => owner.socket.send(message, peer.port, peer.address, () => undefined),
      (errno) =>
        this.lose(errno === ECONNREFUSED, new Error(`the datagram could not be sent (errno ${errno})`)),
    );
  }

  override send(message: Uint8Array): void {
    if (this.isClosed) return;
    this.outbox.add(message, undefined, undefined);
    if (this.isFlushing) return;
    this.isFlushing = true;
    queueMicrotask(() => {
      this.isFlushing = false;
      if (!this.isClosed) this.outbox.flush();
    });
  }

  protected override onMessage(bytes: Uint8Array): void {
    this.events?.message(bytes);
    if (this.isClosed) return;
    const { received } = this.fast;
    const count = received.receive(this.fd);
    for (let i = 0; i < count && !this.isClosed; i++) this.events?.message(received.bytes(i));
  }
}

/** A UDP socket, not bound. Bound by Node it has its port for itself: neither SO_REUSEADDR nor SO_REUSEPORT is set. */
export function openSocket(family: 4 | 6): SocketAsPromised {
  return DgramAsPromised.createSocket({
    type: family === 6 ? 'udp6' : 'udp4',
    ipv6Only: family === 6,
    // Every address we send to is numeric, so nothing has to be looked up, or waited for.
    lookup: (address, _options, callback) => callback(null, address, family),
  });
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
