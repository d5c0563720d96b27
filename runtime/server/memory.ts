/**
 * RPC in memory: a client's transport that hands its calls straight to a dispatcher. For
 * applications that embed a server, and for tests: with a seed it loses, doubles and reorders
 * messages both ways, the same way each time.
 */

import type { ClientTransport, Peer, ReplyChannel, TransportEvents } from '../protocol/transport.js';
import type { Dispatcher } from './dispatcher.js';

/** What happens to messages on the way. All default to none, which makes the way reliable. */
export interface LoopbackFaults {
  /** Share of messages lost, 0 to 1, each way. */
  readonly loss?: number;
  /** Share of messages that arrive twice, 0 to 1, each way. */
  readonly duplication?: number;
  /** Messages are late by up to this many milliseconds, each by its own: so they overtake each other. */
  readonly jitterMs?: number;
  /** Same seed, same faults. Default 1. */
  readonly seed?: number;
}

const PEER: Peer = { transport: 'loopback', address: '', port: 0, localAddress: '', localPort: 0 };

/** A way to `dispatcher` in this process. With faults it is lossy, as UDP is; without, reliable, as TCP. */
export function connectLoopback(dispatcher: Dispatcher, faults?: LoopbackFaults): ClientTransport {
  return new Loopback(dispatcher, faults);
}

/** Tells one way with faults from another, as addresses tell senders. */
let lossyWays = 0;

class Loopback implements ClientTransport {
  readonly kind = 'loopback';
  readonly isLossy: boolean;
  readonly target = 'loopback';
  readonly maxMessageBytes = 64 * 1024 * 1024;
  private readonly dispatcher: Dispatcher;
  private readonly faults: LoopbackFaults | undefined;
  private readonly random: () => number;
  private readonly origin: ReplyChannel;
  private readonly gone = new AbortController();
  /** What arrives in the same millisecond shares a timer. */
  private readonly underWay = new Map<number, (() => void)[]>();
  private events: TransportEvents | undefined;

  constructor(dispatcher: Dispatcher, faults: LoopbackFaults | undefined) {
    this.dispatcher = dispatcher;
    this.faults = faults;
    this.isLossy = faults !== undefined;
    this.random = randomFrom(faults?.seed ?? 1);
    this.origin = {
      peer: PEER,
      maxReplyBytes: this.maxMessageBytes,
      signal: this.gone.signal,
      ...(faults === undefined ? {} : { source: `loopback ${++lossyWays}` }),
      reply: (message) => this.carry(message, (copy) => this.events?.message(copy)),
    };
  }

  start(events: TransportEvents): void {
    this.events = events;
  }

  send(message: Uint8Array): void {
    this.carry(message, (copy) => this.dispatcher.handle(copy, this.origin));
  }

  close(): Promise<void> {
    this.gone.abort();
    return Promise.resolve();
  }

  private carry(message: Uint8Array, deliver: (copy: Uint8Array) => void): void {
    const copy = message.slice();
    const arrive = (): void => {
      if (!this.gone.signal.aborted) deliver(copy);
    };
    if (this.faults === undefined) {
      queueMicrotask(arrive);
      return;
    }
    const { loss = 0, duplication = 0, jitterMs = 0 } = this.faults;
    const copies = this.random() < duplication ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.random() < loss) continue;
      this.later(arrive, Math.round(performance.now() + this.random() * jitterMs));
    }
  }

  private later(arrive: () => void, atMs: number): void {
    const waiting = this.underWay.get(atMs);
    if (waiting !== undefined) {
      waiting.push(arrive);
      return;
    }
    const arrivals = [arrive];
    this.underWay.set(atMs, arrivals);
    setTimeout(() => {
      this.underWay.delete(atMs);
      for (const next of arrivals) next();
    }, atMs - performance.now());
  }
}

/** Numbers from 0 to 1 that depend on the seed alone (the mulberry32 recurrence). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
