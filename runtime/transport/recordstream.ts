/**
 * Records over a byte stream whose socket can be replaced while it is open, as when TLS begins in the middle of a
 * connection (RFC 9289 section 4.1). Shared by the two ends: stream.ts connects, connection.ts serves.
 */

import type net from 'node:net';
import { RecordFramer, type RecordOptions, RecordParser } from '../protocol/record.js';
import type { PeerIdentity } from '../protocol/transport.js';

/** What a socket was replaced by. */
export interface UpgradedSocket {
  /** The stream to go on with; a `tls.TLSSocket` is one. When it closes, the socket below it closes. */
  readonly socket: net.Socket;
  /** What the peer proved. Default: nothing. */
  readonly identity?: PeerIdentity | undefined;
  /**
   * What it means that the new socket fails, or is closed by the peer, after so many records. Undefined where its message
   * says it. Default: its message.
   */
  readonly explain?: ((error: Error, records: number) => Error | undefined) | undefined;
}

/** Replaces a socket. Rejects where the peer fails the handshake; the socket is then closed. */
export type StreamUpgrade = (socket: net.Socket) => Promise<UpgradedSocket>;

/** What a stream tells of its socket, whichever it is. */
export interface StreamHandlers {
  data(chunk: Uint8Array): void;
  drain(): void;
  end(): void;
  error(error: Error): void;
}

/** One connection's bytes as records. */
export class RecordStream {
  /** The socket in use: the connected one, or what has replaced it. */
  socket: net.Socket;
  /** Finds the records in what the socket receives. */
  parser: RecordParser;
  /** Keeps records together that leave in one write. */
  readonly framer = new RecordFramer();
  private readonly options: RecordOptions;
  private readonly handlers: StreamHandlers;

  constructor(socket: net.Socket, options: RecordOptions, handlers: StreamHandlers) {
    this.socket = socket;
    this.options = options;
    this.handlers = handlers;
    this.parser = new RecordParser(options);
    this.attach();
  }

  /** Stops reading, so that the bytes that come next are left to who replaces the socket. */
  detach(): void {
    const { socket, handlers } = this;
    socket.pause();
    socket.off('data', handlers.data);
    socket.off('drain', handlers.drain);
    socket.off('end', handlers.end);
  }

  /** Goes on with another socket, at the beginning of a record. After {@link detach}. */
  replace(socket: net.Socket): void {
    this.socket = socket;
    this.parser = new RecordParser(this.options);
    this.attach();
    socket.resume();
  }

  private attach(): void {
    const { socket, handlers } = this;
    socket.on('data', handlers.data);
    socket.on('drain', handlers.drain);
    socket.on('end', handlers.end);
    socket.on('error', handlers.error);
  }
}
