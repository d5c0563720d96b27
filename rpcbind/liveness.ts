/**
 * Which registrations are of servers that are gone. On Linux the socket tables say at once which
 * ports are listened on; elsewhere a port that can be bound is one that nobody holds, and where
 * that may not be tried, a NULL call says whether anybody is there. Only what was once seen alive
 * can be found dead: some register before they listen, and some for others.
 */

import { connectTcp, connectUdp, createClient, createServer, TransportError } from '../runtime/index.js';
import type { Watcher } from './binder.js';
import { type ListeningPorts, listeningPorts } from './procnet.js';
import type { Entry } from './registry.js';
import { isLoopback } from './uaddr.js';

/** A look at the socket tables, or a probe, is good for at least so long: 2 s. */
export const MIN_LOOK_MS = 2_000;
/** Of the daemon's time, at most one part in so many goes into looking. */
const COST_SHARE = 50;
/** Looks for the sake of new registrations that may be saved up: 100 ms of them, so that a service's few are all seen. */
const MAX_CREDIT_MS = 100;
/** How long a NULL call may take: 2 s. */
const PING_MS = 2_000;
/** Probes under way at a time. */
const MAX_PROBES = 16;

/** How listeners are looked for: `auto` is by the socket tables where there are any, else by probes. */
export type LivenessMode = 'auto' | 'probe' | 'off';

/** Watches the registrations of one daemon. */
export class Liveness implements Watcher {
  private readonly mode: LivenessMode;
  private readonly entries: () => Iterable<Entry>;
  private readonly isOurs: (host: string) => boolean;
  private ports: ListeningPorts | undefined;
  private lookedAt = Number.NEGATIVE_INFINITY;
  private costMs = 0;
  /** Time that may be spent on looking at new registrations, and when it was last counted. */
  private creditMs = MAX_CREDIT_MS;
  private creditAt = performance.now();
  private readonly probed = new Map<Entry, { at: number; isDead: boolean }>();
  private probes = 0;

  constructor(mode: LivenessMode, entries: () => Iterable<Entry>, isOurs: (host: string) => boolean) {
    this.mode = mode;
    this.entries = entries;
    this.isOurs = isOurs;
    if (mode === 'auto') {
      this.look();
      if (this.ports === undefined) this.mode = 'probe';
    }
  }

  /** False only where a listener was there and is gone. */
  isAlive(entry: Entry): boolean {
    if (this.mode === 'off') return true;
    if (this.mode === 'probe') return !this.isProbedDead(entry);
    if (performance.now() - this.lookedAt > Math.max(MIN_LOOK_MS, this.costMs * COST_SHARE)) this.look();
    return !entry.wasAlive || this.listens(entry) !== false;
  }

  /** Notes whether a registration that is new has a listener. */
  noteNew(entry: Entry): void {
    if (this.mode === 'off') return;
    if (this.mode === 'probe') {
      this.isProbedDead(entry);
      return;
    }
    const now = performance.now();
    this.creditMs = Math.min(MAX_CREDIT_MS, this.creditMs + (now - this.creditAt) / COST_SHARE);
    this.creditAt = now;
    // A flood of registrations does not read the tables for each: the next look will see them.
    if (this.creditMs >= this.costMs) {
      this.look();
      this.creditMs -= this.costMs;
    }
    if (this.listens(entry) === true) entry.wasAlive = true;
  }

  /** Reads the tables, and notes for every registration whether its listener is there. */
  private look(): void {
    const startedAt = performance.now();
    this.ports = listeningPorts();
    for (const entry of this.entries())
      if (!entry.wasAlive && this.listens(entry) === true) entry.wasAlive = true;
    this.lookedAt = performance.now();
    this.costMs = this.lookedAt - startedAt;
  }

  /** Undefined where the address is not one of this host, or the netid none that can be watched. */
  private listens(entry: Entry): boolean | undefined {
    const { ports } = this;
    if (ports === undefined) return undefined;
    switch (entry.netid) {
      // A socket of IPv6 may serve IPv4 as well.
      case 'udp':
        return this.isHere(entry) ? ports.udp.has(entry.port) || ports.udp6.has(entry.port) : undefined;
      case 'tcp':
        return this.isHere(entry) ? ports.tcp.has(entry.port) || ports.tcp6.has(entry.port) : undefined;
      case 'udp6':
        return this.isHere(entry) ? ports.udp6.has(entry.port) : undefined;
      case 'tcp6':
        return this.isHere(entry) ? ports.tcp6.has(entry.port) : undefined;
      case 'local':
        return ports.local.has(entry.host.replace('\0', '@'));
      default:
        return undefined;
    }
  }

  private isHere(entry: Entry): boolean {
    return entry.isWildcard || isLoopback(entry.host) || this.isOurs(entry.host);
  }

  /** What the last probe said; a new one is begun where that is long ago. */
  private isProbedDead(entry: Entry): boolean {
    const last = this.probed.get(entry);
    const now = performance.now();
    const isDue = last === undefined || now - last.at > MIN_LOOK_MS;
    if (isDue && this.probes < MAX_PROBES && this.isHere(entry) && /^(udp|tcp)6?$/.test(entry.netid)) {
      this.probed.set(entry, { at: now, isDead: last?.isDead ?? false });
      this.probes += 1;
      void probe(entry)
        .then((answer) => {
          if (answer === 'alive') entry.wasAlive = true;
          const isDead = answer === 'dead' && entry.wasAlive;
          this.probed.set(entry, { at: performance.now(), isDead });
          this.forgetRemoved();
        })
        .finally(() => {
          this.probes -= 1;
        });
    }
    return last?.isDead ?? false;
  }

  private forgetRemoved(): void {
    const present = new Set(this.entries());
    for (const entry of this.probed.keys()) if (!present.has(entry)) this.probed.delete(entry);
  }
}

/** Asks by binding the port, and where that may not be, by a NULL call. */
async function probe(entry: Entry): Promise<'alive' | 'dead' | 'unknown'> {
  const server = createServer();
  try {
    const where = { host: entry.host, port: entry.port };
    if (entry.netid.startsWith('udp')) await server.listenUdp({ ...where, native: false });
    else await server.listenTcp(where);
    return 'dead';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return 'alive';
    return await ping(entry);
  } finally {
    await server.close();
  }
}

async function ping(entry: Entry): Promise<'alive' | 'dead' | 'unknown'> {
  const loopback = entry.netid.endsWith('6') ? '::1' : '127.0.0.1';
  const where = { host: entry.isWildcard ? loopback : entry.host, port: entry.port };
  try {
    const transport = entry.netid.startsWith('udp') ? await connectUdp(where) : connectTcp(where);
    const client = createClient(transport, { timeoutMs: PING_MS, totalMs: PING_MS });
    try {
      await client.ping(entry.program, entry.version);
      return 'alive';
    } finally {
      await client.close();
    }
  } catch (error) {
    // Refused by the host: nobody is there. A refusal by the program is an answer; silence is neither.
    if (error instanceof TransportError) return error.executed === 'no' ? 'dead' : 'unknown';
    return error instanceof Error && error.name === 'ReplyError' ? 'alive' : 'unknown';
  }
}
