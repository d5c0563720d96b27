/** Finding a program on a host: rpcbind version 4, 3 and 2 in turn. */

import { ReplyError, TimeoutError, TransportError } from '../../runtime/index.js';
import { resolveHost } from '../../runtime/protocol.js';
import { RpcbindError } from '../errors.js';
import { isLoopback, isWildcard, parseUaddr } from '../uaddr.js';
import { connectRpcbind, defaultRpcbindPort, type RpcbindClient } from './client.js';

/** See {@link lookup}. */
export interface LookupOptions {
  /** Name or IP address. */
  readonly host: string;
  readonly program: number;
  readonly version: number;
  readonly transport: 'udp' | 'tcp';
  /** Of rpcbind on that host. Default: RPCBIND_PORT, else 111. */
  readonly rpcbindPort?: number | undefined;
  /** 4 or 6 to insist on one family of addresses for a name. */
  readonly family?: 4 | 6 | undefined;
  /** Milliseconds without an answer before asking again (UDP). Default 5000. */
  readonly retransmitMs?: number | undefined;
  /** Milliseconds until TimeoutError. Default 25000. */
  readonly timeoutMs?: number | undefined;
}

/** Where a program is. */
export interface Found {
  /** IP address. */
  readonly host: string;
  readonly port: number;
  readonly netid: string;
}

/**
 * Asks the rpcbind of a host for a program, over the transport that the program is wanted on.
 * Rejects with RpcbindError `RPCBIND_NOT_REGISTERED` or `RPCBIND_UNREACHABLE` (its cause says how), with
 * TransportError where there is no such host, with ReplyError where rpcbind refuses. Where another version of the program is registered, that one is found, and
 * calling it says which versions there are (RFC 1833 section 2.2.1).
 */
export async function lookup(options: LookupOptions): Promise<Found> {
  const { address: host, family } = await resolveHost(options.host, options.family);
  const netid = family === 6 ? `${options.transport}6` : options.transport;
  const port = options.rpcbindPort ?? defaultRpcbindPort();
  const rpcbind = await connectRpcbind({
    host,
    port,
    transport: options.transport,
    retransmitMs: options.retransmitMs,
    timeoutMs: options.timeoutMs,
  });
  try {
    const found = await ask(rpcbind, options, netid);
    if (found === undefined)
      throw new RpcbindError(
        'RPCBIND_NOT_REGISTERED',
        `program ${options.program} version ${options.version} is not registered for ${options.transport} on ${options.host}`,
      );
    return {
      host: found.host === undefined || !isElsewhere(found.host, host) ? host : found.host,
      port: found.port,
      netid,
    };
  } catch (error) {
    if (!(error instanceof TransportError) && !(error instanceof TimeoutError)) throw error;
    const why = error.message.replace(/^.*?: /, '');
    throw new RpcbindError(
      'RPCBIND_UNREACHABLE',
      `no rpcbind answers at ${options.host} port ${port}: ${why}`,
      error,
    );
  } finally {
    await rpcbind.close();
  }
}

async function ask(
  rpcbind: RpcbindClient,
  of: LookupOptions,
  netid: string,
): Promise<{ readonly host?: string; readonly port: number } | undefined> {
  const { program, version, transport } = of;
  try {
    const address = await rpcbind.getaddr({ program, version, netid });
    if (address === undefined) return undefined;
    const endpoint = parseUaddr(netid, address);
    if (endpoint !== undefined && endpoint.port > 0) return endpoint;
    throw new RpcbindError(
      'RPCBIND_NOT_REGISTERED',
      `program ${program} version ${version} on ${of.host}: its rpcbind answers "${address}", which is no ${netid} address`,
    );
  } catch (error) {
    // A port mapper of old knows version 2 alone; whatever else it refuses, it refuses.
    if (!(error instanceof ReplyError) || error.code !== 'RPC_PROG_MISMATCH') throw error;
  }
  const port = await rpcbind.getport({ program, version, protocol: transport });
  return port === 0 ? undefined : { port };
}

/**
 * Whether the answer names another address than the one asked, and one that may be called: a
 * wildcard or a loopback address means the host that was asked.
 */
function isElsewhere(answer: string, asked: string): boolean {
  return answer !== asked && !isWildcard(answer) && (!isLoopback(answer) || isLoopback(asked));
}
