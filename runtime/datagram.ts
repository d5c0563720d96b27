/**
 * RPC over UDP: one message a datagram. The only importer of dgram-as-promised, which opens,
 * binds and closes the sockets; datagrams are received through the socket's own event,
 * because the package's recv() drops what arrives between two of its calls.
 */

import type dgram from 'node:dgram';
import { lookup as resolve } from 'node:dns/promises';
import { isIP } from 'node:net';
import { DgramAsPromised, type SocketAsPromised } from 'dgram-as-promised';
import { TransportError } from './errors.js';
import type {
  ClientTransport,
  Listener,
  Netid,
  Origin,
  Peer,
  Receive,
  TransportEvents,
} from './transport.js';

/** Most payload bytes of a UDP datagram over IPv4: 65535 less 20 of IP and 8 of UDP header. */
export const MAX_DATAGRAM_BYTES = 65_507;

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
}

/**
 * The address of a host, by the system's resolver. Rejects with TransportError `RPC_CONNECT`
 * where it is unknown.
 */
export async function resolveHost(
  host: string,
  family: 4 | 6 | undefined,
): Promise<{ readonly address: string; readonly family: 4 | 6 }> {
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
  const socket = openSocket(family);
  try {
    await socket.bind({
      port: options.localPort ?? 0,
      ...(options.localAddress === undefined ? {} : { address: options.localAddress }),
    });
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
    throw new TransportError(
      'RPC_CONNECT',
      `udp ${options.host}:${options.port}: ${reason(error)}`,
      'no',
      error,
    );
  }
  return new UdpClient(socket, `udp ${options.host}:${options.port}`);
}

class UdpClient implements ClientTransport {
  readonly kind = 'udp';
  readonly isLossy = true;
  readonly maxMessageBytes = MAX_DATAGRAM_BYTES;
  readonly target: string;
  private readonly owner: SocketAsPromised;
  private isClosed = false;

  constructor(owner: SocketAsPromised, target: string) {
    this.owner = owner;
    this.target = target;
  }

  start(events: TransportEvents): void {
    const { socket } = this.owner;
    socket.on('message', (bytes) => events.message(bytes));
    socket.on('error', (error) => {
      const refused = (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
      const text = refused ? 'nothing listens there' : reason(error);
      events.lost(new TransportError('RPC_CONNECT', text, refused ? 'no' : 'unknown', error));
    });
  }

  send(message: Uint8Array): void {
    if (!this.isClosed) this.owner.socket.send(Buffer.from(message));
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.isClosed = true;
    await this.owner.close();
  }
}

/** Where a UDP listener listens. */
export interface UdpListenOptions {
  /** IP address; `0.0.0.0` or `::` for all. */
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
}

/** Opens a UDP socket for serving. Rejects with the system's error (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
export async function listenUdp(options: UdpListenOptions, receive: Receive): Promise<Listener> {
  const family = isIP(options.host) === 6 ? 6 : 4;
  const socket = openSocket(family);
  try {
    await socket.bind({ address: options.host, port: options.port, exclusive: true });
  } catch (error) {
    await socket.close();
    throw error;
  }
  return new UdpListener(socket, family, receive);
}

class UdpListener implements Listener {
  readonly netid: Netid;
  readonly address: string;
  readonly port: number;
  private readonly owner: SocketAsPromised;
  private readonly gone = new AbortController();

  constructor(owner: SocketAsPromised, family: 4 | 6, receive: Receive) {
    this.owner = owner;
    this.netid = family === 6 ? 'udp6' : 'udp';
    const { socket } = owner;
    const { address, port } = socket.address();
    this.address = address;
    this.port = port;
    const { signal } = this.gone;
    socket.on('message', (bytes, from) => receive(bytes, new Datagram(socket, from, this, signal)));
    // An error here concerns one datagram (a reply that could not be sent), never the socket.
    socket.on('error', () => undefined);
  }

  stop(): Promise<void> {
    this.owner.socket.removeAllListeners('message');
    return Promise.resolve();
  }

  async close(): Promise<void> {
    if (this.gone.signal.aborted) return;
    this.gone.abort();
    await this.owner.close();
  }
}

/** One datagram's sender, as the origin of a call. */
class Datagram implements Origin {
  readonly maxReplyBytes = MAX_DATAGRAM_BYTES;
  readonly signal: AbortSignal;
  private readonly socket: dgram.Socket;
  private readonly from: dgram.RemoteInfo;
  private readonly listener: UdpListener;

  constructor(socket: dgram.Socket, from: dgram.RemoteInfo, listener: UdpListener, signal: AbortSignal) {
    this.socket = socket;
    this.from = from;
    this.listener = listener;
    this.signal = signal;
  }

  get peer(): Peer {
    return {
      transport: 'udp',
      address: this.from.address,
      port: this.from.port,
      localAddress: this.listener.address,
      localPort: this.listener.port,
    };
  }

  reply(message: Uint8Array): void {
    // A reply that the system refuses is a reply lost: the caller will ask again.
    if (!this.signal.aborted)
      this.socket.send(Buffer.from(message), this.from.port, this.from.address, () => undefined);
  }
}

function openSocket(family: 4 | 6): SocketAsPromised {
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
