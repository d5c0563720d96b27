/**
 * What a command line of rpcinfo-ts asks for: one of its modes with all that mode needs, or a
 * UsageError that says what is wrong. Nothing is looked up here but names of programs.
 */

import { UsageError } from '../support/cli.js';
import type { ProgramNames } from '../support/programs.js';
import { NETIDS, netidKind, type PingNetid } from './address.js';
import type { PingRequest } from './ping.js';

/** The options as commander gives them. */
export interface Flags {
  readonly ports?: boolean;
  readonly summary?: boolean;
  readonly statistics?: boolean;
  readonly addresses?: boolean;
  readonly broadcast?: boolean;
  readonly delete?: boolean;
  readonly udp?: boolean;
  readonly tcp?: boolean;
  readonly netid?: string;
  readonly address?: string;
  readonly servicePort?: number;
  readonly check?: boolean;
  readonly watch?: number;
}

/** The tables of one host. */
export type Table = 'registrations' | 'ports' | 'summary' | 'statistics';

/** One thing to do. An absent host is this one. */
export type Request =
  | { readonly kind: 'table'; readonly table: Table; readonly hosts: readonly (string | undefined)[] }
  | { readonly kind: 'check'; readonly hosts: readonly (string | undefined)[] }
  | { readonly kind: 'watch'; readonly hosts: readonly (string | undefined)[]; readonly everyMs: number }
  | ({ readonly kind: 'addresses'; readonly host: string } & Service)
  | { readonly kind: 'ping'; readonly pings: readonly PingRequest[] }
  | ({ readonly kind: 'broadcast'; readonly netid?: PingNetid } & Service)
  | ({ readonly kind: 'delete'; readonly netid: string } & Service)
  | ({ readonly kind: 'set'; readonly netid: PingNetid; readonly address: string } & Service)
  | ({ readonly kind: 'unset'; readonly netid: string } & Service);

/** A version of a program. */
export interface Service {
  readonly program: number;
  readonly version: number;
}

/** Most hosts of one command. */
export const MAX_HOSTS = 1_024;

const MAX_UINT32 = 0xffff_ffff;

/** The request of a command line. Throws UsageError. */
export function requestOf(flags: Flags, words: readonly string[], names: ProgramNames): Request {
  const modes = chosen(flags);
  if (modes.length > 1) throw new UsageError(`${modes.join(' and ')} do not go together`);
  const program = (text: string | undefined): number => programOf(text, names);
  const service = (at: number): Service => ({
    program: program(words[at]),
    version: versionOf(words[at + 1]),
  });
  const wants = (count: number, form: string): void => {
    if (words.length !== count) throw new UsageError(`that is: rpcinfo-ts ${form}`);
  };
  if (flags.broadcast) {
    wants(2, '-b [-T NETID] PROG VERS');
    return {
      kind: 'broadcast',
      ...service(0),
      ...(flags.netid === undefined ? {} : { netid: netidOf(flags.netid) }),
    };
  }
  if (flags.delete) {
    wants(2, '-d [-T NETID] PROG VERS');
    return { kind: 'delete', ...service(0), netid: flags.netid === undefined ? '' : netidOf(flags.netid) };
  }
  if (flags.addresses) {
    wants(3, '-l HOST PROG VERS');
    return { kind: 'addresses', host: words[0] ?? '', ...service(1) };
  }
  if (flags.check) return { kind: 'check', hosts: hostsOf(words) };
  if (flags.watch !== undefined) return { kind: 'watch', hosts: hostsOf(words), everyMs: flags.watch };
  for (const table of ['ports', 'summary', 'statistics'] as const)
    if (flags[table]) return { kind: 'table', table, hosts: hostsOf(words) };
  const edit = editOf(words, service);
  if (edit !== undefined && modes.length === 0) return edit;
  return pingOf(flags, words, names) ?? { kind: 'table', table: 'registrations', hosts: hostsOf(words) };
}

/** `set PROG VERS NETID UADDR` and `unset PROG VERS [NETID]`; a host of that name stands alone and is still a host. */
function editOf(words: readonly string[], service: (at: number) => Service): Request | undefined {
  const [verb, , , netid, address] = words;
  if (words.length < 2) return undefined;
  if (verb === 'set') {
    if (netid === undefined || address === undefined || words.length !== 5)
      throw new UsageError('that is: rpcinfo-ts set PROG VERS NETID UADDR');
    return { kind: 'set', ...service(1), netid: netidOf(netid), address };
  }
  if (verb === 'unset') {
    if (words.length < 3 || words.length > 4)
      throw new UsageError('that is: rpcinfo-ts unset PROG VERS [NETID]');
    return { kind: 'unset', ...service(1), netid: netid === undefined ? '' : netidOf(netid) };
  }
  return undefined;
}

/** The pings of a command line, or undefined where it asks for a table. */
function pingOf(flags: Flags, words: readonly string[], names: ProgramNames): Request | undefined {
  const way = wayOf(flags);
  if (flags.address !== undefined) {
    if (way === undefined || words.length < 1 || words.length > 2)
      throw new UsageError('that is: rpcinfo-ts -a UADDR -T NETID PROG [VERS]');
    const [program, version] = words;
    const target = { program: programOf(program, names), version: versionIfAny(version) };
    return { kind: 'ping', pings: [{ ...target, way, address: flags.address }] };
  }
  const [hosts, program, version] = words;
  const isPing = flags.udp || flags.tcp || flags.servicePort !== undefined;
  if (!isPing && !isProgramAndVersion(program, version, words.length, names)) return undefined;
  if (hosts === undefined || program === undefined || words.length > 3)
    throw new UsageError('that is: rpcinfo-ts [-n PORT] [-u | -t | -T NETID] HOST PROG [VERS]');
  const target = {
    program: programOf(program, names),
    version: versionIfAny(version),
    way: way ?? 'tcp',
    ...(flags.servicePort === undefined ? {} : { servicePort: flags.servicePort }),
  };
  return { kind: 'ping', pings: splitHosts(hosts).map((host) => ({ ...target, host })) };
}

/** Whether the words after the first can only be a program and its version, and not hosts. */
function isProgramAndVersion(
  program: string | undefined,
  version: string | undefined,
  count: number,
  names: ProgramNames,
): boolean {
  if (program === undefined || count > 3) return false;
  const isProgram = numberOf(program) !== undefined || names.numberOf(program) !== undefined;
  return isProgram && (version === undefined || numberOf(version) !== undefined);
}

function wayOf(flags: Flags): PingRequest['way'] | undefined {
  if (flags.netid !== undefined) return { netid: netidOf(flags.netid) };
  if (flags.udp) return 'udp';
  return flags.tcp ? 'tcp' : undefined;
}

/** The modes that were asked for, by their options. */
function chosen(flags: Flags): string[] {
  const all: [boolean | undefined, string][] = [
    [flags.ports, '-p'],
    [flags.summary, '-s'],
    [flags.statistics, '-m'],
    [flags.addresses, '-l'],
    [flags.broadcast, '-b'],
    [flags.delete, '-d'],
    [flags.udp, '-u'],
    [flags.tcp, '-t'],
    [flags.address !== undefined, '-a'],
    [flags.check, '--check'],
    [flags.watch !== undefined, '--watch'],
  ];
  return all.filter(([isOn]) => isOn).map(([, option]) => option);
}

/** Several hosts are several words or one with commas. None is this host. */
function hostsOf(words: readonly string[]): (string | undefined)[] {
  const hosts = words.flatMap(splitHosts);
  if (hosts.length > MAX_HOSTS)
    throw new UsageError(`${hosts.length} hosts are named, ${MAX_HOSTS} are allowed`);
  return hosts.length === 0 ? [undefined] : hosts;
}

function splitHosts(word: string): string[] {
  const hosts = word.split(',');
  if (hosts.includes(''))
    throw new UsageError(`${JSON.stringify(word)} is no host, nor a list of hosts with commas`);
  return hosts;
}

function programOf(text: string | undefined, names: ProgramNames): number {
  const number = text === undefined ? undefined : (numberOf(text) ?? names.numberOf(text));
  if (number === undefined || number > MAX_UINT32)
    throw new UsageError(
      `${text} is unknown service: give a name of /etc/rpc (--names for another file) or a number up to ${MAX_UINT32}`,
    );
  return number;
}

function versionOf(text: string | undefined): number {
  const number = text === undefined ? undefined : numberOf(text);
  if (number === undefined || number > MAX_UINT32)
    throw new UsageError(`${text} is illegal version number: it is a number up to ${MAX_UINT32}`);
  return number;
}

function versionIfAny(text: string | undefined): number | undefined {
  return text === undefined ? undefined : versionOf(text);
}

function numberOf(text: string): number | undefined {
  return /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : undefined;
}

function netidOf(text: string): PingNetid {
  if (text === 'local' || netidKind(text) !== undefined) return text as PingNetid;
  throw new UsageError(`Could not find ${text}: a netid is one of ${NETIDS.join(', ')}`);
}
