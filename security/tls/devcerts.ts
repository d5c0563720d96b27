/**
 * A certificate authority of one's own, with certificates for a server and a client: for a first try and for tests. The
 * keys lie in files that only their owner can read; whoever has the authority's key can issue certificates that its
 * users trust, so it is not for production.
 */

import { randomBytes, type webcrypto } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type * as X509 from '@peculiar/x509';
import { importOptional } from '../../runtime/protocol.js';

/** How long the certificates are valid by default: 30 days. */
export const DEV_CERTIFICATE_DAYS = 30;
/** Most names of one certificate. */
export const MAX_DEV_NAMES = 100;

/** See {@link writeDevCertificates}. */
export interface DevCertificateOptions {
  /** DNS names and IP addresses of the server. Default: localhost, 127.0.0.1 and ::1. */
  readonly names?: readonly string[] | undefined;
  /** `user@domain` of the client's certificate. Default: none. */
  readonly user?: string | undefined;
  /** 1 to 3650; below 0 for certificates that have expired. Default {@link DEV_CERTIFICATE_DAYS}. */
  readonly days?: number | undefined;
}

/** The files that were written. */
export interface DevCertificates {
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const DAY_MS = 24 * 3600 * 1000;

type Keys = webcrypto.CryptoKeyPair;

/** Imported only here: it needs a polyfill that changes a global object. */
async function loadX509(): Promise<typeof X509> {
  const user = 'making certificates';
  await importOptional('reflect-metadata', user, () => import('reflect-metadata'));
  return importOptional('@peculiar/x509', user, () => import('@peculiar/x509'));
}

/**
 * Writes ca.pem, ca.key, server.pem, server.key, client.pem and client.key to a folder, which is made where it is not there.
 * Throws the system's error, EEXIST where one of the files is there already.
 */
export async function writeDevCertificates(
  folder: string,
  options: DevCertificateOptions = {},
): Promise<DevCertificates> {
  const names = options.names ?? ['localhost', '127.0.0.1', '::1'];
  if (names.length < 1 || names.length > MAX_DEV_NAMES)
    throw new RangeError(`there are ${names.length} names; 1 to ${MAX_DEV_NAMES} are allowed`);
  const days = options.days ?? DEV_CERTIFICATE_DAYS;
  if (!(days >= -3_650 && days <= 3_650 && days !== 0))
    throw new RangeError(`days is ${days}; it must be from 1 to 3650`);
  const x509 = await loadX509();
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const now = Date.now();
  const validity = {
    notBefore: new Date(days > 0 ? now - DAY_MS : now + (days - 1) * DAY_MS),
    notAfter: new Date(now + days * DAY_MS),
  };
  const authorityKeys = await makeKeys();
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=rpcbind-ts development authority ${randomBytes(4).toString('hex')}`,
    ...validity,
    keys: authorityKeys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
    ],
  });
  const issue = async (
    name: string,
    alternatives: X509.Extension | undefined,
    usage: X509.ExtendedKeyUsage,
  ): Promise<{ cert: string; key: string }> => {
    const keys = await makeKeys();
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject: `CN=${name}`,
      issuer: authority.subject,
      ...validity,
      publicKey: keys.publicKey,
      signingKey: authorityKeys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([usage]),
        ...(alternatives === undefined ? [] : [alternatives]),
      ],
    });
    return { cert: certificate.toString('pem'), key: await privatePem(x509, keys) };
  };
  const server = await issue(
    'server',
    new x509.SubjectAlternativeNameExtension(
      names.map((name) => new x509.GeneralName(net.isIP(name) === 0 ? 'dns' : 'ip', name)),
    ),
    x509.ExtendedKeyUsage.serverAuth,
  );
  const user = options.user === undefined ? undefined : userExtension(x509, options.user);
  const client = await issue('client', user, x509.ExtendedKeyUsage.clientAuth);
  const files: [string, string][] = [
    ['ca.pem', authority.toString('pem')],
    ['ca.key', await privatePem(x509, authorityKeys)],
    ['server.pem', server.cert],
    ['server.key', server.key],
    ['client.pem', client.cert],
    ['client.key', client.key],
  ];
  const at = (name: string): string => path.join(folder, name);
  // Nothing that is there is written over: it may be in use.
  for (const [name, text] of files)
    writeFileSync(at(name), `${text.trimEnd()}\n`, {
      mode: name.endsWith('.key') ? 0o600 : 0o644,
      flag: 'wx',
    });
  return {
    ca: at('ca.pem'),
    server: { cert: at('server.pem'), key: at('server.key') },
    client: { cert: at('client.pem'), key: at('client.key') },
  };
}

function makeKeys(): Promise<Keys> {
  return crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function privatePem(x509: typeof X509, keys: Keys): Promise<string> {
  const der = await crypto.subtle.exportKey('pkcs8', keys.privateKey);
  return x509.PemConverter.encode(der, 'PRIVATE KEY');
}

/** 16 random bytes with the first bit clear, so that the number is positive. */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 1;
  return bytes.toString('hex');
}

/** A subject alternative name that holds `user@domain` as an otherName (certificate.ts reads it). */
function userExtension(x509: typeof X509, user: string): X509.Extension {
  const text = Buffer.from(user);
  if (text.length < 1 || text.length > 64) throw new RangeError('a user has 1 to 64 bytes');
  const value = element(0xa0, element(0x0c, text));
  const names = element(0x30, element(0xa0, Buffer.concat([USER_OID_DER, value])));
  return new x509.Extension('2.5.29.17', false, names);
}

/** DER of the OID 1.3.6.1.4.1.2238.1.1.1. */
const USER_OID_DER = Buffer.from('060a2b06010401913e010101', 'hex');

/** One DER element of less than 128 bytes. */
function element(tag: number, body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([tag, body.length]), body]);
}
