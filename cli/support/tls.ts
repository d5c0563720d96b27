/** The options of TLS, as every command has them that calls or serves over TCP (RFC 9289). */

import { Option } from 'commander';
import type { TcpOptions } from '../../runtime/protocol.js';
import {
  createTlsServer,
  type TlsClientPolicy,
  TlsFileError,
  type TlsProtection,
  type TlsServer,
  type TlsServerPolicy,
  tlsHandshake,
} from '../../security/index.js';
import { CliError, UsageError } from './cli.js';

/** What the command line says of TLS. */
export interface TlsFlags {
  readonly tlsPolicy?: string | undefined;
  readonly tlsCa?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
}

function fileOptions(): Option[] {
  return [
    new Option(
      '--tls-ca <file>',
      'PEM file of the authorities that certificates of the other end are verified with',
    ),
    new Option('--tls-cert <file>', 'PEM file of our certificate'),
    new Option('--tls-key <file>', 'PEM file of its private key'),
  ];
}

/** For commands that call. */
export function tlsClientOptions(): Option[] {
  return [
    new Option(
      '--tls-policy <policy>',
      'TLS over TCP: off, prefer or require (default: require with a --tls file, else off)',
    )
      .choices(['off', 'prefer', 'require'])
      .env('RPC_TLS_POLICY'),
    ...fileOptions(),
  ];
}

/** For commands that serve. */
export function tlsServerOptions(): Option[] {
  return [
    new Option(
      '--tls-policy <policy>',
      'what callers need: none (TLS is offered), tls, or mtls (a certificate) (default: none)',
    )
      .choices(['none', 'tls', 'mtls'])
      .env('RPC_TLS_SERVER_POLICY'),
    ...fileOptions(),
  ];
}

/** The policy of a client. Throws UsageError where TLS is required over anything but TCP. */
export function clientPolicyOf(flags: TlsFlags, transport: string | undefined): TlsClientPolicy {
  const hasFiles = [flags.tlsCa, flags.tlsCert, flags.tlsKey].some((file) => file !== undefined);
  const policy = (flags.tlsPolicy ?? (hasFiles ? 'require' : 'off')) as TlsClientPolicy;
  if (policy === 'require' && transport !== undefined && transport !== 'tcp')
    throw new UsageError(
      `TLS is for TCP, and --transport ${transport} is not; --tls-policy off goes without`,
    );
  return policy;
}

/** The `handshake` of a TCP transport to this program, where the command line asks for TLS. Throws CliError for a file that cannot be used. */
export function handshakeOf(
  flags: TlsFlags,
  policy: TlsClientPolicy,
  { program, version }: { readonly program: number; readonly version: number },
  onProtected?: (protection: TlsProtection) => void,
): Pick<TcpOptions, 'handshake'> {
  if (policy === 'off') return {};
  return orCliError(() => ({
    handshake: tlsHandshake({
      policy,
      ca: flags.tlsCa,
      cert: flags.tlsCert,
      key: flags.tlsKey,
      program,
      version,
      onProtected,
    }),
  }));
}

/** TLS of a server; undefined where it has no certificate. Throws UsageError, CliError for a file that cannot be used. */
export function tlsServerOf(flags: TlsFlags, onWarning: (text: string) => void): TlsServer | undefined {
  const { tlsCert: cert, tlsKey: key, tlsCa: ca } = flags;
  const policy = (flags.tlsPolicy ?? 'none') as TlsServerPolicy;
  if (cert === undefined || key === undefined) {
    if (cert !== key || ca !== undefined || policy !== 'none')
      throw new UsageError('TLS needs both --tls-cert and --tls-key');
    return undefined;
  }
  if (policy === 'mtls' && ca === undefined)
    throw new UsageError('--tls-policy mtls needs --tls-ca, to verify the certificates of callers');
  return orCliError(() => createTlsServer({ cert, key, ca, policy, onWarning }));
}

function orCliError<T>(job: () => T): T {
  try {
    return job();
  } catch (error) {
    if (error instanceof TlsFileError) throw new CliError(error.message, { cause: error });
    throw error;
  }
}
