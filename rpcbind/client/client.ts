/**
 * Registrations in the rpcbind of a host: one client of versions 2, 3 and 4 of program 100000 (RFC 1833). What its results
 * mean is in lookup.ts for callers and in publish.ts for servers; what else an rpcbind does is in diagnostics.ts.
 */

import {
  type ClientOptions,
  connectTcp,
  connectUdp,
  connectUnix,
  createClient,
  ReplyError,
  type RpcClient,
} from '../../runtime/index.js';
import type { ClientTransport } from '../../runtime/protocol.js';
import { RpcbindError } from '../errors.js';
import type { NewRegistration, Registration } from '../registration.js';
import {
  PMAP_IPPROTO_TCP,
  PMAP_IPPROTO_UDP,
  PMAP_PORT,
  RPCBPROG,
  RpcbprogV2Client,
  RpcbprogV3Client,
  RpcbprogV4Client,
  type rpcb,
} from '../rpcbind.gen.js';

/** The local socket of rpcbind on Unix hosts. */
export const LOCAL_SOCKET_PATH = '/run/rpcbind.sock';

/**
 * The port of rpcbind: RPCBIND_PORT of the environment, else 111. Throws RpcbindError `RPCBIND_PORT` if that is not a port
 * from 1 to 65535.
 */
export function defaultRpcbindPort(environment: NodeJS.ProcessEnv = process.env): number {
  const text = environment['RPCBIND_PORT'];
  if (text === undefined || text === '') return PMAP_PORT;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535)
    throw new RpcbindError('RPCBIND_PORT', `RPCBIND_PORT is ${text}; it must be a port from 1 to 65535`);
  return port;
}

/** See {@link connectRpcbind}. */
export interface RpcbindOptions {
  /** Name or IP address. Default 127.0.0.1. */
  readonly host?: string | undefined;
  /** Default {@link defaultRpcbindPort}. */
  readonly port?: number | undefined;
  /** Default 'tcp', which has no limit on the size of a table. */
  readonly transport?: 'udp' | 'tcp' | 'local' | undefined;
  /** Of the local socket. Default {@link LOCAL_SOCKET_PATH}. */
  readonly path?: string | undefined;
  /** Milliseconds until a call without a reply is sent again (UDP). Default 5000. */
  readonly retransmitMs?: number | undefined;
  /** Milliseconds until a call without a reply rejects with TimeoutError. Default 25000. */
  readonly timeoutMs?: number | undefined;
  /** 4 or 6 if a name is to be resolved to one family of addresses alone. */
  readonly family?: 4 | 6 | undefined;
}

/** One row of version 2's table (RFC 1833 section 3.1). */
export interface PortMapping {
  readonly program: number;
  readonly version: number;
  /** A number for neither of the two. */
  readonly protocol: 'udp' | 'tcp' | number;
  readonly port: number;
}

/** One address of a program, and its transport (rpcb_entry, RFC 1833 section 2.1). */
export interface AddressEntry {
  /** Universal address. */
  readonly address: string;
  readonly netid: string;
  /** 1 datagrams, 2 connections, 3 connections with orderly release. */
  readonly semantics: number;
  readonly family: string;
  readonly protocol: string;
}

const PROTOCOLS = { udp: PMAP_IPPROTO_UDP, tcp: PMAP_IPPROTO_TCP } as const;

/**
 * The registrations of one rpcbind. Made by {@link connectRpcbind}. Every call rejects as {@link RpcClient.call} does.
 * `set`, `unset`, `getport` and `dump` are those of version 2; the others are of versions 3 and 4.
 */
export class RpcbindClient {
  /** The client by which all calls are made, for other procedures of rpcbind: {@link getStatistics} and so on. */
  readonly rpc: RpcClient;
  private readonly v2: RpcbprogV2Client;
  private readonly v3: RpcbprogV3Client;
  private readonly v4: RpcbprogV4Client;
  /** 3 once the server has refused version 4. */
  private newestVersion: 3 | 4 = 4;

  /** `transport` belongs to the client from now on. Throws RangeError for an option that is not valid. */
  constructor(transport: ClientTransport, options: ClientOptions = {}) {
    this.rpc = createClient(transport, options);
    this.v2 = new RpcbprogV2Client(this.rpc);
    this.v3 = new RpcbprogV3Client(this.rpc);
    this.v4 = new RpcbprogV4Client(this.rpc);
  }

  /** The address that is called, for messages. */
  get target(): string {
    return this.rpc.target;
  }

  /** Registers a port by version 2; false if another port is registered, or if this caller may not register it. */
  set(of: {
    readonly program: number;
    readonly version: number;
    readonly protocol: 'udp' | 'tcp';
    readonly port: number;
  }): Promise<boolean> {
    const { program: prog, version: vers, port } = of;
    return this.v2.set({ prog, vers, prot: PROTOCOLS[of.protocol], port });
  }

  /** Removes UDP and TCP of a version of a program; false, and nothing removed, if one belongs to another owner. */
  unset(of: { readonly program: number; readonly version: number }): Promise<boolean> {
    return this.v2.unset({ prog: of.program, vers: of.version, prot: 0, port: 0 });
  }

  /** The port of a program; that of another version if this one is not registered; 0 if none is. */
  getport(of: {
    readonly program: number;
    readonly version: number;
    readonly protocol: 'udp' | 'tcp';
  }): Promise<number> {
    return this.v2.getport({ prog: of.program, vers: of.version, prot: PROTOCOLS[of.protocol], port: 0 });
  }

  /** The table of version 2: UDP and TCP over IPv4. */
  async dump(): Promise<PortMapping[]> {
    return (await this.v2.dump()).map(({ map }) => ({
      program: map.prog,
      version: map.vers,
      protocol: map.prot === PROTOCOLS.udp ? 'udp' : map.prot === PROTOCOLS.tcp ? 'tcp' : map.prot,
      port: map.port,
    }));
  }

  /** The whole table, by version 4 or 3. */
  async dumpAddresses(): Promise<Registration[]> {
    const rows = await this.byNewestVersion(
      () => this.v4.dump(),
      () => this.v3.dump(),
    );
    return rows.map(({ rpcb_map: row }) => ({
      program: row.r_prog,
      version: row.r_vers,
      netid: row.r_netid,
      address: row.r_addr,
      owner: row.r_owner,
    }));
  }

  /** Registers an address by version 4 or 3; false if another one is registered, or if this caller may not register it. */
  setAddress(of: NewRegistration): Promise<boolean> {
    const args = argsOf(of);
    return this.byNewestVersion(
      () => this.v4.set(args),
      () => this.v3.set(args),
    );
  }

  /** Removes the address on one netid, or on all; false, and nothing removed, if one belongs to another owner. */
  unsetAddress(of: {
    readonly program: number;
    readonly version: number;
    readonly netid?: string | undefined;
  }): Promise<boolean> {
    const args = argsOf(of);
    return this.byNewestVersion(
      () => this.v4.unset(args),
      () => this.v3.unset(args),
    );
  }

  /**
   * The universal address of a program on the transport of this client; that of another version if this one is not
   * registered; undefined if none is.
   */
  async getaddr(of: {
    readonly program: number;
    readonly version: number;
    readonly netid?: string | undefined;
  }): Promise<string | undefined> {
    const args = argsOf(of);
    const address = await this.byNewestVersion(
      () => this.v4.getaddr(args),
      () => this.v3.getaddr(args),
    );
    return address === '' ? undefined : address;
  }

  /** As {@link getaddr}, of exactly this version. By version 4 alone. */
  async getVersionAddress(of: {
    readonly program: number;
    readonly version: number;
    readonly netid?: string | undefined;
  }): Promise<string | undefined> {
    const address = await this.v4.getversaddr(argsOf(of));
    return address === '' ? undefined : address;
  }

  /** Every address of a version of a program, of the address family of this client. By version 4 alone. */
  async addressList(of: { readonly program: number; readonly version: number }): Promise<AddressEntry[]> {
    return (await this.v4.getaddrlist(argsOf(of))).map(({ rpcb_entry_map: entry }) => ({
      address: entry.r_maddr,
      netid: entry.r_nc_netid,
      semantics: entry.r_nc_semantics,
      family: entry.r_nc_protofmly,
      protocol: entry.r_nc_proto,
    }));
  }

  /** Calls procedure 0 of a version of rpcbind; resolves with the round-trip time in milliseconds. */
  ping(version: 2 | 3 | 4 = 2): Promise<number> {
    return this.rpc.ping(RPCBPROG, version);
  }

  /** Closes the connection or socket. May be called twice. */
  close(): Promise<void> {
    return this.rpc.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** By version 4, or by version 3 if the server has no version 4, which is remembered. */
  private async byNewestVersion<T>(by4: () => Promise<T>, by3: () => Promise<T>): Promise<T> {
    if (this.newestVersion === 3) return by3();
    try {
      return await by4();
    } catch (error) {
      if (!hasVersion3Alone(error)) throw error;
      this.newestVersion = 3;
      return by3();
    }
  }
}

/** Whether a server refused a call since it does not serve this version of rpcbind. */
export function isVersionRefused(error: unknown): boolean {
  return error instanceof ReplyError && error.code === 'RPC_PROG_MISMATCH';
}

/** Whether a server refused version 4, and serves version 3. */
export function hasVersion3Alone(error: unknown): boolean {
  if (!(error instanceof ReplyError) || !isVersionRefused(error)) return false;
  const { refusal } = error;
  return 'low' in refusal && refusal.low <= 3 && refusal.high >= 3;
}

/**
 * A client of an rpcbind. Over UDP it rejects with TransportError if there is no such host; over TCP and the local socket
 * the first call connects, and rejects if that fails.
 */
export async function connectRpcbind(options: RpcbindOptions = {}): Promise<RpcbindClient> {
  const { retransmitMs, timeoutMs } = options;
  return new RpcbindClient(await connect(options), { retransmitMs, timeoutMs });
}

async function connect(options: RpcbindOptions): Promise<ClientTransport> {
  if (options.transport === 'local') return connectUnix({ path: options.path ?? LOCAL_SOCKET_PATH });
  const target = {
    host: options.host ?? '127.0.0.1',
    port: options.port ?? defaultRpcbindPort(),
    ...(options.family === undefined ? {} : { family: options.family }),
  };
  return options.transport === 'udp' ? connectUdp(target) : connectTcp(target);
}

function argsOf(of: {
  readonly program: number;
  readonly version: number;
  readonly netid?: string | undefined;
  readonly address?: string | undefined;
}): rpcb {
  return {
    r_prog: of.program,
    r_vers: of.version,
    r_netid: of.netid ?? '',
    r_addr: of.address ?? '',
    r_owner: '',
  };
}
