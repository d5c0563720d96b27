/**
 * systemd passes sockets that are open already (LISTEN_FDS, sd_listen_fds(3)), and is told when the service is ready
 * (NOTIFY_SOCKET, sd_notify(3)).
 */

import { execFile } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { InheritedSocket } from '../../rpcbind/index.js';
import { socketOfInode } from '../../rpcbind/internal.js';
import { CliError } from '../support/cli.js';

/** The first descriptor that systemd passes. */
const FIRST_FD = 3;
/** Maximum number of descriptors that are used. */
const MAX_FDS = 64;
const AF_UNIX = 1;
const SOCK_DGRAM = 2;

/** The number of sockets that were passed to this process. */
export function inheritedCount(environment: NodeJS.ProcessEnv = process.env): number {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = environment;
  if (count === undefined || Number(pid) !== process.pid || !/^\d+$/.test(count)) return 0;
  return Math.min(Number(count), MAX_FDS);
}

/** The sockets that were passed to this process. Throws CliError if one cannot be used. */
export function inheritedSockets(environment: NodeJS.ProcessEnv = process.env): InheritedSocket[] {
  const count = inheritedCount(environment);
  if (count === 0) return [];
  // They are not for child processes.
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  const fds = Array.from({ length: count }, (_, i) => FIRST_FD + i);
  return fds.map((fd) => {
    const inode = /^socket:\[(\d+)\]$/.exec(linkOf(fd))?.[1];
    const socket = inode === undefined ? undefined : socketOfInode(Number(inode));
    if (socket === undefined)
      throw new CliError(
        `descriptor ${fd}, passed by LISTEN_FDS, is not a UDP, TCP or unix socket that listens`,
      );
    return { fd, netid: socket.netid, address: socket.address };
  });
}

/** Tells the service manager, if there is one, that the daemon is ready, reloads or stops. */
export function notify(state: 'READY=1' | 'STOPPING=1' | 'RELOADING=1'): void {
  const path = process.env['NOTIFY_SOCKET'];
  if (path === undefined || path === '') return;
  if (sendByKoffi(path, state)) return;
  // Without koffi by systemd-notify, which needs NotifyAccess=all in the unit.
  execFile('systemd-notify', [state], () => undefined);
}

type Call = (...args: readonly unknown[]) => number;

function sendByKoffi(path: string, state: string): boolean {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as {
      load(name: null): { func(prototype: string): Call };
    };
    const libc = koffi.load(null);
    const fd = libc.func('int socket(int, int, int)')(AF_UNIX, SOCK_DGRAM, 0);
    if (fd < 0) return false;
    const text = Buffer.from(state);
    const name = Buffer.concat([Buffer.from([AF_UNIX, 0]), Buffer.from(path.replace(/^@/, '\0'))]);
    const send = libc.func('long sendto(int, void *, size_t, int, void *, uint)');
    const sent = send(fd, text, text.length, 0, name, name.length);
    libc.func('int close(int)')(fd);
    return Number(sent) === text.length;
  } catch {
    return false;
  }
}

function linkOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}
