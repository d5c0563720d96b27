/** Callers that prove who they are, and calls that nobody else can read: RPC-with-TLS (RFC 9289). */

export { identityOf, USER_OID } from './tls/certificate.js';
export {
  type TlsClientOptions,
  type TlsClientPolicy,
  type TlsProtection,
  tlsHandshake,
} from './tls/client.js';
export { DerError } from './tls/der.js';
export {
  DEV_CERTIFICATE_DAYS,
  type DevCertificateOptions,
  type DevCertificates,
  MAX_DEV_NAMES,
  writeDevCertificates,
} from './tls/devcerts.js';
export {
  EXPIRY_WARNING_MS,
  FILE_CHECK_MS,
  MAX_PEM_BYTES,
  TlsFileError,
  type TlsFiles,
} from './tls/files.js';
export {
  ALPN_PROTOCOL,
  createTlsServer,
  type TlsServer,
  type TlsServerOptions,
  type TlsServerPolicy,
  type TlsServerStats,
} from './tls/server.js';
