/**
 * One connection of a stream listener: the reply channel of every call that comes on it. A peer costs what its limits
 * allow and no more: one that does not read its replies is not read from, one that asks for too much at a time waits, one
 * that does neither is cut off.
 */

import type net from 'node:net';
import { TransportError } from '../protocol/errors.js';
import type { RecordOptions } from '../protocol/record.js';
import { isLoopback, sourceOf } from '../protocol/source.js';
import type { Peer, Receive, ReplyChannel } from '../protocol/transport.js';
import { connectionChannel } from '../telemetry/events.js';
import { type ByteBudget, processInput, processOutput } from './budget.js';
import type { ConnectionLimits, Member } from './connections.js';
import { peerUid, rememberConnection } from './localpeer.js';
import { RecordStream, type StreamUpgrade } from './recordstream.js';
import { unmapped } from './sockaddr.js';

/** Default for the bytes of replies that a connection's peer has not read: 8 MiB. */
export const DEFAULT_MAX_BUFFERED_BYTES = 8 * 1024 * 1024;
/** Default for the time a connection may go without a whole call, or without reading its replies: 5 minutes. */
export const DEFAULT_IDLE_TIMEOUT_MS = 300_000;
/** Default for the calls of one connection that are waited for at a time. */
export const DEFAULT_MAX_PENDING_PER_CONNECTION = 1_024;
/** Default for the time that an upgrade of a connection may take: 10 s. */
export const DEFAULT_UPGRADE_TIMEOUT_MS = 10_000;

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
  /**
   * Upgrades a connection whose caller asks for it, as to TLS: what {@link ReplyChannel.upgrade} of its calls does. Default:
   * connections cannot be upgraded.
   */
  readonly upgrade?: StreamUpgrade | undefined;
  /** Milliseconds that an upgrade may take; then the connection is closed. Default {@link DEFAULT_UPGRADE_TIMEOUT_MS}. */
  readonly upgradeTimeoutMs?: number | undefined;
}

/** Counts the uses of all connections, so that they can be ordered by the last one. */
let uses = 0;

/** One connection: the origin of every call that comes on it. */
export class Connection implements ReplyChannel, Member {
  readonly maxReplyBytes = Number.MAX_SAFE_INTEGER;
  peer: Peer;
  readonly caller: string;
  readonly isLocal: boolean;
  lastUse = ++uses;
  /** Upgrades the connection, where that can be and was not done yet. */
  upgrade: (() => void) | undefined;
  /** The connection itself, below whatever has replaced it. */
  private readonly base: net.Socket;
  private readonly stream: RecordStream;
  private readonly upgradeTimeoutMs: number;
  private readonly unfinished: ByteBudget;
  private readonly unsent: ByteBudget;
  /** What the budgets were told last. */
  private unfinishedBytes = 0;
  private unsentBytes = 0;
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
  /** From the reply that announces the upgrade until it is done: nothing is read as a call. */
  private isUpgrading = false;
  /** While the socket is in the hands of the upgrade. */
  private isDetached = false;
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
    this.base = socket;
    this.upgradeTimeoutMs = options.upgradeTimeoutMs ?? DEFAULT_UPGRADE_TIMEOUT_MS;
    const { upgrade } = options;
    if (upgrade !== undefined) this.upgrade = () => this.beginUpgrade(upgrade);
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
    this.stream = new RecordStream(socket, options, {
      data: (chunk) => this.onData(chunk),
      drain: () => {
        this.isBlocked = false;
        this.idleLooks = 0;
        this.proceed();
      },
      // The peer has said its last. Nobody can tell a closed half from a peer that is gone before
      // something is sent to it; so the signal fires, and what still comes of its calls is sent.
      end: () => {
        this.isEnded = true;
        this.gone?.abort();
        this.endIfDone();
      },
      error: () => this.base.destroy(),
    });
    socket.on('close', () => {
      // A call under way keeps this object; it need not keep what will never be whole.
      this.rest = undefined;
      this.stream.parser.clear();
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
    this.base.destroy();
  }

  get signal(): AbortSignal {
    this.gone ??= new AbortController();
    if (this.isEnded || this.stream.socket.destroyed) this.gone.abort();
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
    if (this.stream.socket.destroyed || this.stream.socket.writableEnded) return;
    this.stream.framer.add(message);
    if (this.stream.framer.pendingBytes >= FLUSH_BYTES) {
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
    if (this.idleLooks > 4) this.stream.socket.destroy();
  }

  /** Reads no more; replies under way still go out. */
  stop(): void {
    this.isStopped = true;
    this.pause();
  }

  /** Sends what is ready and ends the connection. */
  end(): void {
    this.flush();
    this.stream.socket.destroySoon();
  }

  /** The reply that announces it has been made. Calls under way are answered on the new socket. */
  private beginUpgrade(upgrade: StreamUpgrade): void {
    this.upgrade = undefined;
    if (this.base.destroyed) return;
    if (this.rest !== undefined || this.stream.parser.heldBytes > 0 || this.isEnded) {
      this.base.destroy();
      return;
    }
    this.isUpgrading = true;
    this.stream.parser.pause();
    // Once the reader of this chunk is done with it, and has seen whether more bytes came behind the call.
    queueMicrotask(() => void this.runUpgrade(upgrade));
  }

  private async runUpgrade(upgrade: StreamUpgrade): Promise<void> {
    const { base } = this;
    this.flush();
    if (base.destroyed) return;
    this.stream.detach();
    this.isDetached = true;
    const timer = setTimeout(() => base.destroy(), this.upgradeTimeoutMs);
    try {
      const { socket, identity } = await upgrade(base);
      if (base.destroyed) throw new Error('the connection was closed during the handshake');
      this.peer = { ...this.peer, isEncrypted: true, ...(identity === undefined ? {} : { identity }) };
      if (this.peer.transport === 'tcp') rememberConnection(this.peer, base);
      this.isUpgrading = false;
      this.isDetached = false;
      this.isBlocked = false;
      this.idleLooks = 0;
      this.stream.replace(socket);
      this.flush();
      tellConnection('upgrade', this.peer);
    } catch (error) {
      base.destroy();
      tellConnection('upgrade failed', this.peer, error);
    } finally {
      clearTimeout(timer);
    }
  }

  private pause(): void {
    this.stream.parser.pause();
    this.stream.socket.pause();
    this.countInput();
  }

  /** Tells the budget what is held of input: the call that is not whole yet, and what was received and waits. */
  private countInput(): void {
    const waiting = this.rest === undefined ? 0 : this.rest.buffer.byteLength;
    const bytes =
      this.stream.parser.heldBytes +
      waiting +
      (this.stream.parser.isPaused && !this.isStopped ? READ_AHEAD_BYTES : 0);
    if (bytes === this.unfinishedBytes || this.stream.socket.destroyed) return;
    this.unfinishedBytes = bytes;
    this.unfinished.update(this, bytes);
  }

  /** Tells the budget what is held of replies. */
  private readonly countOutput = (): void => {
    const bytes = this.stream.socket.writableLength;
    if (bytes === this.unsentBytes || this.stream.socket.destroyed) return;
    this.unsentBytes = bytes;
    this.unsent.update(this, bytes);
  };

  /** Goes on reading where nothing forbids it any more. */
  private proceed(): void {
    if (this.isStopped || this.isBlocked || this.pending >= this.maxPending || this.stream.socket.destroyed)
      return;
    if (this.isReading || this.isUpgrading) return;
    this.stream.parser.resume();
    const { rest } = this;
    this.rest = undefined;
    if (rest !== undefined) this.onData(rest);
    if (this.rest === undefined && !this.isBlocked && this.pending < this.maxPending)
      this.stream.socket.resume();
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
      const taken = this.stream.parser.push(chunk, this.onRecord);
      if (taken < chunk.length) {
        // What came behind the call that asked for an upgrade came in the clear, perhaps from somebody between the two
        // ends, and must not be taken for what comes after it.
        if (this.isUpgrading) this.base.destroy();
        else this.rest = chunk.subarray(taken);
      }
    } catch (error) {
      // The frame is lost, and with it any way to tell the peer.
      if (!(error instanceof TransportError)) throw error;
      this.stream.socket.destroy();
      return;
    } finally {
      this.isReading = false;
    }
    this.countInput();
    this.flush();
    if (this.isUpgrading) return;
    // What paused the reading may have ended while there was still something to read.
    if (this.stream.parser.isPaused && this.pending < this.maxPending && !this.isBlocked)
      queueMicrotask(() => this.proceed());
    if (this.isEnded) this.endIfDone();
  }

  private endIfDone(): void {
    if (this.pending > 0 || this.rest !== undefined || this.stream.socket.destroyed) return;
    this.flush();
    this.stream.socket.end();
  }

  private readonly write = (bytes: Buffer): boolean => {
    this.stream.socket.write(bytes, this.countOutput);
    return this.stream.socket.writableLength === 0;
  };

  private flush(): void {
    this.isFlushing = false;
    if (this.isDetached) return;
    const { socket } = this.stream;
    if (this.stream.framer.pendingBytes === 0 || socket.destroyed) return;
    this.stream.framer.flushTo(this.write);
    const unread = socket.writableLength;
    this.countOutput();
    if (unread > this.maxBufferedBytes) socket.destroy();
    else if (unread > PAUSE_BYTES && !this.isBlocked) {
      this.isBlocked = true;
      this.pause();
    }
  }
}

/** Tells subscribers what became of a connection. */
export function tellConnection(
  event: 'open' | 'close' | 'upgrade' | 'upgrade failed',
  peer: Peer,
  error?: unknown,
): void {
  if (!connectionChannel.hasSubscribers) return;
  connectionChannel.publish(error === undefined ? { event, peer } : { event, peer, error });
}
