/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />
/**
 * rpcbind (RFC 1833) as a library: look up programs, register servers, run a daemon. docs/rpcbind.md explains it. What the
 * commands of this project need beyond that is in internal.ts.
 */

export {
  type AddressEntry,
  connectRpcbind,
  defaultRpcbindPort,
  LOCAL_SOCKET_PATH,
  type PortMapping,
  RpcbindClient,
  type RpcbindOptions,
} from './client/client.js';
export {
  type ForwardCount,
  type ForwardedCall,
  forwardCall,
  forwardCallIndirect,
  getStatistics,
  getTime,
  type LookupCount,
  type VersionStatistics,
} from './client/diagnostics.js';
export { type LookupOptions, type LookupResult, lookup } from './client/lookup.js';
export { type Publication, type PublicationState, type PublishOptions, publish } from './client/publish.js';
export { RpcbindError, type RpcbindErrorCode } from './errors.js';
export {
  type HeldRegistration,
  type NewRegistration,
  type Registration,
  type RegistrationKey,
  SUPERUSER,
  UNKNOWN,
} from './registration.js';
export { PMAP_PORT, RPCBPROG } from './rpcbind.gen.js';
export type { AccessLists, RefusalCounts } from './server/access.js';
export { createRpcbind, type Rpcbind, type RpcbindStats } from './server/daemon.js';
export type { RpcbindEvent } from './server/events.js';
export type { LivenessMode, LivenessStats } from './server/liveness.js';
export type { InheritedSocket, RpcbindDaemonOptions } from './server/options.js';
export type { ChangeStats } from './server/registrar.js';
export type { VersionCounts } from './server/stats.js';
export { JournalStore } from './state/journal.js';
export {
  type CurrentTable,
  MemoryStore,
  type RegistrationStore,
  type StoreChange,
  type StoredRegistration,
  type StoredTable,
  type StoreKey,
  type StoreStats,
  THIS_HOST,
} from './state/store.js';
export type { ProgramRule } from './table/reserved.js';
export { type Endpoint, formatUaddr, parseUaddr } from './uaddr.js';
