/**
 * `--watch`: the table of one or more hosts, asked for again and again. On a terminal it is one
 * screen with the changes marked; elsewhere each change is a line.
 */

import { describe, untilSignal } from '../support/cli.js';
import { type Paint, paintFor, printable } from '../support/terminal.js';
import { type Checked, checkAll } from './check.js';
import { ask, placeOf } from './contact.js';
import type { Setting } from './setting.js';

/** One service of one host in the table. */
export interface WatchRow {
  readonly host: string;
  readonly key: string;
  readonly checked: Checked;
  readonly change: '' | 'new' | 'gone' | 'moved' | 'down' | 'back';
}

/** The services of one moment, and the hosts whose rpcbind does not answer. */
export interface Moment {
  readonly rows: readonly WatchRow[];
  readonly failures: ReadonlyMap<string, string>;
}

/** The least time a service has to answer in, however often is looked. */
const LEAST_PING_MS = 500;

/** Watches until a signal comes. Never fails: a host that does not answer may come back. */
export async function watchHosts(
  hosts: readonly (string | undefined)[],
  everyMs: number,
  setting: Setting,
): Promise<boolean> {
  const stopped = untilSignal();
  let isOver = false;
  const over = stopped.then(() => {
    isOver = true;
  });
  const screen = process.stdout.isTTY && !setting.isJson ? new Screen(hosts, everyMs, setting) : undefined;
  try {
    let before: Moment | undefined;
    while (!isOver) {
      const now = await Promise.race([look(hosts, everyMs, setting, before), over]);
      if (now === undefined || isOver) break;
      if (screen !== undefined) screen.show(now);
      else tellChanges(now, before, setting);
      before = now;
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([
        over,
        new Promise((done) => {
          timer = setTimeout(done, everyMs);
        }),
      ]);
      clearTimeout(timer);
    }
  } finally {
    screen?.close();
  }
  return false;
}

async function look(
  hosts: readonly (string | undefined)[],
  everyMs: number,
  { contact }: Setting,
  before: Moment | undefined,
): Promise<Moment> {
  const pingMs = Math.min(contact.retransmitMs, Math.max(LEAST_PING_MS, everyMs));
  const options = { ...contact, timeoutMs: contact.retransmitMs };
  const failures = new Map<string, string>();
  const found = await Promise.all(
    hosts.map(async (host): Promise<readonly { host: string; checked: Checked }[]> => {
      const name = host ?? 'localhost';
      try {
        const rows = await ask(host, options, (remote) => remote.registrations());
        const checked = await checkAll(rows, await placeOf(host, options), pingMs);
        return checked.map((one) => ({ host: name, checked: one }));
      } catch (error) {
        failures.set(name, describe(error));
        return [];
      }
    }),
  );
  return compareMoments(found.flat(), failures, before);
}

/** What changed since the moment before. What is gone stays in the table for one moment. */
export function compareMoments(
  found: readonly { readonly host: string; readonly checked: Checked }[],
  failures: ReadonlyMap<string, string>,
  before: Moment | undefined,
): Moment {
  const known = new Map(
    before?.rows.filter(({ change }) => change !== 'gone').map((row) => [row.key, row.checked]),
  );
  const rows = found.map(({ host, checked }): WatchRow => {
    const key = `${host} ${checked.program} ${checked.version} ${checked.netid}`;
    const last = known.get(key);
    known.delete(key);
    const change =
      before === undefined
        ? ''
        : last === undefined
          ? 'new'
          : last.address !== checked.address
            ? 'moved'
            : last.state === checked.state
              ? ''
              : checked.state === 'dead'
                ? 'down'
                : 'back';
    return { host, key, checked, change };
  });
  for (const [key, checked] of known) {
    const host = key.slice(0, key.indexOf(' '));
    rows.push({ host, key, checked, change: failures.has(host) ? '' : 'gone' });
  }
  return { rows, failures };
}

function tellChanges(now: Moment, before: Moment | undefined, { isJson, names }: Setting): void {
  if (isJson) {
    const services = now.rows.map(({ host, checked, change }) => ({
      host,
      ...checked,
      change: change || null,
    }));
    const failures = Object.fromEntries(now.failures);
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), services, failures })}\n`);
    return;
  }
  for (const [host, text] of now.failures)
    if (before?.failures.get(host) !== text) process.stdout.write(`${host}: ${text}\n`);
  for (const { host, checked, change } of now.rows) {
    const word = before === undefined ? (checked.state === 'dead' ? 'down' : checked.state) : change;
    if (word === '') continue;
    const { program, version, netid, address } = checked;
    const name = names.nameOf(program) ?? program;
    process.stdout.write(`${host}: ${word} ${name} ${version} ${printable(netid)} ${printable(address)}\n`);
  }
}

const MARKS = { '': ' ', new: '+', gone: '-', moved: '~', down: '!', back: '^' } as const;

/** The lines of a screen, no wider and no more than it has room for. */
export function formatMoment(
  { rows, failures }: Moment,
  size: { readonly columns: number; readonly rows: number },
  title: string,
  { names }: Pick<Setting, 'names'>,
  paint: Paint,
): string[] {
  const isMany = new Set([...rows.map(({ host }) => host), ...failures.keys()]).size > 1;
  const cells = rows.map(({ host, checked, change }) => [
    MARKS[change],
    ...(isMany ? [printable(host)] : []),
    String(checked.program),
    String(checked.version),
    printable(checked.netid),
    printable(checked.address),
    names.nameOf(checked.program) ?? '-',
    change === 'gone'
      ? 'gone'
      : checked.state === 'dead'
        ? 'down'
        : checked.state === 'skipped'
          ? ''
          : `${(checked.ms ?? 0).toFixed(1)} ms`,
  ]);
  const head = [' ', ...(isMany ? ['host'] : []), 'program', 'vers', 'netid', 'address', 'service', 'state'];
  const widths = head.map((name, c) => Math.max(name.length, ...cells.map((row) => (row[c] ?? '').length)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, c) => cell.padEnd(widths[c] ?? 0))
      .join(' ')
      .trimEnd()
      .slice(0, size.columns);
  const top = [
    title.slice(0, size.columns),
    ...[...failures].map(([host, text]) => paint.red(`${host}: ${text}`.slice(0, size.columns))),
  ];
  const room = Math.max(1, size.rows - top.length - 2);
  const body = cells.map((row, i) => painter(rows[i] as WatchRow, paint)(line(row)));
  const shown =
    body.length > room ? [...body.slice(0, room - 1), `... and ${body.length - room + 1} more`] : body;
  return [...top, paint.bold(line(head)), ...shown];
}

function painter({ change, checked }: WatchRow, paint: Paint): (text: string) => string {
  if (change === 'gone') return paint.dim;
  if (checked.state === 'dead') return paint.red;
  if (change === 'new' || change === 'back') return paint.green;
  return change === 'moved' ? paint.yellow : (text) => text;
}

/** The terminal's second screen, so that what was there before comes back at the end. */
class Screen {
  private readonly title: () => string;
  private readonly setting: Setting;
  private last: Moment | undefined;
  private readonly onResize = (): void => {
    if (this.last !== undefined) this.show(this.last);
  };

  constructor(hosts: readonly (string | undefined)[], everyMs: number, setting: Setting) {
    const names = hosts.map((host) => host ?? 'localhost').join(', ');
    this.title = () =>
      `${new Date().toTimeString().slice(0, 8)}  ${names}, every ${everyMs / 1000} s (Ctrl-C ends; + new, ~ moved, ! down, ^ back, - gone)`;
    this.setting = setting;
    process.stdout.write('\u001b[?1049h\u001b[?25l');
    process.stdout.on('resize', this.onResize);
  }

  show(moment: Moment): void {
    this.last = moment;
    const { columns, rows } = process.stdout;
    const lines = formatMoment(
      moment,
      { columns, rows },
      this.title(),
      this.setting,
      paintFor(process.stdout),
    );
    process.stdout.write(`\u001b[H${lines.map((line) => `${line}\u001b[K`).join('\r\n')}\u001b[J`);
  }

  close(): void {
    process.stdout.off('resize', this.onResize);
    process.stdout.write('\u001b[?25h\u001b[?1049l');
  }
}
