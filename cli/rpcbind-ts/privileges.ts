/**
 * Giving up root. A call from a stranger is parsed by an ordinary user alone: what root must open is opened first, then
 * the process becomes setpriv(1) and Node again. Only so do all threads of Node lack root's rights: no-new-privileges and
 * the bounding set belong to a thread, and cannot be set for the threads that Node has already.
 */

import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { CliError, describe } from '../support/cli.js';
import type { User } from './users.js';

/** Where setpriv is looked for: a fixed list, since root's PATH may be anybody's. */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv', '/usr/sbin/setpriv'] as const;
/** The capability that stays: to bind port 111, also at addresses that the host gets later. */
const KEPT_CAPABILITY = 'net_bind_service';
/** Bits of capabilities(7). */
const CAP_SETGID = 6n;
const CAP_SETUID = 7n;
const CAP_SETPCAP = 8n;
const CAP_NET_BIND_SERVICE = 10n;
/** Longest time a probe of setpriv may take, in milliseconds. */
const PROBE_MS = 10_000;

/** The program that gives up root, and its arguments up to the command that it runs. */
export interface Setpriv {
  readonly file: string;
  readonly args: readonly string[];
}

/** How to become `user`; a text where that is impossible here, saying why. */
export function setprivFor(user: User, script: string): Setpriv | string {
  if (process.platform !== 'linux') return 'giving up root needs setpriv of Linux';
  const file = SETPRIV.find((path) => existsSync(path));
  if (file === undefined) return 'the program setpriv (package util-linux) is not here';
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
  // As that user, since whether it may read is for the system to say: modes, groups, access control lists.
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
 * Checks that no thread of this process has more than `uid` should: user, group, capabilities, no-new-privileges.
 * Throws CliError where one has. Reads /proc; the kernel itself answers.
 */
export function checkDropped(uid: number): void {
  const problems = new Set<string>();
  for (const thread of readdirSync('/proc/self/task')) {
    const status = statusOf(`self/task/${thread}`);
    if (status === undefined) continue; // it ended meanwhile
    const ids = (name: string): string[] => field(status, name).split(/\s+/);
    if (ids('Uid').some((id) => Number(id) !== uid)) problems.add(`uids ${field(status, 'Uid')}`);
    if (ids('Gid').some((id) => Number(id) === 0)) problems.add(`gids ${field(status, 'Gid')}`);
    if (ids('Groups').includes('0')) problems.add('the group root');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      if ((BigInt(`0x${field(status, set)}`) & ~(1n << CAP_NET_BIND_SERVICE)) !== 0n)
        problems.add(`${set} ${field(status, set)}`);
    if (field(status, 'NoNewPrivs') !== '1') problems.add('no no-new-privileges');
  }
  if (problems.size > 0) throw new CliError(`giving up root left too much: ${[...problems].join(', ')}`);
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

/** Whether an id of this user namespace stands for any of the host (user_namespaces(7)). */
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
