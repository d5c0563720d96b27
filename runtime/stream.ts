/**
 * RPC over byte streams, the calling end: TCP and unix sockets, with record marking. Calls that are
 * made together leave in one write. It moves records and does not look into them.
 */

import net from 'node:net';
import { TransportError } from './errors.js';
import { DEFAULT_MAX_RECORD_BYTES, RecordFramer, type RecordOptions, RecordParser } from './record.js';
import type { ClientTransport, TransportEvents, TransportKind } from './transport.js';

/** Longest path of a unix socket, in bytes; Node would cut a longer one silently. */
export const MAX_UNIX_PATH_BYTES = 107;
/** Default for the time a TCP connection may take to come about: 5 s. */
export const DEFAULT_CONNECT_TIMEOUT_MS = 5_000;
/** Where a TCP client calls. */
export interface TcpOptions extends RecordOptions {
  /** Name or IP address; all addresses of a name are tried. */
  readonly host: string;
  readonly port: number;
  /** 4 or 6 to insist on one family of addresses for a name. */
  readonly family?: 4 | 6;
  readonly localAddress?: string;
  /** Default {@link DEFAULT_CONNECT_TIMEOUT_MS}. */
  readonly connectTimeoutMs?: number;
}

/** Where a client calls on this host. */
export interface UnixOptions extends RecordOptions {
  /** At most 107 bytes; one that begins with a NUL is in Linux' abstract namespace. */
  readonly path: string;
  readonly connectTimeoutMs?: number;
}

/** A TCP way to one server. It connects on the first call and again after a loss. */
export function connectTcp(options: TcpOptions): ClientTransport {
  const target = { host: options.host, port: options.port, family: options.family ?? 0 };
  return new StreamClient('tcp', `tcp ${options.host}:${options.port}`, options, () =>
    net.connect({
      ...target,
      noDelay: true,
      ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
    }),
  );
}

/** A way to a server on this host through a unix socket. Throws RangeError for a path that is too long. */
export function connectUnix(options: UnixOptions): ClientTransport {
  checkPath(options.path);
  return new StreamClient('unix', `unix ${options.path.replace('\0', '@')}`, options, () =>
    net.connect({ path: options.path }),
  );
}

class StreamClient implements ClientTransport {
  readonly kind: TransportKind;
  readonly isLossy = false;
  readonly target: string;
  readonly maxMessageBytes: number;
  private readonly options: RecordOptions & { readonly connectTimeoutMs?: number };
  private readonly open: () => net.Socket;
  private readonly framer = new RecordFramer();
  private events: TransportEvents | undefined;
  private socket: net.Socket | undefined;
  private isConnected = false;
  private isFlushing = false;
  private isClosed = false;

  constructor(
    kind: TransportKind,
    target: string,
    options: RecordOptions & { readonly connectTimeoutMs?: number },
    open: () => net.Socket,
  ) {
    this.kind = kind;
    this.target = target;
    this.options = options;
    this.maxMessageBytes = options.maxRecordBytes ?? DEFAULT_MAX_RECORD_BYTES;
    this.open = open;
  }

  start(events: TransportEvents): void {
    this.events = events;
  }

  send(message: Uint8Array): void {
    if (this.isClosed) return;
    this.framer.add(message);
    if (this.socket === undefined) this.connect();
    else if (this.isConnected && !this.isFlushing) {
      this.isFlushing = true;
      queueMicrotask(() => this.flush());
    }
  }

  close(): Promise<void> {
    this.isClosed = true;
    const { socket } = this;
    this.socket = undefined;
    if (socket === undefined || socket.destroyed) return Promise.resolve();
    return new Promise((done) => {
      socket.once('close', () => done());
      socket.destroy();
    });
  }

  private connect(): void {
    const socket = this.open();
    this.socket = socket;
    const parser = new RecordParser(this.options);
    const limitMs = this.options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const timer = setTimeout(
      () =>
        this.lose(
          socket,
          new TransportError('RPC_CONNECT', `no connection within ${limitMs / 1000} s`, 'no'),
        ),
      limitMs,
    );
    socket.on('connect', () => {
      clearTimeout(timer);
      this.isConnected = true;
      this.flush();
    });
    socket.on('data', (chunk) => {
      try {
        parser.push(chunk, (record) => this.events?.message(record));
      } catch (error) {
        if (!(error instanceof TransportError)) throw error;
        this.lose(socket, error);
      }
    });
    socket.on('error', (error) => this.lose(socket, this.lossOf(error)));
    socket.on('close', () => {
      clearTimeout(timer);
      this.lose(socket, new TransportError('RPC_CLOSED', 'the server closed the connection', 'unknown'));
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

  private lose(socket: net.Socket, error: TransportError): void {
    if (this.socket !== socket) return;
    this.socket = undefined;
    this.isConnected = false;
    this.framer.take();
    socket.destroy();
    this.events?.lost(error);
  }

  private flush(): void {
    this.isFlushing = false;
    if (this.isConnected && this.framer.pendingBytes > 0) this.socket?.write(this.framer.take());
  }
}

/** Throws RangeError for a path that Node would cut short. */
export function checkPath(path: string): void {
  const size = Buffer.byteLength(path);
  if (size > MAX_UNIX_PATH_BYTES)
    throw new RangeError(`a socket path of ${size} bytes, where ${MAX_UNIX_PATH_BYTES} are allowed: ${path}`);
}
