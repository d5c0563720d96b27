#!/usr/bin/env node
/**
 * rpcbind-ts: the daemon in the foreground. Command line, signals, service manager and log are its
 * business; serving is ../rpcbind.
 */

import { setFlagsFromString } from 'node:v8';
import { type AccessLists, defaultRpcbindPort, MAX_HOLD_MS, STATE_FOLDER } from '../../rpcbind/index.js';
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
import { become, takePrepared, wayToBecome } from './launch.js';
import { createLog, EventLog, type LogFormat } from './log.js';
import { doors, type OpenOptions, open, toPrepare } from './open.js';
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

const count = integer('N', 1, 1_000_000_000);
const holdSeconds = integer('SECONDS', 0, MAX_HOLD_MS / 1000);

const program = command('rpcbind-ts', 'Tells callers where the programs of this host are (RFC 1833).')
  .helpOption('--help', 'display help for command')
  .option('-h, --host <address>', 'listen here, and on loopback (may be repeated)', collect, [])
  .addOption(portOption())
  .option('--local <path>', 'listen on this unix socket; @NAME is abstract (may be repeated)', collect, [])
  .option('--no-local', 'listen on no unix socket')
  .option('-i, --insecure', 'let other hosts register')
  .option('-r, --forward-calls', 'forward calls: CALLIT, BCAST and INDIRECT, and discovery by multicast')
  .addOption(new OlderNameOption('--remote-calls', 'the older name of --forward-calls', 'forwardCalls'))
  .option('-w, --warm-start', 'keep registrations in files even where --port is not 111')
  .option('--cold', 'forget what the last daemon kept')
  .option('--state-dir <folder>', `keep registrations here (default: ${STATE_FOLDER})`)
  .option('--no-state-dir', 'keep registrations in memory alone')
  .option('--keep-stale', 'keep registrations whose server is gone')
  .option('--advertise <address>', 'tell other hosts this address (may be repeated)', collect, [])
  .option('--allow <network>', 'answer these alone, as in 192.0.2.0/24 (may be repeated)', collect, [])
  .option('--allow-register <network>', 'with -i, let these alone register (may be repeated)', collect, [])
  .option('--access-file <file>', 'lines "allow NETWORK" and "register NETWORK"; read again on SIGHUP')
  .option('--programs <file>', 'lines "PROGRAMS: USERS", who may register what; read again on SIGHUP')
  .option('--hold <seconds>', 'keep the place of a registration that is gone for its owner', holdSeconds)
  .option('--calls-per-second <n>', 'of one source, after a burst of twice as many', count)
  .option('--table-bytes <n>', 'of tables and forwarded replies over UDP to one source a minute', count)
  .option('--max-registrations <n>', 'of all owners together', count)
  .option('--max-per-owner <n>', 'of one owner that is not root', count)
  .option('-s, --secure', 'as root, serve as the user daemon')
  .option(
    '--user <name>',
    'as root, serve as this user (default: the first of _rpc, rpc, daemon; root to stay root)',
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

// A daemon that waits most of its life: what it takes for a burst of calls, V8 would keep. Calls leave
// little behind, so the nursery of new objects need not grow beyond its first size.
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
    // Who serves for root is an ordinary user.
    ...(prepared === undefined ? {} : { privilegedUids: [prepared.startedByUid] }),
    holdMs: options.hold === undefined ? undefined : options.hold * 1000,
    forwardCalls: options.forwardCalls ?? false,
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
  process.on('SIGHUP', () => {
    events.names = programNames();
    try {
      rpcbind.reload(lists());
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
  endWithin(END_MS);
});

/** How long the log's reader may take for what is left once the daemon has ended, in milliseconds. */
const END_MS = 1_000;

/**
 * As root, goes on as another user: what strangers send is never parsed by root. Undefined where this process is to
 * serve itself; else the exit code of the one that served. Where no user was named and none can be become (a container
 * with one user), root serves, with a warning.
 */
async function asAnotherUser(
  options: Options,
  port: number,
  warn: (text: string) => void,
): Promise<number | undefined> {
  const isNamed = options.user !== undefined || options.secure === true;
  if (process.geteuid?.() !== 0) {
    if (!isNamed) return undefined;
    throw new CliError('--user and -s are for root: start the daemon as the user that it is to serve as');
  }
  const user = chooseUser(options);
  if (user === undefined) return undefined;
  const way = wayToBecome(user);
  if (typeof way === 'string') {
    if (isNamed) throw new CliError(`cannot become user ${user.name}: ${way}`);
    warn(`serving as root: ${way}`);
    return undefined;
  }
  return become(user, way, toPrepare(options, port, warn));
}

function logFormat(text: string): LogFormat {
  if (text === 'text' || text === 'json') return text;
  throw new UsageError(`--log-format must be text or json, not ${text}`);
}

function collect(value: string, list: readonly string[]): string[] {
  return [...list, value];
}

await run(program);
