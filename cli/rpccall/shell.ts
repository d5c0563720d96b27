/**
 * `rpccall shell`: a prompt for the procedures of one interface on one host, with completion of
 * their names and of the members of their arguments, and a history that outlives it.
 */

import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { template } from '../../xdr/index.js';
import { describe } from '../support/cli.js';
import { paintFor } from '../support/terminal.js';
import { completeLine } from './complete.js';
import { describeInterface, listInterface } from './describe.js';
import { chooseProcedures } from './interface.js';
import type { Session } from './session.js';

/** Most lines of history that are kept. */
export const MAX_HISTORY = 1_000;

const HELP = `PROC [JSON]      calls it: ADD {"a": 1, "b": 2}
list             the procedures          describe [NAME]  what a name is
template PROC    a skeleton of its JSON  quit             or Ctrl-D
Tab completes procedures and members.`;

/** Reads lines until the end of standard input. Failures are told and do not end it. */
export async function runShell(host: string, session: Session): Promise<void> {
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY;
  const file = isTerminal ? historyFile() : undefined;
  const paint = paintFor(process.stdout);
  const lines = createInterface({
    input: process.stdin,
    output: process.stdout,
    terminal: isTerminal,
    prompt: isTerminal ? `${host} ${path.basename(session.opened.name)}> ` : '',
    completer: (line: string) => completeLine(session.opened, line),
    history: file === undefined ? [] : readHistory(file),
    historySize: MAX_HISTORY,
    removeHistoryDuplicates: true,
  });
  if (isTerminal) process.stdout.write(`${paint.dim('help says how, Ctrl-D ends it')}\n`);
  lines.on('SIGINT', () => {
    // As other shells do: the line is given up, not the shell.
    lines.write(null, { ctrl: true, name: 'e' });
    lines.write(null, { ctrl: true, name: 'u' });
  });
  let failed = false;
  lines.prompt();
  for await (const line of lines) {
    const text = line.trim();
    if (text === 'quit' || text === 'exit') break;
    if (text !== '') {
      if (file !== undefined) keep(file, text);
      try {
        process.stdout.write(`${await answer(session, text)}\n`);
      } catch (error) {
        failed = true;
        process.stderr.write(`${paint.red(describe(error))}\n`);
      }
    }
    lines.prompt();
  }
  lines.close();
  await session.close();
  // A script fed to it fails where one of its lines did; a person has seen it.
  if (failed && !isTerminal) process.exitCode = 1;
}

async function answer(session: Session, text: string): Promise<string> {
  const [verb = '', rest] = split(text);
  switch (verb) {
    case 'help':
    case '?':
      return HELP;
    case 'list':
      return listInterface(session.opened);
    case 'describe':
      return describeInterface(session.opened, rest);
    case 'template': {
      const [{ procedure }] = chooseProcedures(session.opened, rest ?? '');
      return JSON.stringify(template(procedure.args));
    }
    default:
      return JSON.stringify(await session.call(verb, rest), null, 2);
  }
}

/** The first word, and what follows it. */
function split(text: string): [string, string | undefined] {
  const [, first = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(text) ?? [];
  return [first, rest === '' ? undefined : rest];
}

function historyFile(): string {
  // Empty means unset, and a relative one is to be ignored (XDG base directory specification).
  const named = process.env['XDG_STATE_HOME'] ?? '';
  const state = path.isAbsolute(named) ? named : path.join(homedir(), '.local', 'state');
  return path.join(state, 'rpccall', 'history');
}

/** Newest first, as readline wants it. The file is cut to its limit on the way. */
function readHistory(file: string): string[] {
  try {
    const lines = readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '');
    const kept = lines.slice(-MAX_HISTORY);
    if (lines.length > MAX_HISTORY) writeFileSync(file, `${kept.join('\n')}\n`, { mode: 0o600 });
    return kept.reverse();
  } catch {
    return [];
  }
}

function keep(file: string, line: string): void {
  try {
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    appendFileSync(file, `${line}\n`, { mode: 0o600 });
  } catch {
    // A home that cannot be written to costs the history, not the shell.
  }
}
