/**
 * RPC over byte streams, the calling end: TCP and unix sockets, with record marking. Calls that are
 * made together leave in one write. It moves records and does not look into them.
 */

import net from 'node:net';
import { TransportError } from '../protocol/errors.js';
import {
  DEFAULT_MAX_RECORD_BYTES,
  RecordFramer,
  type RecordOptions,
  RecordParser,
} from '../protocol/record.js';
import type { ClientTransport, TransportEvents, TransportKind } from '../protocol/transport.js';

/** Longest path of a unix socket, in bytes; Node would cut a longer one silently. */
export const MAX_UNIX_PATH_BYTES = 107;
/** Default for the time a TCP connection may take to come about: 5 s. */
export const DEFAULT_CONNECT_TIMEOUT_MS = 5_000;
/** What all stream clients may be told. */
export interface StreamOptions extends RecordOptions {
  /** Default {@link DEFAULT_CONNECT_TIMEOUT_MS}, for each address. */
  readonly connectTimeoutMs?: number;
  /**
   * Milliseconds to wait before connecting anew after no address could be reached, doubled each time up to
   * `maxReconnectMs` and made random from half of it up, so that clients do not come back all at once.
   * Calls made meanwhile wait. Default {@link DEFAULT_RECONNECT_MS}.
   */
  readonly reconnectMs?: number;
  /** Default {@link DEFAULT_MAX_RECONNECT_MS}. */
  readonly maxReconnectMs?: number;
}

/** Default for the first wait before connecting anew: 50 ms. */
export const DEFAULT_RECONNECT_MS = 50;
/** Default for the longest wait before connecting anew: 5 s. */
export const DEFAULT_MAX_RECONNECT_MS = 5_000;
/** Bytes of calls that may wait for a connection; a call over it fails them all. 64 MiB. */
export const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/** Where a TCP client calls. */
export interface TcpOptions extends StreamOptions {
  /** Name or IP address; all addresses of a name are tried. */
  readonly host: string;
  readonly port: number;
  /** Further servers of the same service, tried in turn where the one before cannot be reached. */
  readonly alternates?: readonly { readonly host: string; readonly port: number }[];
  /** 4 or 6 to insist on one family of addresses for a name. */
  readonly family?: 4 | 6;
  readonly localAddress?: string;
}

/** Where a client calls on this host. */
export interface UnixOptions extends StreamOptions {
  /** At most 107 bytes; one that begins with a NUL is in Linux' abstract namespace. */
  readonly path: string;
}

/** A TCP way to one server. It connects on the first call and again after a loss. */
export function connectTcp(options: TcpOptions): ClientTransport {
  const places = [{ host: options.host, port: options.port }, ...(options.alternates ?? [])];
  const ways = places.map(({ host, port }) => ({
    target: `tcp ${host}:${port}`,
    open: () =>
      net.connect({
        host,
        port,
        family: options.family ?? 0,
        noDelay: true,
        keepAlive: true,
        ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
      }),
  }));
  return new StreamClient('tcp', ways, options);
}

/** A way to a server on this host through a unix socket. Throws RangeError for a path that is too long. */
export function connectUnix(options: UnixOptions): ClientTransport {
  checkPath(options.path);
  const target = `unix ${options.path.replace('\0', '@')}`;
  return new StreamClient('unix', [{ target, open: () => net.connect({ path: options.path }) }], options);
}

/** One of the places where the service may be. */
interface Way {
  readonly target: string;
  open(): net.Socket;
}

class StreamClient implements ClientTransport {
  readonly kind: TransportKind;
  readonly isLossy = false;
  readonly maxMessageBytes: number;
  private readonly ways: readonly Way[];
  private readonly options: StreamOptions;
  private readonly framer = new RecordFramer();
  private readonly reconnectMs: number;
  private readonly maxReconnectMs: number;
  private events: TransportEvents | undefined;
  private socket: net.Socket | undefined;
  /** The way in use, or to be tried next. */
  private way = 0;
  /** Ways that were tried in vain since the last connection. */
  private failures = 0;
  private timer: NodeJS.Timeout | undefined;
  private isConnected = false;
  private isFlushing = false;
  private isClosed = false;

  constructor(kind: TransportKind, ways: readonly Way[], options: StreamOptions) {
    this.kind = kind;
    this.ways = ways;
    this.options = options;
    this.reconnectMs = options.reconnectMs ?? DEFAULT_RECONNECT_MS;
    this.maxReconnectMs = options.maxReconnectMs ?? DEFAULT_MAX_RECONNECT_MS;
    this.maxMessageBytes = options.maxRecordBytes ?? DEFAULT_MAX_RECORD_BYTES;
  }

  get target(): string {
    return (this.ways[this.way] as Way).target;
  }

  start(events: TransportEvents): void {
    this.events = events;
  }

  send(message: Uint8Array): void {
    if (this.isClosed) return;
    this.framer.add(message);
    if (this.isConnected) {
      if (this.isFlushing) return;
      this.isFlushing = true;
      queueMicrotask(this.flush);
    } else if (this.framer.pendingBytes > MAX_WAITING_BYTES) {
      this.lose(new TransportError('RPC_CONNECT', 'too many bytes wait for a connection', 'no'));
    } else if (this.socket === undefined && this.timer === undefined) this.connectInTime();
  }

  reset(error: TransportError): void {
    const { socket } = this;
    if (socket === undefined) return;
    // Not merely closed: the server learns at once that nobody waits for its answers.
    if (this.kind === 'tcp' && this.isConnected) socket.resetAndDestroy();
    this.lose(error);
  }

  close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    const { socket } = this;
    this.socket = undefined;
    if (socket === undefined || socket.destroyed) return Promise.resolve();
    return new Promise((done) => {
      socket.once('close', () => done());
      socket.destroy();
    });
  }

  /** At once, unless every way failed before: then after a while, each time a longer one. */
  private connectInTime(): void {
    const rounds = Math.floor(this.failures / this.ways.length);
    if (rounds === 0) {
      this.connect();
      return;
    }
    const mostMs = Math.min(this.maxReconnectMs, this.reconnectMs * 2 ** Math.min(rounds - 1, 20));
    this.timer = setTimeout(
      () => {
        this.timer = undefined;
        this.connect();
      },
      mostMs * (0.5 + Math.random() / 2),
    );
  }

  private connect(): void {
    const socket = (this.ways[this.way] as Way).open();
    this.socket = socket;
    const parser = new RecordParser(this.options);
    const limitMs = this.options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const timer = setTimeout(
      () =>
        this.onBroken(
          socket,
          new TransportError('RPC_CONNECT', `no connection within ${limitMs / 1000} s`, 'no'),
        ),
      limitMs,
    );
    socket.on('connect', () => {
      clearTimeout(timer);
      this.isConnected = true;
      this.failures = 0;
      this.flush();
    });
    const onRecord = (record: Uint8Array): void => this.events?.message(record);
    socket.on('data', (chunk) => {
      try {
        parser.push(chunk, onRecord);
      } catch (error) {
        if (!(error instanceof TransportError)) throw error;
        this.onBroken(socket, error);
      }
    });
    socket.on('error', (error) => {
      clearTimeout(timer);
      this.onBroken(socket, this.lossOf(error));
    });
    socket.on('close', () => {
      clearTimeout(timer);
      this.onBroken(socket, new TransportError('RPC_CLOSED', 'the server closed the connection', 'unknown'));
    });
  }

  private lossOf(error: NodeJS.ErrnoException): TransportError {
    if (this.isConnected)
      return new TransportError('RPC_CLOSED', `the connection broke: ${error.message}`, 'unknown', error);
    const text =
      error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN'
        ? 'no such host'
        : error.code === 'ECONNREFUSED' || error.code === 'ENOENT'
          ? 'nothing listens there'
          : error.message;
    return new TransportError('RPC_CONNECT', text, 'no', error);
  }

  private onBroken(socket: net.Socket, error: TransportError): void {
    if (this.socket !== socket) return;
    if (this.isConnected) {
      this.lose(error);
      return;
    }
    this.failures += 1;
    const isLast = this.failures % this.ways.length === 0;
    if (isLast) this.lose(error);
    this.way = (this.way + 1) % this.ways.length;
    if (isLast) return;
    // Nothing has been sent yet: what waits goes to the next.
    this.socket = undefined;
    socket.destroy();
    this.connect();
  }

  private lose(error: TransportError): void {
    const { socket } = this;
    this.socket = undefined;
    this.isConnected = false;
    this.framer.take();
    socket?.destroy();
    this.events?.lost(error);
  }

  private readonly flush = (): void => {
    this.isFlushing = false;
    if (this.isConnected && this.framer.pendingBytes > 0) this.framer.flushTo(this.write);
  };

  private readonly write = (bytes: Buffer): boolean => {
    const { socket } = this;
    socket?.write(bytes);
    return socket?.writableLength === 0;
  };
}

/** Throws RangeError for a path that Node would cut short. */
export function checkPath(path: string): void {
  const size = Buffer.byteLength(path);
  if (size > MAX_UNIX_PATH_BYTES)
    throw new RangeError(`a socket path of ${size} bytes, where ${MAX_UNIX_PATH_BYTES} are allowed: ${path}`);
}
