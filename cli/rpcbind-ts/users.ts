/** Users of this system by name: who the daemon becomes when root starts it. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { CliError } from '../support/cli.js';

/** A user as the system's databases have it. */
export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Who the daemon becomes where the operator names nobody, the first that exists: the user of Debian's
 * rpcbind, that of Fedora's, and the one that `-s` names.
 */
export const DEFAULT_USERS = ['_rpc', 'rpc', 'daemon'] as const;

/** Longest time that a name service may take to find a user, in milliseconds. */
const LOOKUP_MS = 5_000;

/** A user by name or by uid in decimal; undefined where no database of the system has one. */
export function findUser(nameOrUid: string): User | undefined {
  return userOf(passwdLines(), nameOrUid) ?? userOf(namedBySystem(nameOrUid), nameOrUid);
}

/** The user to become: as named, else `daemon` with `-s`, else the first of {@link DEFAULT_USERS}. Throws CliError. */
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

/** What the name services of the system (LDAP, NIS) say. */
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
