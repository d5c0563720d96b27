/**
 * How a service is reached: straight to an address, or through the rpcbind of its host. What is
 * called there is not known here.
 */

import { LOCAL_SOCKET_PATH, lookup, parseUaddr, RPCBPROG, RpcbindError } from '../../rpcbind/index.js';
import {
  type Credentials,
  connectTcp,
  connectUdp,
  connectUnix,
  createClient,
  type RpcClient,
  sysCredentials,
} from '../../runtime/index.js';
import type { ClientTransport } from '../../runtime/protocol.js';
import type { TlsProtection } from '../../security/index.js';
import { CliError, UsageError } from '../support/cli.js';
import { clientPolicyOf, handshakeOf, type TlsFlags } from '../support/tls.js';

/** What the command line says of how a service is reached. */
export interface TargetOptions {
  /** rpcbind's port. */
  readonly port: number;
  /** Undefined: TCP, and UDP for what is not served over TCP. */
  readonly transport?: 'udp' | 'tcp' | 'local' | undefined;
  /** The service's own address: a port, HOST:PORT, a universal address, a path. */
  readonly addr?: string | undefined;
  readonly retransmitMs: number;
  readonly timeoutMs: number;
  readonly credentials: Credentials;
  /** Default: no TLS. */
  readonly tls?: TlsFlags;
  /** Told how each connection is protected. */
  readonly onProtected?: ((protection: TlsProtection) => void) | undefined;
}

/** Sees every message as it goes and comes, without its record mark. */
export interface Tap {
  onSend(message: Uint8Array): void;
  onReceive(message: Uint8Array): void;
}

/** A client for one version of a program on a host. Rejects with CliError where the program is not there. */
export async function connectTarget(
  host: string,
  { program, version }: { readonly program: number; readonly version: number },
  options: TargetOptions,
  tap?: Tap,
): Promise<RpcClient> {
  const transport = await transportTo(host, program, version, options);
  const { retransmitMs, timeoutMs, credentials } = options;
  return createClient(tap === undefined ? transport : tapped(transport, tap), {
    retransmitMs,
    timeoutMs,
    credentials,
  });
}

async function transportTo(
  host: string,
  program: number,
  version: number,
  options: TargetOptions,
): Promise<ClientTransport> {
  const connectTimeoutMs = options.timeoutMs;
  const tls = options.tls ?? {};
  const policy = clientPolicyOf(tls, options.transport);
  const handshake = handshakeOf(tls, policy, { program, version }, options.onProtected);
  if (options.addr !== undefined) {
    const target = parseAddress(options.addr, host);
    if ('path' in target) return connectUnix({ path: target.path, connectTimeoutMs });
    if (options.transport === 'local')
      throw new UsageError(`${options.addr} is no path of a socket, which --transport local takes`);
    return options.transport === 'udp'
      ? connectUdp(target)
      : connectTcp({ ...target, connectTimeoutMs, ...handshake });
  }
  if (options.transport === 'local') {
    if (program !== RPCBPROG)
      throw new UsageError('--transport local needs the path of the socket: --addr /PATH');
    return connectUnix({ path: LOCAL_SOCKET_PATH, connectTimeoutMs });
  }
  // Where TLS is required, a service that is registered for UDP alone is not called in the clear.
  const all = policy === 'require' ? (['tcp'] as const) : (['tcp', 'udp'] as const);
  const transports = options.transport === undefined ? all : [options.transport];
  let missing: unknown;
  for (const transport of transports) {
    try {
      const found =
        program === RPCBPROG
          ? { host, port: options.port }
          : await lookup({
              host,
              program,
              version,
              transport,
              rpcbindPort: options.port,
              retransmitMs: options.retransmitMs,
              timeoutMs: options.timeoutMs,
            });
      return transport === 'udp'
        ? await connectUdp(found)
        : connectTcp({ ...found, connectTimeoutMs, ...handshake });
    } catch (error) {
      if (!(error instanceof RpcbindError)) throw error;
      missing ??= error;
    }
  }
  throw new CliError(
    `program ${program} version ${version} is not registered${options.transport === undefined ? '' : ` for ${options.transport}`} on ${host} (rpcinfo-ts -s ${host} shows what is; --addr calls an address)`,
    { cause: missing },
  );
}

/** A port, HOST:PORT, [IPV6]:PORT, a universal address or a path. Throws UsageError. */
export function parseAddress(
  text: string,
  host: string,
): { readonly host: string; readonly port: number } | { readonly path: string } {
  if (/^[/@]/.test(text)) return { path: text.replace(/^@/, '\0') };
  const port = (digits: string): number => {
    if (Number(digits) >= 1 && Number(digits) <= 65_535) return Number(digits);
    throw new UsageError(`--addr ${text}: a port is a number from 1 to 65535`);
  };
  if (/^\d+$/.test(text)) return { host, port: port(text) };
  const universal = parseUaddr('tcp', text) ?? parseUaddr('tcp6', text);
  if (universal !== undefined && universal.port > 0) return { host: universal.host, port: universal.port };
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d+)$/.exec(text) ?? [];
  if (digits === undefined)
    throw new UsageError(
      `--addr ${text} is no address: it is PORT, HOST:PORT, [IPV6]:PORT, a universal address or /PATH`,
    );
  return { host: bracketed ?? plain ?? host, port: port(digits) };
}

/** `none`, `sys` for who we are, or `sys:UID[:GID[,GID...]]`. Throws UsageError. */
export function parseAuth(text: string): Credentials {
  if (text === 'none') return { flavor: 'none' };
  const [, uid, gid, more] = /^sys(?::(\d+)(?::(\d+)((?:,\d+)*))?)?$/.exec(text) ?? [];
  if (!/^sys(:|$)/.test(text) || (text !== 'sys' && uid === undefined))
    throw new UsageError(`--auth ${text}: it is none, sys, or sys:UID:GID[,GID...]`);
  const numbers = [uid, gid, ...(more ?? '').split(',').slice(1)]
    .filter((each) => each !== undefined)
    .map(Number);
  if (numbers.some((each) => each > 0xffff_ffff) || numbers.length > 18)
    throw new UsageError(`--auth ${text}: ids go up to 4294967295, and 16 further groups are allowed`);
  return sysCredentials({
    uid: numbers[0] ?? process.getuid?.() ?? 0,
    gid: numbers[1] ?? (uid === undefined ? (process.getgid?.() ?? 0) : 0),
    gids: numbers.slice(2),
  });
}

function tapped(inner: ClientTransport, tap: Tap): ClientTransport {
  return {
    kind: inner.kind,
    isLossy: inner.isLossy,
    target: inner.target,
    maxMessageBytes: inner.maxMessageBytes,
    start: (events) =>
      inner.start({
        message: (bytes) => {
          tap.onReceive(bytes);
          events.message(bytes);
        },
        lost: (error) => events.lost(error),
      }),
    send: (message) => {
      tap.onSend(message);
      inner.send(message);
    },
    close: () => inner.close(),
  };
}
