/**
 * The serving end: listeners onto one dispatcher. It opens and closes doors, keeps the list of
 * them for whoever publishes it, and drains on close. What a call means is the dispatcher's.
 */

import type { Service } from '../protocol/procedure.js';
import type { Listener, Receive, ReplyChannel } from '../protocol/transport.js';
import { ByteBudget } from '../transport/budget.js';
import type { StreamListenOptions } from '../transport/connection.js';
import {
  listenTcp,
  listenUnix,
  type TcpListenOptions,
  type UnixListenOptions,
} from '../transport/streamlistener.js';
import { listenUdp, type UdpListenOptions } from '../transport/udplistener.js';
import { Dispatcher, type DispatcherStats } from './dispatcher.js';
import type { DispatcherOptions } from './dispatcheroptions.js';

/** See {@link createServer}. */
export interface ServerOptions extends DispatcherOptions {
  /** Served from the start; more by {@link RpcServer.add}. */
  readonly services?: readonly Service[];
  /**
   * Most bytes of input that is not a whole call yet, all connections together. Default: all servers of the
   * process share `DEFAULT_MAX_UNFINISHED_BYTES`.
   */
  readonly maxUnfinishedBytes?: number;
  /**
   * Most bytes of replies that peers have not taken, all connections together. Default: all servers of the
   * process share `DEFAULT_MAX_UNSENT_BYTES`.
   */
  readonly maxUnsentBytes?: number;
}

/** What a server has seen so far. */
export interface ServerStats extends DispatcherStats {
  /** Open now, on all listeners together. */
  readonly connections: number;
}

/** Default for the time {@link RpcServer.close} waits for calls under way: 5 s. */
export const DEFAULT_DRAIN_MS = 5_000;

/** A call that waits for {@link RpcServer.release}. */
interface Held {
  readonly message: Uint8Array;
  readonly origin: ReplyChannel;
}

/** Most calls, and most of their bytes, that {@link RpcServer.hold} keeps; further ones are dropped. */
export const MAX_HELD_CALLS = 1_024;
export const MAX_HELD_BYTES = 1024 * 1024;

/** A server of any number of programs on any number of listeners. Made by {@link createServer}. */
export class RpcServer {
  readonly dispatcher: Dispatcher;
  private readonly open: Listener[] = [];
  private readonly receive: Receive;
  private readonly budgets: Pick<StreamListenOptions, 'unfinished' | 'unsent'>;
  private closing: Promise<void> | undefined;
  private held: Held[] | undefined;
  private heldBytes = 0;

  constructor(options: ServerOptions = {}) {
    const dispatcher = new Dispatcher(options);
    this.dispatcher = dispatcher;
    const { maxUnfinishedBytes, maxUnsentBytes } = options;
    this.budgets = {
      ...(maxUnfinishedBytes === undefined ? {} : { unfinished: new ByteBudget(maxUnfinishedBytes) }),
      ...(maxUnsentBytes === undefined ? {} : { unsent: new ByteBudget(maxUnsentBytes) }),
    };
    this.receive = (message, origin) =>
      this.held === undefined ? dispatcher.handle(message, origin) : this.keepForLater(message, origin);
    for (const service of options.services ?? []) dispatcher.add(service);
  }

  /** Where it listens, in the order the doors were opened. */
  get listeners(): readonly Listener[] {
    return this.open;
  }

  get services(): readonly Service[] {
    return this.dispatcher.services;
  }

  /** Counters and latencies of each procedure, the duplicate request cache and the connections, as of now. */
  stats(): ServerStats {
    return {
      ...this.dispatcher.stats(),
      connections: this.open.reduce((sum, { connectionCount }) => sum + (connectionCount ?? 0), 0),
    };
  }

  /** Adds one version of a program. Throws RangeError where it is served already. */
  add(service: Service): void {
    this.dispatcher.add(service);
  }

  /** Opens a UDP door. Rejects with the system's error. */
  async listenUdp(options: Partial<UdpListenOptions> = {}): Promise<Listener> {
    return this.keep(await listenUdp({ host: '0.0.0.0', port: 0, ...options }, this.receive));
  }

  /** Opens a TCP door. Rejects with the system's error. */
  async listenTcp(options: Partial<TcpListenOptions> = {}): Promise<Listener> {
    return this.keep(
      await listenTcp({ host: '0.0.0.0', port: 0, ...this.budgets, ...options }, this.receive),
    );
  }

  /** Opens a unix socket. Rejects with the system's error. */
  async listenUnix(options: UnixListenOptions): Promise<Listener> {
    return this.keep(await listenUnix({ ...this.budgets, ...options }, this.receive));
  }

  /** Closes one door and forgets it; the others stay open. */
  async shut(listener: Listener): Promise<void> {
    const at = this.open.indexOf(listener);
    if (at !== -1) this.open.splice(at, 1);
    await listener.close();
  }

  /**
   * Answers nothing from now on, until {@link release}: for a server that opens several listeners and must answer on all
   * or on none. Calls wait, up to {@link MAX_HELD_CALLS} of them.
   */
  hold(): void {
    this.held ??= [];
  }

  /** Answers the calls that {@link hold} kept, and those that come. */
  release(): void {
    const held = this.held ?? [];
    this.held = undefined;
    this.heldBytes = 0;
    for (const { message, origin } of held) {
      this.dispatcher.handle(message, origin);
      origin.callEnded?.();
    }
  }

  /**
   * Takes no more calls, waits up to `drainMs` for those under way, sends their replies and closes
   * every door. May be called twice.
   */
  close(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.closing ??= this.drain(options.drainMs ?? DEFAULT_DRAIN_MS);
    return this.closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async drain(drainMs: number): Promise<void> {
    await Promise.all(this.open.map((listener) => listener.stop()));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((done) => {
      timer = setTimeout(done, drainMs);
    });
    await Promise.race([this.dispatcher.idle(), late]);
    clearTimeout(timer);
    this.dispatcher.abort(new Error('the server was closed'));
    await Promise.all(this.open.splice(0).map((listener) => listener.close()));
  }

  /** A copy: the bytes are the listener's, and the next message overwrites them. */
  private keepForLater(message: Uint8Array, origin: ReplyChannel): void {
    if (this.held === undefined || this.held.length >= MAX_HELD_CALLS) return;
    if (this.heldBytes + message.length > MAX_HELD_BYTES) return;
    this.heldBytes += message.length;
    origin.callStarted?.();
    this.held.push({ message: message.slice(), origin });
  }

  private keep(listener: Listener): Listener {
    this.open.push(listener);
    return listener;
  }
}

/** A server without doors yet. Throws RangeError where two services are the same version of a program. */
export function createServer(options?: ServerOptions): RpcServer {
  return new RpcServer(options);
}
