/**
 * The tables of rpcinfo as text, column for column those of Debian's rpcinfo. Pure: rows in,
 * lines out.
 */

import type { AddressEntry } from '../../rpcbind/index.js';
import type { ProgramNames } from '../support/programs.js';
import { printable } from '../support/terminal.js';
import type { CallCount, LookupCount, Registration, Statistics } from './remote.js';

/** What every mode says of an empty table. */
export const NOTHING_REGISTERED = 'No remote programs registered.';

/** One row a registration: what rpcinfo prints without options. */
export function formatRegistrations(rows: readonly Registration[], names: ProgramNames): string {
  if (rows.length === 0) return NOTHING_REGISTERED;
  const lines = rows.map(({ program, version, netid, address, owner }) => {
    const left = `${right(program, 10)}${right(version, 5)}    ${padded(netid, 9)}`;
    return `${left} ${padded(address, 22)} ${padded(nameOrDash(program, names), 10)} ${printable(owner)}`;
  });
  return ['   program version netid     address                service    owner', ...lines].join('\n');
}

/** A program and all that is registered of it. */
export interface Summary {
  readonly program: number;
  readonly versions: readonly number[];
  readonly netids: readonly string[];
  readonly owner: string;
}

/**
 * The table by program. Versions and netids stand in the reverse of the order they first came
 * in, and the owner is that of the program's first row, as rpcinfo has always had it.
 */
export function summarize(rows: readonly Registration[]): Summary[] {
  const programs = new Map<number, { versions: Set<number>; netids: Set<string>; owner: string }>();
  for (const { program, version, netid, owner } of rows) {
    const summary = programs.get(program) ?? { versions: new Set(), netids: new Set(), owner };
    programs.set(program, summary);
    summary.versions.add(version);
    summary.netids.add(netid);
  }
  return [...programs].map(([program, { versions, netids, owner }]) => ({
    program,
    versions: [...versions].reverse(),
    netids: [...netids].reverse(),
    owner,
  }));
}

/** One row a program: `-s`. */
export function formatSummary(rows: readonly Registration[], names: ProgramNames): string {
  if (rows.length === 0) return NOTHING_REGISTERED;
  const lines = summarize(rows).map(({ program, versions, netids, owner }) => {
    const left = `${right(program, 10)}  ${padded(versions.join(','), 10)}${padded(netids.join(','), 32)}`;
    return `${left} ${padded(nameOrDash(program, names), 11)} ${printable(owner)}`;
  });
  return ['   program version(s) netid(s)                         service     owner', ...lines].join('\n');
}

const SEMANTICS: Readonly<Record<number, string>> = { 1: 'clts', 2: 'cots', 3: 'cots_ord' };

/** One row an address of one service: `-l`. */
export function formatAddresses(
  program: number,
  version: number,
  entries: readonly AddressEntry[],
  names: ProgramNames,
): string {
  if (entries.length === 0) return NOTHING_REGISTERED;
  const lines = entries.map(({ address, family, protocol, semantics }) => {
    const kind = `${family}/${protocol}/${SEMANTICS[semantics] ?? semantics}`;
    const left = `${right(program, 10)}${right(version, 3)}    ${padded(kind, 24)}`;
    return `${left}${padded(address, 24)} ${padded(nameOrDash(program, names), 13)}`;
  });
  return ['   program vers  tp_family/name/class    address\t\t  service', ...lines].join('\n');
}

/** What rpcbind was asked, one block a version: `-m`. */
export function formatStatistics(versions: readonly Statistics[], names: ProgramNames): string {
  return versions.map((statistics) => block(statistics, names)).join('\n');
}

const HEADS = {
  2: ['NULL', 'SET', 'UNSET', 'GETPORT', 'DUMP', 'CALLIT'],
  3: ['NULL', 'SET', 'UNSET', 'GETADDR', 'DUMP', 'CALLIT', 'TIME', 'U2T', 'T2U'],
  4: ['VERADDR', 'INDRECT', 'GETLIST', 'GETSTAT'],
} as const;

function block({ version, info, sets, unsets, lookups, calls }: Statistics, names: ProgramNames): string {
  const done = (list: readonly { readonly success: number }[]): number =>
    list.reduce((sum, { success }) => sum + success, 0);
  const cells: (number | string | undefined)[] = [
    info[0],
    `${sets}/${info[1]}`,
    `${unsets}/${info[2]}`,
    // A list of addresses counts as a lookup too.
    `${done(lookups)}/${(info[3] ?? 0) + (version === 4 ? (info[11] ?? 0) : 0)}`,
    info[4],
    `${done(calls)}/${info[5]}`,
  ];
  const lines: string[] = [];
  if (version === 2) {
    lines.push('PORTMAP (version 2) statistics', ...columns(HEADS[2], cells));
  } else {
    lines.push(
      `RPCBIND (version ${version}) statistics`,
      ...columns(HEADS[3], [...cells, ...info.slice(6, 9)]),
    );
    if (version === 4) lines.push(...columns(HEADS[4], info.slice(9, 13)));
  }
  const lookup = version === 2 ? 'PMAP_GETPORT' : `RPCB_GETADDR (version ${version})`;
  const call = version === 2 ? 'PMAP_RMTCALL' : `RPCB_RMTCALL (version ${version})`;
  // A counted call has its heading even where no list remembers it.
  if (calls.length > 0 || Number(info[5]) > 0 || (version === 4 && Number(info[10]) > 0)) {
    const tail = version === 4 ? 'indirect success failure' : 'success\tfailure';
    lines.push('', `${call} call statistics`, `prog\t\tvers\tproc\tnetid\t${tail}`);
    lines.push(...calls.map((one) => callRow(one, version === 4, names)));
  }
  if (lookups.length > 0 || Number(info[3]) > 0) {
    lines.push('', `${lookup} call statistics`, 'prog\t\tvers\tnetid\t  success\tfailure');
    lines.push(...lookups.map((one) => lookupRow(one, names)));
  }
  return `${lines.join('\n')}\n`;
}

/** Names over values, in columns of 8 or as many eights as the longer one needs with a space. */
function columns(
  heads: readonly string[],
  values: readonly (number | string | undefined)[],
): [string, string] {
  const texts = heads.map((_, i) => String(values[i] ?? 0));
  const widths = heads.map((head, i) => 8 * (Math.max(head.length, texts[i]?.length ?? 0) >> 3) + 8);
  return [
    heads.map((head, i) => head.padEnd(widths[i] ?? 8)).join(''),
    texts.map((text, i) => text.padEnd(widths[i] ?? 8)).join(''),
  ];
}

function lookupRow(of: LookupCount, names: ProgramNames): string {
  const { program, version, netid, success, failure } = of;
  const name = padded(names.nameOf(program) ?? program, 16);
  return `${name}${version}\t${printable(netid)}\t  ${padded(success, 12)}\t${failure}`;
}

function callRow(of: CallCount, withIndirect: boolean, names: ProgramNames): string {
  const { program, version, procedure, netid, success, failure } = of;
  const name = padded(names.nameOf(program) ?? program, 16);
  const indirect = withIndirect ? `${Number(of.isIndirect)}\t ` : '';
  return `${name}${version}\t${procedure}\t${printable(netid)}\t${indirect}${success}\t${failure}`;
}

function nameOrDash(program: number, names: ProgramNames): string {
  return names.nameOf(program) ?? '-';
}

function right(value: number, width: number): string {
  return String(value).padStart(width);
}

function padded(value: number | string, width: number): string {
  return printable(String(value)).padEnd(width);
}
