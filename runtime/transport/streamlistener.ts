/**
 * RPC over byte streams, the serving end: TCP and unix sockets. Replies that are ready together
 * leave together, in one write or a few. A peer costs what its limits allow and no more: one that does not read is
 * not read from, one that asks for too much at a time waits, one that does neither is cut off. How many there may
 * be is connections.ts' part, what they may hold together budget.ts'.
 */

import { chmod, lstat, unlink } from 'node:fs/promises';
import net from 'node:net';
import { TransportError } from '../protocol/errors.js';
import { RecordFramer, type RecordOptions, RecordParser } from '../protocol/record.js';
import type { Listener, Netid, Peer, Receive, ReplyChannel } from '../protocol/transport.js';
import { connectionChannel } from '../telemetry/events.js';
import { type ByteBudget, processInput, processOutput } from './budget.js';
import { type ConnectionLimits, ConnectionTable, type Member } from './connections.js';
import { peerUid, rememberConnection } from './localpeer.js';
import { unmapped } from './sockaddr.js';
import { isLoopback, sourceOf } from './source.js';
import { checkPath } from './stream.js';

/** Default for the bytes of replies that a connection's peer has not read: 8 MiB. */
export const DEFAULT_MAX_BUFFERED_BYTES = 8 * 1024 * 1024;
/** Default for the time a connection may go without a whole call, or without reading its replies: 5 minutes. */
export const DEFAULT_IDLE_TIMEOUT_MS = 300_000;
/** Default for the calls of one connection that are waited for at a time. */
export const DEFAULT_MAX_PENDING_PER_CONNECTION = 1_024;
/** Replies are sent once there are so many bytes of them, though more may come. */
const FLUSH_BYTES = 65_536;
/**
 * Calls that came together are answered in a few writes: after so many replies, then after twice as many, and so on,
 * so that the peer works on the first while we work on the rest, and a long row still takes few system calls.
 */
const FIRST_GROUP = 8;
/** A peer that leaves more than this unread is not read from until it has caught up. */
const PAUSE_BYTES = 65_536;
/** What Node reads once more after it was told to pause, at most. */
const READ_AHEAD_BYTES = 65_536;

/** Bounds on what peers may cost a listener. */
export interface StreamListenOptions extends RecordOptions, ConnectionLimits {
  /** Asked when a connection comes, before anything is read from it; false closes it. Default: all are taken. */
  readonly mayConnect?: (peer: Peer) => boolean;
  /**
   * Tells the user of a connection that came over loopback. With it, all of loopback is one source in what callers share, and of its
   * connections the longest idle one of the user who has most goes; it is asked only then, once a connection. Default: each address
   * of 127.0.0.0/8 is a source.
   */
  readonly userOf?: (peer: Peer) => string;
  /** What input of unfinished calls counts against. Default: a budget that all servers of the process share. */
  readonly unfinished?: ByteBudget;
  /** What replies that peers have not taken count against. Default: a budget that all servers of the process share. */
  readonly unsent?: ByteBudget;
  /** Most bytes of replies a peer may leave unread before it is cut off. Default {@link DEFAULT_MAX_BUFFERED_BYTES}. */
  readonly maxBufferedBytes?: number;
  /**
   * Milliseconds without a whole call, and with none under way, after which a connection is closed;
   * a peer that sends a call byte by byte or does not read its replies has no longer. 0 for ever.
   * Default {@link DEFAULT_IDLE_TIMEOUT_MS}.
   */
  readonly idleTimeoutMs?: number;
  /** Most calls of one connection under way at a time; further ones stay unread. Default {@link DEFAULT_MAX_PENDING_PER_CONNECTION}. */
  readonly maxPendingPerConnection?: number;
  /** A descriptor that listens already, as a service manager hands it over; address and port are then its own. */
  readonly fd?: number;
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
  await listen(
    server,
    options.fd === undefined
      ? {
          host: options.host,
          port: options.port,
          ipv6Only: netid === 'tcp6',
          exclusive: true,
          backlog: BACKLOG,
        }
      : { fd: options.fd },
  );
  const { address, port } = server.address() as net.AddressInfo;
  return new StreamListener(server, netid, 'tcp', address, port, options, receive);
}

/** Connections that may wait to be accepted; the system may allow fewer. */
const BACKLOG = 1_024;

/** Opens a unix listener. Rejects with the system's error; throws RangeError for a path that is too long. */
export async function listenUnix(options: UnixListenOptions, receive: Receive): Promise<Listener> {
  checkPath(options.path);
  const server = net.createServer({ allowHalfOpen: true });
  const isFile = !options.path.startsWith('\0') && options.fd === undefined;
  if (isFile && (await isDeadSocket(options.path))) await unlink(options.path);
  const { fd } = options;
  await listen(server, fd === undefined ? { path: options.path, backlog: BACKLOG } : { fd });
  if (isFile) await chmod(options.path, options.mode ?? 0o666);
  return new StreamListener(server, 'local', 'unix', options.path, 0, options, receive);
}

class StreamListener implements Listener {
  readonly netid: Netid;
  readonly address: string;
  readonly port: number;
  private readonly server: net.Server;
  private readonly table: ConnectionTable;
  private readonly connections = new Set<Connection>();
  private readonly timer: NodeJS.Timeout | undefined;

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
    this.table = new ConnectionTable(options);
    server.on('connection', (socket) => {
      const connection = new Connection(socket, kind, address, options, receive);
      if (options.mayConnect?.(connection.peer) === false || !this.table.admit(connection)) {
        connection.cutOff();
        return;
      }
      this.connections.add(connection);
      tell('open', connection);
      socket.on('close', () => {
        this.table.delete(connection);
        this.connections.delete(connection);
        tell('close', connection);
      });
    });
    // A connection that could not be accepted is the peer's loss, not the listener's end.
    server.on('error', () => undefined);
    const idleMs = options.idleTimeoutMs ?? DEFAULT_IDLE_TIMEOUT_MS;
    if (idleMs > 0) {
      // Four looks in the time allowed: a connection may be idle for up to a quarter longer.
      this.timer = setInterval(() => {
        for (const connection of this.connections) connection.look();
      }, idleMs / 4);
      this.timer.unref();
    }
  }

  /** Connections open now. */
  get connectionCount(): number {
    return this.connections.size;
  }

  stop(): Promise<void> {
    this.server.close();
    for (const connection of this.connections) connection.stop();
    return Promise.resolve();
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    this.table.close();
    const closed = new Promise<void>((done) => this.server.close(() => done()));
    for (const connection of this.connections) connection.end();
    await closed;
  }
}

/** Counts the uses of all connections, so that they can be ordered by the last one. */
let uses = 0;

/** One connection: the origin of every call that comes on it. */
class Connection implements ReplyChannel, Member {
  readonly maxReplyBytes = Number.MAX_SAFE_INTEGER;
  readonly peer: Peer;
  readonly caller: string;
  readonly isLocal: boolean;
  lastUse = ++uses;
  private readonly socket: net.Socket;
  private readonly unfinished: ByteBudget;
  private readonly unsent: ByteBudget;
  /** What the budgets were told last. */
  private unfinishedBytes = 0;
  private unsentBytes = 0;
  private readonly parser: RecordParser;
  private readonly framer = new RecordFramer();
  private readonly maxBufferedBytes: number;
  private readonly maxPending: number;
  private readonly receive: Receive;
  private readonly userOf: ((peer: Peer) => string) | undefined;
  private knownUser: string | undefined;
  private gone: AbortController | undefined;
  private pending = 0;
  /** What was received and may not be looked at yet. */
  private rest: Uint8Array | undefined;
  /** While a chunk is being read, replies wait for its end. */
  private isReading = false;
  /** Replies of the chunk being read since the last write, and how many make the next. */
  private kept = 0;
  private group = FIRST_GROUP;
  private isFlushing = false;
  private isStopped = false;
  private isBlocked = false;
  private isEnded = false;
  /** Looks of the listener since the last whole call. */
  private idleLooks = 0;

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
    this.maxPending = options.maxPendingPerConnection ?? DEFAULT_MAX_PENDING_PER_CONNECTION;
    this.receive = receive;
    this.unfinished = options.unfinished ?? processInput;
    this.unsent = options.unsent ?? processOutput;
    const uid = kind === 'unix' ? peerUid(socket) : undefined;
    this.peer = {
      transport: kind,
      address: unmapped(socket.remoteAddress ?? ''),
      port: socket.remotePort ?? 0,
      localAddress: kind === 'tcp' ? unmapped(socket.localAddress ?? '') : path,
      localPort: socket.localPort ?? 0,
      ...(uid === undefined ? {} : { uid }),
    };
    const { peer } = this;
    if (kind === 'tcp') rememberConnection(peer, socket);
    this.isLocal = kind === 'unix' || isLoopback(peer.address) || peer.address === peer.localAddress;
    // Addresses of a user of this host say nothing: what counts there is the user.
    const isShared = kind === 'tcp' && options.userOf !== undefined && isLoopback(peer.address);
    this.userOf = isShared ? options.userOf : undefined;
    this.caller = kind === 'unix' ? `user ${uid ?? ''}` : isShared ? 'loopback' : sourceOf(peer.address);
    socket.on('data', (chunk) => this.onData(chunk));
    socket.on('drain', () => {
      this.isBlocked = false;
      this.idleLooks = 0;
      this.proceed();
    });
    // The peer has said its last. Nobody can tell a closed half from a peer that is gone before
    // something is sent to it; so the signal fires, and what still comes of its calls is sent.
    socket.on('end', () => {
      this.isEnded = true;
      this.gone?.abort();
      this.endIfDone();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      // A call under way keeps this object; it need not keep what will never be whole.
      this.rest = undefined;
      this.parser.clear();
      this.unfinished.update(this, 0);
      this.unsent.update(this, 0);
      this.gone?.abort();
    });
  }

  get user(): string | undefined {
    this.knownUser ??= this.userOf?.(this.peer);
    return this.knownUser;
  }

  get isBusy(): boolean {
    return this.pending > 0;
  }

  /** Closes it at once; replies under way are lost. */
  cutOff(): void {
    this.socket.destroy();
  }

  get signal(): AbortSignal {
    this.gone ??= new AbortController();
    if (this.isEnded || this.socket.destroyed) this.gone.abort();
    return this.gone.signal;
  }

  callStarted(): void {
    this.pending += 1;
    if (this.pending >= this.maxPending) this.pause();
  }

  callEnded(): void {
    this.pending -= 1;
    this.idleLooks = 0;
    this.lastUse = ++uses;
    if (this.pending === this.maxPending - 1) this.proceed();
    if (this.isEnded) this.endIfDone();
  }

  reply(message: Uint8Array): void {
    if (this.socket.destroyed || this.socket.writableEnded) return;
    this.framer.add(message);
    if (this.framer.pendingBytes >= FLUSH_BYTES) {
      this.flush();
      return;
    }
    if (this.isReading) {
      this.kept += 1;
      if (this.kept < this.group) return;
      this.kept = 0;
      this.group *= 2;
      this.flush();
      return;
    }
    if (this.isFlushing) return;
    this.isFlushing = true;
    queueMicrotask(() => this.flush());
  }

  /** Closes the connection where nothing whole has come for the whole idle time and nothing is under way. */
  look(): void {
    if (this.pending > 0 && !this.isBlocked) return;
    this.idleLooks += 1;
    if (this.idleLooks > 4) this.socket.destroy();
  }

  /** Reads no more; replies under way still go out. */
  stop(): void {
    this.isStopped = true;
    this.pause();
  }

  /** Sends what is ready and ends the connection. */
  end(): void {
    this.flush();
    this.socket.destroySoon();
  }

  private pause(): void {
    this.parser.pause();
    this.socket.pause();
    this.countInput();
  }

  /** Tells the budget what is held of input: the call that is not whole yet, and what was received and waits. */
  private countInput(): void {
    const waiting = this.rest === undefined ? 0 : this.rest.buffer.byteLength;
    const bytes =
      this.parser.heldBytes + waiting + (this.parser.isPaused && !this.isStopped ? READ_AHEAD_BYTES : 0);
    if (bytes === this.unfinishedBytes || this.socket.destroyed) return;
    this.unfinishedBytes = bytes;
    this.unfinished.update(this, bytes);
  }

  /** Tells the budget what is held of replies. */
  private readonly countOutput = (): void => {
    const bytes = this.socket.writableLength;
    if (bytes === this.unsentBytes || this.socket.destroyed) return;
    this.unsentBytes = bytes;
    this.unsent.update(this, bytes);
  };

  /** Goes on reading where nothing forbids it any more. */
  private proceed(): void {
    if (this.isStopped || this.isBlocked || this.pending >= this.maxPending || this.socket.destroyed) return;
    if (this.isReading) return;
    this.parser.resume();
    const { rest } = this;
    this.rest = undefined;
    if (rest !== undefined) this.onData(rest);
    if (this.rest === undefined && !this.isBlocked && this.pending < this.maxPending) this.socket.resume();
    this.countInput();
  }

  private readonly onRecord = (record: Uint8Array): void => {
    this.idleLooks = 0;
    this.lastUse = ++uses;
    this.receive(record, this);
  };

  private onData(chunk: Uint8Array): void {
    if (this.isStopped) return;
    this.isReading = true;
    this.kept = 0;
    this.group = FIRST_GROUP;
    try {
      const taken = this.parser.push(chunk, this.onRecord);
      if (taken < chunk.length) this.rest = chunk.subarray(taken);
    } catch (error) {
      // The frame is lost, and with it any way to tell the peer.
      if (!(error instanceof TransportError)) throw error;
      this.socket.destroy();
      return;
    } finally {
      this.isReading = false;
    }
    this.countInput();
    this.flush();
    // What paused the reading may have ended while there was still something to read.
    if (this.parser.isPaused && this.pending < this.maxPending && !this.isBlocked)
      queueMicrotask(() => this.proceed());
    if (this.isEnded) this.endIfDone();
  }

  private endIfDone(): void {
    if (this.pending > 0 || this.rest !== undefined || this.socket.destroyed) return;
    this.flush();
    this.socket.end();
  }

  private readonly write = (bytes: Buffer): boolean => {
    this.socket.write(bytes, this.countOutput);
    return this.socket.writableLength === 0;
  };

  private flush(): void {
    this.isFlushing = false;
    const { socket } = this;
    if (this.framer.pendingBytes === 0 || socket.destroyed) return;
    this.framer.flushTo(this.write);
    const unread = socket.writableLength;
    this.countOutput();
    if (unread > this.maxBufferedBytes) socket.destroy();
    else if (unread > PAUSE_BYTES && !this.isBlocked) {
      this.isBlocked = true;
      this.pause();
    }
  }
}

function tell(event: 'open' | 'close', connection: Connection): void {
  if (connectionChannel.hasSubscribers) connectionChannel.publish({ event, peer: connection.peer });
}

function listen(server: net.Server, options: net.ListenOptions | { readonly fd: number }): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', fail);
    server.listen(options, () => {
      server.off('error', fail);
      done();
    });
  });
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
