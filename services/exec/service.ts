/**
 * exec: runs the functions of a table on this host. It decides who may, which command that is, and
 * in which encoding it speaks; run.ts keeps a process within its bounds.
 *
 * Who may: callers on this host, through the local socket or loopback TCP; from elsewhere only those
 * whom an authenticated flavor names. AUTH_SYS is what a caller says of itself, and goes into the log as that.
 * UDP proves nothing even on loopback: an rpcbind that forwards calls (RFC 1833 section 2.2.1, CALLIT) sends
 * those of strangers from there.
 */

import { createHash } from 'node:crypto';
import net from 'node:net';
import { AuthError, type CallContext, type Service } from '../../runtime/index.js';
import { auth_stat, type Listener, MissingPackageError } from '../../runtime/protocol.js';
import { limit, MAX_UDP_BYTES } from '../support/limits.js';
import { servedAs } from '../support/program.js';
import { encodingOf, type TextEncoding } from './encoding.js';
import {
  createExecProgV1,
  EXEC_MAX_OUTPUT,
  type exec_call,
  exec_end,
  type exec_outcome,
  type exec_result,
  exec_status,
} from './exec.gen.js';
import { type Commands, type ExecFunction, ExecRefusal, standardFunctions } from './functions.js';
import { Once } from './once.js';
import { type RunOutcome, run } from './run.js';

/** See {@link createExec}. */
export interface ExecOptions {
  /** The commands that `run` may start: a path by each name. Nothing else can be run. Default: none. */
  readonly commands?: Commands;
  /** Also offers `shell` and `script`, which run whatever they are given. Default false. */
  readonly freeShell?: boolean;
  /** More functions by name; a name of the standard ones replaces it. */
  readonly functions?: Readonly<Record<string, ExecFunction>>;
  /**
   * Put before each command: `['unshare', '-Urpf', '--kill-child']` gives it a process namespace of its
   * own, out of which nothing gets. Default: nothing.
   */
  readonly wrapper?: readonly string[];
  /** The whole environment of what runs. Default: PATH=/usr/local/bin:/usr/bin:/bin and LANG=C.UTF-8. */
  readonly env?: Readonly<Record<string, string>>;
  /** Where it runs. Default: `/`. */
  readonly cwd?: string;
  /** Longest time of one call in milliseconds, and that of a call that names none. Default {@link DEFAULT_MAX_TIME_MS}. */
  readonly maxTimeMs?: number;
  /** Most bytes of each output. Default {@link DEFAULT_MAX_OUTPUT_BYTES}, most 1 MiB. */
  readonly maxOutputBytes?: number;
  /** Most processes of one call (Linux). Default {@link DEFAULT_MAX_PROCESSES}. */
  readonly maxProcesses?: number;
  /** Most calls that run at a time. Default {@link DEFAULT_MAX_RUNNING}. */
  readonly maxRunning?: number;
  /** Says that the server speaks an authenticated flavor, so that it may listen to others than this host. Default false. */
  readonly hasAuthenticatedFlavor?: boolean;
  /** Takes calls over UDP from loopback. Only where no rpcbind of this host forwards calls. Default false. */
  readonly trustLoopbackUdp?: boolean;
  /** Gets an entry before each call is run and one when it is over. Default: a line of JSON on standard error. */
  readonly log?: (entry: ExecLogEntry) => void;
  /** Program number. Default 0x20000004. */
  readonly program?: number;
}

/** What is logged of a call. */
export interface ExecLogEntry {
  readonly event: 'refused' | 'begin' | 'end';
  /** Where the call came from: `tcp 127.0.0.1:1022`, `unix`. */
  readonly from: string;
  /** The user whom the system or an authenticated flavor named; else what AUTH_SYS claims, with a question mark. */
  readonly who: string;
  readonly function: string;
  /** At most 1000 characters, as JSON. */
  readonly args: string;
  readonly outcome?: string;
  readonly milliseconds?: number;
}

/** Default for the time of one call: 20 s, below the 25 s after which a client gives up. */
export const DEFAULT_MAX_TIME_MS = 20_000;
/** Default for the bytes of each output: 256 KiB. */
export const DEFAULT_MAX_OUTPUT_BYTES = 256 * 1024;
/** Default for the processes of one call. */
export const DEFAULT_MAX_PROCESSES = 64;
/** Default for the calls that run at a time. */
export const DEFAULT_MAX_RUNNING = 8;
/** What came of calls is kept for callers whose reply was lost: this many, this many bytes, this long. */
const KEPT = { maxKept: 256, maxBytes: 16 * 1024 * 1024, maxAgeMs: 120_000 };
const MAX_LOGGED = 1_000;
/** Bytes of a result around its two outputs. */
const RESULT_BYTES = 32;

/** Functions that are served. */
export interface Exec {
  readonly services: readonly [Service];
  /** Why the service must not be offered on these listeners, or undefined. To be asked before they are published. */
  refuses(listeners: readonly Listener[]): string | undefined;
  /** Kills whatever runs, and waits for its end. */
  close(): Promise<void>;
}

/** The service EXEC_PROG version 1. Throws RangeError for a bound out of range or a command without an absolute path. */
export function createExec(options: ExecOptions): Exec {
  const maxTimeMs = limit('maxTimeMs', options.maxTimeMs, DEFAULT_MAX_TIME_MS, 1, 3_600_000);
  const outputBytes = limit(
    'maxOutputBytes',
    options.maxOutputBytes,
    DEFAULT_MAX_OUTPUT_BYTES,
    0,
    EXEC_MAX_OUTPUT,
  );
  const processes = limit('maxProcesses', options.maxProcesses, DEFAULT_MAX_PROCESSES, 1, 100_000);
  const maxRunning = limit('maxRunning', options.maxRunning, DEFAULT_MAX_RUNNING, 1, 10_000);
  const log = options.log ?? logToStderr;
  const functions = new Map(
    Object.entries({
      ...standardFunctions(options.commands ?? {}, options.freeShell ?? false),
      ...options.functions,
    }),
  );
  const [wrapper, ...wrapperArgs] = options.wrapper ?? [];
  const env = options.env ?? { PATH: '/usr/local/bin:/usr/bin:/bin', LANG: 'C.UTF-8' };
  const cwd = options.cwd ?? '/';
  const closing = new AbortController();
  const running = new Set<Promise<unknown>>();
  // What was not run may be asked for again.
  const once = new Once<exec_result>(KEPT, (result) =>
    result.status === exec_status.EXEC_OK ? result.outcome.out.length + result.outcome.err.length : undefined,
  );

  const start = async (call: exec_call, context: CallContext): Promise<exec_result> => {
    const encoding = await encodingOf(call.encoding);
    if (encoding === undefined)
      return refuse(exec_status.EXEC_BAD_ENCODING, `no encoding ${call.encoding} is known`);
    const entry = functions.get(call.function);
    if (entry === undefined) return refuse(exec_status.EXEC_NOT_ALLOWED, `no function ${call.function}`);
    const timeMs = call.time_ms === 0 ? maxTimeMs : Math.min(call.time_ms, maxTimeMs);
    // Over UDP nobody can tell whether the caller is still there.
    const isWatched = context.peer.transport !== 'udp';
    const signal = isWatched ? AbortSignal.any([context.signal, closing.signal]) : closing.signal;
    const outcome = await entry.call({
      args: call.args.map((arg) => encoding.decode(arg)),
      input: encoding.isText ? Buffer.from(encoding.decode(call.input)) : call.input,
      signal,
      timeMs,
      run: (file, args, input) =>
        run({
          file: wrapper ?? file,
          args: wrapper === undefined ? args : [...wrapperArgs, file, ...args],
          input,
          env,
          cwd,
          timeMs,
          outputBytes,
          processes,
          signal,
        }),
    });
    return { status: exec_status.EXEC_OK, outcome: encoded(outcome, encoding, outputBytes) };
  };

  const guarded = async (call: exec_call, context: CallContext): Promise<exec_result> => {
    if (running.size >= maxRunning) return refuse(exec_status.EXEC_BUSY, `${maxRunning} calls run already`);
    const work = start(call, context);
    running.add(work);
    try {
      return await work;
    } catch (error) {
      if (error instanceof ExecRefusal) return refuse(error.status, error.message);
      if (error instanceof MissingPackageError) return refuse(exec_status.EXEC_BAD_ENCODING, error.message);
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
      if (code === 'ERR_INVALID_ARG_VALUE')
        return refuse(exec_status.EXEC_BAD_ARGUMENT, 'an argument has a NUL in it');
      return refuse(exec_status.EXEC_FAILED, `it could not be started: ${code}`);
    } finally {
      running.delete(work);
    }
  };

  const service = createExecProgV1({
    async call(call, context) {
      const who = authorize(call.function, context, options, log);
      const about = { ...who, function: call.function, args: clipped(call.args) };
      const result = await once.do(keyOf(call, who.who, context), async () => {
        log({ ...about, event: 'begin' });
        const startedAt = performance.now();
        const done = await guarded(call, context);
        const milliseconds = Math.round(performance.now() - startedAt);
        log({ ...about, event: 'end', outcome: describe(done), milliseconds });
        return done;
      });
      if (context.peer.transport === 'udp' && wireBytes(result) > MAX_UDP_BYTES)
        return refuse(exec_status.EXEC_USE_TCP, 'the output is too long for a datagram');
      return result;
    },
    list(context) {
      authorize('(list)', context, options, log);
      return [...functions].map(([name, { help }]) => ({ name, help }));
    },
  });
  return {
    services: [servedAs(service, options.program)],
    refuses(listeners) {
      if (options.hasAuthenticatedFlavor === true) return undefined;
      const open = listeners.find(({ netid, address }) => netid !== 'local' && !isLoopback(address));
      if (open === undefined) return undefined;
      return `exec does not listen on ${open.address} without an authenticated flavor: use --host 127.0.0.1`;
    },
    async close() {
      closing.abort();
      await Promise.allSettled([...running]);
    },
  };
}

/** Who calls; throws AuthError AUTH_TOOWEAK (RFC 5531 section 9) where that is nobody we may obey. */
function authorize(
  name: string,
  { peer, credentials }: CallContext,
  options: ExecOptions,
  log: (entry: ExecLogEntry) => void,
): { from: string; who: string } {
  const from = peer.port === 0 ? peer.transport : `${peer.transport} ${peer.address}:${peer.port}`;
  const principal = credentials.flavor === 'other' ? credentials.principal : undefined;
  const claimed =
    credentials.flavor === 'sys' ? `uid ${credentials.uid} of ${credentials.machineName}?` : '?';
  const who = principal ?? (peer.uid === undefined ? claimed : `uid ${peer.uid}`);
  const isHere =
    peer.transport === 'unix' ||
    peer.transport === 'loopback' ||
    (isLoopback(peer.address) && (peer.transport === 'tcp' || options.trustLoopbackUdp === true));
  if (principal === undefined && !isHere) {
    log({ event: 'refused', from, who, function: name, args: '' });
    throw new AuthError(auth_stat.AUTH_TOOWEAK, 'exec obeys callers on this host and authenticated ones');
  }
  return { from, who };
}

/** 127.0.0.0/8 and ::1 (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3). */
function isLoopback(address: string): boolean {
  const plain = address.replace(/^::ffff:/i, '');
  return net.isIPv4(plain) ? plain.startsWith('127.') : plain === '::1';
}

/** The same token of the same caller for the same call; a call without a token is like no other. */
function keyOf(call: exec_call, who: string, { peer }: CallContext): string {
  if (call.token.every((byte) => byte === 0)) return `${peer.transport} ${++withoutToken}`;
  const hash = createHash('sha256').update(call.token).update(call.input);
  for (const arg of call.args) hash.update(`${arg.length} `).update(arg);
  return `${peer.address} ${who} ${call.function} ${call.encoding} ${hash.digest('hex')}`;
}

let withoutToken = 0;

/** The outcome in the caller's encoding, in which it may be longer: then what fits of it. */
function encoded(outcome: RunOutcome, encoding: TextEncoding, most: number): exec_outcome {
  if (!encoding.isText) return { ...outcome };
  const [out, err] = [outcome.out, outcome.err].map((bytes) =>
    encoding.encode(Buffer.from(bytes).toString()),
  );
  const isWhole = out!.length <= EXEC_MAX_OUTPUT && err!.length <= EXEC_MAX_OUTPUT;
  const end = isWhole || most === 0 ? outcome.end : exec_end.EXEC_OUTPUT_LIMIT;
  return {
    end,
    code: outcome.code,
    out: out!.subarray(0, EXEC_MAX_OUTPUT),
    err: err!.subarray(0, EXEC_MAX_OUTPUT),
  };
}

function refuse(status: Exclude<exec_status, 0>, why: string): exec_result {
  return { status, why };
}

function wireBytes(result: exec_result): number {
  return result.status === exec_status.EXEC_OK
    ? RESULT_BYTES + result.outcome.out.length + result.outcome.err.length
    : RESULT_BYTES + Buffer.byteLength(result.why);
}

function clipped(args: readonly Uint8Array[]): string {
  const text = JSON.stringify(args.map((arg) => Buffer.from(arg.subarray(0, MAX_LOGGED)).toString()));
  return text.length > MAX_LOGGED ? `${text.slice(0, MAX_LOGGED)}...` : text;
}

function describe(result: exec_result): string {
  if (result.status !== exec_status.EXEC_OK) return result.why;
  const name = Object.entries(exec_end).find(([, value]) => value === result.outcome.end)?.[0];
  return `${name} ${result.outcome.code}`;
}

function logToStderr(entry: ExecLogEntry): void {
  process.stderr.write(`${JSON.stringify({ at: new Date().toISOString(), service: 'exec', ...entry })}\n`);
}
