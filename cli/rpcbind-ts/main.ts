#!/usr/bin/env node
/** rpcbind-ts: the daemon in the foreground. Command line, signals, service manager and log; the daemon itself is rpcbind/. */

import { setFlagsFromString } from 'node:v8';
import { type AccessLists, defaultRpcbindPort } from '../../rpcbind/index.js';
import { MAX_HOLD_MS, MAX_RATE, MAX_REGISTRATIONS, STATE_FOLDER } from '../../rpcbind/internal.js';
import {
  CliError,
  command,
  describe,
  endWithin,
  integer,
  OlderNameOption,
  portOption,
  run,
  UsageError,
  untilSignal,
} from '../support/cli.js';
import { programNames } from '../support/programs.js';
import { readAccess } from './access.js';
import { become, commandToBecome, takePrepared } from './launch.js';
import { createLog, EventLog, type LogFormat } from './log.js';
import { listenersText, type OpenOptions, open, toPrepare } from './open.js';
import { readPrograms } from './programs.js';
import { notify } from './systemd.js';
import { chooseUser } from './users.js';

interface Options extends OpenOptions {
  readonly port?: number;
  readonly insecure?: boolean;
  readonly forwardCalls?: boolean;
  readonly cold?: boolean;
  readonly keepStale?: boolean;
  readonly advertise: readonly string[];
  readonly allow: readonly string[];
  readonly allowRegister: readonly string[];
  readonly accessFile?: string;
  readonly programs?: string;
  readonly hold?: number;
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

const rate = integer('N', 1, MAX_RATE);
const registrations = integer('N', 1, MAX_REGISTRATIONS);
const holdSeconds = integer('SECONDS', 0, MAX_HOLD_MS / 1000);

const program = command(
  'rpcbind-ts',
  'Registers the programs of this host, and tells callers their addresses (RFC 1833).',
)
  .helpOption('--help', 'display help for command')
  .option('-h, --host <address>', 'listen on this address and on loopback (may be repeated)', collect, [])
  .addOption(portOption())
  .option('--local <path>', 'listen on this unix socket; @NAME is abstract (may be repeated)', collect, [])
  .option('--no-local', 'listen on no unix socket')
  .option('-i, --insecure', 'let other hosts register')
  .option('-r, --forward-calls', 'forward calls: CALLIT, BCAST and INDIRECT, and discovery by multicast')
  .addOption(new OlderNameOption('--remote-calls', 'the older name of --forward-calls', 'forwardCalls'))
  .option('-w, --warm-start', 'keep registrations in files even where --port is not 111')
  .option('--cold', 'ignore the registrations that the last daemon kept')
  .option('--state-dir <folder>', `keep registrations here (default: ${STATE_FOLDER})`)
  .option('--no-state-dir', 'keep registrations in memory only')
  .option('--keep-stale', 'keep registrations whose server is gone')
  .option(
    '--advertise <address>',
    'the address of this host that other hosts are told (may be repeated)',
    collect,
    [],
  )
  .option(
    '--allow <network>',
    'answer only this host and this network, as in 192.0.2.0/24 (may be repeated)',
    collect,
    [],
  )
  .option(
    '--allow-register <network>',
    'with -i, let only this host and this network register (may be repeated)',
    collect,
    [],
  )
  .option('--access-file <file>', 'lines "allow NETWORK" and "register NETWORK"; read again on SIGHUP')
  .option('--programs <file>', 'lines "PROGRAMS: USERS", who may register what; read again on SIGHUP')
  .option('--hold <seconds>', 'hold a registration that is gone for its owner', holdSeconds)
  .option('--calls-per-second <n>', 'of one source on another host, after a burst of twice as many', rate)
  .option('--table-bytes <n>', 'of tables and forwarded replies over UDP to one source a minute', rate)
  .option('--max-registrations <n>', 'of all owners together', registrations)
  .option('--max-per-owner <n>', 'of one owner other than root', registrations)
  .option('-s, --secure', 'as root, run as the user daemon')
  .option(
    '--user <name>',
    'as root, run as this user (default: the first of _rpc, rpc, daemon; root to remain root)',
  )
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

// The daemon is idle most of the time, and V8 would keep the memory of a burst of calls. Few objects of a call survive it,
// so the space of new objects need not grow.
setFlagsFromString('--semi-space-growth-factor=1');

program.action(async (options: Options) => {
  const log = await createLog(options.logFormat, options.debug ?? false);
  const warn = (text: string): void => log.warn({ event: 'warning' }, text);
  const port = options.port ?? defaultRpcbindPort();
  const prepared = takePrepared();
  const code = prepared === undefined ? await asAnotherUser(options, port, warn) : undefined;
  if (code !== undefined) {
    process.exitCode = code;
    return;
  }
  const stopped = untilSignal();
  const events = new EventLog(log, programNames());
  const lists = (): AccessLists => ({
    ...readAccess(options, options.accessFile),
    isInsecure: options.insecure ?? false,
    programs: readPrograms(options.programs, events.names),
  });
  const fault = (error: unknown): void => {
    events.fault(error);
    if (options.abort === true && options.debug === true) process.abort();
  };
  const rpcbind = await open(options, prepared, warn, {
    port,
    ...lists(),
    // Root started the daemon, and it runs as another user.
    ...(prepared === undefined ? {} : { privilegedUids: [prepared.startedByUid] }),
    holdMs: options.hold === undefined ? undefined : options.hold * 1000,
    forwardCalls: options.forwardCalls ?? false,
    isColdStart: options.cold ?? false,
    liveness: options.keepStale === true ? 'off' : 'auto',
    advertise: options.advertise,
    callsPerSecond: options.callsPerSecond,
    tableBytesPerMinute: options.tableBytes,
    maxRegistrations: options.maxRegistrations,
    maxRegistrationsPerOwner: options.maxPerOwner,
    onEvent: (event) => events.write(event),
    onError: fault,
    onWarning: warn,
  });
  process.on('SIGHUP', () => {
    events.names = programNames();
    try {
      rpcbind.reload(lists());
      log.info({ event: 'reload' }, 'read /etc/rpc and the access lists again');
    } catch (error) {
      warn(`the access lists are not changed: ${describe(error)}`);
    }
  });
  process.stdout.write(`rpcbind-ts: serving on ${listenersText(rpcbind)}\n`);
  notify('READY=1');
  const signal = await stopped;
  notify('STOPPING=1');
  log.info({ event: 'stop', signal, refused: rpcbind.stats().refused }, `${signal}: draining`);
  await rpcbind.close();
  endWithin(END_MS);
});

/** Milliseconds in which the rest of the log must be read once the daemon has ended. */
const END_MS = 1_000;

/**
 * Root goes on as another user, so that root parses no calls. Resolves with undefined if this process is to be the daemon,
 * else with the exit code of the process that was. If no user was named and there is none to become (a container with one
 * user), root is the daemon, with a warning.
 */
async function asAnotherUser(
  options: Options,
  port: number,
  warn: (text: string) => void,
): Promise<number | undefined> {
  const isNamed = options.user !== undefined || options.secure === true;
  if (process.geteuid?.() !== 0) {
    if (!isNamed) return undefined;
    throw new CliError('only root can use --user and -s: start the daemon as the user that it is to run as');
  }
  const user = chooseUser(options);
  if (user === undefined) return undefined;
  const setpriv = commandToBecome(user);
  if (typeof setpriv === 'string') {
    if (isNamed) throw new CliError(`cannot become user ${user.name}: ${setpriv}`);
    warn(`serving as root: ${setpriv}`);
    return undefined;
  }
  return become(user, setpriv, toPrepare(options, port, warn));
}

function logFormat(text: string): LogFormat {
  if (text === 'text' || text === 'json') return text;
  throw new UsageError(`--log-format must be text or json, not ${text}`);
}

function collect(value: string, list: readonly string[]): string[] {
  return [...list, value];
}

await run(program);
