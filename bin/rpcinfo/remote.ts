/**
 * An rpcbind somewhere, as rpcinfo asks it: what is registered, where, and what it has counted.
 * Newer versions are asked first and older ones where those are not served.
 */

import { fileURLToPath } from 'node:url';
import { type LiveProcedure, loadInterface } from '../../rpcgen/index.js';
import {
  type ClientTransport,
  connectTcp,
  connectUdp,
  connectUnix,
  createClient,
  ReplyError,
  type RpcClient,
  sysCredentials,
} from '../../runtime/index.js';
import type { PortmapRow } from '../support/portmap.js';
import { formatUniversal } from './address.js';

/** One registration of version 3 or 4. */
export interface Registration {
  readonly program: number;
  readonly version: number;
  readonly netid: string;
  /** Universal address (RFC 5665), or the path of a unix socket. */
  readonly address: string;
  readonly owner: string;
}

/** One address of a service, with what its transport is. */
export interface AddressEntry {
  readonly address: string;
  readonly netid: string;
  /** 1 datagrams, 2 stream, 3 stream with orderly release. */
  readonly semantics: number;
  readonly family: string;
  readonly protocol: string;
}

/** How often one service was looked up. */
export interface LookupCount {
  readonly program: number;
  readonly version: number;
  readonly netid: string;
  readonly success: number;
  readonly failure: number;
}

/** How often calls to one procedure were passed on. */
export interface CallCount extends LookupCount {
  readonly procedure: number;
}

/** What one version of rpcbind was asked. */
export interface Statistics {
  readonly version: 2 | 3 | 4;
  /** Calls, by procedure number. */
  readonly info: readonly number[];
  readonly sets: number;
  readonly unsets: number;
  readonly lookups: readonly LookupCount[];
  readonly calls: readonly CallCount[];
}

/** Where rpcbind is asked. */
export type Place =
  | { readonly kind: 'local'; readonly path: string }
  | { readonly kind: 'udp' | 'tcp'; readonly host: string; readonly address: string; readonly port: number };

/** How long a call may take. */
export interface Times {
  readonly timeoutMs: number;
  readonly totalMs: number;
}

interface WireRpcb {
  readonly r_prog: number;
  readonly r_vers: number;
  readonly r_netid: string;
  readonly r_addr: string;
  readonly r_owner: string;
}

interface WireCount {
  readonly prog: number;
  readonly vers: number;
  readonly proc: number;
  readonly netid: string;
  readonly success: number;
  readonly failure: number;
}

/** The version 2 number of a transport, as PMAPPROC_DUMP gives it. */
const TRANSPORT_OF: Readonly<Record<number, 'tcp' | 'udp'>> = { 6: 'tcp', 17: 'udp' };

const procedures = new Map<string, LiveProcedure>();

/** A procedure of rpcbind; its interface is read when first needed. */
function procedure(version: number, name: string): LiveProcedure {
  if (procedures.size === 0) {
    const file = fileURLToPath(new URL('../../../interfaces/rpcbind.x', import.meta.url));
    for (const one of loadInterface(file).programs.flatMap(({ versions }) => versions))
      for (const each of one.procedures) procedures.set(`${one.number} ${each.name}`, each);
  }
  const found = procedures.get(`${version} ${version === 2 ? 'PMAPPROC' : 'RPCBPROC'}_${name}`);
  if (found === undefined) throw new TypeError(`rpcbind version ${version} has no ${name}`);
  return found;
}

/** A connection to an rpcbind. */
export class Remote {
  private readonly client: RpcClient;

  constructor(client: RpcClient) {
    this.client = client;
  }

  /** The table of version 2. */
  async ports(): Promise<PortmapRow[]> {
    const rows = (await this.client.call(procedure(2, 'DUMP'), undefined)) as readonly {
      readonly map: {
        readonly prog: number;
        readonly vers: number;
        readonly prot: number;
        readonly port: number;
      };
    }[];
    return rows.map(({ map: { prog, vers, prot, port } }) => ({
      program: prog,
      version: vers,
      protocol: TRANSPORT_OF[prot] ?? prot,
      port,
    }));
  }

  /** The table of versions 3 and 4; that of version 2, in their form, from a portmapper. */
  async registrations(): Promise<Registration[]> {
    try {
      const rows = (await this.newest('DUMP', undefined, [3, 4])) as readonly {
        readonly rpcb_map: WireRpcb;
      }[];
      return rows.map(({ rpcb_map: map }) => ({
        program: map.r_prog,
        version: map.r_vers,
        netid: map.r_netid,
        address: map.r_addr,
        owner: map.r_owner,
      }));
    } catch (error) {
      if (!isOlder(error)) throw error;
      const rows = await this.ports();
      return rows.map(({ program, version, protocol, port }) => ({
        program,
        version,
        netid: String(protocol),
        address: formatUniversal('0.0.0.0', port),
        owner: 'unknown',
      }));
    }
  }

  /** The universal address of a service, or an empty string. */
  async address(program: number, version: number, netid: string): Promise<string> {
    const asked = { r_prog: program, r_vers: version, r_netid: netid, r_addr: '', r_owner: '' };
    try {
      return (await this.newest('GETADDR', asked, [4, 3])) as string;
    } catch (error) {
      const prot = netid === 'udp' ? 17 : netid === 'tcp' ? 6 : undefined;
      if (!isOlder(error) || prot === undefined) throw error;
      const pmap = { prog: program, vers: version, prot, port: 0 };
      const port = (await this.client.call(procedure(2, 'GETPORT'), pmap)) as number;
      return port === 0 ? '' : formatUniversal('0.0.0.0', port);
    }
  }

  /** All addresses of a service in the address family of this connection. */
  async addresses(program: number, version: number): Promise<AddressEntry[]> {
    const asked = { r_prog: program, r_vers: version, r_netid: '', r_addr: '', r_owner: '' };
    const rows = (await this.client.call(procedure(4, 'GETADDRLIST'), asked)) as readonly {
      readonly rpcb_entry_map: {
        readonly r_maddr: string;
        readonly r_nc_netid: string;
        readonly r_nc_semantics: number;
        readonly r_nc_protofmly: string;
        readonly r_nc_proto: string;
      };
    }[];
    return rows.map(({ rpcb_entry_map: map }) => ({
      address: map.r_maddr,
      netid: map.r_nc_netid,
      semantics: map.r_nc_semantics,
      family: map.r_nc_protofmly,
      protocol: map.r_nc_proto,
    }));
  }

  /** What it has counted, of versions 2, 3 and 4. */
  async statistics(): Promise<Statistics[]> {
    const rows = (await this.client.call(procedure(4, 'GETSTAT'), undefined)) as readonly {
      readonly info: readonly number[];
      readonly setinfo: number;
      readonly unsetinfo: number;
      readonly addrinfo: readonly WireCount[];
      readonly rmtinfo: readonly WireCount[];
    }[];
    return rows.map(({ info, setinfo, unsetinfo, addrinfo, rmtinfo }, i) => ({
      version: (i + 2) as 2 | 3 | 4,
      info,
      sets: setinfo,
      unsets: unsetinfo,
      lookups: addrinfo.map(lookupCount),
      calls: rmtinfo.map((count) => ({ ...lookupCount(count), procedure: count.proc })),
    }));
  }

  /** Registers a service; false where rpcbind has another address for it. */
  async set(entry: Registration): Promise<boolean> {
    return (await this.newest('SET', wireOf(entry), [4, 3])) as boolean;
  }

  /** Removes a service from one netid, or with an empty netid from all; false where it is another owner's. */
  async unset(program: number, version: number, netid: string): Promise<boolean> {
    const entry = { program, version, netid, address: '', owner: '' };
    return (await this.newest('UNSET', wireOf(entry), [3, 4])) as boolean;
  }

  /** Calls NULL of a version of rpcbind itself, and says how many milliseconds it took. */
  ping(version: number): Promise<number> {
    return this.client.ping(100_000, version);
  }

  close(): Promise<void> {
    return this.client.close();
  }

  /** The same procedure of one version after the other, until one is served. */
  private async newest(name: string, args: unknown, versions: readonly number[]): Promise<unknown> {
    let last: unknown;
    for (const version of versions) {
      try {
        return await this.client.call(procedure(version, name), args);
      } catch (error) {
        if (!isOlder(error)) throw error;
        last = error;
      }
    }
    throw last;
  }
}

/** Opens a way to an rpcbind. Over TCP and unix sockets nothing is connected before the first call. */
export async function openRemote(place: Place, times: Times): Promise<Remote> {
  return new Remote(createClient(await transportTo(place, times), { ...times, credentials: ourselves() }));
}

/** A way to a place. */
export function transportTo(place: Place, times: Times): ClientTransport | Promise<ClientTransport> {
  const connectTimeoutMs = times.totalMs;
  if (place.kind === 'local') return connectUnix({ path: place.path, connectTimeoutMs });
  const { address: host, port } = place;
  return place.kind === 'udp' ? connectUdp({ host, port }) : connectTcp({ host, port, connectTimeoutMs });
}

function ourselves(): ReturnType<typeof sysCredentials> {
  return sysCredentials({ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });
}

/** Whether a server said that it does not have that version, or that procedure. */
function isOlder(error: unknown): boolean {
  return (
    error instanceof ReplyError &&
    ['RPC_PROG_MISMATCH', 'RPC_PROC_UNAVAIL', 'RPC_PROG_UNAVAIL'].includes(error.code)
  );
}

function lookupCount({ prog, vers, netid, success, failure }: WireCount): LookupCount {
  return { program: prog, version: vers, netid, success, failure };
}

function wireOf({ program, version, netid, address, owner }: Registration): WireRpcb {
  return { r_prog: program, r_vers: version, r_netid: netid, r_addr: address, r_owner: owner };
}
