/** The daemon's log: one line for each event, as text or as JSON. */

import type { Logger } from 'pino';
import { type RpcbindEvent, SUPERUSER } from '../../rpcbind/index.js';
import { describeRegistration } from '../../rpcbind/internal.js';
import { importOptional } from '../../runtime/protocol.js';
import { describe } from '../support/cli.js';
import type { ProgramNames } from '../support/programs.js';
import { LineOutput } from './output.js';

/** Maximum number of refusals that are logged a second: callers that may not register can still call often. */
export const MAX_REFUSAL_LINES_PER_SECOND = 20;
/** Maximum number of faults that are logged a second: on a full disk every SET of every user is one. */
export const MAX_FAULT_LINES_PER_SECOND = 20;
/**
 * Maximum number of changes by other users than root that are logged a second, after {@link CHANGE_LINES_BURST}. Threat: a
 * local user registers and unregisters thousands of times a second, and fills the disk of the log.
 */
export const CHANGE_LINES_PER_SECOND = 20;
/** Maximum number of such changes that are logged in a burst: more than the services of a host at boot. */
export const CHANGE_LINES_BURST = 1_000;
/** Maximum number of characters of what a caller sent in a line: a netid may have thousands. */
export const MAX_LOGGED_CHARACTERS = 512;

export type LogFormat = 'text' | 'json';

/** Levels in the lines of pino. */
const [WARN, ERROR] = [40, 50];

/**
 * A log on standard error, which never blocks; see {@link LineOutput}. Rejects with MissingPackageError if pino is not
 * installed.
 */
export async function createLog(format: LogFormat, isVerbose: boolean): Promise<Logger> {
  const { default: pino } = await importOptional('pino', 'the log of rpcbind-ts', () => import('pino'));
  const level = isVerbose ? 'debug' : 'info';
  if (format === 'json') {
    const name = 'rpcbind-ts';
    const output = new LineOutput(process.stderr, (count) => {
      const { pid } = process;
      const msg = lostLines(count);
      const of = {
        level: WARN,
        time: Date.now(),
        pid,
        name,
        event: 'lost',
        count,
        msg,
      };
      return `${JSON.stringify(of)}\n`;
    });
    return pino({ level, name }, output);
  }
  const output = new LineOutput(process.stderr, (count) => `rpcbind-ts: warning: ${lostLines(count)}\n`);
  return pino({ level }, { write: (line: string) => output.write(textOf(line)) });
}

function lostLines(count: number): string {
  return `${count} lines of this log were lost, since they were not read`;
}

/** A log line as text: the message, with the level of warnings and errors. */
function textOf(line: string): string {
  const { level, msg } = JSON.parse(line) as { level: number; msg: string };
  const label = level >= ERROR ? 'error: ' : level >= WARN ? 'warning: ' : '';
  return `rpcbind-ts: ${label}${oneLine(msg)}\n`;
}

/**
 * A message as one line without control characters. Threat: netids and addresses come from callers; a newline in one would
 * begin a line that looks like the daemon's own, and an escape sequence would change what the operator's terminal shows.
 */
function oneLine(text: string): string {
  return text.replace(UNPRINTABLE, (character) =>
    JSON.stringify(character)
      .slice(1, -1)
      .replace(/^[^\\]/, codeOf),
  );
}

/** Control characters, line separators, and characters that change the writing direction. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

function codeOf(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function shortened(text: string): string {
  return text.length <= MAX_LOGGED_CHARACTERS ? text : `${text.slice(0, MAX_LOGGED_CHARACTERS)}...`;
}

/** Limits the lines of one kind: so many a second, after a burst. Lines beyond it are counted. */
class LineLimit {
  private readonly perSecond: number;
  private readonly burst: number;
  private left: number;
  private at = performance.now();
  private dropped = 0;

  constructor(perSecond: number, burst: number) {
    this.perSecond = perSecond;
    this.burst = burst;
    this.left = burst;
  }

  /** Whether a line may be written now; `report` is called first if lines before it were dropped. */
  admit(report: (dropped: number) => void): boolean {
    const now = performance.now();
    this.left = Math.min(this.burst, this.left + ((now - this.at) / 1000) * this.perSecond);
    this.at = now;
    if (this.left < 1) {
      this.dropped += 1;
      return false;
    }
    this.left -= 1;
    if (this.dropped > 0) {
      report(this.dropped);
      this.dropped = 0;
    }
    return true;
  }
}

/** What the log says of each change. The last four are logged with --debug alone. */
const CHANGES = {
  set: 'registered',
  unset: 'unregistered',
  stale: 'dropped, its server is gone',
  restored: 'restored',
  dropped: 'not restored',
  held: 'held for its owner',
  released: 'no longer held',
} as const;

/** Writes the events of the daemon as lines. */
export class EventLog {
  private readonly log: Logger;
  private readonly refusals = new LineLimit(MAX_REFUSAL_LINES_PER_SECOND, MAX_REFUSAL_LINES_PER_SECOND);
  private readonly changes = new LineLimit(CHANGE_LINES_PER_SECOND, CHANGE_LINES_BURST);
  private readonly faults = new LineLimit(MAX_FAULT_LINES_PER_SECOND, MAX_FAULT_LINES_PER_SECOND);
  /** Names of programs by number; replaced on SIGHUP. */
  names: ProgramNames;

  constructor(log: Logger, names: ProgramNames) {
    this.log = log;
    this.names = names;
  }

  /** Logs one event. */
  write(event: RpcbindEvent): void {
    switch (event.event) {
      case 'refused':
        this.writeRefusal(event);
        break;
      case 'set':
      case 'unset':
      case 'stale':
        this.writeChange('info', event);
        break;
      default:
        if (this.log.isLevelEnabled('debug')) this.writeChange('debug', event);
    }
  }

  private writeChange(level: 'info' | 'debug', change: Exclude<RpcbindEvent, { event: 'refused' }>): void {
    const { event, registration } = change;
    const { program, version, netid, owner } = registration;
    // Root does not attack its own log, so its changes are always logged.
    if (owner !== SUPERUSER && !this.changes.admit((count) => this.more('change', count, 'changes'))) return;
    const name = this.names.nameOf(program);
    const address = 'address' in registration ? registration.address : undefined;
    const text =
      'address' in registration
        ? describeRegistration(registration)
        : `${program} version ${version} ${netid}`;
    this.log[level](
      { event, program, version, netid, address, owner, name },
      `${CHANGES[event]}: ${name === undefined ? '' : `${name} `}${text} (${owner})`,
    );
  }

  private writeRefusal(event: Extract<RpcbindEvent, { event: 'refused' }>): void {
    if (!this.refusals.admit((count) => this.more('refused', count, 'refusals'))) return;
    const { why, peer } = event;
    const what = shortened(event.what);
    const from = peer.transport === 'unix' ? 'the local socket' : `${peer.address} port ${peer.port}`;
    this.log.warn(
      { event: 'refused', what, why, peer: peer.address, port: peer.port, transport: peer.transport },
      `refused ${what} from ${from}: ${why}`,
    );
  }

  /** Logs a failure of the daemon itself. */
  fault(error: unknown): void {
    if (!this.faults.admit((count) => this.more('fault', count, 'faults'))) return;
    this.log.error(
      { event: 'fault', stack: error instanceof Error ? error.stack : undefined },
      describe(error),
    );
  }

  private more(event: string, count: number, what: string): void {
    this.log.warn({ event, count }, `${count} more ${what}`);
  }
}
