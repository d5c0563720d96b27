/**
 * RPC over byte streams, the serving end: TCP and unix sockets. Replies that are ready together
 * leave together, in one write or a few. A peer costs what its limits allow and no more: one that does not read is
 * not read from, one that asks for too much at a time waits, one that does neither is cut off. How many there may
 * be is connections.ts' part, what they may hold together budget.ts'.
 */

import { chmod, lstat, unlink } from 'node:fs/promises';
import net from 'node:net';
import type { Listener, Netid, Receive } from '../protocol/transport.js';
import {
  Connection,
  DEFAULT_IDLE_TIMEOUT_MS,
  type StreamListenOptions,
  tellConnection,
} from './connection.js';
import { ConnectionTable } from './connections.js';
import { checkPath } from './stream.js';

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
      tellConnection('open', connection.peer);
      socket.on('close', () => {
        this.table.delete(connection);
        this.connections.delete(connection);
        tellConnection('close', connection.peer);
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
