/**
 * From root to an ordinary user. Root reads the command line, opens the local sockets (in /run, where no other user may)
 * and the state folder, and becomes setpriv(1), which becomes this program again as the user. An environment variable
 * names the descriptors of what was opened. The user binds the ports, and keeps the capability for that: without koffi,
 * addresses that the host gets later have to be bound later.
 *
 * With koffi the process remains the same one. Without it, root's process starts the other one, forwards signals to it,
 * and ends with its exit code; it reads nothing from the network.
 */

import { spawn } from 'node:child_process';
import { unlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { checkPath } from '../../runtime/protocol.js';
import { CliError, describe } from '../support/cli.js';
import { openFolderFor } from './folder.js';
import { type Libc, openLibc } from './libc.js';
import { checkDropped, type Setpriv, setprivFor } from './privileges.js';
import type { User } from './users.js';

/** The environment variable that names what root opened, for the program that root becomes. */
const VARIABLE = 'RPCBIND_TS_PREPARED';
/** Mode of the local socket: every user of this host may call. */
const SOCKET_MODE = 0o666;
/** The first descriptor that systemd passes. */
const FIRST_INHERITED = 3;

/** What root opened. */
export interface Prepared {
  readonly startedByUid: number;
  readonly uid: number;
  readonly local: readonly { readonly fd: number; readonly path: string }[];
  readonly folderFd?: number;
}

/** What is to be opened before root is given up. */
export interface ToPrepare {
  /** Paths of local sockets. Abstract ones need no rights, and are opened later. */
  readonly local: readonly string[];
  readonly folder: string | undefined;
  /** The number of descriptors that a service manager passed, from 3 on. */
  readonly inherited: number;
  /** Told of a socket or folder that cannot be opened. Throws if the daemon cannot do without it. */
  readonly onFailure: (error: unknown) => void;
  readonly warn: (text: string) => void;
}

/**
 * What root opened, in the process that it became; undefined in every other process. Root ignores the variable: it can
 * only come from another user. Throws CliError if the process has more rights than it should.
 */
export function takePrepared(environment: NodeJS.ProcessEnv = process.env): Prepared | undefined {
  const text = environment[VARIABLE];
  delete environment[VARIABLE];
  if (text === undefined || process.geteuid?.() === 0) return undefined;
  const prepared = JSON.parse(text) as Prepared;
  checkDropped(prepared.uid);
  return prepared;
}

/** The command by which to become `user`; if that is not possible, a text that says why. */
export function commandToBecome(user: User): Setpriv | string {
  return setprivFor(user, scriptFile());
}

/**
 * Becomes `user`. With koffi it never returns; without, it resolves with the exit code of the program that it started.
 * Throws what `onFailure` throws, and CliError if the program cannot be run.
 */
export async function become(user: User, { file, args }: Setpriv, toPrepare: ToPrepare): Promise<number> {
  const libc = openLibc();
  if (libc === undefined && toPrepare.inherited > 0)
    throw new CliError(
      'without the package koffi root cannot pass the sockets of LISTEN_FDS to another user: set User= in the unit, or --user root',
    );
  const prepared: Prepared = {
    startedByUid: process.getuid?.() ?? 0,
    uid: user.uid,
    local: libc === undefined ? [] : openLocal(libc, toPrepare),
    ...folderOf(user, toPrepare),
  };
  if (libc === undefined && toPrepare.local.length > 0)
    toPrepare.warn('no local socket: root can open it for another user only with the optional package koffi');
  const command = [...args, process.execPath, ...process.execArgv, scriptFile(), ...process.argv.slice(2)];
  const environment = { ...process.env, [VARIABLE]: JSON.stringify(prepared) };
  if (libc === undefined) return spawned(file, command, environment, prepared.folderFd);
  for (const fd of descriptorsOf(prepared, toPrepare.inherited)) libc.keepThroughExec(fd);
  return libc.execve(file, command, environment);
}

function openLocal(libc: Libc, { local, onFailure }: ToPrepare): { fd: number; path: string }[] {
  const opened: { fd: number; path: string }[] = [];
  for (const path of local) {
    try {
      checkPath(path);
      if (libc.isDeadSocket(path)) unlinkSync(path);
      opened.push({ fd: libc.listenUnix(path, SOCKET_MODE), path });
    } catch (error) {
      onFailure(error);
    }
  }
  return opened;
}

function folderOf(user: User, { folder, onFailure }: ToPrepare): { folderFd?: number } {
  if (folder === undefined) return {};
  try {
    return { folderFd: openFolderFor(user, folder) };
  } catch (error) {
    onFailure(error);
    return {};
  }
}

function descriptorsOf({ local, folderFd }: Prepared, inherited: number): number[] {
  const passed = Array.from({ length: inherited }, (_, i) => FIRST_INHERITED + i);
  return [0, 1, 2, ...passed, ...local.map(({ fd }) => fd), ...(folderFd === undefined ? [] : [folderFd])];
}

/** Runs the program as a child process, which gets the signals that come here; resolves with its exit code. */
function spawned(
  file: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  folderFd: number | undefined,
): Promise<number> {
  // The folder is descriptor 3 of the child.
  const stdio = ['inherit', 'inherit', 'inherit', ...(folderFd === undefined ? [] : [folderFd])] as const;
  const text = environment[VARIABLE] ?? '{}';
  const prepared = JSON.parse(text) as Prepared;
  const renumbered = folderFd === undefined ? prepared : { ...prepared, folderFd: FIRST_INHERITED };
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      stdio: [...stdio],
      env: { ...environment, [VARIABLE]: JSON.stringify(renumbered) },
    });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
      process.on(signal, () => child.kill(signal));
    child.on('error', (cause) => reject(new CliError(`cannot run ${file}: ${describe(cause)}`, { cause })));
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

function scriptFile(): string {
  return fileURLToPath(new URL('./main.js', import.meta.url));
}
