/**
 * Names of RPC programs, as /etc/rpc gives them (one program a line: name, number, aliases), and
 * a small table of the best known ones for hosts that have no such file.
 */

import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';

/** Names of programs, both ways. */
export interface ProgramNames {
  /** The first name of a program, or undefined. */
  nameOf(program: number): string | undefined;
  /** The number that a name or an alias stands for, or undefined. */
  numberOf(name: string): number | undefined;
}

const WELL_KNOWN = `
portmapper 100000 portmap sunrpc rpcbind
rstatd 100001 rstat rup perfmeter rstat_svc
rusersd 100002 rusers
nfs 100003 nfsprog
ypserv 100004 ypprog
mountd 100005 mount showmount
ypbind 100007
walld 100008 rwall shutdown
rquotad 100011 rquotaprog quota rquota
nlockmgr 100021
status 100024
nfs_acl 100227
vxi11 395183
`;

/** Most bytes of a file of names that are read: 1 MiB. */
const MAX_FILE_BYTES = 1024 * 1024;

/** Reads a file of names; without one, or where it cannot be read, the well-known names. */
export function programNames(file = '/etc/rpc'): ProgramNames {
  let text = WELL_KNOWN;
  try {
    text = readFileSync(file, 'utf8').slice(0, MAX_FILE_BYTES);
  } catch {
    // A host without the file: the table above has to do.
  }
  const names = new Map<number, string>();
  const numbers = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [name, number, ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/);
    if (name === undefined || number === undefined || !/^\d+$/.test(number)) continue;
    if (!names.has(Number(number))) names.set(Number(number), name);
    for (const alias of [name, ...aliases]) if (!numbers.has(alias)) numbers.set(alias, Number(number));
  }
  return { nameOf: (program) => names.get(program), numberOf: (name) => numbers.get(name) };
}

/** For commander: a program by number (decimal or 0x) or by name. */
export function programArgument(names: ProgramNames): (text: string) => number {
  return (text) => {
    const number = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : names.numberOf(text);
    if (number === undefined) throw new InvalidArgumentError(`no program is called that in /etc/rpc.`);
    if (number > 0xffff_ffff) throw new InvalidArgumentError('a program number is at most 4294967295.');
    return number;
  };
}
