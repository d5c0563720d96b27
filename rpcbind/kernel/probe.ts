/**
 * What a liveness probe is, and which sockets prove that the server of a registration is running. When registrations are
 * probed, and what follows, is in server/liveness.ts.
 */

import { UNKNOWN } from '../registration.js';
import type { TableEntry } from '../table/registry.js';
import { isOneUser, ownerOfUid } from './owner.js';

/** `alive`: the server is running. `gone`: certainly not. `unknown`: the probe failed, or what it found proves neither. */
export type ProbeResult = 'alive' | 'gone' | 'unknown';

/** A way to find out whether the server of a registration is running. */
export interface LivenessProbe {
  /**
   * Probes one registration, now or later; calls `report` at most once. Never calls it if the registration cannot be
   * probed now, or at all.
   */
  probe(entry: TableEntry, report: (result: ProbeResult) => void): void;
  /** Begins a round of probes: what the system said is asked anew, with `isNew` also where that is expensive. */
  beginRound(isNew: boolean): void;
}

/**
 * Whether a socket of this user proves that the server is running: one of the owner or of root does. Every user can open
 * a socket at another's address, so those of other users do not. What `unknown` registered, any socket proves: every
 * user of this host can unset such a registration anyway. Undefined if the socket's user is not known.
 */
export function isProof(entry: TableEntry, uid: number | undefined): boolean | undefined {
  if (entry.owner === UNKNOWN) return true;
  if (uid === 0) return true;
  if (uid === undefined || !isOneUser(uid)) return undefined;
  return ownerOfUid(uid) === entry.owner;
}
