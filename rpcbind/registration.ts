/**
 * What a registration is (RFC 1833 section 2.1): (program, version, netid) -> address, and an owner. One type for the
 * client, the table, the stores and the daemon.
 */

/** The owner of what root registered: may change every registration. */
export const SUPERUSER = 'superuser';
/** The owner of what callers registered that could not be identified. */
export const UNKNOWN = 'unknown';

/** What identifies a registration: a table has at most one of each. */
export interface RegistrationKey {
  readonly program: number;
  readonly version: number;
  /** The kind of transport, as in `udp` or `tcp6` (RFC 5665 section 5.1). */
  readonly netid: string;
}

/** A registration as a caller makes it: rpcbind finds out by itself who the caller is. */
export interface NewRegistration extends RegistrationKey {
  /** Universal address (RFC 5665 section 5.2.3); for `local` the path of a socket, `@NAME` for an abstract one. */
  readonly address: string;
}

/** One registration. */
export interface Registration extends NewRegistration {
  /** {@link SUPERUSER}, a uid in decimal, or {@link UNKNOWN}. */
  readonly owner: string;
}

/** A registration that is gone, and whose key is reserved for its last owner for some time. */
export interface HeldRegistration extends RegistrationKey {
  /** {@link SUPERUSER}, or a uid in decimal; never {@link UNKNOWN}. */
  readonly owner: string;
}

/** A registration as log lines and messages name it. */
export function describeRegistration({ program, version, netid, address }: NewRegistration): string {
  return `${program} version ${version} ${netid} ${address}`;
}

/** A registration without what the table or a store adds to it. */
export function plain({ program, version, netid, address, owner }: Registration): Registration {
  return { program, version, netid, address, owner };
}
