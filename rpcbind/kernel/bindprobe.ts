/**
 * Liveness probes where the kernel's lists of sockets cannot be asked (no koffi, or not Linux). That a server is running is
 * believed of /proc/net, which names the user of each socket. That none is running is not: rows move while the table is
 * read. So the port is bound for a moment, and where that is not permitted, a NULL call is made that the host refuses.
 */

import { connectTcp, connectUdp, createClient, createServer, TransportError } from '../../runtime/index.js';
import { UNKNOWN } from '../registration.js';
import type { TableEntry } from '../table/registry.js';
import { isProof, type LivenessProbe, type ProbeResult } from './probe.js';
import { type ListeningUsers, listeningUsers } from './procnet.js';

/** Minimum time between two readings of /proc/net: 2 s. */
export const MIN_TABLES_MS = 2_000;
/** Reading /proc/net takes at most 1/50 of the daemon's time. */
export const TABLES_COST_SHARE = 50;
/** Maximum number of probes under way; a further registration is probed in a later round. */
export const MAX_PROBES = 16;
/** Timeout of a NULL call: 2 s. */
const PING_MS = 2_000;
/** The netids whose ports can be bound. */
const NETIDS = /^(udp|tcp)6?$/;

/** See {@link LivenessProbe}. */
export class BindProbe implements LivenessProbe {
  private users: ListeningUsers | undefined;
  private readAt = Number.NEGATIVE_INFINITY;
  private costMs = 0;
  private readonly underWay = new Set<TableEntry>();

  beginRound(isNew: boolean): void {
    // Otherwise the tables stay valid in proportion to the time that reading them takes.
    if (isNew) this.readAt = Number.NEGATIVE_INFINITY;
  }

  probe(entry: TableEntry, report: (result: ProbeResult) => void): void {
    const { netid } = entry;
    if (!NETIDS.test(netid)) return;
    const isListening = this.isListening(entry, netid as keyof ListeningUsers);
    if (!entry.wasAlive && isListening !== undefined) {
      report(isListening ? 'alive' : 'unknown');
      return;
    }
    // Binding does not say whose a port is. Without tables, only what `unknown` registered can be found alive.
    if (!entry.wasAlive && entry.owner !== UNKNOWN) return;
    if (this.underWay.has(entry) || this.underWay.size >= MAX_PROBES) return;
    this.underWay.add(entry);
    void probeByBinding(entry)
      .then(report)
      .finally(() => this.underWay.delete(entry));
  }

  /** Whether the tables list a socket that proves a server; undefined where there are no tables. */
  private isListening(entry: TableEntry, netid: keyof ListeningUsers): boolean | undefined {
    if (performance.now() - this.readAt > Math.max(MIN_TABLES_MS, this.costMs * TABLES_COST_SHARE)) {
      const startedAt = performance.now();
      this.users = listeningUsers();
      this.readAt = performance.now();
      this.costMs = this.readAt - startedAt;
    }
    const { users } = this;
    if (users === undefined) return undefined;
    const isIn = (table: keyof ListeningUsers): boolean =>
      [...(users[table].get(entry.port) ?? [])].some((uid) => isProof(entry, uid) === true);
    // A socket of IPv6 may serve IPv4 as well.
    return isIn(netid) || (netid === 'udp' && isIn('udp6')) || (netid === 'tcp' && isIn('tcp6'));
  }
}

/** Binds the port, and where that is not permitted, makes a NULL call. */
async function probeByBinding(entry: TableEntry): Promise<ProbeResult> {
  const server = createServer();
  try {
    const target = { host: entry.host, port: entry.port };
    if (entry.netid.startsWith('udp')) await server.listenUdp({ ...target, native: false });
    else await server.listenTcp(target);
    return 'gone';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return resultInUse(entry);
    return await probeByCall(entry);
  } finally {
    await server.close();
  }
}

/** The port is in use, by whom is not known: the server of an identified owner may be gone or not. */
function resultInUse(entry: TableEntry): ProbeResult {
  return entry.owner === UNKNOWN ? 'alive' : 'unknown';
}

async function probeByCall(entry: TableEntry): Promise<ProbeResult> {
  const loopback = entry.netid.endsWith('6') ? '::1' : '127.0.0.1';
  const target = { host: entry.isWildcard ? loopback : entry.host, port: entry.port };
  try {
    const transport = entry.netid.startsWith('udp') ? await connectUdp(target) : connectTcp(target);
    const client = createClient(transport, { retransmitMs: PING_MS, timeoutMs: PING_MS });
    try {
      await client.ping(entry.program, entry.version);
      return resultInUse(entry);
    } finally {
      await client.close();
    }
  } catch (error) {
    // Refused by the host: no server is there. A refusal by the program is an answer; silence proves nothing.
    if (error instanceof TransportError) return error.executed === 'no' ? 'gone' : 'unknown';
    return error instanceof Error && error.name === 'ReplyError' ? resultInUse(entry) : 'unknown';
  }
}
