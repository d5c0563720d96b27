/** Starts the daemon: which sockets and which folder it uses, and what it does without if it is not available. */

import { existsSync } from 'node:fs';
import {
  createRpcbind,
  type InheritedSocket,
  LOCAL_SOCKET_PATH,
  PMAP_PORT,
  type Rpcbind,
  type RpcbindDaemonOptions,
  RpcbindError,
} from '../../rpcbind/index.js';
import { STATE_FOLDER, StateHeldError } from '../../rpcbind/internal.js';
import { hasNative } from '../../runtime/protocol.js';
import { CliError, describe } from '../support/cli.js';
import type { Prepared, ToPrepare } from './launch.js';
import { inheritedCount, inheritedSockets } from './systemd.js';

/** Options of the command line for sockets and files. */
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
      if (code === 'RPCBIND_STATE' && isFolderOptional(options))
        warn(`${describe(cause)}: they are lost when this process ends`);
      else if (isPath(address) && isLocalOptional(options) && code !== 'EADDRINUSE')
        warn(`no local socket: ${describe(cause)}`);
      else throw new CliError(explain(cause, port, []), { cause });
    },
  };
}

/**
 * Starts the daemon, with the sockets and the folder that root `prepared`, if it did. What the operator did not name and
 * is not available is left out, with a warning. Throws CliError; then nothing is open.
 */
export async function open(
  options: OpenOptions,
  prepared: Prepared | undefined,
  warn: Warn,
  of: RpcbindDaemonOptions & { readonly port: number },
): Promise<Rpcbind> {
  const isSystem = of.port === PMAP_PORT;
  const inherited = inheritedSockets();
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
    warnOfUnknownUsers(warn);
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
      } else if (local.length > 0 && isPath(address) && isLocalOptional(options) && code !== 'EADDRINUSE') {
        warn(`no local socket: ${describe(cause)}`);
        local = [];
      } else if (code === 'RPCBIND_STATE' && isFolderOptional(options) && !isHeld(cause)) {
        warn(`${describe(cause)}: they are lost when this process ends`);
        stateFolder = undefined;
      } else throw new CliError(explain(cause, of.port, inherited), { cause });
    }
  }
}

function isLocalOptional(options: OpenOptions): boolean {
  return options.local !== false && options.local.length === 0;
}

function isFolderOptional(options: OpenOptions): boolean {
  return options.stateDir === undefined && options.warmStart !== true;
}

/** Whether another daemon uses the folder: then this one must not start without it. */
function isHeld(error: unknown): boolean {
  return error instanceof RpcbindError && error.cause instanceof StateHeldError;
}

/** All addresses, or those given and loopback, as in rpcbind(8): services of this host register there. */
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

/** Without koffi the user at the other end of a local socket is unknown. */
function warnOfUnknownUsers(warn: (text: string) => void): void {
  if (hasNative()) return;
  warn(
    'users of the local socket cannot be identified without the optional package koffi: what they register belongs to `unknown`, and every caller of this host that is not identified can remove it; reserved programs can be registered only over TCP or from a reserved port',
  );
}

/** Without koffi the address to which a call came is not known on an inherited UDP socket of all addresses. */
function warnOfInherited(inherited: readonly InheritedSocket[], warn: Warn): void {
  const isWildcard = inherited.some(
    ({ netid, address }) => netid.startsWith('udp') && ['0.0.0.0', '::'].includes(address),
  );
  if (!isWildcard || hasNative()) return;
  warn(
    'on a host with several addresses replies over UDP may be sent from another address than the one that was called, without the optional package koffi: pass a socket for each address, or install koffi',
  );
}

function explain(error: unknown, port: number, inherited: readonly InheritedSocket[]): string {
  const { code, address } = codeOf(error);
  if (error instanceof RangeError) return describe(error);
  if (code === 'RPCBIND_STATE') return `${describe(error)}; choose another folder with --state-dir`;
  if (inherited.length > 0) return `a socket passed by LISTEN_FDS cannot be served: ${describe(error)}`;
  if (isPath(address))
    return code === 'EADDRINUSE'
      ? `the local socket ${address} is in use: another rpcbind is running; stop it, or leave the socket out with --no-local`
      : `cannot serve on the local socket ${address}: ${describe(error)}`;
  const where = address === undefined ? `port ${port}` : `${address} port ${port}`;
  if (code === 'EADDRINUSE')
    return `${where} is in use: another rpcbind is running; stop it, or choose another port with --port`;
  if (code === 'EACCES')
    return `${where} cannot be bound by this user: run as root or with CAP_NET_BIND_SERVICE, or choose a port above 1023 with --port`;
  return `cannot serve on ${where}: ${describe(error)}`;
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

/** The listeners of a daemon, as text. */
export function listenersText(rpcbind: Rpcbind): string {
  return rpcbind.listeners
    .map(({ netid, address, port }) =>
      netid === 'local' ? `local ${address.replace('\0', '@')}` : `${netid} ${address}:${port}`,
    )
    .join(', ');
}
