/**
 * RPC-with-TLS (RFC 9289), the calling end: asks a server on a new connection whether it offers TLS, and begins it.
 *
 * Threat: a middleman answers the probe with a refusal, or cuts the handshake. With `require` nothing of a call is ever
 * sent in the clear, whatever comes. With `prefer` a refusal leads to calls in the clear; a handshake that fails does not.
 */

import { isIP } from 'node:net';
import tls from 'node:tls';
import { TransportError } from '../../runtime/index.js';
import {
  auth_flavor,
  type HandshakeConnection,
  NO_VERIFIER,
  randomXid,
  readAcceptedReply,
  type StreamUpgrade,
  sealCall,
} from '../../runtime/protocol.js';
import { loadTls, type TlsFiles } from './files.js';
import { ALPN_PROTOCOL, STARTTLS } from './server.js';

/** 'off' never asks; 'prefer' goes on in the clear where TLS is not offered; 'require' does not. */
export type TlsClientPolicy = 'off' | 'prefer' | 'require';

/** See {@link tlsHandshake}. */
export interface TlsClientOptions extends TlsFiles {
  readonly policy: TlsClientPolicy;
  /** The program and version that will be called: the probe goes to its procedure 0 (RFC 9289 section 4.1). */
  readonly program: number;
  readonly version: number;
  /** The name that the server's certificate must have. Default: the host that is called. */
  readonly servername?: string | undefined;
  /** Told how each connection is protected. Default: nobody. */
  readonly onProtected?: ((protection: TlsProtection) => void) | undefined;
}

/** How a connection is protected. */
export interface TlsProtection {
  /** `TLSv1.3`. */
  readonly protocol: string;
  readonly cipher: string;
  /** The server's common name. */
  readonly peer: string;
  /** False where 'prefer' took a certificate that was not verified, since no authorities were given. */
  readonly isVerified: boolean;
  readonly isResumed: boolean;
}

/**
 * The `handshake` of a TCP transport. Throws TlsFileError where a file cannot be used; undefined for the policy 'off'.
 * Connections fail with TransportError: `RPC_TLS_NOT_OFFERED`, `RPC_TLS_UNTRUSTED`, `RPC_TLS_NAME`, `RPC_TLS_CLIENT`
 * (the server wants another certificate of ours, or one at all), `RPC_TLS` (anything else).
 *
 * With 'prefer' and no `ca` any certificate is taken: that keeps out who only listens.
 */
export function tlsHandshake(
  options: TlsClientOptions,
): ((connection: HandshakeConnection) => Promise<void>) | undefined {
  if (options.policy === 'off') return undefined;
  const { context } = loadTls(options);
  const isVerified = options.policy === 'require' || options.ca !== undefined;
  /** The last session of each server, to be taken up again. */
  const sessions = new Map<string, Buffer>();
  return async (connection) => {
    if (!(await isOffered(connection, options))) {
      if (options.policy === 'prefer') return;
      throw new TransportError(
        'RPC_TLS_NOT_OFFERED',
        'the server does not offer TLS, or somebody between it and us suppresses the offer',
        'no',
      );
    }
    const servername = options.servername ?? connection.host ?? 'localhost';
    const upgrade: StreamUpgrade = (socket) =>
      new Promise((resolve, reject) => {
        const session = sessions.get(connection.target);
        const secured = tls.connect({
          socket,
          secureContext: context,
          host: servername,
          // Server names are not addresses (RFC 6066 section 3).
          servername: isIP(servername) === 0 ? servername : '',
          // Judged below, where the certificate can still be read; nothing is sent before that.
          rejectUnauthorized: false,
          ALPNProtocols: [ALPN_PROTOCOL],
          ...(isVerified ? {} : { checkServerIdentity: () => undefined }),
          ...(session === undefined ? {} : { session }),
        });
        const fail = (error: Error): void => {
          sessions.delete(connection.target);
          secured.destroy();
          reject(error instanceof TransportError ? error : explain(error));
        };
        const onClose = (): void => fail(new Error('the server closed the connection during the handshake'));
        secured.once('error', fail);
        socket.once('close', onClose);
        secured.on('session', (next) => {
          if (sessions.size >= MAX_SESSIONS && !sessions.has(connection.target)) sessions.clear();
          sessions.set(connection.target, next);
        });
        secured.once('secureConnect', () => {
          if (isVerified && !secured.authorized) {
            fail(verificationError(secured));
            return;
          }
          secured.off('error', fail);
          socket.off('close', onClose);
          options.onProtected?.({
            protocol: secured.getProtocol() ?? '',
            cipher: secured.getCipher().standardName,
            peer: String(secured.getPeerCertificate().subject?.CN ?? ''),
            isVerified,
            isResumed: secured.isSessionReused(),
          });
          resolve({ socket: secured, explain: explainLater });
        });
      });
    await connection.replace(upgrade);
  };
}

/** Sessions that are kept at most, one a server. */
const MAX_SESSIONS = 256;

async function isOffered(
  connection: HandshakeConnection,
  { program, version }: TlsClientOptions,
): Promise<boolean> {
  const xid = randomXid();
  const credential = { flavor: auth_flavor.AUTH_TLS, body: NO_VERIFIER.body };
  const reply = await connection.exchange(
    sealCall({ xid, program, version, procedure: 0 }, credential, () => NO_VERIFIER, NO_VERIFIER.body),
  );
  let accepted: ReturnType<typeof readAcceptedReply>;
  try {
    accepted = Buffer.from(reply).readUInt32BE() === xid ? readAcceptedReply(reply) : undefined;
  } catch {
    return false;
  }
  return (
    accepted !== undefined &&
    accepted.status === 0 &&
    accepted.result.length === 0 &&
    Buffer.from(STARTTLS).equals(accepted.verifier.body)
  );
}

/** Why the server's certificate is not taken, and what to do. */
function verificationError(secured: tls.TLSSocket): TransportError {
  // Node gives the code of the error here, whatever its type says.
  const code = String(secured.authorizationError);
  const { subject, issuer, subjectaltname } = secured.getPeerCertificate();
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const names = subjectaltname ?? `its subject ${String(subject?.CN ?? '')}`;
    const text = `the server's certificate is for other names (${names}); call it by one of them, or give one as servername`;
    return new TransportError('RPC_TLS_NAME', text, 'no');
  }
  const whose = `${String(subject?.CN ?? 'the server')}, issued by ${String(issuer?.CN ?? 'nobody known')}`;
  const text = `the certificate of ${whose}, is not trusted (${code}); give the authority that issued it as ca`;
  return new TransportError('RPC_TLS_UNTRUSTED', text, 'no');
}

/** What a failed handshake means. */
function explain(error: NodeJS.ErrnoException): TransportError {
  const text = `the TLS handshake failed: ${error.message}`;
  return explainAlert(error) ?? new TransportError('RPC_TLS', text, 'no', error);
}

/** With TLS 1.3 a client is done before the server has judged its certificate: the alert comes with the first read. */
function explainAlert(error: NodeJS.ErrnoException): TransportError | undefined {
  if (
    !/_ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|CERTIFICATE_(EXPIRED|REVOKED|UNKNOWN)|UNKNOWN_CA|ACCESS_DENIED)|alert (certificate required|bad certificate|certificate expired|unknown ca)/i.test(
      `${error.code ?? ''} ${error.message}`,
    )
  )
    return undefined;
  return new TransportError(
    'RPC_TLS_CLIENT',
    `the server wants a certificate of ours that it trusts (${error.message.split(':').at(5) ?? error.message}); give cert and key`,
    'no',
    error,
  );
}

/** Node's servers close the connection without an alert where they do not trust the client's certificate. */
function explainLater(error: Error, records: number): TransportError | undefined {
  const alert = explainAlert(error);
  if (alert !== undefined || records > 0) return alert;
  const text =
    'the server closed the connection right behind the handshake; it may want a certificate of ours that it trusts: give cert and key';
  return new TransportError('RPC_TLS_CLIENT', text, 'unknown', error);
}
