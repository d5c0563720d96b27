/**
 * What is a sign of life of a registration, and how it is looked for in the kernel's own lists
 * (sockdiag.ts). When it is looked, and what follows, is liveness.ts.
 */

import { type TableEntry, UNKNOWN } from '../table/registry.js';
import { isOneUser, nameOf } from './owner.js';
import {
  type InetSocket,
  LISTEN,
  socketsOnPort,
  UNCONNECTED,
  type UnixListener,
  unixListeners,
} from './sockdiag.js';

/** What a look found: a sign of life, certainly no sign, or nothing. */
export type Look = 'alive' | 'gone' | 'unknown';

/** Looks at registrations. */
export interface Looker {
  /** Looks at one, now or later; `tell` is called at most once. A look that is not possible now tells nothing. */
  look(entry: TableEntry, tell: (found: Look) => void): void;
  /** Begins a turn of looks. With `isNew` what was read before is read again: a socket may be newer. */
  renew(isNew: boolean): void;
}

/** Whether a socket of this user is a sign of life of a registration; undefined where its user is not known. */
export function isSign(entry: TableEntry, uid: number | undefined): boolean | undefined {
  if (entry.owner === UNKNOWN) return true;
  if (uid === 0) return true;
  if (uid === undefined || !isOneUser(uid)) return undefined;
  return nameOf(uid) === entry.owner;
}

/** Looks by sock_diag. */
export class KernelSigns implements Looker {
  /** What was found in this turn: the versions of a service share a port. */
  private readonly sockets = new Map<string, InetSocket[] | undefined>();
  private listeners: { readonly all: readonly UnixListener[] | undefined } | undefined;

  renew(): void {
    this.sockets.clear();
    this.listeners = undefined;
  }

  look(entry: TableEntry, tell: (found: Look) => void): void {
    switch (entry.netid) {
      case 'udp':
      case 'tcp':
      case 'udp6':
      case 'tcp6':
        tell(this.lookAtPort(entry, entry.netid.startsWith('udp') ? 'udp' : 'tcp'));
        break;
      case 'local':
        tell(this.lookAtPath(entry));
        break;
      default:
    }
  }

  private lookAtPort(entry: TableEntry, protocol: 'udp' | 'tcp'): Look {
    let found: Look = 'gone';
    // A socket of IPv6 may serve IPv4 as well.
    for (const family of entry.netid.endsWith('6') ? ([6] as const) : ([4, 6] as const)) {
      const sockets = this.socketsOn(protocol, family, entry.port);
      if (sockets === undefined) found = 'unknown';
      for (const { state, uid, isV6Only } of sockets ?? []) {
        if (family === 6 && isV6Only === true && !entry.netid.endsWith('6')) continue;
        const isOwn = isSign(entry, uid);
        if (isOwn === false) continue;
        // A connected UDP socket may be a client's that happens to have the port: it does not prove a server.
        if (isOwn === true && (state === LISTEN || state === UNCONNECTED)) return 'alive';
        found = 'unknown';
      }
    }
    return found;
  }

  private socketsOn(protocol: 'udp' | 'tcp', family: 4 | 6, port: number): InetSocket[] | undefined {
    const key = `${protocol}${family} ${port}`;
    if (this.sockets.has(key)) return this.sockets.get(key);
    const sockets = socketsOnPort(protocol, family, port);
    this.sockets.set(key, sockets);
    return sockets;
  }

  private lookAtPath(entry: TableEntry): Look {
    this.listeners ??= { all: unixListeners() };
    const { all } = this.listeners;
    if (all === undefined) return 'unknown';
    const path = entry.host.replace(/^@/, '\0');
    let found: Look = 'gone';
    for (const one of all) {
      if (one.path !== path) continue;
      const isOwn = isSign(entry, one.uid);
      if (isOwn === true) return 'alive';
      if (isOwn === undefined) found = 'unknown';
    }
    return found;
  }
}
