/** The tables of a host: asked for, and put into text or JSON. */

import { formatPortmap, type PortmapRow } from '../support/portmap.js';
import type { ProgramNames } from '../support/programs.js';
import { ask, type ContactOptions } from './contact.js';
import type { Registration, Statistics } from './remote.js';
import type { Service, Table } from './request.js';
import type { Answer } from './setting.js';
import { formatAddresses, formatRegistrations, formatStatistics, formatSummary, summarize } from './text.js';

/** One table of one host. Rejects with CliError. */
export async function readTable(
  table: Table,
  host: string | undefined,
  names: ProgramNames,
  options: ContactOptions,
): Promise<Answer> {
  switch (table) {
    case 'ports': {
      const rows = await ask(host, options, (remote) => remote.ports());
      return { text: formatPortmap(rows, names), json: { ports: rows.map((row) => named(row, names)) } };
    }
    case 'statistics': {
      const versions = await ask(host, options, (remote) => remote.statistics());
      return {
        text: formatStatistics(versions, names).trimEnd(),
        json: { statistics: versions.map(statisticsJson) },
      };
    }
    case 'summary': {
      const rows = await ask(host, options, (remote) => remote.registrations());
      const programs = summarize(rows).map((row) => named(row, names));
      return { text: formatSummary(rows, names), json: { programs } };
    }
    case 'registrations': {
      const rows = await ask(host, options, (remote) => remote.registrations());
      return {
        text: formatRegistrations(rows, names),
        json: { registrations: rows.map((row) => named(row, names)) },
      };
    }
  }
}

/** The addresses of one service at a host. Rejects with CliError. */
export async function readAddresses(
  host: string,
  { program, version }: Service,
  names: ProgramNames,
  options: ContactOptions,
): Promise<Answer> {
  const entries = await ask(host, options, (remote) => remote.addresses(program, version));
  return {
    text: formatAddresses(program, version, entries, names),
    json: { program, version, service: names.nameOf(program) ?? null, addresses: entries },
  };
}

/** A row with the name of its program, or null. */
export function named<T extends PortmapRow | Registration | { readonly program: number }>(
  row: T,
  names: ProgramNames,
): T & { readonly service: string | null } {
  return { ...row, service: names.nameOf(row.program) ?? null };
}

const COUNTED = [
  'null',
  'set',
  'unset',
  'getaddr',
  'dump',
  'callit',
  'gettime',
  'uaddr2taddr',
  'taddr2uaddr',
];
const COUNTED_BY_4 = ['getversaddr', 'indirect', 'getaddrlist', 'getstat'];

function statisticsJson({
  version,
  info,
  sets,
  unsets,
  lookups,
  calls,
}: Statistics): Record<string, unknown> {
  const names =
    version === 2
      ? ['null', 'set', 'unset', 'getport', 'dump', 'callit']
      : version === 3
        ? COUNTED
        : [...COUNTED, ...COUNTED_BY_4];
  return {
    version,
    calls: Object.fromEntries(names.map((name, i) => [name, info[i] ?? 0])),
    succeeded: { set: sets, unset: unsets },
    lookups,
    forwarded: calls,
  };
}
