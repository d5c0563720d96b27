/** Opens the daemon: which sockets and which folder, and what is left out where it cannot be had. */

import { existsSync } from 'node:fs';
import {
  createRpcbind,
  type InheritedSocket,
  LOCAL_SOCKET_PATH,
  PMAP_PORT,
  type Rpcbind,
  type RpcbindDaemonOptions,
  RpcbindError,
  STATE_FOLDER,
  StateHeldError,
} from '../../rpcbind/index.js';
import { hasNative } from '../../runtime/protocol.js';
import { CliError, describe } from '../support/cli.js';
import type { Prepared, ToPrepare } from './launch.js';
import { inheritedCount, inheritedDoors } from './systemd.js';

/** What the command line says of sockets and files. */
export interface OpenOptions {
  readonly host: readonly string[];
  readonly local: readonly string[] | false;
  readonly warmStart?: boolean;
  readonly stateDir?: string | false;
}

type Warn = (text: string) => void;

/** What root opens before it becomes another user. */
export function toPrepare(options: OpenOptions, port: number, warn: Warn): ToPrepare {
  const isSystem = port === PMAP_PORT;
  const inherited = inheritedCount();
  const paths = inherited > 0 ? [] : localsOf(options, isSystem).filter((path) => !path.startsWith('\0'));
  return {
    local: paths,
    folder: stateFolderOf(options, isSystem),
    inherited,
    warn,
    onFailure: (cause) => {
      const { code, address } = codeOf(cause);
      if (code === 'RPCBIND_STATE' && mayLackFolder(options))
        warn(`${describe(cause)}: they end with this process`);
      else if (isPath(address) && mayLackLocal(options) && code !== 'EADDRINUSE')
        warn(`no local socket: ${describe(cause)}`);
      else throw new CliError(explain(cause, port, []), { cause });
    },
  };
}

/**
 * Opens what there is; where root `prepared` sockets and folder, those. What was not asked for by name and cannot be
 * opened is left out, with a warning. Throws CliError, with nothing left open.
 */
export async function open(
  options: OpenOptions,
  prepared: Prepared | undefined,
  warn: Warn,
  of: RpcbindDaemonOptions & { readonly port: number },
): Promise<Rpcbind> {
  const isSystem = of.port === PMAP_PORT;
  const inherited = inheritedDoors();
  const openedLocal = (prepared?.local ?? []).map(({ fd, path }) => ({
    fd,
    netid: 'local' as const,
    address: path,
  }));
  let stateFolder = stateFolderOf(options, isSystem);
  if (prepared !== undefined && prepared.folderFd === undefined) stateFolder = undefined;
  let hosts = hostsOf(options.host);
  let local = localsOf(options, isSystem).filter((path) => prepared === undefined || path.startsWith('\0'));
  if (local.length + openedLocal.length > 0 || inherited.some(({ netid }) => netid === 'local'))
    warnOfUnknownPeers(warn);
  warnOfInherited(inherited, warn);
  for (;;) {
    try {
      const folder = { stateFolder, stateFolderFd: prepared?.folderFd };
      return await createRpcbind({ ...of, ...folder, host: hosts, local, inherited, openedLocal });
    } catch (cause) {
      const { code, address } = codeOf(cause);
      const hasNoIPv6 = ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT'].includes(code);
      if (options.host.length === 0 && hosts.includes('::') && hasNoIPv6) {
        warn(`this host has no IPv6 (${code}): serving IPv4 alone`);
        hosts = hosts.filter((host) => host !== '::');
      } else if (local.length > 0 && isPath(address) && mayLackLocal(options) && code !== 'EADDRINUSE') {
        warn(`no local socket: ${describe(cause)}`);
        local = [];
      } else if (code === 'RPCBIND_STATE' && mayLackFolder(options) && !isHeld(cause)) {
        warn(`${describe(cause)}: they end with this process`);
        stateFolder = undefined;
      } else throw new CliError(explain(cause, of.port, inherited), { cause });
    }
  }
}

function mayLackLocal(options: OpenOptions): boolean {
  return options.local !== false && options.local.length === 0;
}

function mayLackFolder(options: OpenOptions): boolean {
  return options.stateDir === undefined && options.warmStart !== true;
}

/** Whether another daemon has the folder: no reason to go on without. */
function isHeld(error: unknown): boolean {
  return error instanceof RpcbindError && error.cause instanceof StateHeldError;
}

/** All addresses, or those given and loopback, as rpcbind(8) does: services of this host register there. */
function hostsOf(given: readonly string[]): string[] {
  if (given.length === 0) return ['0.0.0.0', '::'];
  const all = new Set(given);
  const isWild = (host: string): boolean => all.has(host);
  if (given.some((host) => !host.includes(':')) && !isWild('0.0.0.0')) all.add('127.0.0.1');
  if (given.some((host) => host.includes(':')) && !isWild('::')) all.add('::1');
  return [...all];
}

function localsOf(options: OpenOptions, isSystem: boolean): string[] {
  if (options.local === false) return [];
  if (options.local.length > 0) return options.local.map((path) => path.replace(/^@/, '\0'));
  if (!isSystem) return [];
  return process.platform === 'linux' ? [LOCAL_SOCKET_PATH, `\0${LOCAL_SOCKET_PATH}`] : [LOCAL_SOCKET_PATH];
}

function stateFolderOf(options: OpenOptions, isSystem: boolean): string | undefined {
  if (options.stateDir === false) return undefined;
  if (options.stateDir !== undefined) return options.stateDir;
  if (options.warmStart === true) return STATE_FOLDER;
  return isSystem && (process.getuid?.() === 0 || existsSync(STATE_FOLDER)) ? STATE_FOLDER : undefined;
}

/** Without koffi the user at the other end of the local socket is unknown. */
function warnOfUnknownPeers(warn: (text: string) => void): void {
  if (hasNative()) return;
  warn(
    'who calls on the local socket cannot be told (the optional package koffi is not here): registrations made there are owned by `unknown`, and every caller of this host that cannot be identified may take them back; reserved programs are registered over TCP or from a reserved port alone',
  );
}

/** Without koffi an inherited UDP socket of all addresses cannot tell which address a call came to. */
function warnOfInherited(inherited: readonly InheritedSocket[], warn: Warn): void {
  const isWildcard = inherited.some(
    ({ netid, address }) => netid.startsWith('udp') && ['0.0.0.0', '::'].includes(address),
  );
  if (!isWildcard || hasNative()) return;
  warn(
    'replies over UDP may leave from another address than the one asked where this host has several (the optional package koffi is not here): pass a socket for each address, or install koffi',
  );
}

function explain(error: unknown, port: number, inherited: readonly InheritedSocket[]): string {
  const { code, address } = codeOf(error);
  if (code === 'RPCBIND_STATE') return `${describe(error)}; choose another folder with --state-dir`;
  if (inherited.length > 0) return `a socket passed by LISTEN_FDS cannot be served: ${describe(error)}`;
  if (isPath(address))
    return code === 'EADDRINUSE'
      ? `the local socket ${address} is taken: another rpcbind runs here; stop it, or leave the socket out with --no-local`
      : `cannot serve on the local socket ${address}: ${describe(error)}`;
  const place = address === undefined ? `port ${port}` : `${address} port ${port}`;
  if (code === 'EADDRINUSE')
    return `${place} is taken: another rpcbind runs here; stop it, or choose another port with --port`;
  if (code === 'EACCES')
    return `${place} may not be bound by this user: run as root or with CAP_NET_BIND_SERVICE, or choose a port over 1023 with --port`;
  return `cannot serve on ${place}: ${describe(error)}`;
}

function codeOf(error: unknown): { readonly code: string; readonly address: string | undefined } {
  const { code, address } = error as { code?: unknown; address?: unknown };
  return {
    code: typeof code === 'string' ? code : '',
    address: typeof address === 'string' ? address.replace('\0', '@') : undefined,
  };
}

function isPath(address: string | undefined): boolean {
  return address !== undefined && /^[/@]/.test(address);
}

/** Where it serves, for people. */
export function doors(rpcbind: Rpcbind): string {
  return rpcbind.listeners
    .map(({ netid, address, port }) =>
      netid === 'local' ? `local ${address.replace('\0', '@')}` : `${netid} ${address}:${port}`,
    )
    .join(', ');
}
