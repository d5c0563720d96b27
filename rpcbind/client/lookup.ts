/** Looks up a program on a host, by versions 4, 3 and 2 of rpcbind. */

import { TimeoutError, TransportError } from '../../runtime/index.js';
import { resolveHost } from '../../runtime/protocol.js';
import { RpcbindError } from '../errors.js';
import { isLoopback, isWildcard, parseUaddr } from '../uaddr.js';
import { connectRpcbind, defaultRpcbindPort, isVersionRefused, type RpcbindClient } from './client.js';

/** See {@link lookup}. */
export interface LookupOptions {
  /** Name or IP address. */
  readonly host: string;
  readonly program: number;
  readonly version: number;
  readonly transport: 'udp' | 'tcp';
  /** Of rpcbind on that host. Default: RPCBIND_PORT, else 111. */
  readonly rpcbindPort?: number | undefined;
  /** 4 or 6 if a name is to be resolved to one family of addresses alone. */
  readonly family?: 4 | 6 | undefined;
  /** Milliseconds until a call without a reply is sent again (UDP). Default 5000. */
  readonly retransmitMs?: number | undefined;
  /** Milliseconds until a call without a reply rejects with TimeoutError. Default 25000. */
  readonly timeoutMs?: number | undefined;
}

/** The address of a program. */
export interface LookupResult {
  /** IP address. */
  readonly host: string;
  readonly port: number;
  readonly netid: string;
}

/**
 * Looks up a program, and calls rpcbind over the transport on which the program is wanted. If another version of the
 * program is registered, its address is the result; a call to it says which versions there are (RFC 1833 section 2.2.1).
 *
 * Rejects with RpcbindError `RPCBIND_NOT_REGISTERED` or `RPCBIND_UNREACHABLE` (`cause` is the error of the call), with
 * TransportError if there is no such host, and with ReplyError if rpcbind refuses the call.
 */
export async function lookup(options: LookupOptions): Promise<LookupResult> {
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
    const found = await addressOf(rpcbind, options, netid);
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
    const reason = error.message.replace(/^.*?: /, '');
    throw new RpcbindError(
      'RPCBIND_UNREACHABLE',
      `no rpcbind answers at ${options.host} port ${port}: ${reason}`,
      error,
    );
  } finally {
    await rpcbind.close();
  }
}

async function addressOf(
  rpcbind: RpcbindClient,
  { program, version, transport, host }: LookupOptions,
  netid: string,
): Promise<{ readonly host?: string; readonly port: number } | undefined> {
  try {
    const address = await rpcbind.getaddr({ program, version, netid });
    if (address === undefined) return undefined;
    const endpoint = parseUaddr(netid, address);
    if (endpoint !== undefined && endpoint.port > 0) return endpoint;
    throw new RpcbindError(
      'RPCBIND_NOT_REGISTERED',
      `program ${program} version ${version} on ${host}: its rpcbind answers "${address}", which is not a ${netid} address`,
    );
  } catch (error) {
    // An old port mapper has version 2 alone. Any other refusal is final.
    if (!isVersionRefused(error)) throw error;
  }
  const port = await rpcbind.getport({ program, version, protocol: transport });
  return port === 0 ? undefined : { port };
}

/**
 * Whether an address is another one than that of the rpcbind that answered it, and can be called. A wildcard or loopback
 * address means the host that was asked.
 */
function isElsewhere(answer: string, asked: string): boolean {
  return answer !== asked && !isWildcard(answer) && (!isLoopback(answer) || isLoopback(asked));
}
