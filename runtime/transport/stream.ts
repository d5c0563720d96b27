/**
 * RPC over byte streams, the calling end: TCP and unix sockets, with record marking. Calls that are
 * made together leave in one write. It moves records and does not look into them.
 */

import net from 'node:net';
import { TransportError } from '../protocol/errors.js';
import { DEFAULT_MAX_RECORD_BYTES, RecordFramer, type RecordOptions } from '../protocol/record.js';
import type { ClientTransport, TransportEvents, TransportKind } from '../protocol/transport.js';
import { RecordStream, type StreamUpgrade, type UpgradedSocket } from './recordstream.js';

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
  /**
   * Runs on each new connection before the first call is sent on it, within `connectTimeoutMs`: it may exchange records
   * and replace the socket, as to begin TLS. What it rejects with fails the connection. Default: nothing.
   */
  readonly handshake?: ((connection: HandshakeConnection) => Promise<void>) | undefined;
}

/** A new connection, in the hands of {@link StreamOptions.handshake}. */
export interface HandshakeConnection {
  /** For error messages: `tcp 127.0.0.1:111`. */
  readonly target: string;
  /** The name or address that was asked for; undefined for a unix socket. */
  readonly host: string | undefined;
  /** Sends one record and resolves with the next that comes, a copy. */
  exchange(record: Uint8Array): Promise<Uint8Array>;
  /** Replaces the socket. Nothing may have been received behind the last record. Rejects with what `upgrade` rejects with. */
  replace(upgrade: StreamUpgrade): Promise<UpgradedSocket>;
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

/** A TCP transport to one server. It connects on the first call and again after a loss. */
export function connectTcp(options: TcpOptions): ClientTransport {
  const servers = [{ host: options.host, port: options.port }, ...(options.alternates ?? [])];
  const endpoints = servers.map(({ host, port }) => ({
    target: `tcp ${host}:${port}`,
    host,
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
  return new StreamClient('tcp', endpoints, options);
}

/** A transport to a server on this host through a unix socket. Throws RangeError for a path that is too long. */
export function connectUnix(options: UnixOptions): ClientTransport {
  checkPath(options.path);
  const target = `unix ${options.path.replace('\0', '@')}`;
  return new StreamClient(
    'unix',
    [{ target, host: undefined, open: () => net.connect({ path: options.path }) }],
    options,
  );
}

/** One of the addresses where the service may be. */
interface StreamEndpoint {
  readonly target: string;
  readonly host: string | undefined;
  open(): net.Socket;
}

class StreamClient implements ClientTransport {
  readonly kind: TransportKind;
  readonly isLossy = false;
  readonly maxMessageBytes: number;
  private readonly endpoints: readonly StreamEndpoint[];
  private readonly options: StreamOptions;
  private readonly reconnectMs: number;
  private readonly maxReconnectMs: number;
  private events: TransportEvents | undefined;
  /** Calls that wait for a connection. */
  private readonly waiting = new RecordFramer();
  /** The connection, or what is to become it. */
  private stream: RecordStream | undefined;
  /** Below whatever has replaced it. */
  private socket: net.Socket | undefined;
  private explain: UpgradedSocket['explain'];
  /** The endpoint in use, or to be tried next. */
  private current = 0;
  /** Endpoints that were tried in vain since the last connection. */
  private failures = 0;
  private timer: NodeJS.Timeout | undefined;
  private isConnected = false;
  private isFlushing = false;
  private isClosed = false;

  constructor(kind: TransportKind, endpoints: readonly StreamEndpoint[], options: StreamOptions) {
    this.kind = kind;
    this.endpoints = endpoints;
    this.options = options;
    this.reconnectMs = options.reconnectMs ?? DEFAULT_RECONNECT_MS;
    this.maxReconnectMs = options.maxReconnectMs ?? DEFAULT_MAX_RECONNECT_MS;
    this.maxMessageBytes = options.maxRecordBytes ?? DEFAULT_MAX_RECORD_BYTES;
  }

  get target(): string {
    return (this.endpoints[this.current] as StreamEndpoint).target;
  }

  start(events: TransportEvents): void {
    this.events = events;
  }

  send(message: Uint8Array): void {
    if (this.isClosed) return;
    if (this.isConnected) {
      (this.stream as RecordStream).framer.add(message);
      if (this.isFlushing) return;
      this.isFlushing = true;
      queueMicrotask(this.flush);
      return;
    }
    this.waiting.add(message);
    if (this.waiting.pendingBytes > MAX_WAITING_BYTES) {
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

  /** At once, unless every endpoint failed before: then after a while, each time a longer one. */
  private connectInTime(): void {
    const rounds = Math.floor(this.failures / this.endpoints.length);
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
    const socket = (this.endpoints[this.current] as StreamEndpoint).open();
    this.socket = socket;
    const limitMs = this.options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const timer = setTimeout(
      () =>
        this.onBroken(
          socket,
          new TransportError('RPC_CONNECT', `no connection within ${limitMs / 1000} s`, 'no'),
        ),
      limitMs,
    );
    let onRecord = (record: Uint8Array): void => this.events?.message(record);
    let records = 0;
    const deliver = (record: Uint8Array): void => {
      records += 1;
      onRecord(record);
    };
    const stream = new RecordStream(socket, this.options, {
      data: (chunk) => {
        try {
          const taken = stream.parser.push(chunk, deliver);
          // Only a handshake pauses the parser: what came behind its last record came in the clear.
          if (taken < chunk.length)
            throw new TransportError('RPC_FRAMING', 'bytes came before the handshake was done', 'no');
        } catch (error) {
          if (!(error instanceof TransportError)) throw error;
          this.onBroken(socket, error);
        }
      },
      drain: () => undefined,
      end: () => undefined,
      error: (error) => {
        clearTimeout(timer);
        this.onBroken(socket, this.lossOf(error, records));
      },
    });
    this.stream = stream;
    const begin = (): void => {
      clearTimeout(timer);
      if (this.socket !== socket) return;
      this.isConnected = true;
      this.failures = 0;
      if (this.waiting.pendingBytes > 0) this.write(this.waiting.take());
    };
    socket.on('connect', () => {
      const { handshake } = this.options;
      if (handshake === undefined) {
        begin();
        return;
      }
      const usual = onRecord;
      const connection: HandshakeConnection = {
        target: this.target,
        host: (this.endpoints[this.current] as StreamEndpoint).host,
        exchange: (record) =>
          new Promise((resolve) => {
            onRecord = (reply) => {
              stream.parser.pause();
              resolve(reply.slice());
            };
            stream.parser.resume();
            stream.framer.add(record);
            stream.socket.write(stream.framer.take());
          }),
        replace: async (upgrade) => {
          stream.detach();
          const upgraded = await upgrade(socket);
          this.explain = upgraded.explain;
          records = 0;
          stream.replace(upgraded.socket);
          return upgraded;
        },
      };
      handshake(connection).then(
        () => {
          onRecord = usual;
          stream.parser.resume();
          begin();
        },
        (error: unknown) =>
          this.onBroken(
            socket,
            error instanceof TransportError
              ? error
              : new TransportError('RPC_CONNECT', reasonOf(error), 'no', error),
          ),
      );
    });
    socket.on('close', () => {
      clearTimeout(timer);
      const error = new TransportError('RPC_CLOSED', 'the server closed the connection', 'unknown');
      this.onBroken(socket, this.explained(error, records) ?? error);
    });
  }

  private explained(error: Error, records: number): TransportError | undefined {
    const known = this.explain?.(error, records);
    return known instanceof TransportError ? known : undefined;
  }

  private lossOf(error: NodeJS.ErrnoException, records: number): TransportError {
    const known = this.explained(error, records);
    if (known !== undefined) return known;
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
    const isLast = this.failures % this.endpoints.length === 0;
    // Whatever went wrong, no call had been sent.
    if (isLast) this.lose(new TransportError(error.code, error.message, 'no', error.cause));
    this.current = (this.current + 1) % this.endpoints.length;
    if (isLast) return;
    // Nothing has been sent yet: what waits goes to the next.
    this.socket = undefined;
    this.stream = undefined;
    this.explain = undefined;
    socket.destroy();
    this.connect();
  }

  private lose(error: TransportError): void {
    const { socket } = this;
    this.socket = undefined;
    this.stream = undefined;
    this.explain = undefined;
    this.isConnected = false;
    this.waiting.take();
    socket?.destroy();
    this.events?.lost(error);
  }

  private readonly flush = (): void => {
    this.isFlushing = false;
    const { stream } = this;
    if (this.isConnected && stream !== undefined && stream.framer.pendingBytes > 0)
      stream.framer.flushTo(this.write);
  };

  private readonly write = (bytes: Buffer): boolean => {
    const socket = this.stream?.socket;
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

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
