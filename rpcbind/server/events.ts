/** What a daemon tells its operator: every change of its table, and every refusal. */

import type { Peer } from '../../runtime/index.js';
import type { HeldRegistration, Registration } from '../registration.js';
import type { ReleaseReason } from '../table/held.js';

/**
 * An event of the daemon.
 *
 * - `set`, `unset`: a registration was added or removed, by a caller, or in the store by another daemon.
 * - `restored`: it was taken over from the store at the start. `dropped`: it was in the store and was not taken over.
 * - `stale`: it was removed, since its server is gone.
 * - `held`, `released`: a registration that is gone is held for its owner from now on, or not any more.
 * - `refused`: a call or a connection was refused.
 */
export type RpcbindEvent =
  | {
      readonly event: 'set' | 'unset';
      readonly registration: Registration;
      readonly source: 'caller' | 'store';
    }
  | { readonly event: 'restored' | 'stale'; readonly registration: Registration }
  | { readonly event: 'dropped'; readonly registration: Registration; readonly why: string }
  | { readonly event: 'held'; readonly registration: HeldRegistration }
  | { readonly event: 'released'; readonly registration: HeldRegistration; readonly reason: ReleaseReason }
  | { readonly event: 'refused'; readonly what: string; readonly why: string; readonly peer: Peer };

/** Receives the events of a daemon. */
export type EventListener = (event: RpcbindEvent) => void;
