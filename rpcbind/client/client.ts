/**
 * Asking rpcbind: one client for versions 2, 3 and 4 of program 100000 (RFC 1833). It translates
 * between the wire's structures and ours; what the answers mean for a caller is in lookup.ts,
 * for a server in publish.ts.
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
import type { Registration } from '../registration.js';
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

/** Where rpcbind listens on the hosts that have a local socket for it. */
export const LOCAL_SOCKET_PATH = '/run/rpcbind.sock';

/**
 * The port of rpcbind: RPCBIND_PORT of the environment, else 111. Throws RpcbindError
 * `RPCBIND_PORT` where that is no port from 1 to 65535.
 */
export function defaultRpcbindPort(environment: NodeJS.ProcessEnv = process.env): number {
  const text = environment['RPCBIND_PORT'];
  if (text === undefined || text === '') return PMAP_PORT;
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535)
    throw new RpcbindError('RPCBIND_PORT', `RPCBIND_PORT is ${text}, which is no port from 1 to 65535`);
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
  /** Milliseconds without an answer before asking again (UDP). Default 5000. */
  readonly retransmitMs?: number | undefined;
  /** Milliseconds until TimeoutError. Default 25000. */
  readonly timeoutMs?: number | undefined;
  /** 4 or 6 to insist on one family of addresses for a name. */
  readonly family?: 4 | 6 | undefined;
}

/** One row of version 2's table. */
export interface PortMapping {
  readonly program: number;
  readonly version: number;
  /** A number where it is neither. */
  readonly protocol: 'udp' | 'tcp' | number;
  readonly port: number;
}

/** One address of a program and what its transport is. */
export interface AddressEntry {
  /** Universal address. */
  readonly address: string;
  readonly netid: string;
  /** 1 datagrams, 2 connections, 3 connections that close in order. */
  readonly semantics: number;
  readonly family: string;
  readonly protocol: string;
}

/** How often something was looked up. */
export interface LookupCount {
  readonly program: number;
  readonly version: number;
  readonly netid: string;
  readonly success: number;
  readonly failure: number;
}

/** How often a procedure was called by way of rpcbind. */
export interface ForwardCount extends LookupCount {
  readonly procedure: number;
  readonly isIndirect: boolean;
}

/** What happened to one version of rpcbind since it started. */
export interface VersionStatistics {
  /** Calls by procedure, 0 to 12. */
  readonly calls: readonly number[];
  readonly sets: number;
  readonly unsets: number;
  readonly lookups: readonly LookupCount[];
  readonly forwards: readonly ForwardCount[];
}

/** A procedure to be called by way of rpcbind; `args` are XDR. */
export interface ForwardedCall {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly args: Uint8Array;
}

const PROTOCOLS = { udp: PMAP_IPPROTO_UDP, tcp: PMAP_IPPROTO_TCP } as const;

/** A connection to one rpcbind. Made by {@link connectRpcbind}. Every call rejects as RpcClient.call does. */
export class RpcbindClient {
  private readonly client: RpcClient;
  private readonly v2: RpcbprogV2Client;
  private readonly v3: RpcbprogV3Client;
  private readonly v4: RpcbprogV4Client;
  /** 3 once the peer said that it has no version 4. */
  private best: 3 | 4 = 4;

  constructor(transport: ClientTransport, options: ClientOptions = {}) {
    this.client = createClient(transport, options);
    this.v2 = new RpcbprogV2Client(this.client);
    this.v3 = new RpcbprogV3Client(this.client);
    this.v4 = new RpcbprogV4Client(this.client);
  }

  /** For error messages: where the calls go. */
  get target(): string {
    return this.client.target;
  }

  /** Registers a port by version 2; false where another port, or another owner, is registered. */
  set(of: {
    readonly program: number;
    readonly version: number;
    readonly protocol: 'udp' | 'tcp';
    readonly port: number;
  }): Promise<boolean> {
    const { program: prog, version: vers, port } = of;
    return this.v2.set({ prog, vers, prot: PROTOCOLS[of.protocol], port });
  }

  /** Takes back both UDP and TCP of a version of a program; false where another owner holds one. */
  unset(of: { readonly program: number; readonly version: number }): Promise<boolean> {
    return this.v2.unset({ prog: of.program, vers: of.version, prot: 0, port: 0 });
  }

  /** The port of a program, 0 where there is none. Another version's where this one is not registered. */
  getport(of: {
    readonly program: number;
    readonly version: number;
    readonly protocol: 'udp' | 'tcp';
  }): Promise<number> {
    return this.v2.getport({ prog: of.program, vers: of.version, prot: PROTOCOLS[of.protocol], port: 0 });
  }

  /** Version 2's table: UDP and TCP over IPv4. */
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
    const rows = await this.newest(
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

  /** Registers an address by version 4 or 3; false where another address, or another owner, is registered. */
  setAddress(of: Omit<Registration, 'owner'>): Promise<boolean> {
    const args = wire(of);
    return this.newest(
      () => this.v4.set(args),
      () => this.v3.set(args),
    );
  }

  /** Takes back the address on one netid, or on all; false, and nothing taken, where another owner holds one. */
  unsetAddress(of: {
    readonly program: number;
    readonly version: number;
    readonly netid?: string | undefined;
  }): Promise<boolean> {
    const args = wire(of);
    return this.newest(
      () => this.v4.unset(args),
      () => this.v3.unset(args),
    );
  }

  /**
   * The universal address of a program on the transport this question goes by; another version's
   * where this one is not registered; undefined where there is none.
   */
  async getaddr(of: {
    readonly program: number;
    readonly version: number;
    readonly netid?: string | undefined;
  }): Promise<string | undefined> {
    const args = wire(of);
    const address = await this.newest(
      () => this.v4.getaddr(args),
      () => this.v3.getaddr(args),
    );
    return address === '' ? undefined : address;
  }

  /** As {@link getaddr}, of exactly this version (version 4 of rpcbind). */
  async getVersionAddress(of: {
    readonly program: number;
    readonly version: number;
    readonly netid?: string | undefined;
  }): Promise<string | undefined> {
    const address = await this.v4.getversaddr(wire(of));
    return address === '' ? undefined : address;
  }

  /** Every address of a version of a program (version 4 of rpcbind). */
  async addressList(of: { readonly program: number; readonly version: number }): Promise<AddressEntry[]> {
    return (await this.v4.getaddrlist(wire(of))).map(({ rpcb_entry_map: entry }) => ({
      address: entry.r_maddr,
      netid: entry.r_nc_netid,
      semantics: entry.r_nc_semantics,
      family: entry.r_nc_protofmly,
      protocol: entry.r_nc_proto,
    }));
  }

  /** The clock of that host, in whole seconds. */
  async getTime(): Promise<Date> {
    const seconds = await this.newest(
      () => this.v4.gettime(),
      () => this.v3.gettime(),
    );
    return new Date(seconds * 1000);
  }

  /** What happened to versions 2, 3 and 4, in this order (version 4 of rpcbind). */
  async statistics(): Promise<VersionStatistics[]> {
    return (await this.v4.getstat()).map((one) => ({
      calls: one.info,
      sets: one.setinfo,
      unsets: one.unsetinfo,
      lookups: one.addrinfo.map(({ prog, vers, netid, success, failure }) => ({
        program: prog,
        version: vers,
        netid,
        success,
        failure,
      })),
      forwards: one.rmtinfo.map(({ prog, vers, proc, netid, success, failure, indirect }) => ({
        program: prog,
        version: vers,
        procedure: proc,
        netid,
        success,
        failure,
        isIndirect: indirect !== 0,
      })),
    }));
  }

  /** Calls a procedure by way of rpcbind; on any failure there is silence, so TimeoutError (RFC 1833 section 3.2). */
  async callit(of: ForwardedCall): Promise<{ readonly port: number; readonly result: Uint8Array }> {
    const { program: prog, version: vers, procedure: proc, args } = of;
    const { port, res } = await this.v2.callit({ prog, vers, proc, args });
    return { port, result: res };
  }

  /** As {@link callit}, but failures are told (version 4 of rpcbind). */
  async indirect(of: ForwardedCall): Promise<{ readonly address: string; readonly result: Uint8Array }> {
    const { program: prog, version: vers, procedure: proc, args } = of;
    const { addr, results } = await this.v4.indirect({ prog, vers, proc, args });
    return { address: addr, result: results };
  }

  /** Calls procedure 0 of a version of rpcbind, and says how long it took in milliseconds. */
  ping(version: 2 | 3 | 4 = 2): Promise<number> {
    return this.client.ping(RPCBPROG, version);
  }

  /** Ends the connection. May be called twice. */
  close(): Promise<void> {
    return this.client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** By version 4, and by 3 where the peer has no 4; what it said is remembered. */
  private async newest<T>(byFour: () => Promise<T>, byThree: () => Promise<T>): Promise<T> {
    if (this.best === 3) return byThree();
    try {
      return await byFour();
    } catch (error) {
      if (!hasNoSuchVersion(error) || (error as ReplyError).refusal === undefined) throw error;
      const { refusal } = error as ReplyError;
      if (!('low' in refusal) || refusal.low > 3 || refusal.high < 3) throw error;
      this.best = 3;
      return byThree();
    }
  }
}

/** True for the refusal of a peer that does not serve a version of rpcbind. */
export function hasNoSuchVersion(error: unknown): boolean {
  return error instanceof ReplyError && error.code === 'RPC_PROG_MISMATCH';
}

/**
 * A way to an rpcbind. Over UDP it rejects with TransportError where there is no such host; over
 * TCP and the local socket it connects on the first call, which then says so.
 */
export async function connectRpcbind(options: RpcbindOptions = {}): Promise<RpcbindClient> {
  const client: ClientOptions = {
    ...(options.retransmitMs === undefined ? {} : { retransmitMs: options.retransmitMs }),
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
  };
  return new RpcbindClient(await connect(options), client);
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

function wire(of: {
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
