/** Changing what is registered in this host's rpcbind: `set`, `unset` and `-d`. */

import { isIP } from 'node:net';
import { parseUaddr } from '../../rpcbind/index.js';
import { UsageError } from '../support/cli.js';
import { callable, netidKind, type PingNetid } from './address.js';
import { ask, type ContactOptions } from './contact.js';
import type { Service } from './request.js';

/** Registers a service that cannot do so itself. Resolves with what went wrong, or undefined. */
export async function register(
  { program, version, netid, address }: Service & { readonly netid: PingNetid; readonly address: string },
  options: ContactOptions,
): Promise<string | undefined> {
  checkAddress(netid, address);
  const entry = { program, version, netid, address };
  const isDone = await ask(undefined, options, (remote) => remote.set(entry));
  return isDone
    ? undefined
    : `Could not register prog ${program} version ${version} on ${netid}: it is registered there at another address (rpcinfo-ts unset ${program} ${version} ${netid} removes it), or it is another owner's or not for this user to register`;
}

/** Removes a registration, from all netids where `netid` is empty. Resolves with what went wrong, or undefined. */
export async function unregister(
  { program, version, netid }: Service & { readonly netid: string },
  options: ContactOptions,
): Promise<string | undefined> {
  const isDone = await ask(undefined, options, (remote) => remote.unset(program, version, netid));
  return isDone
    ? undefined
    : `Could not delete registration for prog ${program} version ${version}: it belongs to another user (become that one, or root)`;
}

function checkAddress(netid: PingNetid, address: string): void {
  const of = netidKind(netid);
  if (of === undefined) {
    if (parseUaddr('local', address) === undefined)
      throw new UsageError(`${address} is no path of a socket, which netid ${netid} takes`);
    return;
  }
  if (callable(netid, address) !== undefined) return;
  const hint =
    isIP(address) === 0 ? '' : ' (the port is missing: two more numbers, its high and its low byte)';
  throw new UsageError(
    `${address} is no universal address of ${netid}${hint}: it looks like ${of.family === 4 ? '0.0.0.0.8.1' : '::.8.1'}, which is port 2049`,
  );
}
