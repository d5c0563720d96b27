/**
 * RPC over byte streams: TCP and unix sockets, with record marking. Replies, or calls, that are
 * ready together leave in one write. It moves records and does not look into them.
 */

import { chmod, lstat, unlink } from 'node:fs/promises';
import net from 'node:net';
import { TransportError } from './errors.js';
import { DEFAULT_MAX_RECORD_BYTES, RecordFramer, type RecordOptions, RecordParser } from './record.js';
import type {
  ClientTransport,
  Listener,
  Netid,
  Origin,
  Peer,
  Receive,
  TransportEvents,
  TransportKind,
} from './transport.js';

/** Longest path of a unix socket, in bytes; Node would cut a longer one silently. */
export const MAX_UNIX_PATH_BYTES = 107;
/** Default for the time a TCP connection may take to come about: 5 s. */
export const DEFAULT_CONNECT_TIMEOUT_MS = 5_000;
/** Default for the connections of one listener. */
export const DEFAULT_MAX_CONNECTIONS = 4_096;
/** Default for the bytes of replies that a connection's peer has not read: 8 MiB. */
export const DEFAULT_MAX_BUFFERED_BYTES = 8 * 1024 * 1024;

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

/** Bounds on what peers may cost a listener. */
export interface StreamListenOptions extends RecordOptions {
  /** Most connections at a time; one more is closed at once. Default {@link DEFAULT_MAX_CONNECTIONS}. */
  readonly maxConnections?: number;
  /** Most bytes of replies a peer may leave unread before it is cut off. Default {@link DEFAULT_MAX_BUFFERED_BYTES}. */
  readonly maxBufferedBytes?: number;
}

/** Where a TCP listener listens. */
export interface TcpListenOptions extends StreamListenOptions {
  /** IP address; `0.0.0.0` or `::` for all of one family. */
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
}

/** Where a unix listener listens. */
export interface UnixListenOptions extends StreamListenOptions {
  /** At most 107 bytes. A socket file that nobody answers on is replaced. */
  readonly path: string;
  /** Permissions of the socket file. Default 0o666, as rpcbind's. */
  readonly mode?: number;
}

/** Opens a TCP listener. Rejects with the system's error (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
export async function listenTcp(options: TcpListenOptions, receive: Receive): Promise<Listener> {
  const netid = net.isIP(options.host) === 6 ? 'tcp6' : 'tcp';
  const server = net.createServer({ noDelay: true, allowHalfOpen: true });
  await listen(server, {
    host: options.host,
    port: options.port,
    ipv6Only: netid === 'tcp6',
    exclusive: true,
  });
  const { address, port } = server.address() as net.AddressInfo;
  return new StreamListener(server, netid, 'tcp', address, port, options, receive);
}

/** Opens a unix listener. Rejects with the system's error; throws RangeError for a path that is too long. */
export async function listenUnix(options: UnixListenOptions, receive: Receive): Promise<Listener> {
  checkPath(options.path);
  const server = net.createServer({ allowHalfOpen: true });
  const isFile = !options.path.startsWith('\0');
  if (isFile && (await isDeadSocket(options.path))) await unlink(options.path);
  await listen(server, { path: options.path });
  if (isFile) await chmod(options.path, options.mode ?? 0o666);
  return new StreamListener(server, 'local', 'unix', options.path, 0, options, receive);
}

class StreamListener implements Listener {
  readonly netid: Netid;
  readonly address: string;
  readonly port: number;
  private readonly server: net.Server;
  private readonly connections = new Set<Connection>();

  constructor(
    server: net.Server,
    netid: Netid,
    kind: 'tcp' | 'unix',
    address: string,
    port: number,
    options: StreamListenOptions,
    receive: Receive,
  ) {
    this.server = server;
    this.netid = netid;
    this.address = address;
    this.port = port;
    server.maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS;
    server.on('connection', (socket) => {
      const connection = new Connection(socket, kind, address, options, receive);
      this.connections.add(connection);
      socket.on('close', () => this.connections.delete(connection));
    });
    // A connection that could not be accepted is the peer's loss, not the listener's end.
    server.on('error', () => undefined);
  }

  stop(): Promise<void> {
    this.server.close();
    for (const connection of this.connections) connection.stop();
    return Promise.resolve();
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((done) => this.server.close(() => done()));
    for (const connection of this.connections) connection.end();
    await closed;
  }
}

/** One connection: the origin of every call that comes on it. */
class Connection implements Origin {
  readonly maxReplyBytes = Number.MAX_SAFE_INTEGER;
  readonly peer: Peer;
  private readonly socket: net.Socket;
  private readonly parser: RecordParser;
  private readonly framer = new RecordFramer();
  private readonly maxBufferedBytes: number;
  private gone: AbortController | undefined;
  /** While a chunk is being read, replies wait for its end. */
  private isReading = false;
  private isFlushing = false;
  private isStopped = false;

  constructor(
    socket: net.Socket,
    kind: 'tcp' | 'unix',
    path: string,
    options: StreamListenOptions,
    receive: Receive,
  ) {
    this.socket = socket;
    this.parser = new RecordParser(options);
    this.maxBufferedBytes = options.maxBufferedBytes ?? DEFAULT_MAX_BUFFERED_BYTES;
    this.peer = {
      transport: kind,
      address: socket.remoteAddress ?? '',
      port: socket.remotePort ?? 0,
      localAddress: kind === 'tcp' ? (socket.localAddress ?? '') : path,
      localPort: socket.localPort ?? 0,
    };
    const onRecord = (record: Uint8Array): void => receive(record, this);
    socket.on('data', (chunk) => this.onData(chunk, onRecord));
    socket.on('drain', () => {
      if (!this.isStopped) socket.resume();
    });
    // The peer has said its last; what it asked may still be answered before the socket ends.
    socket.on('end', () => queueMicrotask(() => socket.end()));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.gone?.abort());
  }

  get signal(): AbortSignal {
    this.gone ??= new AbortController();
    if (this.socket.destroyed) this.gone.abort();
    return this.gone.signal;
  }

  reply(message: Uint8Array): void {
    if (this.socket.destroyed || this.socket.writableEnded) return;
    this.framer.add(message);
    if (this.isReading || this.isFlushing) return;
    this.isFlushing = true;
    queueMicrotask(() => this.flush());
  }

  /** Reads no more; replies under way still go out. */
  stop(): void {
    this.isStopped = true;
    this.socket.pause();
  }

  /** Sends what is ready and ends the connection. */
  end(): void {
    this.flush();
    this.socket.destroySoon();
  }

  private onData(chunk: Uint8Array, onRecord: (record: Uint8Array) => void): void {
    if (this.isStopped) return;
    this.isReading = true;
    try {
      this.parser.push(chunk, onRecord);
    } catch (error) {
      // The frame is lost, and with it any way to tell the peer.
      if (!(error instanceof TransportError)) throw error;
      this.socket.destroy();
      return;
    } finally {
      this.isReading = false;
    }
    this.flush();
  }

  private flush(): void {
    this.isFlushing = false;
    if (this.framer.pendingBytes === 0 || this.socket.destroyed) return;
    const isFlowing = this.socket.write(this.framer.take());
    if (this.socket.writableLength > this.maxBufferedBytes) this.socket.destroy();
    else if (!isFlowing) this.socket.pause();
  }
}

function listen(server: net.Server, options: net.ListenOptions): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail);
    server.listen(options, () => {
      server.off('error', fail);
      done();
    });
  });
}

function checkPath(path: string): void {
  const size = Buffer.byteLength(path);
  if (size > MAX_UNIX_PATH_BYTES)
    throw new RangeError(`a socket path of ${size} bytes, where ${MAX_UNIX_PATH_BYTES} are allowed: ${path}`);
}

/** True where a socket file is left over from a server that is gone. Any other kind of file is not ours to remove. */
async function isDeadSocket(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket() !== true) return false;
  return new Promise((done) => {
    const probe = net.connect({ path });
    probe.on('connect', () => {
      probe.destroy();
      done(false);
    });
    probe.on('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNREFUSED'));
  });
}
