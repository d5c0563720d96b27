/** The access file: which networks may call and which may register, one a line. */

import { readFileSync } from 'node:fs';
import { networkList } from '../../rpcbind/internal.js';
import { CliError, describe } from '../support/cli.js';

/** Networks of the command line and of the file; undefined if there are none, which means all networks. */
export interface AccessLists {
  readonly allow: readonly string[] | undefined;
  readonly allowRegister: readonly string[] | undefined;
}

/**
 * The networks of the command line and of the file together. A line is `allow NETWORK` or `register NETWORK`; # begins a
 * comment. Throws CliError with file and line.
 */
export function readAccess(
  given: { readonly allow: readonly string[]; readonly allowRegister: readonly string[] },
  file: string | undefined,
): AccessLists {
  const allow = [...given.allow];
  const allowRegister = [...given.allowRegister];
  if (file !== undefined) {
    for (const [i, line] of textOf(file).split('\n').entries()) {
      const [word, network, ...rest] = line.replace(/#.*/, '').trim().split(/\s+/);
      if (word === '' || word === undefined) continue;
      const list = word === 'allow' ? allow : word === 'register' ? allowRegister : undefined;
      if (list === undefined || network === undefined || rest.length > 0)
        throw new CliError(`${file} line ${i + 1}: it must be "allow NETWORK" or "register NETWORK"`);
      list.push(checkedNetwork(network, `${file} line ${i + 1}: `));
    }
  }
  for (const network of [...given.allow, ...given.allowRegister]) checkedNetwork(network, '');
  return {
    allow: allow.length === 0 ? undefined : allow,
    allowRegister: allowRegister.length === 0 ? undefined : allowRegister,
  };
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new CliError(`the access file cannot be read: ${describe(cause)}`, { cause });
  }
}

function checkedNetwork(network: string, where: string): string {
  try {
    networkList([network]);
  } catch (cause) {
    throw new CliError(`${where}${describe(cause)}`, { cause });
  }
  return network;
}
