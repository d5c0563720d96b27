/**
 * Looks for servers where the kernel's lists cannot be asked (no koffi, or not Linux). That a server is
 * there is believed of /proc/net, which names the user of each socket; that none is there never is, since rows
 * move while the table is read. That is found out by binding the port for a moment, and where that is not
 * allowed, by a NULL call that the host refuses.
 */

import { connectTcp, connectUdp, createClient, createServer, TransportError } from '../../runtime/index.js';
import { type TableEntry, UNKNOWN } from '../table/registry.js';
import { type ListeningUsers, listeningUsers } from './procnet.js';
import { isSign, type Look, type Looker } from './signs.js';

/** What the tables said is good for at least so long: 2 s. */
export const MIN_TABLES_MS = 2_000;
/** Of the daemon's time, at most one part in so many goes into reading tables. */
export const TABLES_COST_SHARE = 50;
/** Probes under way at a time; further registrations are looked at in a later turn. */
export const MAX_PROBES = 16;
/** How long a NULL call may take: 2 s. */
const PING_MS = 2_000;
/** What a port can be bound for. */
const NETIDS = /^(udp|tcp)6?$/;

/** Looks by /proc/net and by binding. */
export class Prober implements Looker {
  private users: ListeningUsers | undefined;
  private readAt = Number.NEGATIVE_INFINITY;
  private costMs = 0;
  private readonly underWay = new Set<TableEntry>();

  renew(isNew: boolean): void {
    // Else the tables are kept for as long as their reading costs.
    if (isNew) this.readAt = Number.NEGATIVE_INFINITY;
  }

  look(entry: TableEntry, tell: (found: Look) => void): void {
    const { netid } = entry;
    if (!NETIDS.test(netid)) return;
    const listens = this.listens(entry, netid as keyof ListeningUsers);
    if (!entry.wasAlive && listens !== undefined) {
      tell(listens ? 'alive' : 'unknown');
      return;
    }
    // Where there are no tables, only what nobody owns can be seen alive: whose a port is, binding does not tell.
    if (!entry.wasAlive && entry.owner !== UNKNOWN) return;
    if (this.underWay.has(entry) || this.underWay.size >= MAX_PROBES) return;
    this.underWay.add(entry);
    void probe(entry)
      .then(tell)
      .finally(() => this.underWay.delete(entry));
  }

  /** Whether the tables have a sign of life; undefined where there are none. */
  private listens(entry: TableEntry, netid: keyof ListeningUsers): boolean | undefined {
    if (performance.now() - this.readAt > Math.max(MIN_TABLES_MS, this.costMs * TABLES_COST_SHARE)) {
      const startedAt = performance.now();
      this.users = listeningUsers();
      this.readAt = performance.now();
      this.costMs = this.readAt - startedAt;
    }
    const { users } = this;
    if (users === undefined) return undefined;
    const isSeen = (table: keyof ListeningUsers): boolean =>
      [...(users[table].get(entry.port) ?? [])].some((uid) => isSign(entry, uid) === true);
    // A socket of IPv6 may serve IPv4 as well.
    return isSeen(netid) || (netid === 'udp' && isSeen('udp6')) || (netid === 'tcp' && isSeen('tcp6'));
  }
}

/** Asks by binding the port, and where that may not be, by a NULL call. */
async function probe(entry: TableEntry): Promise<Look> {
  const server = createServer();
  try {
    const where = { host: entry.host, port: entry.port };
    if (entry.netid.startsWith('udp')) await server.listenUdp({ ...where, native: false });
    else await server.listenTcp(where);
    return 'gone';
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return held(entry);
    return await ping(entry);
  } finally {
    await server.close();
  }
}

/** Somebody has the port: nobody can tell who, and it need not be gone. */
function held(entry: TableEntry): Look {
  return entry.owner === UNKNOWN ? 'alive' : 'unknown';
}

async function ping(entry: TableEntry): Promise<Look> {
  const loopback = entry.netid.endsWith('6') ? '::1' : '127.0.0.1';
  const where = { host: entry.isWildcard ? loopback : entry.host, port: entry.port };
  try {
    const transport = entry.netid.startsWith('udp') ? await connectUdp(where) : connectTcp(where);
    const client = createClient(transport, { retransmitMs: PING_MS, timeoutMs: PING_MS });
    try {
      await client.ping(entry.program, entry.version);
      return held(entry);
    } finally {
      await client.close();
    }
  } catch (error) {
    // Refused by the host: nobody is there. A refusal by the program is an answer; silence is neither.
    if (error instanceof TransportError) return error.executed === 'no' ? 'gone' : 'unknown';
    return error instanceof Error && error.name === 'ReplyError' ? held(entry) : 'unknown';
  }
}
