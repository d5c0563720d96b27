/** The file of access lists: who may look up and who may register, one network a line. */

import { readFileSync } from 'node:fs';
import { networkList } from '../../rpcbind/index.js';
import { CliError, describe } from '../support/cli.js';

/** Networks, as the options and the file give them; undefined where nothing was said, and all may. */
export interface AccessLists {
  readonly allow: readonly string[] | undefined;
  readonly allowRegister: readonly string[] | undefined;
}

/**
 * The lists of the command line together with those of the file. A line is `allow NETWORK` or
 * `register NETWORK`; what follows a # is a comment. Throws CliError with file and line.
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
        throw new CliError(`${file} line ${i + 1}: a line is "allow NETWORK" or "register NETWORK"`);
      list.push(checked(network, `${file} line ${i + 1}: `));
    }
  }
  for (const network of [...given.allow, ...given.allowRegister]) checked(network, '');
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

function checked(network: string, place: string): string {
  try {
    networkList([network]);
  } catch (cause) {
    throw new CliError(`${place}${describe(cause)}`, { cause });
  }
  return network;
}
