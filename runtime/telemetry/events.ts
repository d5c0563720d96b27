/**
 * What an operator's tools may listen to, through node:diagnostics_channel: names and what is
 * published on them. Nobody listening costs one test a call.
 */

import { channel } from 'node:diagnostics_channel';
import type { CallContext, Procedure } from '../protocol/procedure.js';
import type { Peer } from '../protocol/transport.js';

/** How a call ended: with a result, refused before or by the procedure, failed, or with silence. */
export type Outcome = 'success' | 'refused' | 'failed' | 'silent';

/** Published on `rpcbind-ts:server:call` when a call has ended. */
export interface ServerCallEvent {
  readonly context: CallContext;
  readonly outcome: Outcome;
  readonly durationMs: number;
  /** What the procedure failed or refused with. */
  readonly error?: unknown;
}

/** Published on `rpcbind-ts:client:call` when a call has ended, and on `rpcbind-ts:client:resend` when it goes out again. */
export interface ClientCallEvent {
  readonly procedure: Procedure;
  readonly target: string;
  readonly xid: number;
  readonly durationMs: number;
  readonly error?: unknown;
}

/** Published on `rpcbind-ts:server:connection`. */
export interface ConnectionEvent {
  /** 'upgrade': TLS has begun on it; 'upgrade failed': the handshake failed, and it is closed. */
  readonly event: 'open' | 'close' | 'upgrade' | 'upgrade failed';
  readonly peer: Peer;
  /** Why the handshake failed. */
  readonly error?: unknown;
}

/** Published on `rpcbind-ts:server:duplicate`: a call that had come before was answered from the cache, or dropped. */
export interface DuplicateEvent {
  readonly peer: Peer;
  readonly procedure: Procedure;
  readonly xid: number;
  readonly action: 'replayed' | 'dropped';
}

export const serverCallChannel = channel('rpcbind-ts:server:call');
export const clientCallChannel = channel('rpcbind-ts:client:call');
export const clientResendChannel = channel('rpcbind-ts:client:resend');
export const connectionChannel = channel('rpcbind-ts:server:connection');
export const duplicateChannel = channel('rpcbind-ts:server:duplicate');
