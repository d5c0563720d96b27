/**
 * The daemon as a library: doors, table and rules wired together, and no globals, so that a
 * process may have several. Command line, signals and logs are cli/rpcbind-ts/main.ts.
 */

import { createServer, type Peer, type RpcServer, type ServerStats } from '../../runtime/index.js';
import type { Listener, Netid, StreamListenOptions } from '../../runtime/protocol.js';
import { doubtOfLoopback, userOfConnection } from '../kernel/owner.js';
import type { Registration } from '../registration.js';
import { PMAP_PORT, PMAP_VERS, RPCBPROG, RPCBVERS, RPCBVERS4 } from '../rpcbind.gen.js';
import { JournalStore } from '../state/journal.js';
import type { RegistrationStore, StoredRegistration } from '../state/store.js';
import { Registry, type RegistryOptions, SUPERUSER, type TableEntry } from '../table/registry.js';
import { formatUaddr } from '../uaddr.js';
import { Access, type AccessLists, type AccessOptions, type RefusalCounts } from './access.js';
import { AddressSelector, type AddressSelectorOptions } from './addresses.js';
import { nameOf, RpcbindCore, type RpcbindEvent, storedOf } from './core.js';
import { CallForwarder } from './forward.js';
import { Liveness, type LivenessMode } from './liveness.js';
import { createVersion2, createVersion3, createVersion4 } from './program.js';
import { Statistics, type VersionCounts } from './stats.js';

/** The group that rpcbinds listen on over IPv6, for those who look for them (RFC 1833 section 2.2.1, BCAST). */
export const DISCOVERY_GROUP = 'ff02::202';

/**
 * Most bytes of a call over TCP and the local socket, as with Debian's rpcbind (RPC_MAXDATASIZE of libtirpc). A
 * SET has less than 2 KiB; what is passed on by CALLIT may be this long less its headers.
 */
export const MAX_CALL_BYTES = 9_000;
/** Connections of one listener: a caller asks and goes, so a thousand at a time is a busy host. */
export const MAX_CONNECTIONS = 1_024;
/** Connections of one source, so that four hosts are needed to take all. */
export const MAX_CONNECTIONS_PER_SOURCE = 256;
/** Connections of a listener that callers of this host alone take. */
export const RESERVED_CONNECTIONS = 128;
/** What all connections together may hold of calls that are not whole: 8 MiB, some 900 of the largest. */
export const MAX_UNFINISHED_BYTES = 8 * 1024 * 1024;
/** What all callers together may leave unread of replies: 32 MiB, three tables of the most registrations. */
export const MAX_UNSENT_BYTES = 32 * 1024 * 1024;

/** A door that a service manager opened before us. */
export interface InheritedSocket {
  readonly fd: number;
  readonly netid: Netid;
  /** IP address, or the path of a local socket. */
  readonly address: string;
}

/** See {@link createRpcbind}. */
export interface RpcbindDaemonOptions extends AccessOptions, AddressSelectorOptions, RegistryOptions {
  /** UDP and TCP port; 0 for any that is free. Default 111. */
  readonly port?: number;
  /** IP addresses to listen on. Default 127.0.0.1. */
  readonly host?: readonly string[];
  /** Unix sockets to listen on; one that begins with a NUL is abstract (Linux). Default: none. */
  readonly local?: readonly string[];
  /** Doors that are open already; with any of them, `host`, `port` and `local` open none. Default: none. */
  readonly inherited?: readonly InheritedSocket[];
  /** Local sockets that are open already, beside those of `local`. Default: none. */
  readonly openedLocal?: readonly InheritedSocket[];
  /**
   * Called once every socket is open, before the first call is answered; what it throws ends the start. For checks of
   * what this process may do. Default: none.
   */
  readonly onOpened?: () => void;
  /** Whether calls are passed on (CALLIT, BCAST, INDIRECT). Default false. */
  readonly forwardCalls?: boolean;
  /** Where registrations are kept; instead of `stateFolder`. It is the daemon's until that is closed. */
  readonly store?: RegistrationStore | undefined;
  /** The folder of journal and snapshot. Default: none, and registrations end with the daemon. */
  readonly stateFolder?: string | undefined;
  /** A descriptor of that folder, where it is open already; it stays the caller's. Default: opened by its path. */
  readonly stateFolderFd?: number | undefined;
  /** Whether what the folder holds is ignored at the start. Default false. */
  readonly isColdStart?: boolean;
  /** How it is found out which servers are gone. Default 'auto'; 'off' keeps every registration. */
  readonly liveness?: LivenessMode;
  /** False for the plain way over UDP even where the fast one is possible. Default true. */
  readonly native?: boolean;
  /** Told of what an operator should know: a damaged file, a host without IPv6. */
  readonly onWarning?: (text: string) => void;
  /** Told of every noteworthy event. */
  readonly onEvent?: (event: RpcbindEvent) => void;
  /** Told of a fault while answering; the caller only learns SYSTEM_ERR. */
  readonly onError?: (error: unknown) => void;
}

/** See {@link Rpcbind.stats}. */
export interface RpcbindStats {
  /** Registrations in the table, the daemon's own among them. */
  readonly registrations: number;
  /** Places that are held for their last owners. */
  readonly held: number;
  /** Calls by version and procedure. */
  readonly versions: Readonly<Record<2 | 3 | 4, VersionCounts>>;
  readonly refused: Readonly<RefusalCounts>;
  /** Connections open now, by listener, and the latency of each procedure. */
  readonly server: ServerStats;
}

/** A running daemon. */
export interface Rpcbind {
  /** The port of its first UDP door, else of its first TCP door; 0 where it has neither. */
  readonly port: number;
  readonly listeners: readonly Listener[];
  /** The whole table, oldest first. */
  registrations(): Registration[];
  /** What was refused so far. */
  refused(): Readonly<RefusalCounts>;
  /** Counters and sizes now; cheap enough to be read each second. */
  stats(): RpcbindStats;
  /** Takes other access lists from now on. Throws RangeError, and changes nothing, where one is wrong. */
  reload(lists: AccessLists): void;
  /** Drains and closes every door. May be called twice. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts an rpcbind: program 100000, versions 2, 3 and 4, over IPv4, IPv6 and the local socket (RFC 1833). Rejects with the system's error where a door cannot be opened
 * (EADDRINUSE, EACCES, EADDRNOTAVAIL), with none left open and no call answered.
 */
export async function createRpcbind(options: RpcbindDaemonOptions = {}): Promise<Rpcbind> {
  const daemon = new Daemon(options);
  try {
    await daemon.open(options);
  } catch (error) {
    await daemon.abandon();
    throw error;
  }
  return daemon;
}

class Daemon implements Rpcbind {
  private readonly registry: Registry;
  private readonly access: Access;
  private readonly server: RpcServer;
  private readonly binder: RpcbindCore;
  private readonly relay: CallForwarder;
  private readonly liveness: Liveness;
  private readonly store: RegistrationStore | undefined;
  private readonly warn: (text: string) => void;
  /** What is said of every TCP and unix door. */
  private readonly stream = {
    maxRecordBytes: MAX_CALL_BYTES,
    maxConnections: MAX_CONNECTIONS,
    maxConnectionsPerSource: MAX_CONNECTIONS_PER_SOURCE,
    reservedConnections: RESERVED_CONNECTIONS,
    mayConnect: (peer: Peer): boolean => this.mayConnect(peer),
    userOf: userOfConnection,
  };
  private closing: Promise<void> | undefined;

  constructor(options: RpcbindDaemonOptions) {
    this.registry = new Registry(options);
    this.access = new Access(options);
    const addresses = new AddressSelector(options);
    const entries = (): IterableIterator<TableEntry> => this.registry.entries();
    this.warn = options.onWarning ?? (() => undefined);
    this.store = storeFor(options, this.warn);
    this.liveness = new Liveness({
      mode: options.liveness ?? 'auto',
      entries,
      isOurs: (host) => addresses.isOurs(host),
      onGone: (entry) => this.binder.drop(entry),
    });
    this.binder = new RpcbindCore({
      registry: this.registry,
      access: this.access,
      addresses,
      stats: new Statistics(),
      store: this.store,
      liveness: this.liveness,
      onEvent: options.onEvent,
    });
    this.relay = new CallForwarder(this.binder, options.forwardCalls ?? false);
    this.server = createServer({
      maxUnfinishedBytes: MAX_UNFINISHED_BYTES,
      maxUnsentBytes: MAX_UNSENT_BYTES,
      onError: (error: unknown) => options.onError?.(error),
      // What the cache keeps are replies to forwarded calls: a call sent again is charged again.
      mayReplay: (peer, bytes) => this.access.mayTakeTable(peer, bytes),
      services: [
        createVersion2(this.binder, this.relay),
        createVersion3(this.binder, this.relay),
        createVersion4(this.binder, this.relay),
      ],
    });
  }

  get listeners(): readonly Listener[] {
    return this.server.listeners;
  }

  get port(): number {
    const of = (kind: string): number | undefined =>
      this.listeners.find(({ netid }) => netid.startsWith(kind))?.port;
    return of('udp') ?? of('tcp') ?? 0;
  }

  async open(options: RpcbindDaemonOptions): Promise<void> {
    // The folder first: what was acknowledged must be there for the first caller. Sockets last, and held until all of
    // them are open: a daemon that cannot start answers nobody.
    await this.restore();
    await this.store?.start?.();
    this.store?.watch?.((change) => this.binder.apply(change));
    this.server.hold();
    const { inherited = [] } = options;
    const udp: UdpExtras = {
      onError: (error) => this.warn(`an address of this host is not served over UDP: ${String(error)}`),
      ...(options.native === undefined ? {} : { native: options.native }),
      ...(options.forwardCalls === true ? { multicastGroup: DISCOVERY_GROUP } : {}),
    };
    for (const door of inherited) await this.take(door, udp);
    if (inherited.length === 0) await this.openDoors(options, udp);
    for (const door of options.openedLocal ?? []) await this.take(door, udp);
    const doubt = doubtOfLoopback();
    if (doubt !== undefined) this.warn(doubt);
    this.registerOurselves();
    options.onOpened?.();
    this.server.release();
  }

  private async openDoors(options: RpcbindDaemonOptions, udp: UdpExtras): Promise<void> {
    let port = options.port ?? PMAP_PORT;
    for (const host of options.host ?? ['127.0.0.1']) {
      try {
        ({ port } = await openPair(this.server, host, port, udp, this.stream));
      } catch (error) {
        // Not every way of binding says where it failed.
        if (error instanceof Error && !('address' in error)) Object.assign(error, { address: host });
        throw error;
      }
    }
    for (const path of options.local ?? []) await this.server.listenUnix({ path, ...this.stream });
  }

  private async take({ fd, netid, address }: InheritedSocket, udp: UdpExtras): Promise<void> {
    const { server } = this;
    if (netid === 'local') await server.listenUnix({ path: address, fd, ...this.stream });
    else if (netid.startsWith('udp')) await server.listenUdp({ host: address, fd, ...udp });
    else await server.listenTcp({ host: address, fd, ...this.stream });
  }

  /** Whether a connection is read from at all. */
  private mayConnect(peer: Peer): boolean {
    if (this.access.mayConnect(peer)) return true;
    this.binder.refused('connection', 'its address is on no list', peer);
    return false;
  }

  /** What the last daemon left; which of its servers are gone is found out from now on. */
  private async restore(): Promise<void> {
    const stored = await this.store?.load({
      registrations: () => this.storedEntries(),
      holds: () => this.registry.heldPlaces(),
    });
    for (const one of stored?.registrations ?? []) {
      // The last daemon's own sockets are not ours.
      if (one.program === RPCBPROG) continue;
      const outcome = this.registry.set(one, { isRestored: true });
      const entry = this.registry.findExact(one.program, one.version, one.netid);
      if (outcome === 'added' && entry !== undefined) entry.wasAlive = one.wasAlive;
      else if (outcome !== 'same')
        this.warn(`a registration of the last daemon is left out (${outcome}): ${nameOf(one)}`);
    }
    for (const held of stored?.holds ?? []) this.registry.hold(held);
  }

  private *storedEntries(): Generator<StoredRegistration> {
    for (const entry of this.registry.entries())
      if (!entry.isPermanent && !entry.isUnconfirmed) yield storedOf(entry);
  }

  registrations(): Registration[] {
    return this.binder.table().map(({ program, version, netid, address, owner }) => ({
      program,
      version,
      netid,
      address,
      owner,
    }));
  }

  refused(): Readonly<RefusalCounts> {
    return { ...this.access.refused };
  }

  stats(): RpcbindStats {
    return {
      registrations: this.registry.size,
      held: [...this.registry.heldPlaces()].length,
      versions: this.binder.stats.counts(),
      refused: this.refused(),
      server: this.server.stats(),
    };
  }

  reload(lists: AccessLists): void {
    this.access.reload(lists);
  }

  close(): Promise<void> {
    this.closing ??= this.end();
    return this.closing;
  }

  private async end(): Promise<void> {
    this.liveness.close();
    await this.server.close();
    await this.relay.close();
    await this.store?.close();
  }

  /** Ends a start that failed: files stay as they were. */
  async abandon(): Promise<void> {
    this.closing ??= this.server.close();
    await this.closing;
    await this.relay.close();
    await this.store?.abandon();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** rpcbind is a program like any other, and in its own table. */
  private registerOurselves(): void {
    for (const netid of ['tcp6', 'udp6', 'tcp', 'udp', 'local'] as const) {
      const [first, ...more] = this.listeners.filter((listener) => listener.netid === netid);
      if (first === undefined) continue;
      const wildcard = netid.endsWith('6') ? '::' : '0.0.0.0';
      const address =
        netid === 'local'
          ? (
              this.listeners.find((one) => one.netid === 'local' && one.address.startsWith('/')) ?? first
            ).address.replace('\0', '@')
          : formatUaddr(more.length > 0 ? wildcard : first.address, first.port);
      const versions =
        netid === 'tcp' || netid === 'udp' ? [RPCBVERS4, RPCBVERS, PMAP_VERS] : [RPCBVERS4, RPCBVERS];
      for (const version of versions)
        this.registry.set(
          { program: RPCBPROG, version, netid, address, owner: SUPERUSER },
          { isPermanent: true },
        );
    }
    this.registry.movePermanentFirst();
  }
}

/** Throws RangeError where there are two stores, RpcbindError where the folder cannot be used. */
function storeFor(
  options: RpcbindDaemonOptions,
  warn: (text: string) => void,
): RegistrationStore | undefined {
  const { store, stateFolder, stateFolderFd, isColdStart = false } = options;
  if (store !== undefined && stateFolder !== undefined)
    throw new RangeError('store and stateFolder exclude each other');
  if (stateFolder === undefined) return store;
  return new JournalStore({ path: stateFolder, fd: stateFolderFd }, isColdStart, warn);
}

/** What is said of every UDP door. */
interface UdpExtras {
  readonly native?: boolean;
  readonly multicastGroup?: string;
  readonly onError: (error: unknown) => void;
}

/** How often another free port is tried where 0 asks for any: UDP's choice may be taken for TCP. */
const PORT_TRIES = 20;

/** A UDP and a TCP door on one port. */
async function openPair(
  server: RpcServer,
  host: string,
  port: number,
  extras: UdpExtras,
  stream: Partial<StreamListenOptions>,
): Promise<{ port: number }> {
  for (let attempt = 1; ; attempt++) {
    const udp = await server.listenUdp({ host, port, ...extras });
    try {
      await server.listenTcp({ host, port: udp.port, ...stream });
      return { port: udp.port };
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      if (port !== 0 || !isTaken || attempt === PORT_TRIES) throw error;
      await server.shut(udp);
    }
  }
}
