/**
 * Finding the rpcbind that a command line means, and saying in one line why it cannot be had. What it
 * is asked is not known here.
 */

import { statSync } from 'node:fs';
import { isIP } from 'node:net';
import { LOCAL_SOCKET_PATH, PMAP_PORT } from '../../rpcbind/index.js';
import { ReplyError, ResultError, TimeoutError, TransportError } from '../../runtime/index.js';
import { resolveHost } from '../../runtime/protocol.js';
import { CliError, describe } from '../support/cli.js';
import { openRemote, type Place, type Remote, type Times } from './remote.js';

/** What the command line says of where and how long. */
export interface ContactOptions extends Times {
  /** rpcbind's port, where `--port` or RPCBIND_PORT names it. */
  readonly port: number | undefined;
}

/**
 * The place of a host's rpcbind. Without a host it is this one: through the local socket where that
 * exists and no port is named, else through 127.0.0.1. Rejects with CliError for an unknown host.
 */
export async function placeOf(
  host: string | undefined,
  options: ContactOptions,
  kind: 'udp' | 'tcp' = 'tcp',
  family?: 4 | 6,
): Promise<Place> {
  if (host === undefined && options.port === undefined && isSocket(LOCAL_SOCKET_PATH))
    return { kind: 'local', path: LOCAL_SOCKET_PATH };
  const name = host ?? '127.0.0.1';
  return { kind, host: name, address: await addressOf(name, family), port: options.port ?? PMAP_PORT };
}

/** The address of a host; of one with several families IPv4 comes first, as in /etc/netconfig. */
export async function addressOf(host: string, family?: 4 | 6): Promise<string> {
  const families = family === undefined ? ([4, 6] as const) : [family];
  let last: unknown;
  for (const each of families) {
    // An IPv4 address has an IPv6 form, but nobody who asks for tcp6 at 10.0.0.1 means that.
    if (isIP(host) !== 0 && isIP(host) !== each) continue;
    try {
      return (await resolveHost(host, each)).address;
    } catch (error) {
      last = error;
    }
  }
  const which = family === undefined ? '' : ` with an IPv${family} address`;
  throw new CliError(`no such host${which}: ${host}`, { cause: last });
}

/** Asks a host's rpcbind something, and turns a failure into one line. */
export async function ask<T>(
  host: string | undefined,
  options: ContactOptions,
  question: (remote: Remote) => Promise<T>,
): Promise<T> {
  const place = await placeOf(host, options);
  const remote = await openRemote(place, options);
  try {
    return await question(remote);
  } catch (error) {
    throw contactError(error, place);
  } finally {
    await remote.close();
  }
}

/** A failed call to an rpcbind as one line: what failed, where, what to do. */
export function contactError(error: unknown, place: Place): unknown {
  const where = placeName(place);
  const other = place.kind === 'local' ? 'name a HOST' : 'or name its port with --port';
  // Over UDP what does not decode is ignored, and told when the time is up.
  if (error instanceof TimeoutError && error.lastReason !== undefined)
    return contactError(error.lastReason, place);
  if (error instanceof TransportError || error instanceof TimeoutError) {
    const advice = isRefused(error)
      ? `start one there, ${other}`
      : 'is the host up, and does a firewall let calls through?';
    return new CliError(`no rpcbind answers at ${where}: ${cause(error)} (${advice})`, { cause: error });
  }
  if (error instanceof ReplyError)
    return new CliError(`rpcbind at ${where} refuses: ${rpcSentence(error)}`, { cause: error });
  if (error instanceof ResultError)
    return new CliError(`what answers at ${where} is no rpcbind: ${describe(error)}`, { cause: error });
  return error;
}

function placeName(place: Place): string {
  return place.kind === 'local' ? place.path : `${place.host} port ${place.port}`;
}

/** The system's own words for a failure, without our wrapping. */
function cause(error: Error): string {
  if (error instanceof TimeoutError) return error.message.replace(/^.*: (no reply)/, '$1');
  return systemText(error) ?? error.message;
}

const SYSTEM: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
  ETIMEDOUT: 'Connection timed out',
  EACCES: 'Permission denied',
  EPERM: 'Operation not permitted',
  ENOENT: 'No such file or directory',
  EINVAL: 'Invalid argument',
};

/** The system's sentence for the failure behind an error, or undefined. */
function systemText(error: unknown): string | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const code = (at as NodeJS.ErrnoException).code ?? '';
    if (Object.hasOwn(SYSTEM, code)) return SYSTEM[code];
  }
  return undefined;
}

function isRefused(error: unknown): boolean {
  return ['Connection refused', 'No such file or directory'].includes(systemText(error) ?? '');
}

const REFUSALS: Readonly<Record<string, string>> = {
  RPC_PROG_UNAVAIL: 'Program unavailable',
  RPC_PROC_UNAVAIL: 'Procedure unavailable',
  RPC_GARBAGE_ARGS: "Server can't decode arguments",
  RPC_SYSTEM_ERR: 'Remote system error',
};

/** auth_stat (RFC 5531 section 9) in the words of libtirpc. */
const AUTH: Readonly<Record<number, string>> = {
  1: 'Invalid client credential',
  2: 'Server rejected credential',
  3: 'Invalid client verifier',
  4: 'Server rejected verifier',
  5: 'Client credential too weak',
  6: 'Invalid server verifier',
  7: 'Failed (unspecified error)',
};

/** The outcome of a call as libtirpc words it: what rpcinfo has always printed. */
export function rpcSentence(error: unknown): string {
  if (error instanceof TimeoutError && error.lastReason === undefined) return 'RPC: Timed out';
  if (error instanceof TimeoutError) return "RPC: Can't decode result";
  if (error instanceof ResultError) return "RPC: Can't decode result";
  if (error instanceof TransportError) {
    const text = systemText(error) ?? describe(error);
    return error.code === 'RPC_CONNECT' && !/^\S+ at udp /.test(error.message)
      ? `RPC: Remote system error - ${text}`
      : `RPC: Unable to receive; errno = ${text}`;
  }
  if (!(error instanceof ReplyError)) return describe(error);
  const { refusal } = error;
  if ('low' in refusal) {
    const what = 'denied' in refusal ? 'Incompatible versions of RPC' : 'Program/version mismatch';
    return `RPC: ${what}; low version = ${refusal.low}, high version = ${refusal.high}`;
  }
  if ('denied' in refusal)
    return `RPC: Authentication error; why = ${AUTH[refusal.why] ?? `(unknown authentication error - ${refusal.why})`}`;
  return `RPC: ${REFUSALS[error.code] ?? describe(error)}`;
}

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() ?? false;
}
