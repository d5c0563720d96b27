/**
 * Who a certificate says its holder is (RFC 5280 sections 4.1.2.6 and 4.2.1.6). The names are read from the DER and not
 * from a text form: in a text, a name may hold what looks like another name.
 *
 * Threat: an authority that we trust may sign names that its applicants chose. A name with a NUL or another control
 * character is left out, so that it matches nothing that an operator wrote.
 */

import type { X509Certificate } from 'node:crypto';
import net from 'node:net';
import type { PeerIdentity } from '../../runtime/protocol.js';
import { contextTag, DER, type DerElement, DerError, elementOf, elementsOf, oidText } from './der.js';

const SUBJECT_ALTERNATIVE_NAME = '2.5.29.17';
const COMMON_NAME = '2.5.4.3';
/** `user@domain` for RPC-with-TLS, as FreeBSD has it. */
export const USER_OID = '1.3.6.1.4.1.2238.1.1.1';

const OTHER_NAME = contextTag(0, true);
const DNS_NAME = contextTag(2, false);
const IP_ADDRESS = contextTag(7, false);
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** What the certificate proves once it has been verified. Throws DerError where it is not a certificate of X.509. */
export function identityOf(certificate: X509Certificate): PeerIdentity {
  const tbs = elementsOf(elementOf(elementsOfFirst(certificate.raw), DER.SEQUENCE));
  // The version is explicit, and absent in version 1.
  const first = tbs[0]?.tag === contextTag(0, true) ? 1 : 0;
  const subject = tbs[first + 4];
  if (subject?.tag !== DER.SEQUENCE) throw new DerError('no subject');
  const names = alternativeNames(tbs);
  return {
    kind: 'certificate',
    subject: commonName(subject.body),
    dnsNames: names.flatMap(({ tag, body }) => (tag === DNS_NAME ? printable(latin1(body)) : [])),
    addresses: names.flatMap(({ tag, body }) => (tag === IP_ADDRESS ? addressText(body) : [])),
    users: names.flatMap(({ tag, body }) => (tag === OTHER_NAME ? userOf(body) : [])),
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
  };
}

/** Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }: the first element with its header. */
function elementsOfFirst(raw: Uint8Array): Uint8Array {
  const body = elementOf(raw, DER.SEQUENCE);
  const [tbs] = elementsOf(body);
  if (tbs === undefined) throw new DerError('an empty certificate');
  return body.subarray(0, tbs.body.byteOffset - body.byteOffset + tbs.body.length);
}

function alternativeNames(tbs: readonly DerElement[]): DerElement[] {
  const extensions = tbs.find(({ tag }) => tag === contextTag(3, true));
  if (extensions === undefined) return [];
  for (const { body } of elementsOf(elementOf(extensions.body, DER.SEQUENCE))) {
    const parts = elementsOf(body);
    const value = parts.at(-1);
    if (parts[0]?.tag !== DER.OID || value?.tag !== DER.OCTETS)
      throw new DerError('an extension that is none');
    if (oidText(parts[0].body) === SUBJECT_ALTERNATIVE_NAME)
      return elementsOf(elementOf(value.body, DER.SEQUENCE));
  }
  return [];
}

function commonName(subject: Uint8Array): string {
  for (const { body: set } of elementsOf(subject))
    for (const { body: pair } of elementsOf(set)) {
      const [oid, value] = elementsOf(pair);
      if (oid?.tag === DER.OID && oidText(oid.body) === COMMON_NAME && value !== undefined)
        return textOf(value)[0] ?? '';
    }
  return '';
}

/** OtherName ::= SEQUENCE { type-id, value [0] EXPLICIT }. */
function userOf(body: Uint8Array): string[] {
  const [oid, value] = elementsOf(body);
  if (oid?.tag !== DER.OID || oidText(oid.body) !== USER_OID || value?.tag !== contextTag(0, true)) return [];
  const [text] = elementsOf(value.body);
  return text === undefined ? [] : textOf(text);
}

/** The text of a string type; none for what is not UTF-8 or ASCII. */
function textOf({ tag, body }: DerElement): string[] {
  if (tag !== DER.UTF8 && tag !== DER.PRINTABLE && tag !== DER.IA5) return [];
  try {
    return printable(tag === DER.UTF8 ? utf8.decode(body) : latin1(body));
  } catch {
    return [];
  }
}

function latin1(body: Uint8Array): string {
  return Buffer.from(body).toString('latin1');
}

function printable(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
  return text === '' || /[\x00-\x1f\x7f-\x9f]/.test(text) ? [] : [text];
}

function addressText(body: Uint8Array): string[] {
  if (body.length === 4) return [body.join('.')];
  if (body.length !== 16) return [];
  const words = Array.from({ length: 8 }, (_, i) => ((body[2 * i]! << 8) | body[2 * i + 1]!).toString(16));
  const address = new net.SocketAddress({ address: words.join(':'), family: 'ipv6' }).address;
  return [address];
}
