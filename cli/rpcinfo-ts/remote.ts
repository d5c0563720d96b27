/**
 * An rpcbind somewhere, as rpcinfo asks it: newer versions first, and what an old portmapper knows
 * in the form of the newer ones. What it says is passed on as it is.
 */

import {
  type AddressEntry,
  formatUaddr,
  getStatistics,
  type LookupCount,
  type NewRegistration,
  type PortMapping as PortRow,
  type Registration,
  RpcbindClient,
} from '../../rpcbind/index.js';
import { connectTcp, connectUdp, connectUnix, ReplyError } from '../../runtime/index.js';
import type { ClientTransport } from '../../runtime/protocol.js';

export type { LookupCount, Registration };

/** How often calls to one procedure were passed on. */
export interface CallCount extends LookupCount {
  readonly procedure: number;
  /** Whether it came by INDIRECT, which tells its failures. */
  readonly isIndirect: boolean;
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

/** Where a service, or rpcbind itself, is asked. */
export type Place =
  | { readonly kind: 'local'; readonly path: string }
  | { readonly kind: 'udp' | 'tcp'; readonly host: string; readonly address: string; readonly port: number };

/** How long a call may take. */
export interface Times {
  readonly retransmitMs: number;
  readonly timeoutMs: number;
}

/** A connection to an rpcbind. */
export class Remote {
  private readonly client: RpcbindClient;

  constructor(client: RpcbindClient) {
    this.client = client;
  }

  /** The table of version 2. */
  ports(): Promise<PortRow[]> {
    return this.client.dump();
  }

  /** The table of versions 4 and 3; that of version 2, in their form, from a portmapper. */
  async registrations(): Promise<Registration[]> {
    try {
      return await this.client.dumpAddresses();
    } catch (error) {
      if (!isOlder(error)) throw error;
      const rows = await this.client.dump();
      return rows.map(({ program, version, protocol, port }) => ({
        program,
        version,
        netid: String(protocol),
        address: formatUaddr('0.0.0.0', port & 0xffff),
        owner: 'unknown',
      }));
    }
  }

  /** The universal address of a service, or undefined. */
  async address(program: number, version: number, netid: string): Promise<string | undefined> {
    try {
      return await this.client.getaddr({ program, version, netid });
    } catch (error) {
      if (!isOlder(error) || (netid !== 'udp' && netid !== 'tcp')) throw error;
      const port = await this.client.getport({ program, version, protocol: netid });
      return port === 0 ? undefined : formatUaddr('0.0.0.0', port & 0xffff);
    }
  }

  /** All addresses of a service in the address family of this connection. */
  addresses(program: number, version: number): Promise<AddressEntry[]> {
    return this.client.addressList({ program, version });
  }

  /** What it has counted, of versions 2, 3 and 4. */
  async statistics(): Promise<Statistics[]> {
    return (await getStatistics(this.client)).map(({ calls, sets, unsets, lookups, forwards }, i) => ({
      version: (i + 2) as 2 | 3 | 4,
      info: calls,
      sets,
      unsets,
      lookups,
      calls: forwards,
    }));
  }

  /** Registers a service; false where rpcbind has another address for it. */
  set(entry: NewRegistration): Promise<boolean> {
    return this.client.setAddress(entry);
  }

  /** Removes a service from one netid, or with an empty netid from all; false where it is another owner's. */
  unset(program: number, version: number, netid: string): Promise<boolean> {
    return this.client.unsetAddress({ program, version, netid });
  }

  close(): Promise<void> {
    return this.client.close();
  }
}

/** Opens a way to an rpcbind. Over TCP and unix sockets nothing is connected before the first call. */
export async function openRemote(place: Place, times: Times): Promise<Remote> {
  return new Remote(new RpcbindClient(await transportTo(place, times), times));
}

/** A way to a place. */
export function transportTo(place: Place, times: Times): ClientTransport | Promise<ClientTransport> {
  const connectTimeoutMs = times.timeoutMs;
  if (place.kind === 'local') return connectUnix({ path: place.path, connectTimeoutMs });
  const { address: host, port } = place;
  return place.kind === 'udp' ? connectUdp({ host, port }) : connectTcp({ host, port, connectTimeoutMs });
}

/** Whether a server said that it does not have that version, or that procedure. */
function isOlder(error: unknown): boolean {
  return error instanceof ReplyError && ['RPC_PROG_MISMATCH', 'RPC_PROC_UNAVAIL'].includes(error.code);
}
