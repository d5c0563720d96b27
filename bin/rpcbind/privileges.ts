/** Giving up root once the ports are bound. */

import { chownSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { CliError, describe } from '../support/cli.js';

/** Becomes another user, with its groups and for good; the state folder becomes that user's. Throws CliError. */
export function becomeUser(name: string, stateFolder: string | undefined): void {
  const { uid, gid } = findUser(name);
  try {
    if (stateFolder !== undefined) {
      chownSync(stateFolder, uid, gid);
      for (const file of readdirSync(stateFolder)) chownSync(path.join(stateFolder, file), uid, gid);
    }
    process.setgroups?.(groupsOf(name, gid));
    process.setgid?.(gid);
    process.setuid?.(uid);
  } catch (cause) {
    throw new CliError(`cannot become user ${name}: ${describe(cause)}; --user works for root alone`, {
      cause,
    });
  }
}

function findUser(name: string): { readonly uid: number; readonly gid: number } {
  let text = '';
  try {
    text = readFileSync('/etc/passwd', 'utf8');
  } catch (cause) {
    throw new CliError(`cannot look up user ${name}: ${describe(cause)}`, { cause });
  }
  const fields = text
    .split('\n')
    .map((line) => line.split(':'))
    .find(([user, , uid]) => user === name || uid === name);
  const [, , uid, gid] = fields ?? [];
  if (uid === undefined || gid === undefined) throw new CliError(`there is no user ${name} in /etc/passwd`);
  return { uid: Number(uid), gid: Number(gid) };
}

/** The groups of a user, as /etc/group lists them, and its own. */
function groupsOf(name: string, own: number): number[] {
  const lines = readFileSync('/etc/group', 'utf8').split('\n');
  const found = lines.flatMap((line) => {
    const [, , gid, members] = line.split(':');
    return members?.split(',').includes(name) === true ? [Number(gid)] : [];
  });
  return [own, ...found];
}
