/**
 * The daemon as a library: doors, table and rules wired together, and no globals, so that a
 * process may have several. Command line, signals and logs are bin/rpcbind-ts.ts.
 */

import { isIPv6 } from 'node:net';
import { createServer, type Listener, type RpcServer } from '../runtime/index.js';
import { Access, type AccessOptions, type RefusalCounts } from './access.js';
import { Binder, type BinderEvent } from './binder.js';
import { canTellOwners } from './owner.js';
import { createVersion2, createVersion3, createVersion4, type Forwarder } from './program.js';
import { Reach, type ReachOptions } from './reach.js';
import { type AddressRegistration, Registry, type RegistryOptions, SUPERUSER } from './registry.js';
import { PMAP_PORT, PMAP_VERS, RPCBPROG, RPCBVERS, RPCBVERS4 } from './rpcbind.gen.js';
import { Statistics } from './stats.js';
import { formatUaddr } from './uaddr.js';

/** See {@link createRpcbind}. */
export interface RpcbindDaemonOptions extends AccessOptions, ReachOptions, RegistryOptions {
  /** UDP and TCP port; 0 for any that is free. Default 111. */
  readonly port?: number;
  /** IP addresses to listen on. Default 127.0.0.1. */
  readonly host?: readonly string[];
  /** Unix sockets to listen on; one that begins with a NUL is abstract (Linux). Default: none. */
  readonly local?: readonly string[];
  /** Told of every noteworthy event. */
  readonly onEvent?: (event: BinderEvent) => void;
  /** Told of a fault while answering; the caller only learns SYSTEM_ERR. */
  readonly onError?: (error: unknown) => void;
}

/** A running daemon. */
export interface Rpcbind {
  /** The port of its first UDP door; 0 where it has none. */
  readonly port: number;
  readonly listeners: readonly Listener[];
  /** The whole table, oldest first. */
  registrations(): AddressRegistration[];
  /** What was refused so far. */
  refused(): Readonly<RefusalCounts>;
  /** Takes other access lists from now on. Throws RangeError, and changes nothing, where one is wrong. */
  reload(lists: Pick<AccessOptions, 'allow' | 'allowRegister' | 'isInsecure'>): void;
  /** Drains and closes every door. May be called twice. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts an rpcbind: program 100000, versions 2, 3 and 4 over IPv4 and the local socket, 3 and 4
 * over IPv6 (RFC 1833). Rejects with the system's error where a door cannot be opened
 * (EADDRINUSE, EACCES, EADDRNOTAVAIL), with none left open.
 */
export async function createRpcbind(options: RpcbindDaemonOptions = {}): Promise<Rpcbind> {
  const daemon = new Daemon(options);
  try {
    await daemon.open(options);
  } catch (error) {
    await daemon.close();
    throw error;
  }
  return daemon;
}

class Daemon implements Rpcbind {
  private readonly registry: Registry;
  private readonly access: Access;
  /** Version 2 knows no IPv6, so a caller over IPv6 is to be told that it is not served. */
  private readonly inet: RpcServer;
  private readonly inet6: RpcServer;

  constructor(options: RpcbindDaemonOptions) {
    this.registry = new Registry({ isUnknownOneOwner: !canTellOwners(), ...options });
    this.access = new Access(options);
    const binder = new Binder({
      registry: this.registry,
      access: this.access,
      reach: new Reach(options),
      stats: new Statistics(),
      onEvent: options.onEvent,
    });
    const forwarder: Forwarder = { forward: () => Promise.reject(new Error('calls are not passed on')) };
    const common = {
      onError: (error: unknown) => options.onError?.(error),
    };
    const services = [createVersion3(binder, forwarder), createVersion4(binder, forwarder)];
    this.inet = createServer({ ...common, services: [createVersion2(binder, forwarder), ...services] });
    this.inet6 = createServer({ ...common, services });
  }

  get listeners(): readonly Listener[] {
    return [...this.inet.listeners, ...this.inet6.listeners];
  }

  get port(): number {
    return this.listeners.find(({ netid }) => netid.startsWith('udp'))?.port ?? 0;
  }

  async open(options: RpcbindDaemonOptions): Promise<void> {
    let port = options.port ?? PMAP_PORT;
    for (const host of options.host ?? ['127.0.0.1']) {
      const server = isIPv6(host) ? this.inet6 : this.inet;
      ({ port } = await openPair(server, host, port));
    }
    for (const path of options.local ?? []) await this.inet.listenUnix({ path });
    this.registerOurselves();
  }

  registrations(): AddressRegistration[] {
    return [...this.registry.entries()].map(({ program, version, netid, address, owner }) => ({
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

  reload(lists: Pick<AccessOptions, 'allow' | 'allowRegister' | 'isInsecure'>): void {
    this.access.reload(lists);
  }

  async close(): Promise<void> {
    await Promise.all([this.inet.close(), this.inet6.close()]);
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
  }
}

/** How often another free port is tried where 0 asks for any: UDP's choice may be taken for TCP. */
const PORT_TRIES = 20;

/** A UDP and a TCP door on one port. */
async function openPair(server: RpcServer, host: string, port: number): Promise<{ port: number }> {
  for (let attempt = 1; ; attempt++) {
    const udp = await server.listenUdp({ host, port });
    try {
      await server.listenTcp({ host, port: udp.port });
      return { port: udp.port };
    } catch (error) {
      const isTaken = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
      if (port !== 0 || !isTaken || attempt === PORT_TRIES) throw error;
      await server.shut(udp);
    }
  }
}
