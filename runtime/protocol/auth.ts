/**
 * Who is calling: AUTH_NONE and AUTH_SYS (RFC 5531 section 8.2 and appendix A). AUTH_SYS says who the caller claims to be
 * and proves nothing. Mechanisms that prove something are in security.ts.
 */

import { decode, encode, XdrError, type XdrWriter } from '../../xdr/index.js';
import { AuthError } from './errors.js';
import { auth_flavor, auth_stat, authsys_parmsCodec, MAX_AUTH_BYTES } from './rpcmsg.gen.js';

/** No credentials at all. */
export interface NoCredentials {
  readonly flavor: 'none';
}

/** What a Unix host claims of its user (RFC 5531 appendix A). */
export interface SysCredentials {
  readonly flavor: 'sys';
  /** An arbitrary number of the caller's. */
  readonly stamp: number;
  /** At most 255 bytes. */
  readonly machineName: string;
  readonly uid: number;
  readonly gid: number;
  /** At most 16. */
  readonly gids: readonly number[];
}

/** Credentials of another flavor, as a mechanism of security.ts understood them. */
export interface OtherCredentials {
  readonly flavor: 'other';
  readonly number: number;
  readonly body: Uint8Array;
  /** Who the caller proved to be: a Kerberos principal. */
  readonly principal?: string;
}

export type Credentials = NoCredentials | SysCredentials | OtherCredentials;

/** The credentials of a caller that gives none. */
export const noCredentials: NoCredentials = { flavor: 'none' };

/** AUTH_SYS credentials, as for `credentials` of a call. */
export function sysCredentials(of: {
  readonly uid: number;
  readonly gid: number;
  readonly gids?: readonly number[];
  readonly machineName?: string;
  readonly stamp?: number;
}): SysCredentials {
  return {
    flavor: 'sys',
    stamp: of.stamp ?? 0,
    machineName: of.machineName ?? 'localhost',
    uid: of.uid,
    gid: of.gid,
    gids: of.gids ?? [],
  };
}

/** The credentials in the body of an AUTH_SYS credential. Throws AuthError AUTH_BADCRED where it does not decode. */
export function readSysCredentials(body: Uint8Array): SysCredentials {
  try {
    const { machinename, ...rest } = decode(authsys_parmsCodec, body);
    return { flavor: 'sys', machineName: machinename, ...rest };
  } catch (error) {
    if (error instanceof XdrError) throw new AuthError(auth_stat.AUTH_BADCRED, error.message);
    throw error;
  }
}

/** Writes `opaque_auth`: flavor and body (RFC 5531 section 8.2). Throws XdrError where the body is over 400 bytes. */
export function writeCredentials(writer: XdrWriter, credentials: Credentials): void {
  switch (credentials.flavor) {
    case 'none':
      writer.uint32(auth_flavor.AUTH_NONE);
      writer.uint32(0);
      return;
    case 'sys': {
      const { flavor: _, machineName, ...rest } = credentials;
      const body = encode(authsys_parmsCodec, { machinename: machineName, ...rest });
      writer.uint32(auth_flavor.AUTH_SYS);
      writer.opaque(body, MAX_AUTH_BYTES);
      return;
    }
    case 'other':
      writer.uint32(credentials.number);
      writer.opaque(credentials.body, MAX_AUTH_BYTES);
  }
}
