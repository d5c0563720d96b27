/**
 * RPC-with-TLS (RFC 9289), the serving end: answers the probe of AUTH_TLS and upgrades that connection.
 *
 * Threats: a middleman strips the offer (the server cannot notice; a policy of `tls` refuses what then comes in the
 * clear); bytes put behind the probe (the stream closes the connection); handshakes left open (the stream's time limit,
 * and the connection table's shares). A certificate counts only once Node has verified it against the authorities.
 */

import { X509Certificate } from 'node:crypto';
import type net from 'node:net';
import tls from 'node:tls';
import { AuthError } from '../../runtime/index.js';
import {
  auth_flavor,
  auth_stat,
  type CallRequest,
  NO_VERIFIER,
  type SecuredCall,
  type SecurityDecision,
  type ServerSecurity,
  type StreamUpgrade,
} from '../../runtime/protocol.js';
import { identityOf } from './certificate.js';
import { type TlsFiles, TlsReloader } from './files.js';

/** The protocol's name in ALPN (RFC 9289 section 8.2). */
export const ALPN_PROTOCOL = 'sunrpc';

/** What a server demands of its callers: 'none' offers TLS, 'tls' refuses calls in the clear, 'mtls' callers without a certificate. */
export type TlsServerPolicy = 'none' | 'tls' | 'mtls';

/** See {@link createTlsServer}. */
export interface TlsServerOptions extends TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** Default 'none'. */
  readonly policy?: TlsServerPolicy | undefined;
  /** Told what an operator should know: a certificate that expires, files that cannot be read. Default: nobody. */
  readonly onWarning?: ((text: string) => void) | undefined;
}

/** What a server has seen of TLS so far. */
export interface TlsServerStats {
  readonly handshakes: number;
  readonly failedHandshakes: number;
  /** Handshakes that took up an earlier session. */
  readonly resumed: number;
  /** Calls refused since they came in the clear, or without a certificate. */
  readonly refused: number;
  /** When the certificate expires, in milliseconds since 1970. */
  readonly certificateExpiresAt: number | undefined;
}

/** TLS for the listeners of a server: `security` and `authorize` are for createServer, `upgrade` for its stream listeners. */
export interface TlsServer {
  readonly security: ServerSecurity;
  readonly upgrade: StreamUpgrade;
  readonly authorize: (request: CallRequest) => void;
  /** Reads the certificates again; they are also read when they change. False where they cannot be used. */
  reload(): boolean;
  stats(): TlsServerStats;
  close(): void;
}

/** Throws TlsFileError where a file cannot be used. */
export function createTlsServer(options: TlsServerOptions): TlsServer {
  return new Server(options);
}

class Server implements TlsServer {
  readonly security: ServerSecurity = {
    flavor: auth_flavor.AUTH_TLS,
    accept: (call) => this.accept(call),
  };
  private readonly files: TlsReloader;
  private readonly policy: TlsServerPolicy;
  private readonly asksForCertificate: boolean;
  private handshakes = 0;
  private failedHandshakes = 0;
  private resumed = 0;
  private refused = 0;

  constructor(options: TlsServerOptions) {
    this.files = new TlsReloader(options, options.onWarning);
    this.policy = options.policy ?? 'none';
    this.asksForCertificate = this.policy === 'mtls' || options.ca !== undefined;
  }

  readonly upgrade: StreamUpgrade = (socket) => {
    this.handshakes += 1;
    return new Promise((resolve, reject) => {
      const secured = new tls.TLSSocket(socket, {
        isServer: true,
        secureContext: this.files.current.context,
        requestCert: this.asksForCertificate,
        // Node refuses a certificate that cannot be verified; none at all is a matter of the policy.
        rejectUnauthorized: this.policy === 'mtls',
        ALPNProtocols: [ALPN_PROTOCOL],
      });
      let isSettled = false;
      const fail = (error: Error): void => {
        if (isSettled) return;
        isSettled = true;
        this.failedHandshakes += 1;
        secured.destroy();
        reject(error);
      };
      const onClose = (): void => fail(new Error('the connection was closed during the handshake'));
      // Stays behind the handshake: an error without a listener would end the process.
      secured.on('error', fail);
      socket.once('close', onClose);
      secured.once('secure', () => {
        try {
          const identity = this.peerOf(secured);
          if (secured.isSessionReused()) this.resumed += 1;
          isSettled = true;
          socket.off('close', onClose);
          resolve({ socket: secured, identity });
        } catch (error) {
          fail(error as Error);
        }
      });
    });
  };

  readonly authorize = ({ peer }: CallRequest): void => {
    if (this.policy === 'none' || peer.transport === 'unix' || peer.transport === 'loopback') return;
    const isEnough =
      peer.isEncrypted === true && (this.policy === 'tls' || peer.identity?.kind === 'certificate');
    if (isEnough) return;
    this.refused += 1;
    throw new AuthError(auth_stat.AUTH_TOOWEAK, 'this server takes calls over TLS only');
  };

  reload(): boolean {
    return this.files.reload();
  }

  stats(): TlsServerStats {
    const { handshakes, failedHandshakes, resumed, refused } = this;
    return {
      handshakes,
      failedHandshakes,
      resumed,
      refused,
      certificateExpiresAt: this.files.expiresAt,
    };
  }

  close(): void {
    this.files.close();
  }

  /** Who the peer proved to be; undefined without a certificate. Throws where it gave one that is not trusted. */
  private peerOf(secured: tls.TLSSocket): ReturnType<typeof identityOf> | undefined {
    const raw = secured.getPeerCertificate().raw as Buffer | undefined;
    if (raw === undefined) {
      if (this.policy === 'mtls') throw new Error('the peer gave no certificate');
      return undefined;
    }
    // The reason is that of Node's verification against our authorities.
    const reason = (secured as unknown as { ssl: { verifyError(): Error | null } }).ssl.verifyError();
    if (reason !== null) throw new Error(`the peer's certificate is not trusted: ${reason.message}`);
    return identityOf(new X509Certificate(raw));
  }

  private accept(call: SecuredCall): SecurityDecision {
    const isProbe =
      call.procedure === 0 &&
      call.credential.length === 0 &&
      call.args.length === 0 &&
      call.peer.isEncrypted !== true;
    if (!isProbe)
      throw new AuthError(auth_stat.AUTH_BADCRED, 'AUTH_TLS is for a probe of procedure 0 in the clear');
    if (call.verifier.flavor !== NO_VERIFIER.flavor || call.verifier.body.length > 0)
      throw new AuthError(auth_stat.AUTH_BADVERF, 'AUTH_TLS comes with the verifier of AUTH_NONE');
    if (!call.canUpgrade)
      throw new AuthError(auth_stat.AUTH_REJECTEDCRED, `no TLS over ${call.peer.transport}`);
    return {
      kind: 'reply',
      verifier: { flavor: NO_VERIFIER.flavor, body: STARTTLS },
      result: new Uint8Array(0),
      upgrade: true,
    };
  }
}

/** The body of the verifier that offers TLS (RFC 9289 section 4.1). */
export const STARTTLS = Uint8Array.from(Buffer.from('STARTTLS', 'latin1'));

/** For the types alone: what an upgrade is given. */
export type UpgradableSocket = net.Socket;
