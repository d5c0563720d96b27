/** The options of a daemon: what they mean, and the one place where they are checked. */

import { isIP } from 'node:net';
import type { Netid } from '../../runtime/protocol.js';
import { integerOption } from '../../runtime/protocol.js';
import { PMAP_PORT } from '../rpcbind.gen.js';
import type { RegistrationStore } from '../state/store.js';
import { DEFAULT_HOLD_MS, MAX_HOLD_MS } from '../table/held.js';
import {
  DEFAULT_MAX_REGISTRATIONS,
  DEFAULT_MAX_REGISTRATIONS_PER_OWNER,
  MAX_REGISTRATIONS,
  type RegistryOptions,
} from '../table/registry.js';
import { MAX_LOCAL_ADDRESS_BYTES } from '../uaddr.js';
import { type AccessOptions, DEFAULT_CALLS_PER_SECOND, DEFAULT_TABLE_BYTES_PER_MINUTE } from './access.js';
import type { AddressSelectorOptions } from './addresses.js';
import type { RpcbindEvent } from './events.js';
import type { LivenessMode } from './liveness.js';

/** Maximum of `callsPerSecond` and `tableBytesPerMinute`. */
export const MAX_RATE = 1_000_000_000;
const MAX_ID = 0xffff_ffff;
const MAX_FD = 0x7fff_ffff;

/** A socket that a service manager opened before the daemon started. */
export interface InheritedSocket {
  readonly fd: number;
  readonly netid: Netid;
  /** IP address, or the path of a local socket; an abstract path begins with a NUL. */
  readonly address: string;
}

/** See {@link createRpcbind}. */
export interface RpcbindDaemonOptions extends AccessOptions, AddressSelectorOptions, RegistryOptions {
  /** UDP and TCP port; 0 for any free one. Default 111. */
  readonly port?: number | undefined;
  /** IP addresses to listen on. Default 127.0.0.1. */
  readonly host?: readonly string[] | undefined;
  /** Unix sockets to listen on, at most 107 bytes each; one that begins with a NUL is abstract (Linux). Default: none. */
  readonly local?: readonly string[] | undefined;
  /** Sockets that are open already; with any of these, `host`, `port` and `local` are not used. Default: none. */
  readonly inherited?: readonly InheritedSocket[] | undefined;
  /** Local sockets that are open already, beside those of `local`. Default: none. */
  readonly openedLocal?: readonly InheritedSocket[] | undefined;
  /**
   * Called when every socket is open, before the first call is answered; if it throws, the start fails. For checks of the
   * rights of this process. Default: none.
   */
  readonly onOpened?: (() => void) | undefined;
  /** Whether calls are forwarded (CALLIT, BCAST, INDIRECT). Default false. */
  readonly forwardCalls?: boolean | undefined;
  /**
   * Where registrations are kept, instead of in `stateFolder`. The daemon closes it. Default: in memory, until the
   * daemon ends.
   */
  readonly store?: RegistrationStore | undefined;
  /** The folder of journal and snapshot. Default: none. */
  readonly stateFolder?: string | undefined;
  /** A descriptor of that folder if it is open already; it remains the caller's. Default: opened by its path. */
  readonly stateFolderFd?: number | undefined;
  /** Whether the contents of `stateFolder` are ignored at the start. Default false. */
  readonly isColdStart?: boolean | undefined;
  /** How the daemon finds registrations whose server is gone. Default 'auto'; 'off' keeps every registration. */
  readonly liveness?: LivenessMode | undefined;
  /** False for UDP without native batching even where that is available. Default true. */
  readonly native?: boolean | undefined;
  /** Told of what an operator should know: a damaged file, a host without IPv6. */
  readonly onWarning?: ((text: string) => void) | undefined;
  /** Told of every change of the table, and of every refusal. Must not throw. */
  readonly onEvent?: ((event: RpcbindEvent) => void) | undefined;
  /** Told of a failure within a call; the caller gets SYSTEM_ERR. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

/**
 * Throws RangeError, with the name and value of the option, for the first one that is not valid. Lists of networks and of
 * programs are checked where they are read, since they can be replaced later: {@link Access}.
 */
export function checkOptions(options: RpcbindDaemonOptions): void {
  integerOption('port', options.port, PMAP_PORT, 0, 65_535);
  for (const host of options.host ?? []) checkAddress('host', host);
  for (const path of options.local ?? []) checkPath(path);
  for (const { fd } of [...(options.inherited ?? []), ...(options.openedLocal ?? [])])
    integerOption('fd', fd, 0, 0, MAX_FD);
  checkAdvertised(options.advertise ?? []);
  for (const uid of options.privilegedUids ?? []) integerOption('privilegedUids', uid, 0, 0, MAX_ID);
  checkRate('callsPerSecond', options.callsPerSecond ?? DEFAULT_CALLS_PER_SECOND, Number.MIN_VALUE);
  checkRate('tableBytesPerMinute', options.tableBytesPerMinute ?? DEFAULT_TABLE_BYTES_PER_MINUTE, 0);
  integerOption(
    'maxRegistrations',
    options.maxRegistrations,
    DEFAULT_MAX_REGISTRATIONS,
    1,
    MAX_REGISTRATIONS,
  );
  integerOption(
    'maxRegistrationsPerOwner',
    options.maxRegistrationsPerOwner,
    DEFAULT_MAX_REGISTRATIONS_PER_OWNER,
    1,
    MAX_REGISTRATIONS,
  );
  integerOption('holdMs', options.holdMs, DEFAULT_HOLD_MS, 0, MAX_HOLD_MS);
  integerOption('stateFolderFd', options.stateFolderFd, 0, 0, MAX_FD);
  if (!['auto', 'probe', 'off', undefined].includes(options.liveness))
    throw new RangeError(`liveness is ${String(options.liveness)}; it must be auto, probe or off`);
  if (options.store !== undefined && options.stateFolder !== undefined)
    throw new RangeError('store and stateFolder exclude each other');
}

function checkAddress(name: string, address: string): void {
  if (isIP(address) === 0) throw new RangeError(`${name} is ${address}; it must be an IP address`);
}

function checkPath(path: string): void {
  const size = Buffer.byteLength(path);
  if (size === 0 || size > MAX_LOCAL_ADDRESS_BYTES)
    throw new RangeError(
      `local is a socket path of ${size} bytes; it must have 1 to ${MAX_LOCAL_ADDRESS_BYTES}: ${path}`,
    );
}

function checkAdvertised(addresses: readonly string[]): void {
  for (const address of addresses) checkAddress('advertise', address);
  for (const family of [4, 6])
    if (addresses.filter((address) => isIP(address) === family).length > 1)
      throw new RangeError(`advertise has several addresses of IPv${family}; one is possible`);
}

function checkRate(name: string, value: number, least: number): void {
  if (!(value >= least && value <= MAX_RATE))
    throw new RangeError(
      `${name} is ${value}; it must be ${least === 0 ? 'from 0' : 'more than 0'} and at most ${MAX_RATE}`,
    );
}
