/** Users of this host by name, for the user whom the daemon becomes if root starts it. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { CliError } from '../support/cli.js';

/** A user of this host. */
export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The user whom the daemon becomes if the operator names none, the first one that exists: that of Debian's rpcbind, that
 * of Fedora's, and that of `-s`.
 */
export const DEFAULT_USERS = ['_rpc', 'rpc', 'daemon'] as const;

/** Timeout in milliseconds of a lookup by the name services. */
const LOOKUP_MS = 5_000;

/** A user by name or by uid in decimal; undefined if there is none. */
export function findUser(nameOrUid: string): User | undefined {
  return userOf(passwdLines(), nameOrUid) ?? userOf(namedBySystem(nameOrUid), nameOrUid);
}

/** The user to become: the one named, `daemon` with `-s`, or the first of {@link DEFAULT_USERS}. Throws CliError. */
export function chooseUser(options: { readonly user?: string; readonly secure?: boolean }): User | undefined {
  const named = options.user ?? (options.secure === true ? 'daemon' : undefined);
  if (named !== undefined) {
    const user = findUser(named);
    if (user === undefined)
      throw new CliError(`there is no user ${named}: name one that exists with --user, or root`);
    return user.uid === 0 ? undefined : user;
  }
  const lines = passwdLines();
  for (const name of DEFAULT_USERS) {
    const user = userOf(lines, name);
    if (user !== undefined && user.uid !== 0) return user;
  }
  return undefined;
}

function userOf(lines: readonly string[], nameOrUid: string): User | undefined {
  for (const line of lines) {
    const [name, , uid, gid] = line.split(':');
    if (name === undefined || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? '')) continue;
    if (name === nameOrUid || uid === nameOrUid) return { name, uid: Number(uid), gid: Number(gid) };
  }
  return undefined;
}

function passwdLines(): string[] {
  try {
    return readFileSync('/etc/passwd', 'utf8').split('\n');
  } catch {
    return [];
  }
}

/** The line of a user as the name services (LDAP, NIS) have it. */
function namedBySystem(nameOrUid: string): string[] {
  if (nameOrUid.startsWith('-')) return [];
  try {
    const text = execFileSync('getent', ['passwd', nameOrUid], {
      encoding: 'utf8',
      timeout: LOOKUP_MS,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    return text.split('\n');
  } catch {
    return [];
  }
}
