/**
 * What commands, benches and tests of this project need beyond index.ts: limits, names of files, details of addresses and
 * of the kernel. Not part of the package: it may change in any version.
 */

export { DEFAULT_CHECK_MS, FIRST_RETRY_MS, MAX_RETRY_MS } from './client/publish.js';
export { type BoundSocket, socketOfInode } from './kernel/procnet.js';
export { describeRegistration } from './registration.js';
export { PMAP_VERS, RPCBVERS, RPCBVERS4 } from './rpcbind.gen.js';
export {
  DEFAULT_CALLS_PER_SECOND,
  DEFAULT_TABLE_BYTES_PER_MINUTE,
  networkList,
} from './server/access.js';
export {
  FORWARD_TIMEOUT_MS,
  MAX_FORWARD_TARGETS,
  MAX_FORWARDED_CALLS,
  MAX_FORWARDED_CALLS_SHARE,
} from './server/forward.js';
export { CONFIRM_MS, MAX_REQUESTED_PROBES, ROUND_MS } from './server/liveness.js';
export { MAX_RATE } from './server/options.js';
export { MAX_PENDING_CHANGES, RESERVED_PENDING_CHANGES } from './server/queue.js';
export {
  DISCOVERY_GROUP,
  MAX_CALL_BYTES,
  MAX_CONNECTIONS,
  MAX_CONNECTIONS_PER_SOURCE,
  MAX_UNFINISHED_BYTES,
  MAX_UNSENT_BYTES,
  RESERVED_CONNECTIONS,
} from './server/sockets.js';
export { MAX_STATISTICS_ROWS } from './server/stats.js';
export { MAX_STATE_BYTES } from './state/files.js';
export { JOURNAL_FILE, MAX_OBSOLETE_LINES, STATE_FOLDER } from './state/journal.js';
export { LOCK_ANSWER_MS, LOCK_FILE, StateHeldError } from './state/lock.js';
export { PORTMAP_FILE, SNAPSHOT_FILE } from './state/snapshot.js';
export { MAX_SOURCES } from './table/accounts.js';
export { DEFAULT_HOLD_MS, MAX_HOLD_MS } from './table/held.js';
export {
  DEFAULT_MAX_REGISTRATIONS,
  DEFAULT_MAX_REGISTRATIONS_PER_OWNER,
  MAX_REGISTRATIONS,
  SUPERUSER_SHARE,
} from './table/registry.js';
export { FIRST_UNRESERVED_PORT, MAX_PROGRAM_RULES, RESERVED_PROGRAMS } from './table/reserved.js';
export {
  canonicalIPv6,
  isLoopback,
  isWildcard,
  MAX_LOCAL_ADDRESS_BYTES,
  netids,
  transportOf,
} from './uaddr.js';
