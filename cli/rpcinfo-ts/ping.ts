/**
 * Calling NULL of a program (`-u`, `-t`, `-T`, `-a`, `-n`): finding the program, asking which
 * versions it has, and what is said of each.
 */

import { LOCAL_SOCKET_PATH, parseUaddr } from '../../rpcbind/index.js';
import { isWildcard } from '../../rpcbind/internal.js';
import { createClient, ReplyError, type RpcClient, TransportError } from '../../runtime/index.js';
import { CliError, UsageError } from '../support/cli.js';
import { callable, netidKind, type PingNetid } from './address.js';
import { addressOf, type ContactOptions, contactError, placeOf, rpcSentence } from './contact.js';
import { openRemote, type Place, transportTo } from './remote.js';

/** Most versions of one program that are pinged when none is named: a hostile server may claim 2^32 of them. */
export const MAX_PINGED_VERSIONS = 256;

/** What is pinged, and how it is found. */
export interface PingRequest {
  /** Absent where `address` says it all. */
  readonly host?: string;
  readonly program: number;
  /** Without one, all versions that the program says it has. */
  readonly version: number | undefined;
  /** The way: both families of UDP or TCP, or exactly one netid. */
  readonly way: 'udp' | 'tcp' | { readonly netid: PingNetid };
  /** The service's port, so that rpcbind need not be asked. */
  readonly servicePort?: number;
  /** The service's universal address, for the same. */
  readonly address?: string;
}

/** What came of one version. */
export interface PingResult {
  readonly version: number;
  readonly isReady: boolean;
  /** Milliseconds to the answer. */
  readonly ms?: number;
  /** Why it is not ready, in the words of rpcinfo. */
  readonly reason?: string;
}

/** What a ping found. */
export interface PingReport {
  readonly program: number;
  /** Absent where the service could not even be spoken to. */
  readonly place?: Place;
  readonly results: readonly PingResult[];
  /** A failure that belongs to no version: `127.0.0.1: RPC: Program not registered`. */
  readonly failure?: string;
}

/** Finds a program and pings it. Failures of the service are in the report; CliError is for those of the way to it. */
export async function ping(request: PingRequest, options: ContactOptions): Promise<PingReport> {
  const { program } = request;
  const place = await findService(request, options);
  const head = typeof request.way === 'string' ? `${request.host}: ` : '';
  if (place === undefined) return { program, results: [], failure: `${head}RPC: Program not registered` };
  const client = createClient(await transportTo(place, options), options);
  try {
    return { program, place, ...(await pingVersions(client, request)) };
  } catch (error) {
    // Nothing could be connected: that is said once, not of each version.
    if (isConnectFailure(error, place))
      return { program, place, results: [], failure: head + rpcSentence(error) };
    throw error;
  } finally {
    await client.close();
  }
}

async function pingVersions(
  client: RpcClient,
  { program, version }: PingRequest,
): Promise<Pick<PingReport, 'results'>> {
  if (version !== undefined) return { results: [await pingOne(client, program, version)] };
  // Version 0 is presumed not to be there; the refusal tells which are.
  const first = await probe(client, program, 0);
  const range =
    first.range ?? (first.result.isReady ? (await probe(client, program, 0xffff_ffff)).range : undefined);
  if (range === undefined) return { results: [first.result] };
  const results: PingResult[] = [];
  const last = Math.min(range.high, range.low + MAX_PINGED_VERSIONS - 1);
  for (let each = range.low; each <= last; each++) results.push(await pingOne(client, program, each));
  if (last < range.high)
    results.push({
      version: last + 1,
      isReady: false,
      reason: `only the first ${MAX_PINGED_VERSIONS} versions of ${range.low} to ${range.high} are asked; name one`,
    });
  return { results };
}

async function pingOne(client: RpcClient, program: number, version: number): Promise<PingResult> {
  return (await probe(client, program, version)).result;
}

async function probe(
  client: RpcClient,
  program: number,
  version: number,
): Promise<{
  readonly result: PingResult;
  readonly range?: { readonly low: number; readonly high: number };
}> {
  try {
    return { result: { version, isReady: true, ms: await client.ping(program, version) } };
  } catch (error) {
    if (error instanceof TransportError && !client.target.startsWith('udp')) throw error;
    const result = { version, isReady: false, reason: rpcSentence(error) };
    const refusal = error instanceof ReplyError ? error.refusal : undefined;
    return refusal !== undefined && 'low' in refusal && !('denied' in refusal)
      ? { result, range: { low: refusal.low, high: Math.max(refusal.low, refusal.high) } }
      : { result };
  }
}

function isConnectFailure(error: unknown, place: Place): boolean {
  return error instanceof TransportError && place.kind !== 'udp';
}

/** Where the service is, or undefined where it is not registered. */
async function findService(request: PingRequest, options: ContactOptions): Promise<Place | undefined> {
  const { way } = request;
  if (request.address !== undefined) return placeFrom(request.address, way);
  const host = request.host ?? '127.0.0.1';
  if (typeof way !== 'string') return findOn(host, way.netid, request, options);
  let unknown: unknown;
  for (const netid of [way, `${way}6`] as const) {
    try {
      const place = await findOn(host, netid, request, options);
      if (place !== undefined) return place;
    } catch (error) {
      // A host without addresses of one family may have some of the other.
      if (!(error instanceof CliError) || !error.message.startsWith('no such host')) throw error;
      unknown ??= error;
    }
  }
  if (unknown !== undefined) await addressOf(host);
  return undefined;
}

async function findOn(
  host: string,
  netid: PingNetid,
  request: PingRequest,
  options: ContactOptions,
): Promise<Place | undefined> {
  const of = netidKind(netid);
  const found: Place =
    of === undefined
      ? { kind: 'local', path: LOCAL_SOCKET_PATH }
      : await placeOf(host, options, of.kind, of.family);
  if (request.servicePort !== undefined && found.kind !== 'local')
    return { ...found, port: request.servicePort };
  const remote = await openRemote(found, options);
  try {
    const text = await remote.address(request.program, request.version ?? 0, netid);
    if (text === undefined) return undefined;
    if (found.kind === 'local') return { kind: 'local', path: text };
    const universal = callable(netid, text);
    if (universal === undefined)
      throw new CliError(`rpcbind at ${host} gives an address that is none: ${text}`);
    const { address, port } = universal;
    return { ...found, address: isWildcard(address) ? found.address : address, port };
  } catch (error) {
    throw contactError(error, found);
  } finally {
    await remote.close();
  }
}

function placeFrom(address: string, way: PingRequest['way']): Place {
  const netid = typeof way === 'string' ? way : way.netid;
  const of = netidKind(netid);
  if (of === undefined) {
    if (parseUaddr('local', address) === undefined) throw new UsageError(`${address} is no path of a socket`);
    return { kind: 'local', path: address };
  }
  const universal = callable(netid, address);
  if (universal === undefined)
    throw new UsageError(
      `${address} is no universal address of ${netid}: that is an IPv${of.family} address and two bytes of port, as in ${of.family === 4 ? '127.0.0.1.0.111' : '::1.0.111'}`,
    );
  return { kind: of.kind, host: universal.address, address: universal.address, port: universal.port };
}
