/** The command rpccall: its subcommands and options, and what each prints. */

import { type Command, InvalidArgumentError, Option } from 'commander';
import { defaultRpcbindPort } from '../../rpcbind/index.js';
import type { TlsProtection } from '../../security/index.js';
import {
  decode,
  encode,
  fromJson,
  type Json,
  type JsonOptions,
  template,
  toJson,
  XdrError,
} from '../../xdr/index.js';
import { CliError, command, describe, integer, portOption, timeOptions, UsageError } from '../support/cli.js';
import { completeArguments } from '../support/completion.js';
import { tlsClientOptions } from '../support/tls.js';
import { type BytesForm, readBytes, readStdin } from './bytes.js';
import { describeInterface, listInterface } from './describe.js';
import { explainMessages } from './explain.js';
import { HELP } from './help.js';
import {
  choices,
  chooseProcedures,
  type InterfaceOptions,
  type Opened,
  openInterface,
  shortName,
  wellKnown,
} from './interface.js';
import { formatSummary, MAX_CONCURRENCY, MAX_REPEAT, repeat } from './repeat.js';
import { argsOf, parseJson, Session, wrongJson } from './session.js';
import { runShell } from './shell.js';
import { parseAuth, type TargetOptions } from './target.js';
import { tracing } from './trace.js';

interface FileOptions {
  readonly define: Readonly<Record<string, string>>;
  readonly include: readonly string[];
  readonly import: readonly string[];
}

interface CallFlags extends FileOptions {
  readonly transport?: 'udp' | 'tcp' | 'local';
  readonly port?: number;
  readonly addr?: string;
  readonly auth: string;
  readonly retransmit: number;
  readonly tlsPolicy?: string;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly totalTime: number;
  readonly repeat?: number;
  readonly concurrency: number;
  readonly verbose?: boolean;
  readonly hex?: boolean;
  readonly opaque: 'base64' | 'hex';
  readonly compact?: boolean;
  readonly template?: string;
}

/** rpccall, ready to be run. */
export function buildRpccall(): Command {
  const program = command('rpccall', 'Calls any procedure of any program from its .x.').configureHelp({
    formatHelp: () => HELP,
  });
  const sub = (form: string, description: string, isDefault = false): Command =>
    withFiles(program.command(form, { isDefault }).description(description)).configureHelp({
      formatHelp: () => HELP,
    });
  const call = withCall(sub('call [host] [interface] [proc] [json...]', 'calls a procedure', true), true);
  completeArguments(call, completeCall);
  completeArguments(program, completeCall);
  call.action(onCall);
  const list = sub('list <interface>', 'programs, versions and procedures').action(
    (name: string, options: FileOptions) => say(listInterface(opened(name, options))),
  );
  const describeIt = sub('describe <interface> [name]', 'everything, or what has that name').action(
    (name: string, what: string | undefined, options: FileOptions) =>
      say(describeInterface(opened(name, options), what)),
  );
  const skeleton = sub('template <interface> <proc>', 'a skeleton of the arguments as JSON').action(
    (name: string, proc: string, options: FileOptions) => sayTemplate(opened(name, options), proc, false),
  );
  const shell = withCall(sub('shell <host> <interface>', 'a prompt'), false).action(
    (host: string, name: string, options: CallFlags) => {
      const file = opened(name, options);
      const session = new Session(
        host,
        file,
        reachOptions(options),
        { opaque: options.opaque },
        tracing(file, trace(options)),
      );
      return runShell(host, session);
    },
  );
  const decodeIt = withValue(sub('decode [words...]', 'bytes into JSON'))
    .option('--rpc', 'the bytes are a message')
    .action(onDecode);
  const encodeIt = withValue(sub('encode <interface> <type> <json>', 'JSON into bytes'))
    .option('--to <form>', 'hex, base64 or raw', 'hex')
    .action(onEncode);
  program
    .command('interfaces')
    .description('the well-known interfaces')
    .configureHelp({ formatHelp: () => HELP })
    .action(() => say(listWellKnown()));
  for (const each of [list, describeIt, skeleton, decodeIt, encodeIt])
    completeArguments(each, (before) =>
      before.length === 0
        ? [...wellKnown().keys()]
        : namesOf(before[0], each === describeIt || each === decodeIt || each === encodeIt),
    );
  completeArguments(shell, (before) => (before.length === 1 ? [...wellKnown().keys()] : []));
  return program;
}

function withFiles(one: Command): Command {
  return one
    .option('-D, --define <name=value>', 'a macro or constant of the .x', define, {})
    .option('-I, --include <dir>', 'where #include files are', collect, [])
    .option('--import <module>', 'where other names of the .x are', collect, []);
}

function withCall(one: Command, isCall: boolean): Command {
  one
    .addOption(new Option('--transport <transport>').choices(['udp', 'tcp', 'local']))
    .addOption(portOption())
    .option('--addr <address>', 'the address of the service')
    .option('--auth <who>', 'none, sys or sys:UID:GID', 'none')
    .option('--verbose', 'the messages field by field')
    .option('--hex', 'the bytes of the messages')
    .addOption(new Option('--opaque <form>').choices(['base64', 'hex']).default('base64'));
  for (const option of [...timeOptions(), ...tlsClientOptions()]) one.addOption(option);
  if (isCall)
    one
      .option('--repeat <n>', 'call this often', integer('N', 1, MAX_REPEAT))
      .option('--concurrency <m>', 'calls at a time', integer('M', 1, MAX_CONCURRENCY), 1)
      .option('--compact', 'one line of JSON')
      .option('--template <proc>', 'print a skeleton of the arguments');
  return one;
}

function withValue(one: Command): Command {
  return one
    .option('--args', 'TYPE is a procedure, the value its arguments')
    .option('--result', 'TYPE is a procedure, the value its result')
    .addOption(new Option('--from <form>').choices(['auto', 'hex', 'base64', 'raw']).default('auto'))
    .addOption(new Option('--opaque <form>').choices(['base64', 'hex']).default('base64'));
}

async function onCall(
  host: string | undefined,
  name: string | undefined,
  proc: string | undefined,
  json: readonly string[],
  options: CallFlags,
): Promise<void> {
  if (options.template !== undefined) {
    const file = name ?? host;
    if (file === undefined || proc !== undefined)
      throw new UsageError('that is: rpccall --template PROC INTERFACE');
    sayTemplate(opened(file, options), options.template, options.compact === true);
    return;
  }
  if (host === undefined || name === undefined || proc === undefined || json.length > 1)
    throw new UsageError('that is: rpccall HOST INTERFACE PROC [JSON] (rpccall --help says more)');
  const file = opened(name, options);
  chooseProcedures(file, proc);
  const session = new Session(
    host,
    file,
    reachOptions(options),
    { opaque: options.opaque },
    tracing(file, trace(options)),
  );
  try {
    const [args] = json;
    if (options.repeat !== undefined) await callOften(session, proc, args, options);
    else if (args === '-') await callLines(session, proc, options);
    else sayJson(await session.call(proc, args), options.compact === true);
  } finally {
    await session.close();
  }
}

async function callOften(
  session: Session,
  proc: string,
  args: string | undefined,
  options: CallFlags,
): Promise<void> {
  const one = await session.prepare(proc, args === '-' ? String(await readStdin()) : args);
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  const summary = await repeat(one, options.repeat ?? 1, options.concurrency, stop.signal);
  say(options.compact ? JSON.stringify(summary) : formatSummary(summary));
  if (summary.errors > 0) process.exitCode = 1;
}

/** One JSON, or one on every line: then one result a line comes back, in the same order. */
async function callLines(session: Session, proc: string, options: CallFlags): Promise<void> {
  const text = String(await readStdin());
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const single = lines.length <= 1 || isJson(text);
  if (single) {
    sayJson(await session.call(proc, text.trim() === '' ? undefined : text), options.compact === true);
    return;
  }
  let failed = 0;
  const waiting: Promise<Json | { readonly failure: unknown }>[] = [];
  const tell = async (number: number): Promise<void> => {
    const outcome = await (waiting.shift() as Promise<Json | { readonly failure: unknown }>);
    if (
      typeof outcome === 'object' &&
      outcome !== null &&
      'failure' in outcome &&
      outcome.failure instanceof Error
    ) {
      failed += 1;
      process.stderr.write(`rpccall: line ${number}: ${describe(outcome.failure)}\n`);
    } else say(JSON.stringify(outcome));
  };
  let told = 0;
  for (const line of lines) {
    if (waiting.length >= options.concurrency) await tell(++told);
    waiting.push(session.call(proc, line).catch((failure: unknown) => ({ failure })));
  }
  while (waiting.length > 0) await tell(++told);
  if (failed > 0) throw new CliError(`${failed} of ${lines.length} calls failed`);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

interface ValueFlags extends FileOptions {
  readonly args?: boolean;
  readonly result?: boolean;
  readonly from: BytesForm;
  readonly to?: string;
  readonly opaque: 'base64' | 'hex';
  readonly rpc?: boolean;
}

async function onDecode(words: readonly string[], options: ValueFlags): Promise<void> {
  if (options.rpc) {
    const [bytes, name] = [words.at(-1), words.length > 1 ? words[0] : undefined];
    if (bytes === undefined || words.length > 2)
      throw new UsageError('that is: rpccall decode --rpc [INTERFACE] BYTES');
    say(
      explainMessages(
        await readBytes(bytes, options.from),
        name === undefined ? undefined : opened(name, options),
      ),
    );
    return;
  }
  const [name, type, bytes] = words;
  if (name === undefined || type === undefined || bytes === undefined || words.length > 3)
    throw new UsageError('that is: rpccall decode INTERFACE TYPE BYTES (hex, base64, @FILE or -)');
  const codec = typeOf(opened(name, options), type, options);
  const input = await readBytes(bytes, options.from);
  try {
    sayJson(toJson(codec, decode(codec, input), { opaque: options.opaque }), false);
  } catch (error) {
    if (error instanceof XdrError)
      throw new CliError(`these ${input.length} bytes are no ${type}: ${error.message}`, { cause: error });
    throw error;
  }
}

async function onEncode(name: string, type: string, json: string, options: ValueFlags): Promise<void> {
  const codec = typeOf(opened(name, options), type, options);
  const walk: JsonOptions = { opaque: options.opaque };
  const text = json === '-' ? String(await readStdin()) : json;
  let bytes: Uint8Array;
  try {
    bytes = encode(
      codec,
      codec.shape?.kind === 'string'
        ? argsOf(codec, text, type, walk)
        : fromJson(codec, parseJson(text), walk),
    );
  } catch (error) {
    throw error instanceof XdrError ? wrongJson(error) : error;
  }
  if (options.to === 'raw') process.stdout.write(bytes);
  else if (options.to === 'hex' || options.to === 'base64') say(Buffer.from(bytes).toString(options.to));
  else throw new UsageError(`--to ${options.to}: it is hex, base64 or raw`);
}

function typeOf(
  file: Opened,
  name: string,
  { args, result }: ValueFlags,
): ReturnType<Opened['live']['types']['get']> & object {
  if (args || result) {
    const [{ procedure }] = chooseProcedures(file, name);
    return args ? procedure.args : procedure.result;
  }
  const type = file.live.types.get(name);
  if (type === undefined)
    throw new UsageError(
      `${file.name} has no type ${name}: it has ${[...file.live.types.keys()].slice(0, 30).join(', ')} (--args and --result take a procedure)`,
    );
  return type;
}

function sayTemplate(file: Opened, proc: string, isCompact: boolean): void {
  const [{ procedure }] = chooseProcedures(file, proc);
  sayJson(template(procedure.args), isCompact);
}

function opened(
  name: string,
  { define: defines, include: includeDirs, import: imports }: FileOptions,
): Opened {
  const options: InterfaceOptions = { defines, includeDirs, imports };
  return openInterface(name, options);
}

function reachOptions(flags: CallFlags): TargetOptions {
  return {
    port: flags.port ?? defaultRpcbindPort(),
    transport: flags.transport,
    addr: flags.addr,
    retransmitMs: flags.retransmit,
    timeoutMs: flags.totalTime,
    credentials: parseAuth(flags.auth),
    tls: flags,
    ...(flags.verbose === true ? { onProtected: sayProtection } : {}),
  };
}

/** On the error output, as the messages are. */
function sayProtection({ protocol, cipher, peer, isVerified, isResumed }: TlsProtection): void {
  const how = [isVerified ? 'verified' : 'not verified', ...(isResumed ? ['resumed'] : [])].join(', ');
  process.stderr.write(`${protocol} ${cipher}, server ${peer} (${how})\n`);
}

function trace({ verbose, hex }: CallFlags): { readonly verbose: boolean; readonly hex: boolean } {
  return { verbose: verbose === true, hex: hex === true };
}

function listWellKnown(): string {
  const lines = [...wellKnown().keys()].map((name) => {
    const { live } = openInterface(name);
    const programs = live.programs.map(
      ({ name: program, number, versions }) =>
        `${program} ${number} (${versions.map((version) => version.number).join(', ')})`,
    );
    return `${name.padEnd(8)} ${programs.join(', ')}`;
  });
  return lines.join('\n');
}

/** HOST INTERFACE PROC, each by what is known of it. */
function completeCall(before: readonly string[]): readonly string[] {
  if (before.length === 0) return ['localhost'];
  if (before.length === 1) return [...wellKnown().keys()];
  return before.length === 2 ? namesOf(before[1], false) : [];
}

/** Procedures of an interface, and its types too; none where it cannot be read. */
function namesOf(name: string | undefined, withTypes: boolean): readonly string[] {
  try {
    const file = openInterface(name ?? '');
    const procedures = choices(file).flatMap(({ procedure }) => [shortName(procedure.name), procedure.name]);
    return withTypes ? [...procedures, ...file.live.types.keys()] : procedures;
  } catch {
    return [];
  }
}

function define(text: string, all: Readonly<Record<string, string>>): Record<string, string> {
  const [, name, value] = /^([A-Za-z_]\w*)(?:=(.*))?$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('It is NAME=VALUE, or NAME for 1.');
  return { ...all, [name]: value ?? '1' };
}

function collect(value: string, all: readonly string[]): string[] {
  return [...all, value];
}

function sayJson(json: Json, isCompact: boolean): void {
  say(JSON.stringify(json, null, isCompact ? 0 : 2));
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
