/** The daemon's log: one line a noteworthy event, for people or, as JSON, for machines. */

import pino, { type Logger } from 'pino';
import { type BinderEvent, nameOf } from '../../rpcbind/index.js';
import type { ProgramNames } from '../support/programs.js';
import { LineOutput } from './output.js';

/** Refusals logged a second at most: whoever may not register may still ask often. */
export const MAX_REFUSAL_LINES_PER_SECOND = 20;

export type LogFormat = 'text' | 'json';

/** A log on the standard error, which is never waited for; see {@link LineOutput}. */
export function createLog(format: LogFormat, isVerbose: boolean): Logger {
  const level = isVerbose ? 'debug' : 'info';
  if (format === 'json') {
    const name = 'rpcbind-ts';
    const output = new LineOutput(process.stderr, (count) => {
      const { pid } = process;
      const msg = lostLines(count);
      const of = {
        level: pino.levels.values['warn'],
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
  const label =
    level >= pino.levels.values['error']!
      ? 'error: '
      : level >= pino.levels.values['warn']!
        ? 'warning: '
        : '';
  return `rpcbind-ts: ${label}${msg}\n`;
}

/** Turns events of the daemon into lines. */
export class EventLog {
  private readonly log: Logger;
  private second = 0;
  private refusals = 0;
  /** By number, for people; read anew on SIGHUP. */
  names: ProgramNames;

  constructor(log: Logger, names: ProgramNames) {
    this.log = log;
    this.names = names;
  }

  /** Logs one event. */
  write(event: BinderEvent): void {
    if (event.event === 'refused') {
      this.writeRefusal(event);
      return;
    }
    const { registration } = event;
    const { program, version, netid, address, owner } = registration;
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

  private writeRefusal(event: Extract<BinderEvent, { event: 'refused' }>): void {
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.second) {
      const left = this.refusals - MAX_REFUSAL_LINES_PER_SECOND;
      if (left > 0) this.log.warn({ event: 'refused', count: left }, `${left} more refusals`);
      this.second = second;
      this.refusals = 0;
    }
    this.refusals += 1;
    if (this.refusals > MAX_REFUSAL_LINES_PER_SECOND) return;
    const { what, why, peer } = event;
    const from = peer.transport === 'unix' ? 'the local socket' : `${peer.address} port ${peer.port}`;
    this.log.warn(
      { event: 'refused', what, why, peer: peer.address, port: peer.port, transport: peer.transport },
      `refused ${what} from ${from}: ${why}`,
    );
  }
}
