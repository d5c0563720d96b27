/**
 * The daemon as a library: it puts the parts together, starts and ends them. No globals, so a process may run several
 * daemons. Command line, signals and logs are in cli/rpcbind-ts.
 */

import { createServer, type RpcServer, type ServerStats } from '../../runtime/index.js';
import type { Listener } from '../../runtime/protocol.js';
import { loopbackWarning, ownerOf } from '../kernel/owner.js';
import { describeRegistration, plain, type Registration, SUPERUSER } from '../registration.js';
import { PMAP_VERS, RPCBPROG, RPCBVERS, RPCBVERS4 } from '../rpcbind.gen.js';
import { JournalStore } from '../state/journal.js';
import { type CurrentTable, type RegistrationStore, type StoreStats, THIS_HOST } from '../state/store.js';
import { Registry } from '../table/registry.js';
import { formatUaddr } from '../uaddr.js';
import { Access, type AccessLists, type RefusalCounts } from './access.js';
import { AddressSelector } from './addresses.js';
import { Admission } from './admission.js';
import type { EventListener } from './events.js';
import { CallForwarder } from './forward.js';
import { LivenessChecker, type LivenessStats, probeFor } from './liveness.js';
import { Lookups } from './lookups.js';
import { checkOptions, type RpcbindDaemonOptions } from './options.js';
import { createRpcbindServices } from './program.js';
import { type ChangeStats, Registrar, storedOf } from './registrar.js';
import { MAX_UNFINISHED_BYTES, MAX_UNSENT_BYTES, openSockets } from './sockets.js';
import { Statistics, type VersionCounts } from './stats.js';

/** Time between two checks for holds whose time is over: 1 s. */
const HOLD_CHECK_MS = 1_000;

/** See {@link Rpcbind.stats}. */
export interface RpcbindStats {
  /** Registrations in the table, the daemon's own among them. */
  readonly registrations: number;
  /** Registrations that are gone and held for their last owners. */
  readonly held: number;
  /** Bytes of the table as versions 3 and 4 send it. */
  readonly tableBytes: number;
  /** Sources of calls with an account of their own. */
  readonly sources: number;
  /** Calls and successful SETs and UNSETs, by version of the protocol. */
  readonly versions: Readonly<Record<2 | 3 | 4, VersionCounts>>;
  readonly refused: Readonly<RefusalCounts>;
  /** Forwarded calls in progress. */
  readonly forwarding: number;
  readonly changes: ChangeStats;
  readonly liveness: LivenessStats;
  /** Counters of the store; undefined without one, and for a store that has none. */
  readonly store: StoreStats | undefined;
  /** Connections that are open, and the latency of each procedure. */
  readonly server: ServerStats;
}

/** A running daemon. */
export interface Rpcbind {
  /** The port of its first UDP listener, else of its first TCP listener; 0 if it has neither. */
  readonly port: number;
  readonly listeners: readonly Listener[];
  /** The whole table, oldest first. */
  registrations(): Registration[];
  /** Counters and sizes now; cheap enough to be read each second. */
  stats(): RpcbindStats;
  /** Replaces the access lists. Throws RangeError, and changes nothing, if one is not valid. */
  reload(lists: AccessLists): void;
  /** Finishes calls in progress (5 s at most), closes every socket and the store. May be called twice. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts an rpcbind: program 100000, versions 2, 3 and 4, over IPv4, IPv6 and local sockets (RFC 1833). Rejects with
 * RangeError for an option that is not valid, RpcbindError `RPCBIND_STATE` if the state folder cannot be used, what the
 * store rejects with, and the system's error if a socket cannot be opened (EADDRINUSE, EACCES, EADDRNOTAVAIL). Then
 * no socket is open, and no call was answered.
 */
export async function createRpcbind(options: RpcbindDaemonOptions = {}): Promise<Rpcbind> {
  checkOptions(options);
  const daemon = new Daemon(createParts(options), options);
  try {
    await daemon.start();
  } catch (error) {
    await daemon.abandon();
    throw error;
  }
  return daemon;
}

interface Parts {
  readonly registry: Registry;
  readonly access: Access;
  readonly statistics: Statistics;
  readonly admission: Admission;
  readonly registrar: Registrar;
  readonly forwarder: CallForwarder;
  readonly liveness: LivenessChecker;
  readonly store: RegistrationStore | undefined;
  readonly server: RpcServer;
  readonly warn: (text: string) => void;
  readonly onEvent: EventListener;
}

/** Makes the parts; each one gets what it needs of the others, and nothing else. */
function createParts(options: RpcbindDaemonOptions): Parts {
  const onEvent: EventListener = options.onEvent ?? (() => undefined);
  const warn = options.onWarning ?? (() => undefined);
  const registry = new Registry(options, {
    held: ({ program, version, netid, owner }) =>
      onEvent({ event: 'held', registration: { program, version, netid, owner } }),
    released: ({ program, version, netid, owner }, reason) =>
      onEvent({ event: 'released', registration: { program, version, netid, owner }, reason }),
  });
  const access = new Access(options);
  const statistics = new Statistics();
  const addresses = new AddressSelector(options);
  const isOwnAddress = (host: string): boolean => addresses.isOurs(host);
  const store = storeOf(options, warn);
  const admission = new Admission(access, statistics, onEvent);
  const liveness: LivenessChecker = new LivenessChecker({
    probe: probeFor(options.liveness ?? 'auto'),
    entries: () => registry.entries(),
    isOwnAddress,
    removeStale: (entry) => registrar.removeStale(entry),
  });
  const registrar: Registrar = new Registrar({
    table: registry,
    store,
    admission,
    access,
    counters: statistics,
    liveness,
    ownerOf,
    onEvent,
  });
  const lookups = new Lookups(registry, statistics, liveness);
  const forwarder = new CallForwarder({
    isEnabled: options.forwardCalls ?? false,
    lookups,
    counters: statistics,
    isOwnAddress,
    onEvent,
  });
  const server = createServer({
    maxUnfinishedBytes: MAX_UNFINISHED_BYTES,
    maxUnsentBytes: MAX_UNSENT_BYTES,
    onError: (error: unknown) => options.onError?.(error),
    // The cache has replies to forwarded calls alone: a call that is sent again is charged again.
    mayReplay: (peer, bytes) => access.maySend(peer, bytes),
    services: createRpcbindServices({ admission, registrar, lookups, addresses, forwarder, statistics }),
  });
  return {
    registry,
    access,
    statistics,
    admission,
    registrar,
    forwarder,
    liveness,
    store,
    server,
    warn,
    onEvent,
  };
}

function storeOf(
  { store, stateFolder, stateFolderFd, isColdStart = false }: RpcbindDaemonOptions,
  warn: (text: string) => void,
): RegistrationStore | undefined {
  if (stateFolder === undefined) return store;
  return new JournalStore({ path: stateFolder, fd: stateFolderFd }, isColdStart, warn);
}

class Daemon implements Rpcbind {
  private readonly parts: Parts;
  private readonly options: RpcbindDaemonOptions;
  private holdTimer: NodeJS.Timeout | undefined;
  private closing: Promise<void> | undefined;

  constructor(parts: Parts, options: RpcbindDaemonOptions) {
    this.parts = parts;
    this.options = options;
  }

  get listeners(): readonly Listener[] {
    return this.parts.server.listeners;
  }

  get port(): number {
    const portOf = (kind: string): number | undefined =>
      this.listeners.find(({ netid }) => netid.startsWith(kind))?.port;
    return portOf('udp') ?? portOf('tcp') ?? 0;
  }

  /**
   * The store comes first: what was acknowledged must be in the table for the first caller. Sockets come last, and are
   * answered when all are open: a daemon that cannot start answers nobody.
   */
  async start(): Promise<void> {
    const { server, store, registrar, admission, liveness, registry, warn } = this.parts;
    await this.restore();
    await store?.start?.();
    store?.watch?.((change) => registrar.apply(change));
    server.hold();
    await openSockets(server, {
      ...this.options,
      mayConnect: (peer) => admission.admitConnection(peer),
      onWarning: warn,
    });
    const warning = loopbackWarning();
    if (warning !== undefined) warn(warning);
    this.registerItself();
    this.options.onOpened?.();
    liveness.start();
    this.holdTimer = setInterval(() => registry.expireHolds(), HOLD_CHECK_MS);
    this.holdTimer.unref();
    server.release();
  }

  registrations(): Registration[] {
    return [...this.parts.registry.entries()].map(plain);
  }

  stats(): RpcbindStats {
    const { registry, access, statistics, registrar, forwarder, liveness, store, server } = this.parts;
    return {
      registrations: registry.size,
      held: registry.heldCount,
      tableBytes: registry.rowBytes,
      sources: access.sourceCount,
      versions: statistics.counts(),
      refused: access.refusals(),
      forwarding: forwarder.pendingCount,
      changes: registrar.stats(),
      liveness: liveness.stats(),
      store: store?.stats?.(),
      server: server.stats(),
    };
  }

  reload(lists: AccessLists): void {
    this.parts.access.reload(lists);
  }

  close(): Promise<void> {
    this.closing ??= this.end((store) => store.close());
    return this.closing;
  }

  /** Ends a start that failed: what is stored stays as it is. */
  abandon(): Promise<void> {
    this.closing ??= this.end((store) => (store.abandon ?? store.close).call(store));
    return this.closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async end(closeStore: (store: RegistrationStore) => void | Promise<void>): Promise<void> {
    const { liveness, server, forwarder, registrar, store } = this.parts;
    liveness.close();
    clearInterval(this.holdTimer);
    await server.close();
    registrar.close();
    await forwarder.close();
    if (store !== undefined) await closeStore(store);
  }

  /** Takes over what the store has. Which servers are gone is found out later. */
  private async restore(): Promise<void> {
    const { registry, store, warn, onEvent } = this.parts;
    const current: CurrentTable = {
      *registrations() {
        for (const entry of registry.entries()) if (!entry.isPermanent) yield storedOf(entry);
      },
      held: () => registry.held(),
    };
    const stored = await store?.load(current);
    for (const registration of stored?.registrations ?? []) {
      // Those of other hosts are not this daemon's, and the last daemon's own sockets are closed.
      if (registration.host !== THIS_HOST || registration.program === RPCBPROG) continue;
      const entry = registry.set(registration, { isStored: true });
      if (typeof entry !== 'string') {
        entry.wasAlive = registration.wasAlive;
        onEvent({ event: 'restored', registration: plain(entry) });
      } else if (entry !== 'same') {
        warn(`a stored registration is not taken over (${entry}): ${describeRegistration(registration)}`);
        onEvent({ event: 'dropped', registration: plain(registration), why: entry });
      }
    }
    for (const held of stored?.held ?? []) registry.hold(held);
  }

  /** rpcbind is a program, too, and in its own table. */
  private registerItself(): void {
    const { registry } = this.parts;
    for (const netid of ['tcp6', 'udp6', 'tcp', 'udp', 'local'] as const) {
      const address = this.addressOf(netid);
      if (address === undefined) continue;
      const hasVersion2 = netid === 'tcp' || netid === 'udp';
      for (const version of hasVersion2 ? [RPCBVERS4, RPCBVERS, PMAP_VERS] : [RPCBVERS4, RPCBVERS]) {
        const registration = { program: RPCBPROG, version, netid, address, owner: SUPERUSER };
        registry.set(registration, { isPermanent: true });
      }
    }
    registry.movePermanentFirst();
  }

  /** The universal address of the listeners of a netid: the wildcard if there are several; undefined if there is none. */
  private addressOf(netid: string): string | undefined {
    const listeners = this.listeners.filter((listener) => listener.netid === netid);
    const [first] = listeners;
    if (first === undefined) return undefined;
    if (netid === 'local')
      return (listeners.find(({ address }) => address.startsWith('/')) ?? first).address.replace('\0', '@');
    const wildcard = netid.endsWith('6') ? '::' : '0.0.0.0';
    return formatUaddr(listeners.length > 1 ? wildcard : first.address, first.port);
  }
}
