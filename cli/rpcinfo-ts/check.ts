/**
 * `--check`: everything that is registered at a host is pinged side by side, and what does not
 * answer within one timeout is dead. Each address is spoken to over one socket or connection.
 */

import { parseUaddr } from '../../rpcbind/index.js';
import { isLoopback, isWildcard } from '../../rpcbind/internal.js';
import { createClient, ReplyError, type RpcClient } from '../../runtime/index.js';
import { printable } from '../support/terminal.js';
import { callable, netidKind } from './address.js';
import { ask, placeOf, rpcSentence } from './contact.js';
import { type Place, type Registration, type Times, transportTo } from './remote.js';
import type { Answer, Setting } from './setting.js';

/** Most addresses that are spoken to at a time. */
export const MAX_PARALLEL_ADDRESSES = 512;
/** How often a lost datagram is sent again within the timeout. */
const SENDINGS = 3;

/** What came of one registration. */
export interface Checked extends Registration {
  readonly state: 'up' | 'dead' | 'skipped';
  /** Milliseconds to the answer. */
  readonly ms?: number;
  /** Why it is dead, or was not asked. */
  readonly reason?: string;
}

/** Pings all that is registered at a host, each once, and waits `timeoutMs` at most for all of them together. */
export async function checkAll(
  rows: readonly Registration[],
  base: Place,
  timeoutMs: number,
): Promise<Checked[]> {
  const groups = new Map<string, { readonly place: Place; readonly rows: [number, Registration][] }>();
  const checked: (Checked | undefined)[] = rows.map((row, i) => {
    const place = reachable(row, base);
    if (typeof place === 'string') return { ...row, state: 'skipped', reason: place };
    const key = JSON.stringify(place);
    const group = groups.get(key) ?? { place, rows: [] };
    groups.set(key, group);
    group.rows.push([i, row]);
    return undefined;
  });
  const times = { retransmitMs: Math.max(1, timeoutMs / SENDINGS), timeoutMs };
  const waiting = [...groups.values()];
  const worker = async (): Promise<void> => {
    for (let group = waiting.shift(); group !== undefined; group = waiting.shift()) {
      const { place, rows: asked } = group;
      const outcomes = await checkPlace(
        place,
        asked.map(([, row]) => row),
        times,
      );
      for (const [k, [i]] of asked.entries()) checked[i] = outcomes[k];
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAX_PARALLEL_ADDRESSES, waiting.length) }, worker));
  return checked as Checked[];
}

async function checkPlace(place: Place, rows: readonly Registration[], times: Times): Promise<Checked[]> {
  let client: RpcClient;
  try {
    client = createClient(await transportTo(place, times), times);
  } catch (error) {
    return rows.map((row) => ({ ...row, state: 'dead', reason: rpcSentence(error) }));
  }
  const outcomes = await Promise.all(rows.map((row) => checkOne(client, row)));
  await client.close();
  return outcomes;
}

async function checkOne(client: RpcClient, row: Registration): Promise<Checked> {
  const startedAt = performance.now();
  try {
    return { ...row, state: 'up', ms: await client.ping(row.program, row.version) };
  } catch (error) {
    // A server that refuses the caller, or has no NULL, is there all the same.
    const isThere = error instanceof ReplyError && !/^RPC_PROG_/.test(error.code);
    return isThere
      ? { ...row, state: 'up', ms: performance.now() - startedAt, reason: rpcSentence(error) }
      : { ...row, state: 'dead', reason: rpcSentence(error) };
  }
}

/** Where a registration can be reached from here, or why it cannot. */
function reachable({ netid, address }: Registration, base: Place): Place | string {
  const isHere = base.kind === 'local' || isLoopback(base.address);
  const of = netidKind(netid);
  if (of === undefined) {
    if (netid !== 'local' && netid !== 'unix') return `nothing is known of netid ${netid}`;
    if (!isHere) return 'local to that host';
    return parseUaddr('local', address) === undefined
      ? 'its address is none'
      : { kind: 'local', path: address };
  }
  const universal = callable(netid, address);
  if (universal === undefined) return 'its address is none';
  const { port } = universal;
  const place = (at: string): Place => ({ kind: of.kind, host: at, address: at, port });
  if (!isWildcard(universal.address)) {
    if (!isHere && isLoopback(universal.address)) return 'local to that host';
    return place(universal.address);
  }
  if (isHere) return place(of.family === 4 ? '127.0.0.1' : '::1');
  const isSix = base.address.includes(':');
  if (isSix !== (of.family === 6)) return `no IPv${of.family} address of the host is known`;
  return place(base.address);
}

/** `--check` of one host: a line for a monitoring system and, unless quiet, the table. */
export async function checkHost(host: string | undefined, setting: Setting): Promise<Answer> {
  const { contact, names } = setting;
  const timeoutMs = setting.hasTotal ? contact.timeoutMs : contact.retransmitMs;
  const options = { ...contact, timeoutMs };
  const rows = await ask(host, options, (remote) => remote.registrations());
  const base = await placeOf(host, options);
  const checked = await checkAll(rows, base, timeoutMs);
  const dead = checked.filter(({ state }) => state === 'dead');
  const line = summaryLine(checked, setting);
  return {
    text: setting.isQuiet ? line : [line, ...formatChecks(checked, setting)].join('\n'),
    json: {
      up: checked.filter(({ state }) => state === 'up').length,
      dead: dead.length,
      skipped: checked.filter(({ state }) => state === 'skipped').length,
      services: checked.map(({ ms, reason, ...row }) => ({
        ...row,
        service: names.nameOf(row.program) ?? null,
        ms: ms === undefined ? null : Math.round(ms * 1000) / 1000,
        reason: reason ?? null,
      })),
    },
    isBad: dead.length > 0,
  };
}

/** Most dead services that the one line names. */
const MAX_NAMED = 5;

function summaryLine(checked: readonly Checked[], { names }: Setting): string {
  const dead = checked.filter(({ state }) => state === 'dead');
  const up = checked.filter(({ state }) => state === 'up');
  const skipped = checked.length - dead.length - up.length;
  const unasked = skipped === 0 ? '' : `, ${skipped} cannot be asked from here`;
  const slowest = Math.max(0, ...up.map(({ ms }) => ms ?? 0));
  if (dead.length === 0)
    return `OK: ${up.length} of ${up.length} services answer within ${slowest.toFixed(1)} ms${unasked}`;
  const labels = dead
    .slice(0, MAX_NAMED)
    .map(
      ({ program, version, netid }) => `${names.nameOf(program) ?? program} ${version} ${printable(netid)}`,
    );
  const more = dead.length > MAX_NAMED ? ` and ${dead.length - MAX_NAMED} more` : '';
  return `DEAD: ${dead.length} of ${dead.length + up.length} services do not answer: ${labels.join(', ')}${more}${unasked}`;
}

/** The table of `--check`, as wide as its contents. */
export function formatChecks(checked: readonly Checked[], { names }: Pick<Setting, 'names'>): string[] {
  const cells = checked.map((row) => [
    row.state,
    String(row.program),
    String(row.version),
    printable(row.netid),
    printable(row.address),
    names.nameOf(row.program) ?? '-',
    row.ms === undefined ? '' : `${row.ms.toFixed(1)} ms`,
    row.reason ?? '',
  ]);
  const head = ['state', 'program', 'vers', 'netid', 'address', 'service', 'latency', ''];
  const isRight = [false, true, true, false, false, false, true, false];
  const widths = head.map((title, c) => Math.max(title.length, ...cells.map((row) => (row[c] ?? '').length)));
  return [head, ...cells].map((row) =>
    row
      .map((cell, c) => (isRight[c] ? cell.padStart(widths[c] ?? 0) : cell.padEnd(widths[c] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
