/** What an rpcbind does beside registrations: statistics, time, and calls that it forwards (RFC 1833 sections 2.2.1, 3.2). */

import { RpcbprogV2Client, RpcbprogV3Client, RpcbprogV4Client } from '../rpcbind.gen.js';
import { hasVersion3Alone, type RpcbindClient } from './client.js';

/** How often something was looked up. */
export interface LookupCount {
  readonly program: number;
  readonly version: number;
  readonly netid: string;
  readonly success: number;
  readonly failure: number;
}

/** How often a call was forwarded. */
export interface ForwardCount extends LookupCount {
  readonly procedure: number;
  /** Whether by INDIRECT, and not by CALLIT or BCAST. */
  readonly isIndirect: boolean;
}

/** Counters of one version of rpcbind since it started. */
export interface VersionStatistics {
  /** Calls by procedure number, 0 to 12. */
  readonly calls: readonly number[];
  readonly sets: number;
  readonly unsets: number;
  readonly lookups: readonly LookupCount[];
  readonly forwards: readonly ForwardCount[];
}

/** A call that rpcbind is asked to forward. */
export interface ForwardedCall {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  /** The arguments as XDR. */
  readonly args: Uint8Array;
}

/** The time of that host, in whole seconds, by version 4 or 3. Rejects as {@link RpcClient.call} does. */
export async function getTime({ rpc }: RpcbindClient): Promise<Date> {
  let seconds: number;
  try {
    seconds = await new RpcbprogV4Client(rpc).gettime();
  } catch (error) {
    if (!hasVersion3Alone(error)) throw error;
    seconds = await new RpcbprogV3Client(rpc).gettime();
  }
  return new Date(seconds * 1000);
}

/** The counters of versions 2, 3 and 4, in this order. By version 4 alone. Rejects as {@link RpcClient.call} does. */
export async function getStatistics({ rpc }: RpcbindClient): Promise<VersionStatistics[]> {
  return (await new RpcbprogV4Client(rpc).getstat()).map(
    ({ info, setinfo, unsetinfo, addrinfo, rmtinfo }) => ({
      calls: info,
      sets: setinfo,
      unsets: unsetinfo,
      lookups: addrinfo.map(({ prog, vers, netid, success, failure }) => ({
        program: prog,
        version: vers,
        netid,
        success,
        failure,
      })),
      forwards: rmtinfo.map(({ prog, vers, proc, netid, success, failure, indirect }) => ({
        program: prog,
        version: vers,
        procedure: proc,
        netid,
        success,
        failure,
        isIndirect: indirect !== 0,
      })),
    }),
  );
}

/**
 * Has rpcbind forward a call, by CALLIT of version 2. On any failure rpcbind sends no reply, so the call rejects with
 * TimeoutError (RFC 1833 section 3.2). Resolves with the program's port and its result as XDR.
 */
export async function forwardCall(
  { rpc }: RpcbindClient,
  { program: prog, version: vers, procedure: proc, args }: ForwardedCall,
): Promise<{ readonly port: number; readonly result: Uint8Array }> {
  const { port, res } = await new RpcbprogV2Client(rpc).callit({ prog, vers, proc, args });
  return { port, result: res };
}

/**
 * As {@link forwardCall}, by INDIRECT of version 4, which reports failures: rejects as {@link RpcClient.call} does. Resolves
 * with the program's universal address and its result as XDR.
 */
export async function forwardCallIndirect(
  { rpc }: RpcbindClient,
  { program: prog, version: vers, procedure: proc, args }: ForwardedCall,
): Promise<{ readonly address: string; readonly result: Uint8Array }> {
  const { addr, results } = await new RpcbprogV4Client(rpc).indirect({ prog, vers, proc, args });
  return { address: addr, result: results };
}
