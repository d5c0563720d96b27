/** The daemon's log: one line a noteworthy event, for people or, as JSON, for machines. */

import type { Logger } from 'pino';
import { nameOf, type RpcbindEvent, SUPERUSER } from '../../rpcbind/index.js';
import { importOptional } from '../../runtime/protocol.js';
import { describe } from '../support/cli.js';
import type { ProgramNames } from '../support/programs.js';
import { LineOutput } from './output.js';

/** Refusals logged a second at most: whoever may not register may still ask often. */
export const MAX_REFUSAL_LINES_PER_SECOND = 20;
/** Faults logged a second at most: on a full disk every SET of any user is one. */
export const MAX_FAULT_LINES_PER_SECOND = 20;
/**
 * Changes by others than root that are logged a second, after {@link CHANGE_LINES_BURST}. Any user of this host may register and
 * unregister thousands of times a second, and would fill the disk that the log is on.
 */
export const CHANGE_LINES_PER_SECOND = 20;
/** Changes by others than root that are logged at once: a host's services at boot are far fewer. */
export const CHANGE_LINES_BURST = 1_000;
/** Most characters of what a caller sent that a line has; a netid may have thousands. */
export const MAX_LOGGED_CHARACTERS = 512;

export type LogFormat = 'text' | 'json';

/** Levels of pino, as its lines have them. */
const [WARN, ERROR] = [40, 50];

/**
 * A log on the standard error, which is never waited for; see {@link LineOutput}. Rejects with MissingPackageError where pino is
 * not installed.
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
  return `${count} lines of this log were lost: nobody read it`;
}

/** A log line as people read it: the level where it matters, and the message. */
function textOf(line: string): string {
  const { level, msg } = JSON.parse(line) as { level: number; msg: string };
  const label = level >= ERROR ? 'error: ' : level >= WARN ? 'warning: ' : '';
  return `rpcbind-ts: ${label}${oneLine(msg)}\n`;
}

/**
 * A message as a single line that does nothing to a terminal. Netids and addresses are what any user of this host sent: a newline
 * in one would begin a line that reads as the daemon's own, an escape sequence would rewrite what the operator sees.
 */
function oneLine(text: string): string {
  return text.replace(UNPRINTABLE, (character) =>
    JSON.stringify(character)
      .slice(1, -1)
      .replace(/^[^\\]/, codeOf),
  );
}

/** Control characters, separators of lines, and marks that turn the direction of writing. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu;

function codeOf(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function shortened(text: string): string {
  return text.length <= MAX_LOGGED_CHARACTERS ? text : `${text.slice(0, MAX_LOGGED_CHARACTERS)}...`;
}

/** How many lines of a kind may be written: so many a second, after a burst. What may not is counted. */
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

  /** Whether a line may be written now; `tell` is first told how many were not before it. */
  admit(tell: (dropped: number) => void): boolean {
    const now = performance.now();
    this.left = Math.min(this.burst, this.left + ((now - this.at) / 1000) * this.perSecond);
    this.at = now;
    if (this.left < 1) {
      this.dropped += 1;
      return false;
    }
    this.left -= 1;
    if (this.dropped > 0) {
      tell(this.dropped);
      this.dropped = 0;
    }
    return true;
  }
}

/** Turns events of the daemon into lines. */
export class EventLog {
  private readonly log: Logger;
  private readonly refusals = new LineLimit(MAX_REFUSAL_LINES_PER_SECOND, MAX_REFUSAL_LINES_PER_SECOND);
  private readonly changes = new LineLimit(CHANGE_LINES_PER_SECOND, CHANGE_LINES_BURST);
  private readonly faults = new LineLimit(MAX_FAULT_LINES_PER_SECOND, MAX_FAULT_LINES_PER_SECOND);
  /** By number, for people; read anew on SIGHUP. */
  names: ProgramNames;

  constructor(log: Logger, names: ProgramNames) {
    this.log = log;
    this.names = names;
  }

  /** Logs one event. */
  write(event: RpcbindEvent): void {
    if (event.event === 'refused') {
      this.writeRefusal(event);
      return;
    }
    const { registration } = event;
    const { program, version, netid, address, owner } = registration;
    // Root is no attacker, and what it does is always told.
    if (owner !== SUPERUSER && !this.changes.admit((count) => this.more('change', count, 'changes'))) return;
    const name = this.names.nameOf(program);
    const said = { set: 'registered', unset: 'unregistered', stale: 'dropped, its server is gone' }[
      event.event
    ];
    this.log.info(
      {
        event: event.event,
        program,
        version,
        netid,
        address,
        owner,
        ...(name === undefined ? {} : { name }),
      },
      `${said}: ${name === undefined ? '' : `${name} `}${nameOf(registration)} (${owner})`,
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

  /** Logs a fault of ours. */
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
