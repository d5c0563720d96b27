/**
 * The programs file: which users may register which programs, beside root and the user who started the daemon. A line is
 * `PROGRAMS: USERS`. PROGRAMS is a number, a name of /etc/rpc, a range `100005-100007`, or `*` for all programs that no
 * other line names. USERS are names or uids, separated by commas, or `*` for every user. # begins a comment. The last line
 * for a program applies.
 */

import { readFileSync } from 'node:fs';
import type { ProgramRule } from '../../rpcbind/index.js';
import { MAX_PROGRAM_RULES } from '../../rpcbind/internal.js';
import { CliError, describe } from '../support/cli.js';
import type { ProgramNames } from '../support/programs.js';

/** Maximum size of the file: 1 MiB. */
export const MAX_PROGRAMS_FILE_BYTES = 1024 * 1024;
const MAX_NUMBER = 0xffff_ffff;
/**
 * Programs whose servers give up root before they register, and the users whom these become, by their names in
 * distributions: status (rpc.statd), rusersd, walld, sprayd.
 */
const SERVICE_USERS: readonly (readonly [program: number, users: readonly string[]])[] = [
  [100024, ['statd', 'rpcuser']],
  [100002, ['nobody']],
  [100008, ['nobody']],
  [100012, ['nobody']],
];
/** Maximum number of lines of the file, without comments. */
export const MAX_PROGRAMS_LINES = MAX_PROGRAM_RULES - SERVICE_USERS.length;

/** The rules for the users of this host, then those of the file. Throws CliError with file and line. */
export function readPrograms(file: string | undefined, names: ProgramNames): ProgramRule[] {
  const uids = usersOfHost();
  const rules: ProgramRule[] = SERVICE_USERS.map(([program, users]) => ({
    first: program,
    last: program,
    users: users.flatMap((name) => uids.get(name) ?? []),
  }));
  if (file === undefined) return rules;
  for (const [i, line] of textOf(file).split('\n').entries()) {
    const text = line.replace(/#.*/, '').trim();
    if (text === '') continue;
    const where = `${file} line ${i + 1}`;
    if (rules.length === MAX_PROGRAM_RULES)
      throw new CliError(`${where}: more than ${MAX_PROGRAMS_LINES} lines`);
    const [programs = '', users, ...rest] = text.split(':');
    if (users === undefined || rest.length > 0)
      throw new CliError(`${where}: it must be "PROGRAMS: USERS", as in "status: root, statd"`);
    rules.push({
      ...rangeOf(programs.trim(), names, where),
      users: users.trim() === '*' ? 'all' : users.split(',').map((user) => uidOf(user.trim(), uids, where)),
    });
  }
  return rules;
}

function rangeOf(text: string, names: ProgramNames, where: string): { first: number; last: number } {
  if (text === '*') return { first: 0, last: MAX_NUMBER };
  const range = /^(\d{1,10})-(\d{1,10})$/.exec(text);
  const number = /^\d{1,10}$/.test(text) ? Number(text) : names.numberOf(text);
  const [first, last] = range === null ? [number, number] : [Number(range[1]), Number(range[2])];
  if (first === undefined || last === undefined)
    throw new CliError(`${where}: there is no program ${text} in /etc/rpc`);
  if (first > last || last > MAX_NUMBER)
    throw new CliError(`${where}: ${text} is not a number or range of programs up to ${MAX_NUMBER}`);
  return { first, last };
}

function uidOf(text: string, uids: ReadonlyMap<string, number>, where: string): number {
  const uid = uids.get(text) ?? (/^\d{1,10}$/.test(text) ? Number(text) : undefined);
  if (uid === undefined || uid > MAX_NUMBER)
    throw new CliError(
      `${where}: ${text === '' ? 'a user is missing' : `there is no user ${text} in /etc/passwd`}`,
    );
  return uid;
}

function textOf(file: string): string {
  try {
    const text = readFileSync(file, 'utf8');
    if (text.length <= MAX_PROGRAMS_FILE_BYTES) return text;
  } catch (cause) {
    throw new CliError(`the programs file cannot be read: ${describe(cause)}`, { cause });
  }
  throw new CliError(`the programs file ${file} has more than ${MAX_PROGRAMS_FILE_BYTES} bytes`);
}

/** The users of /etc/passwd; none if it cannot be read: then only uids can be used. */
function usersOfHost(): Map<string, number> {
  const users = new Map<string, number>();
  try {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [name, , uid] = line.split(':');
      if (name !== undefined && uid !== undefined && /^\d{1,10}$/.test(uid)) users.set(name, Number(uid));
    }
  } catch {
    // A container without the file.
  }
  return users;
}
