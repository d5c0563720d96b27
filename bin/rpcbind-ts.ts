#!/usr/bin/env node
/**
 * rpcbind-ts: the daemon in the foreground. Command line, signals, service manager and log are its
 * business; serving is ../rpcbind.
 */

import { existsSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import {
  createRpcbind,
  defaultRpcbindPort,
  type InheritedDoor,
  LOCAL_SOCKET_PATH,
  PMAP_PORT,
  type Rpcbind,
  type RpcbindDaemonOptions,
  STATE_FOLDER,
} from '../rpcbind/index.js';
import { hasNative } from '../runtime/index.js';
import { readAccess } from './rpcbind/access.js';
import { createLog, EventLog, type LogFormat } from './rpcbind/log.js';
import { becomeUser } from './rpcbind/privileges.js';
import { inheritedDoors, notify } from './rpcbind/systemd.js';
import {
  CliError,
  command,
  describe,
  integer,
  portOption,
  run,
  UsageError,
  untilSignal,
} from './support/cli.js';
import { programNames } from './support/programs.js';

interface Options {
  readonly host: readonly string[];
  readonly port?: number;
  readonly local: readonly string[] | false;
  readonly insecure?: boolean;
  readonly remoteCalls?: boolean;
  readonly warmStart?: boolean;
  readonly cold?: boolean;
  readonly stateDir?: string | false;
  readonly keepStale?: boolean;
  readonly advertise: readonly string[];
  readonly allow: readonly string[];
  readonly allowRegister: readonly string[];
  readonly accessFile?: string;
  readonly callsPerSecond?: number;
  readonly tableBytes?: number;
  readonly maxRegistrations?: number;
  readonly maxPerOwner?: number;
  readonly secure?: boolean;
  readonly user?: string;
  readonly logFormat: LogFormat;
  readonly debug?: boolean;
  readonly abort?: boolean;
}

const count = integer('N', 1, 1_000_000_000);

const program = command('rpcbind-ts', 'Tells callers where the programs of this host are (RFC 1833).')
  .helpOption('--help', 'display help for command')
  .option('-h, --host <address>', 'listen here, and on loopback (may be repeated)', collect, [])
  .addOption(portOption())
  .option('--local <path>', 'listen on this unix socket; @NAME is abstract (may be repeated)', collect, [])
  .option('--no-local', 'listen on no unix socket')
  .option('-i, --insecure', 'let other hosts register')
  .option('-r, --remote-calls', 'pass calls on: CALLIT, BCAST and INDIRECT, and discovery by multicast')
  .option('-w, --warm-start', 'keep registrations in files even where --port is not 111')
  .option('--cold', 'forget what the last daemon kept')
  .option('--state-dir <folder>', `keep registrations here (default: ${STATE_FOLDER})`)
  .option('--no-state-dir', 'keep registrations in memory alone')
  .option('--keep-stale', 'keep registrations whose server is gone')
  .option('--advertise <address>', 'tell other hosts this address (may be repeated)', collect, [])
  .option('--allow <network>', 'answer these alone, as in 192.0.2.0/24 (may be repeated)', collect, [])
  .option('--allow-register <network>', 'with -i, let these alone register (may be repeated)', collect, [])
  .option('--access-file <file>', 'lines "allow NETWORK" and "register NETWORK"; read again on SIGHUP')
  .option('--calls-per-second <n>', 'of one source, after a burst of twice as many', count)
  .option('--table-bytes <n>', 'of tables over UDP to one source a minute', count)
  .option('--max-registrations <n>', 'of all owners together', count)
  .option('--max-per-owner <n>', 'of one owner that is not root', count)
  .option('-s, --secure', 'become the user daemon once the ports are bound')
  .option('--user <name>', 'become this user once the ports are bound')
  .option('--log-format <format>', 'text or json', logFormat, 'text')
  .option('-f, --foreground', 'stay in the foreground (always so)')
  .option('-a, --abort', 'with -d, abort on a fault')
  .option('-l, --log-refused', 'log refusals (always so)')
  .addHelpText('after', '\nFiles, signals, systemd, containers, limits: docs/operations.md');

for (const option of program.options) {
  if (option.long !== '--debug') continue;
  option.short = '-d';
  option.flags = '-d, --debug';
}

// A daemon that waits most of its life: what it takes for a burst of calls, V8 would keep. Calls leave
// little behind, so the nursery of new objects need not grow beyond its first size.
setFlagsFromString('--semi-space-growth-factor=1');

program.action(async (options: Options) => {
  const stopped = untilSignal();
  const log = createLog(options.logFormat, options.debug ?? false);
  const events = new EventLog(log, programNames());
  const lists = (): ReturnType<typeof readAccess> => readAccess(options, options.accessFile);
  const fault = (error: unknown): void => {
    log.error({ event: 'fault', stack: error instanceof Error ? error.stack : undefined }, describe(error));
    if (options.abort === true && options.debug === true) process.abort();
  };
  const port = options.port ?? defaultRpcbindPort();
  const isSystem = port === PMAP_PORT;
  const stateFolder = stateFolderOf(options, isSystem);
  const warn = (text: string): void => log.warn({ event: 'warning' }, text);
  const rpcbind = await start(options, isSystem, warn, {
    port,
    ...lists(),
    isInsecure: options.insecure ?? false,
    remoteCalls: options.remoteCalls ?? false,
    stateFolder,
    isColdStart: options.cold ?? false,
    liveness: options.keepStale === true ? 'off' : 'auto',
    advertise: options.advertise,
    callsPerSecond: options.callsPerSecond,
    tableBytesPerMinute: options.tableBytes,
    ...(options.maxRegistrations === undefined ? {} : { maxRegistrations: options.maxRegistrations }),
    ...(options.maxPerOwner === undefined ? {} : { maxRegistrationsPerOwner: options.maxPerOwner }),
    onEvent: (event) => events.write(event),
    onError: fault,
    onWarning: warn,
  });
  const user = options.user ?? (options.secure === true ? 'daemon' : undefined);
  if (user !== undefined) becomeUser(user, stateFolder);
  process.on('SIGHUP', () => {
    events.names = programNames();
    try {
      rpcbind.reload({ ...lists(), isInsecure: options.insecure ?? false });
      log.info({ event: 'reload' }, 'read /etc/rpc and the access lists again');
    } catch (error) {
      warn(`the access lists stay as they are: ${describe(error)}`);
    }
  });
  process.stdout.write(`rpcbind-ts: serving on ${doors(rpcbind)}\n`);
  notify('READY=1');
  const signal = await stopped;
  notify('STOPPING=1');
  log.info({ event: 'stop', signal, refused: rpcbind.refused() }, `${signal}: draining`);
  await rpcbind.close();
});

/** Opens what there is. What was not asked for by name and cannot be opened is left out, with a warning. */
async function start(
  options: Options,
  isSystem: boolean,
  warn: (text: string) => void,
  of: RpcbindDaemonOptions & { readonly port: number },
): Promise<Rpcbind> {
  const inherited = inheritedDoors();
  let { stateFolder } = of;
  let hosts = hostsOf(options.host);
  let local = localsOf(options, isSystem);
  if (local.length > 0 || inherited.some(({ netid }) => netid === 'local')) warnOfUnknownPeers(warn);
  for (;;) {
    try {
      return await createRpcbind({ ...of, stateFolder, host: hosts, local, inherited });
    } catch (cause) {
      const { code, address } = codeOf(cause);
      const hasNoIPv6 = ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT'].includes(code);
      if (options.host.length === 0 && hosts.includes('::') && hasNoIPv6) {
        warn(`this host has no IPv6 (${code}): serving IPv4 alone`);
        hosts = hosts.filter((host) => host !== '::');
      } else if (
        local.length > 0 &&
        options.local !== false &&
        options.local.length === 0 &&
        isPath(address)
      ) {
        if (code === 'EADDRINUSE') throw new CliError(explain(cause, of.port, inherited), { cause });
        warn(`no local socket: ${describe(cause)}`);
        local = [];
      } else if (code === 'RPCBIND_STATE' && options.stateDir === undefined && options.warmStart !== true) {
        warn(`${describe(cause)}: they end with this process`);
        stateFolder = undefined;
      } else throw new CliError(explain(cause, of.port, inherited), { cause });
    }
  }
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

function localsOf(options: Options, isSystem: boolean): string[] {
  if (options.local === false) return [];
  if (options.local.length > 0) return options.local.map((path) => path.replace(/^@/, '\0'));
  if (!isSystem) return [];
  return process.platform === 'linux' ? [LOCAL_SOCKET_PATH, `\0${LOCAL_SOCKET_PATH}`] : [LOCAL_SOCKET_PATH];
}

function stateFolderOf(options: Options, isSystem: boolean): string | undefined {
  if (options.stateDir === false) return undefined;
  if (options.stateDir !== undefined) return options.stateDir;
  if (options.warmStart === true) return STATE_FOLDER;
  return isSystem && (process.getuid?.() === 0 || existsSync(STATE_FOLDER)) ? STATE_FOLDER : undefined;
}

/** Without the means to ask who is at the other end, nobody on the local socket is anybody. */
function warnOfUnknownPeers(warn: (text: string) => void): void {
  if (hasNative()) return;
  warn(
    'who calls on the local socket cannot be told (the optional package koffi is not here): registrations made there have no owner and can be taken back by root alone, over loopback',
  );
}

function explain(error: unknown, port: number, inherited: readonly InheritedDoor[]): string {
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

function doors(rpcbind: Rpcbind): string {
  return rpcbind.listeners
    .map(({ netid, address, port }) =>
      netid === 'local' ? `local ${address.replace('\0', '@')}` : `${netid} ${address}:${port}`,
    )
    .join(', ');
}

function logFormat(text: string): LogFormat {
  if (text === 'text' || text === 'json') return text;
  throw new UsageError(`--log-format must be text or json, not ${text}`);
}

function collect(value: string, list: readonly string[]): string[] {
  return [...list, value];
}

await run(program);
