/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />
/** rpcbind, RFC 1833: asking one, being registered in one, and being one. The only door of this folder. */

export {
  type AddressEntry,
  connectRpcbind,
  defaultRpcbindPort,
  type ForwardCount,
  type ForwardedCall,
  LOCAL_SOCKET_PATH,
  type LookupCount,
  type PortMapping,
  RpcbindClient,
  type RpcbindOptions,
  type VersionStatistics,
} from './client/client.js';
export { type Found, type LookupOptions, lookup } from './client/lookup.js';
export {
  DEFAULT_CHECK_MS,
  FIRST_RETRY_MS,
  MAX_RETRY_MS,
  type Publication,
  type PublicationState,
  type PublishOptions,
  publish,
} from './client/publish.js';
export { RpcbindError, type RpcbindErrorCode } from './errors.js';
export { type BoundSocket, socketOfInode } from './kernel/procnet.js';
export type { Registration } from './registration.js';
export { PMAP_PORT, PMAP_VERS, RPCBPROG, RPCBVERS, RPCBVERS4 } from './rpcbind.gen.js';
export {
  type AccessLists,
  type AccessOptions,
  DEFAULT_CALLS_PER_SECOND,
  DEFAULT_TABLE_BYTES_PER_MINUTE,
  networkList,
  type RefusalCounts,
} from './server/access.js';
export { nameOf, type RpcbindEvent } from './server/core.js';
export {
  createRpcbind,
  DISCOVERY_GROUP,
  type InheritedSocket,
  MAX_CALL_BYTES,
  MAX_CONNECTIONS,
  MAX_CONNECTIONS_PER_SOURCE,
  MAX_UNFINISHED_BYTES,
  MAX_UNSENT_BYTES,
  RESERVED_CONNECTIONS,
  type Rpcbind,
  type RpcbindDaemonOptions,
  type RpcbindStats,
} from './server/daemon.js';
export {
  FORWARD_TIMEOUT_MS,
  MAX_FORWARD_TARGETS,
  MAX_FORWARDED_CALLS,
  MAX_FORWARDED_CALLS_SHARE,
} from './server/forward.js';
export { CONFIRM_MS, type LivenessMode, TICK_MS } from './server/liveness.js';
export { MAX_STATISTICS_ROWS, type VersionCounts } from './server/stats.js';
export { MAX_STATE_BYTES } from './state/files.js';
export {
  JOURNAL_FILE,
  MAX_DEAD_LINES,
  PORTMAP_FILE,
  SNAPSHOT_FILE,
  STATE_FOLDER,
} from './state/journal.js';
export { LOCK_ANSWER_MS, LOCK_FILE, StateHeldError } from './state/lock.js';
export {
  type CurrentTable,
  MemoryStore,
  type RegistrationStore,
  type StoreChange,
  type StoredRegistration,
  type StoredTable,
  THIS_HOST,
} from './state/store.js';
export { MAX_SOURCES } from './table/accounts.js';
export { DEFAULT_HOLD_MS, MAX_HOLD_MS } from './table/holds.js';
export {
  DEFAULT_MAX_REGISTRATIONS,
  DEFAULT_MAX_REGISTRATIONS_PER_OWNER,
  SUPERUSER,
  SUPERUSER_SHARE,
  UNKNOWN,
} from './table/registry.js';
export {
  FIRST_UNRESERVED_PORT,
  MAX_PROGRAM_RULES,
  type ProgramRule,
  RESERVED_PROGRAMS,
  type ReservationOptions,
} from './table/reserved.js';
export {
  canonicalIPv6,
  type Endpoint,
  formatUaddr,
  isLoopback,
  isWildcard,
  MAX_LOCAL_ADDRESS_BYTES,
  netids,
  parseUaddr,
  type Transport,
  transportOf,
} from './uaddr.js';
