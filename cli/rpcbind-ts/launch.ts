/**
 * From root to an ordinary user. Root reads the command line, opens the local sockets (in /run, where nobody else may)
 * and the state folder, and becomes setpriv(1), which becomes this program again as the user; what was opened comes
 * along as descriptors that an environment variable names. The ports are bound by the user, who keeps the capability for
 * that: without koffi, addresses that the host gets later have to be bound then.
 *
 * With koffi the process stays the same one. Without, root's process starts the other, passes signals on and ends as it
 * ends; it reads nothing from the network.
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

/** Names what root opened; for the program that root becomes, and no other. */
const VARIABLE = 'RPCBIND_TS_PREPARED';
/** Permissions of the local socket: every user of the host may look up and register. */
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
  /** Paths of local sockets; abstract ones need no rights. */
  readonly local: readonly string[];
  readonly folder: string | undefined;
  /** Descriptors that a service manager passed, from 3 on. */
  readonly inherited: number;
  /** Told of a socket or folder that cannot be opened: it throws, or goes on without. */
  readonly onFailure: (error: unknown) => void;
  readonly warn: (text: string) => void;
}

/**
 * What root opened, in the process that it became; undefined in any other. Root believes no such variable: it would be
 * somebody else's. Throws CliError where the process has more rights than it should.
 */
export function takePrepared(environment: NodeJS.ProcessEnv = process.env): Prepared | undefined {
  const text = environment[VARIABLE];
  delete environment[VARIABLE];
  if (text === undefined || process.geteuid?.() === 0) return undefined;
  const prepared = JSON.parse(text) as Prepared;
  checkDropped(prepared.uid);
  return prepared;
}

/** How `user` can be become here; a text where that is impossible, saying why. */
export function wayToBecome(user: User): Setpriv | string {
  return setprivFor(user, scriptFile());
}

/**
 * Becomes `user`. With koffi it does not return; without, it resolves with the exit code of the program that it started.
 * Throws what opening throws, and CliError where the program cannot be run.
 */
export async function become(user: User, { file, args }: Setpriv, what: ToPrepare): Promise<number> {
  const libc = openLibc();
  if (libc === undefined && what.inherited > 0)
    throw new CliError(
      'root cannot pass sockets of LISTEN_FDS on without the package koffi: set User= in the unit, or --user root',
    );
  const prepared: Prepared = {
    startedByUid: process.getuid?.() ?? 0,
    uid: user.uid,
    local: libc === undefined ? [] : openLocal(libc, what),
    ...folderOf(user, what),
  };
  if (libc === undefined && what.local.length > 0)
    what.warn('no local socket: root can open it for another user only with the optional package koffi');
  const command = [...args, process.execPath, ...process.execArgv, scriptFile(), ...process.argv.slice(2)];
  const environment = { ...process.env, [VARIABLE]: JSON.stringify(prepared) };
  if (libc === undefined) return spawned(file, command, environment, prepared.folderFd);
  for (const fd of descriptorsOf(prepared, what.inherited)) libc.keepThroughExec(fd);
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

/** The program as a child: ends with its exit code, and it ends by the signals that come here. */
function spawned(
  file: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  folderFd: number | undefined,
): Promise<number> {
  // The child's descriptor 3 is the folder.
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
