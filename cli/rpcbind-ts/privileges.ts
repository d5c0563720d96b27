/**
 * Giving up root: calls are parsed by an ordinary user alone. What only root can open is opened first; then the process
 * becomes setpriv(1), which becomes Node again. No-new-privileges and the bounding set belong to a thread, and cannot be
 * set for the threads that Node has already; this way no thread keeps rights of root.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { CliError, describe } from '../support/cli.js';
import type { User } from './users.js';

/** The paths of setpriv: a fixed list, since another user may have set root's PATH. */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv', '/usr/sbin/setpriv'] as const;
/** The capability that is kept: to bind port 111, also at addresses that the host gets later. */
const KEPT_CAPABILITY = 'net_bind_service';
/** Bits of the sets of capabilities(7). */
const CAP_SETGID = 6n;
const CAP_SETUID = 7n;
const CAP_SETPCAP = 8n;
const CAP_NET_BIND_SERVICE = 10n;
/** Timeout in milliseconds of a test of setpriv. */
const PROBE_MS = 10_000;

/** The program that gives up root, and its arguments before the command that it runs. */
export interface Setpriv {
  readonly file: string;
  readonly args: readonly string[];
}

/** The command by which to become `user`; if that is not possible, a text that says why. */
export function setprivFor(user: User, script: string): Setpriv | string {
  if (process.platform !== 'linux') return 'giving up root needs setpriv of Linux';
  const file = SETPRIV.find((path) => existsSync(path));
  if (file === undefined) return 'the program setpriv (package util-linux) is not installed';
  const held = capabilities(statusOf('self'));
  const missing = [CAP_SETUID, CAP_SETGID, CAP_SETPCAP].filter((bit) => !has(held, bit));
  if (missing.length > 0) return 'this root may not change its user (CAP_SETUID, CAP_SETGID, CAP_SETPCAP)';
  if (!isMapped('uid_map', user.uid) || !isMapped('gid_map', user.gid))
    return `user ${user.name} does not exist in this user namespace`;
  const kept = has(held, CAP_NET_BIND_SERVICE) ? `-all,+${KEPT_CAPABILITY}` : '-all';
  const args = [
    ...['--reuid', String(user.uid), '--regid', String(user.gid), '--init-groups', '--no-new-privs'],
    ...['--inh-caps', kept, '--ambient-caps', kept, '--bounding-set', kept, '--'],
  ];
  // As that user: modes, groups and access control lists decide whether it can read.
  for (const path of [process.execPath, script]) {
    try {
      execFileSync(file, [...args, 'test', '-r', path], { stdio: 'pipe', timeout: PROBE_MS });
    } catch (cause) {
      const text = String((cause as { stderr?: unknown }).stderr ?? '').trim();
      return text === '' ? `user ${user.name} cannot read ${path}` : `setpriv fails: ${describe(text)}`;
    }
  }
  return { file, args };
}

/**
 * Checks that no thread of this process has more rights than user `uid` should have: user, groups, capabilities,
 * no-new-privileges, as the kernel lists them in /proc. Throws CliError if one has.
 */
export function checkDropped(uid: number): void {
  const problems = new Set<string>();
  for (const thread of readdirSync('/proc/self/task')) {
    const status = statusOf(`self/task/${thread}`);
    if (status === undefined) continue; // The thread has ended.
    const ids = (name: string): string[] => field(status, name).split(/\s+/);
    if (ids('Uid').some((id) => Number(id) !== uid)) problems.add(`uids ${field(status, 'Uid')}`);
    if (ids('Gid').some((id) => Number(id) === 0)) problems.add(`gids ${field(status, 'Gid')}`);
    if (ids('Groups').includes('0')) problems.add('the group root');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      if ((BigInt(`0x${field(status, set)}`) & ~(1n << CAP_NET_BIND_SERVICE)) !== 0n)
        problems.add(`${set} ${field(status, set)}`);
    if (field(status, 'NoNewPrivs') !== '1') problems.add('no no-new-privileges');
  }
  if (problems.size > 0)
    throw new CliError(`this process still has rights of root: ${[...problems].join(', ')}`);
}

function statusOf(process: string): string | undefined {
  try {
    return readFileSync(`/proc/${process}/status`, 'utf8');
  } catch {
    return undefined;
  }
}

function field(status: string, name: string): string {
  return new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(status)?.[1] ?? '';
}

function capabilities(status: string | undefined): bigint {
  return BigInt(`0x${field(status ?? '', 'CapPrm') || '0'}`);
}

function has(set: bigint, bit: bigint): boolean {
  return ((set >> bit) & 1n) === 1n;
}

/** Whether an id exists in this user namespace (user_namespaces(7)). */
function isMapped(file: 'uid_map' | 'gid_map', id: number): boolean {
  try {
    return readFileSync(`/proc/self/${file}`, 'utf8')
      .trim()
      .split('\n')
      .some((line) => {
        const [first, , count] = line.trim().split(/\s+/).map(Number);
        return first !== undefined && count !== undefined && id >= first && id < first + count;
      });
  } catch {
    return true;
  }
}
