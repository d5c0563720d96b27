/** The command rpcinfo-ts: its options, which mode they mean, and how outcomes are told. */

import { type Command, InvalidArgumentError } from 'commander';
import { CliError, command, describe, integer, portOption, timeOptions } from '../support/cli.js';
import { type ProgramNames, programNames } from '../support/programs.js';
import { askNetwork } from './broadcast.js';
import { checkHost } from './check.js';
import { HELP } from './help.js';
import { type PingReport, type PingRequest, ping } from './ping.js';
import { register, unregister } from './register.js';
import { type Flags, type Request, requestOf } from './request.js';
import type { Answer, Setting } from './setting.js';
import { readAddresses, readTable } from './tables.js';
import { watchHosts } from './watch.js';

interface Options extends Flags {
  readonly port?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly names?: string;
  readonly retransmit: number;
  readonly totalTime: number;
}

/** The longest interval of `--watch`: an hour. */
const MAX_WATCH_SECONDS = 3_600;

/** rpcinfo-ts, ready to be run. */
export function buildRpcinfo(): Command {
  const program = command('rpcinfo-ts', 'Shows what is registered in an rpcbind, and whether it answers.')
    .argument('[words...]')
    .option('-p, --ports', 'the table of version 2')
    .option('-s, --summary', 'one line a program')
    .option('-m, --statistics', 'what rpcbind was asked')
    .option('-l, --addresses', 'all addresses of one service')
    .option('-b, --broadcast', 'ask the whole network')
    .option('-d, --delete', 'delete a registration')
    .option('-u, --udp', 'ping over UDP')
    .option('-t, --tcp', 'ping over TCP')
    .option('-T, --netid <netid>', 'ping over this netid')
    .option('-a, --address <uaddr>', 'ping this universal address')
    .option('-n, --service-port <port>', 'ping this port', integer('PORT', 1, 65_535))
    .option('--check', 'ping everything that is registered')
    .option('-q, --quiet', 'of --check, one line')
    .option('--watch [seconds]', 'show the table live', interval)
    .option('--json', 'one JSON object a line for each host')
    .option('--names <file>', 'names of programs')
    .addOption(portOption().env('RPCBIND_PORT'))
    .configureHelp({ formatHelp: () => HELP });
  for (const option of timeOptions()) program.addOption(option);
  program.action(async (words: string[], options: Options) => {
    const names = programNames(options.names);
    const setting: Setting = {
      contact: { port: options.port, retransmitMs: options.retransmit, timeoutMs: options.totalTime },
      names,
      isJson: options.json === true,
      isQuiet: options.quiet === true,
      hasTimeout: program.getOptionValueSource('retransmit') === 'cli',
      hasTotal: program.getOptionValueSource('totalTime') === 'cli',
    };
    const failed = await perform(requestOf(options, words, names), setting);
    if (failed) process.exitCode = 1;
  });
  return program;
}

/** Does it, and says whether anything failed. */
async function perform(request: Request, setting: Setting): Promise<boolean> {
  const { contact, names } = setting;
  switch (request.kind) {
    case 'table':
      return forHosts(request.hosts, setting, (host) => readTable(request.table, host, names, contact));
    case 'addresses':
      return forHosts([request.host], setting, (host) =>
        readAddresses(host ?? request.host, request, names, contact),
      );
    case 'check':
      return forHosts(request.hosts, setting, (host) => checkHost(host, setting));
    case 'watch':
      return watchHosts(request.hosts, request.everyMs, setting);
    case 'ping':
      return pingAll(request.pings, setting);
    case 'broadcast':
      return askNetwork(request, setting);
    case 'delete':
    case 'unset':
      return told(await unregister(request, contact), setting, {
        ...request,
        kind: undefined,
        deleted: true,
      });
    case 'set':
      return told(await register(request, contact), setting, {
        ...request,
        kind: undefined,
        registered: true,
      });
  }
}

/** One answer a host, in the order of the hosts and side by side; a host that fails is told and does not stop the others. */
async function forHosts(
  hosts: readonly (string | undefined)[],
  { isJson }: Setting,
  read: (host: string | undefined) => Promise<Answer>,
): Promise<boolean> {
  if (hosts.length === 1 && !isJson) {
    const answer = await read(hosts[0]);
    say(answer.text);
    return answer.isBad === true;
  }
  let failed = false;
  const answers = hosts.map((host) => settled(read(host)));
  for (const [i, host] of hosts.entries()) {
    const outcome = await (answers[i] as Promise<Answer | { readonly error: unknown }>);
    const name = host ?? 'localhost';
    if ('error' in outcome) {
      failed = true;
      if (isJson) say(JSON.stringify({ host: name, error: describe(outcome.error) }));
      else process.stderr.write(`rpcinfo-ts: ${describe(outcome.error)}\n`);
      continue;
    }
    failed ||= outcome.isBad === true;
    if (isJson) say(JSON.stringify({ host: name, ...outcome.json }));
    else say(`${name}:\n${outcome.text}${i + 1 < hosts.length ? '\n' : ''}`);
  }
  return failed;
}

async function settled<T>(promise: Promise<T>): Promise<T | { readonly error: unknown }> {
  try {
    return await promise;
  } catch (error) {
    return { error };
  }
}

async function pingAll(pings: readonly PingRequest[], setting: Setting): Promise<boolean> {
  let failed = false;
  const reports = pings.map((each) => settled(ping(each, setting.contact)));
  for (const [i, request] of pings.entries()) {
    const outcome = await (reports[i] as Promise<PingReport | { readonly error: unknown }>);
    const host = request.host ?? request.address ?? 'localhost';
    if ('error' in outcome) {
      if (pings.length === 1 && !setting.isJson) throw outcome.error;
      failed = true;
      if (setting.isJson) say(JSON.stringify({ host, error: describe(outcome.error) }));
      else process.stderr.write(`rpcinfo-ts: ${describe(outcome.error)}\n`);
      continue;
    }
    if (setting.isJson) say(JSON.stringify({ host, ...pingJson(outcome, setting.names) }));
    else tellPing(outcome, pings.length > 1 ? `${host}: ` : '');
    failed ||= outcome.failure !== undefined || outcome.results.some(({ isReady }) => !isReady);
  }
  return failed;
}

/** What rpcinfo says of a ping: states on standard output, reasons on standard error. */
function tellPing({ program, results, failure }: PingReport, prefix: string): void {
  if (failure !== undefined) {
    const line = failure.startsWith('RPC: ') ? `rpcinfo-ts: ${failure}` : failure;
    process.stderr.write(`${line}\n`);
  }
  for (const { version, isReady, reason } of results) {
    if (reason !== undefined) process.stderr.write(`rpcinfo-ts: ${prefix}${reason}\n`);
    const state = isReady ? 'ready and waiting' : 'is not available';
    say(`${prefix}program ${program} version ${version} ${state}`);
  }
}

function pingJson(
  { program, place, results, failure }: PingReport,
  names: ProgramNames,
): Record<string, unknown> {
  return {
    program,
    service: names.nameOf(program) ?? null,
    address: place === undefined ? null : place.kind === 'local' ? place.path : place.address,
    port: place === undefined || place.kind === 'local' ? null : place.port,
    results: results.map(({ version, isReady, ms, reason }) => ({
      version,
      ready: isReady,
      ms: ms === undefined ? null : Math.round(ms * 1000) / 1000,
      reason: reason ?? null,
    })),
    ...(failure === undefined ? {} : { error: failure }),
  };
}

/** The outcome of a change, which without `--json` is silent where it succeeded. */
function told(failure: string | undefined, { isJson }: Setting, json: Record<string, unknown>): boolean {
  if (failure !== undefined && !isJson) throw new CliError(failure);
  if (isJson) say(JSON.stringify(failure === undefined ? json : { error: failure }));
  return failure !== undefined;
}

function interval(text: string): number {
  const seconds = Number(text);
  if (!(seconds >= 0.1 && seconds <= MAX_WATCH_SECONDS))
    throw new InvalidArgumentError(`SECONDS must be a number from 0.1 to ${MAX_WATCH_SECONDS}.`);
  return seconds * 1000;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
