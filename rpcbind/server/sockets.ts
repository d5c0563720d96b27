/** The sockets of a daemon: which are opened, and what each of them accepts. */

import type { Peer, RpcServer } from '../../runtime/index.js';
import type { StreamListenOptions } from '../../runtime/protocol.js';
import { userOfConnection } from '../kernel/owner.js';
import { PMAP_PORT } from '../rpcbind.gen.js';
import type { InheritedSocket, RpcbindDaemonOptions } from './options.js';

/** The IPv6 multicast group of rpcbind, for callers that look for hosts (RFC 1833 section 2.2.1, BCAST). */
export const DISCOVERY_GROUP = 'ff02::202';
/**
 * Maximum size in bytes of a call over TCP and the local socket, as in Debian's rpcbind (RPC_MAXDATASIZE of libtirpc). A
 * SET has less than 2 KiB; a forwarded call may be this long less its headers.
 */
export const MAX_CALL_BYTES = 9_000;
/** Maximum number of connections of one listener: callers call and disconnect, so 1024 at a time is a busy host. */
export const MAX_CONNECTIONS = 1_024;
/** Maximum number of connections of one source: it takes four hosts to use up all. */
export const MAX_CONNECTIONS_PER_SOURCE = 256;
/** Connections of a listener that only callers of this host may use. */
export const RESERVED_CONNECTIONS = 128;
/** Maximum size of unfinished calls of all connections together: 8 MiB, about 900 of the largest. */
export const MAX_UNFINISHED_BYTES = 8 * 1024 * 1024;
/** Maximum size of replies that callers have not read, of all connections together: 32 MiB, three of the largest tables. */
export const MAX_UNSENT_BYTES = 32 * 1024 * 1024;

/** How often another free port is tried for port 0: the one that is free for UDP may be in use for TCP. */
const PORT_TRIES = 20;

/** See {@link openSockets}. */
export interface SocketOptions
  extends Pick<
    RpcbindDaemonOptions,
    'host' | 'port' | 'local' | 'inherited' | 'openedLocal' | 'native' | 'forwardCalls'
  > {
  /** Whether a new connection is read from. */
  readonly mayConnect: (peer: Peer) => boolean;
  readonly onWarning: (text: string) => void;
}

interface UdpOptions {
  readonly native?: boolean;
  readonly multicastGroup?: string;
  readonly onError: (error: unknown) => void;
}

/** Opens every socket of a daemon. Rejects with the system's error; sockets opened before are closed with the server. */
export async function openSockets(server: RpcServer, options: SocketOptions): Promise<void> {
  const { inherited = [], openedLocal = [], native, forwardCalls, onWarning, mayConnect } = options;
  const udp: UdpOptions = {
    onError: (error) => onWarning(`an address of this host is not served over UDP: ${String(error)}`),
    ...(native === undefined ? {} : { native }),
    ...(forwardCalls === true ? { multicastGroup: DISCOVERY_GROUP } : {}),
  };
  const stream: Partial<StreamListenOptions> = {
    maxRecordBytes: MAX_CALL_BYTES,
    maxConnections: MAX_CONNECTIONS,
    maxConnectionsPerSource: MAX_CONNECTIONS_PER_SOURCE,
    reservedConnections: RESERVED_CONNECTIONS,
    mayConnect,
    userOf: userOfConnection,
  };
  for (const socket of inherited) await adopt(server, socket, udp, stream);
  if (inherited.length === 0) {
    let port = options.port ?? PMAP_PORT;
    for (const host of options.host ?? ['127.0.0.1']) port = await openPort(server, host, port, udp, stream);
    for (const path of options.local ?? []) await server.listenUnix({ path, ...stream });
  }
  for (const socket of openedLocal) await adopt(server, socket, udp, stream);
}

async function adopt(
  server: RpcServer,
  { fd, netid, address }: InheritedSocket,
  udp: UdpOptions,
  stream: Partial<StreamListenOptions>,
): Promise<void> {
  if (netid === 'local') await server.listenUnix({ path: address, fd, ...stream });
  else if (netid.startsWith('udp')) await server.listenUdp({ host: address, fd, ...udp });
  else await server.listenTcp({ host: address, fd, ...stream });
}

/** Opens a UDP and a TCP socket on one port, and resolves with the port. */
async function openPort(
  server: RpcServer,
  host: string,
  port: number,
  udp: UdpOptions,
  stream: Partial<StreamListenOptions>,
): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      const listener = await server.listenUdp({ host, port, ...udp });
      try {
        await server.listenTcp({ host, port: listener.port, ...stream });
        return listener.port;
      } catch (error) {
        const isInUse = (error as NodeJS.ErrnoException).code === 'EADDRINUSE';
        if (port !== 0 || !isInUse || attempt === PORT_TRIES) throw error;
        await server.shut(listener);
      }
    } catch (error) {
      // Not every error of the system says which address it concerns.
      if (error instanceof Error && !('address' in error)) Object.assign(error, { address: host });
      throw error;
    }
  }
}
