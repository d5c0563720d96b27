/**
 * The seam between calls and the wire: what a client needs of a way out, and what a listener
 * gives to a server. UDP, TCP, unix sockets and memory are on the far side; nothing on this
 * side knows which.
 */

import type { TransportError } from './errors.js';

export type TransportKind = 'udp' | 'tcp' | 'unix' | 'loopback';

/** Network identifiers of RFC 5665 section 5.1, as far as they are served. */
export type Netid = 'udp' | 'tcp' | 'udp6' | 'tcp6' | 'local';

/** The two ends of the way a call came. */
export interface Peer {
  readonly transport: TransportKind;
  /**
   * The caller's IP address, that of IPv4 as such on a socket of both families too; the path of a unix
   * socket; empty in memory.
   */
  readonly address: string;
  /** The caller's port; 0 where there is none. */
  readonly port: number;
  /** The address the call arrived on: a wildcard where the system does not tell. */
  readonly localAddress: string;
  readonly localPort: number;
  /** The caller's user on a unix socket, where the system tells and the means to ask are installed. */
  readonly uid?: number;
  /** What the peer has proved beyond its address, as by a certificate. Default: nothing. */
  readonly identity?: PeerIdentity;
  /** Whether what travels between the two ends is encrypted, as by TLS. Default false. */
  readonly isEncrypted?: boolean;
}

/** What a peer proved by its certificate (RFC 9289 section 4). The certificate was verified against the authorities configured. */
export interface PeerIdentity {
  readonly kind: 'certificate';
  /** The subject's common name; empty where it has none. */
  readonly subject: string;
  /** DNS names of the alternative name. */
  readonly dnsNames: readonly string[];
  /** IP addresses of the alternative name. */
  readonly addresses: readonly string[];
  /** `user@domain` of FreeBSD's otherName (OID 1.3.6.1.4.1.2238.1.1.1). */
  readonly users: readonly string[];
  /** SHA-256 of the certificate, 64 lower-case hexadecimal digits. */
  readonly fingerprint: string;
}

/** Where one message came from, and the way back. */
export interface ReplyChannel {
  readonly peer: Peer;
  /** Most bytes a reply may have on this way: 65507 for UDP over IPv4. */
  readonly maxReplyBytes: number;
  /** Fires when no reply can be delivered any more. */
  readonly signal: AbortSignal;
  /**
   * What tells this sender from all others, where a message may arrive twice: the duplicate request
   * cache's key. Undefined where each message arrives once.
   */
  readonly source?: string | number | undefined;
  /** A call is being waited for: its answer comes later. Each has its {@link callEnded}. */
  callStarted?(): void;
  /** A call that was waited for has ended, with an answer or without. */
  callEnded?(): void;
  /** Sends a reply. The bytes are valid only during this call. */
  reply(message: Uint8Array): void;
  /**
   * Upgrades the connection once what was replied so far has been written, as to TLS (RFC 9289 section 4.1). Only where
   * the connection can be upgraded, and was not.
   */
  upgrade?: (() => void) | undefined;
}

/** Takes one message; the bytes are valid only during this call. */
export type Receive = (message: Uint8Array, origin: ReplyChannel) => void;

/** An open door of a server. */
export interface Listener {
  readonly netid: Netid;
  /** IP address or path as bound. */
  readonly address: string;
  /** 0 for a path. */
  readonly port: number;
  /** Connections open now; undefined where there are none, as with UDP. */
  readonly connectionCount?: number;
  /** Takes no more messages; replies to those taken still go out. */
  stop(): Promise<void>;
  /** Closes everything, replies under way or not. */
  close(): Promise<void>;
}

/** What a transport tells its client. */
export interface TransportEvents {
  /** A message came; the bytes are valid only during this call. */
  message(bytes: Uint8Array): void;
  /** All calls under way are lost. The next {@link ClientTransport.send} tries anew. */
  lost(error: TransportError): void;
}

/** A client's way to one server. */
export interface ClientTransport {
  readonly kind: TransportKind;
  /** True where messages may vanish, so that calls have to be sent again. */
  readonly isLossy: boolean;
  /** For error messages: `udp 127.0.0.1:111`. */
  readonly target: string;
  /** Most bytes of one call. */
  readonly maxMessageBytes: number;
  /** Called once, before the first send. */
  start(events: TransportEvents): void;
  /** Sends one message, copying it. Failures come through {@link TransportEvents.lost}. */
  send(message: Uint8Array): void;
  /** Gives up the connection there is, as if it had broken: where there are connections. */
  reset?(error: TransportError): void;
  /** Ends it, once or often. */
  close(): Promise<void>;
}
