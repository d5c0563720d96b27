/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />
/**
 * What libraries and tools need beside index.ts: messages, records, transports, listeners, limits, events and metrics.
 */

export {
  type Broadcast,
  type BroadcastReply,
  DEFAULT_BROADCAST_MS,
  DEFAULT_FIRST_ROUND_MS,
  DEFAULT_MAX_BROADCAST_REPLIES,
  RPCB_MULTICAST_ADDRESS,
} from './client/broadcast.js';
export { type ClientStats, MAX_COUNTED_PROCEDURES } from './client/client.js';
export { DEFAULT_MAX_PENDING_CALLS } from './client/clientoptions.js';
export {
  ConnectedClient,
  type Location,
  type Lookup,
  type LookupTarget,
  type Route,
} from './client/connect.js';
export {
  type NoCredentials,
  type OtherCredentials,
  readSysCredentials,
  type SysCredentials,
} from './protocol/auth.js';
export {
  DEFAULT_DUP_CACHE_AGE_MS,
  DEFAULT_DUP_CACHE_BYTES,
  DEFAULT_DUP_CACHE_ENTRIES,
  DUPLICATE_DROPPED,
  DUPLICATE_REFUSED,
  DUPLICATE_REPLAYED,
  DupCache,
  type DupCacheOptions,
  type DupCacheStats,
} from './protocol/dupcache.js';
export {
  type Executed,
  type Refusal,
  type ReplyErrorCode,
  SecurityError,
  type TransportErrorCode,
} from './protocol/errors.js';
export type { InterceptedCall } from './protocol/interceptor.js';
export { integerOption } from './protocol/limits.js';
export {
  type CallHeader,
  type CallReading,
  emptyCallHeader,
  readCall,
  readReply,
  readReplyXid,
  refusalError,
  writeCall,
  writeRefusal,
  writeSuccess,
} from './protocol/message.js';
export { importOptional, MissingPackageError } from './protocol/optional.js';
export { nullProcedure } from './protocol/procedure.js';
export { rawCodec } from './protocol/raw.js';
export {
  DEFAULT_MAX_FRAGMENTS,
  DEFAULT_MAX_RECORD_BYTES,
  MARK_BYTES,
  RecordFramer,
  type RecordOptions,
  RecordParser,
} from './protocol/record.js';
export {
  DEFAULT_RETRANSMIT_MS,
  DEFAULT_TIMEOUT_MS,
  MAX_TIMEOUT_MS,
  nextStep,
  type RetryOptions,
  resendAt,
  retryOptions,
} from './protocol/retry.js';
export { accept_stat, auth_flavor, auth_stat } from './protocol/rpcmsg.gen.js';
export {
  type AcceptedReply,
  type AuthField,
  type CallTarget,
  type ClientSecurity,
  NO_VERIFIER,
  type ProtectedCall,
  type ReplyProtection,
  readAcceptedReply,
  SECURITY_CLOSE_MS,
  type SecuredCall,
  type SecurityAcceptance,
  type SecurityDecision,
  type SecurityExchange,
  type SecurityGarbage,
  type SecurityReply,
  type ServerSecurity,
  sealCall,
} from './protocol/security.js';
export { MAX_SHARE_SOURCES } from './protocol/shares.js';
export { isLoopback, sourceOf } from './protocol/source.js';
export type {
  ClientTransport,
  Listener,
  Netid,
  PeerIdentity,
  Receive,
  ReplyChannel,
  TransportEvents,
  TransportKind,
} from './protocol/transport.js';
export { randomXid } from './protocol/xid.js';
export type { SecurityStats } from './server/authenticator.js';
export { Dispatcher, type DispatcherStats } from './server/dispatcher.js';
export {
  type CallRequest,
  DEFAULT_CALL_TIMEOUT_MS,
  DEFAULT_MAX_PENDING,
  type DispatcherOptions,
  MAX_PENDING,
} from './server/dispatcheroptions.js';
export type { LoopbackFaults } from './server/memory.js';
export { DEFAULT_DRAIN_MS, MAX_HELD_BYTES, MAX_HELD_CALLS } from './server/server.js';
export {
  DEFAULT_MAX_RESTART_MS,
  DEFAULT_MIN_RESTART_MS,
  DEFAULT_WORKER_GRACE_MS,
  DEFAULT_WORKER_START_MS,
  DEFAULT_WORKERS,
  WorkerError,
  type WorkerOptions,
  type WorkerStats,
} from './server/workers.js';
export type {
  ClientCallEvent,
  ConnectionEvent,
  DuplicateEvent,
  Outcome,
  ServerCallEvent,
} from './telemetry/events.js';
export {
  Histogram,
  type LatencyBucket,
  type LatencyStats,
  type ProcedureStats,
} from './telemetry/metrics.js';
export {
  type BudgetHolder,
  ByteBudget,
  DEFAULT_MAX_UNFINISHED_BYTES,
  DEFAULT_MAX_UNSENT_BYTES,
} from './transport/budget.js';
export {
  DEFAULT_IDLE_TIMEOUT_MS,
  DEFAULT_MAX_BUFFERED_BYTES,
  DEFAULT_MAX_PENDING_PER_CONNECTION,
  DEFAULT_UPGRADE_TIMEOUT_MS,
  type StreamListenOptions,
} from './transport/connection.js';
export {
  type ConnectionLimits,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_MAX_CONNECTIONS_PER_SOURCE,
  DEFAULT_RESERVED_CONNECTIONS,
  RESERVED_DESCRIPTORS,
} from './transport/connections.js';
export { MAX_DATAGRAM_BYTES, resolveHost, type UdpOptions } from './transport/datagram.js';
export { inodeOfConnection, isLoopbackGuarded, peerUid } from './transport/localpeer.js';
export { hasNative, NATIVE_ENVIRONMENT } from './transport/native.js';
export {
  ENOENT,
  MAX_ANSWER_DATAGRAMS,
  NETLINK_SOCK_DIAG,
  Netlink,
  type NetlinkAnswer,
  type NetlinkFailure,
  NLM_F_DUMP,
} from './transport/netlink.js';
export type { StreamUpgrade, UpgradedSocket } from './transport/recordstream.js';
export { unmapped } from './transport/sockaddr.js';
export {
  checkPath,
  DEFAULT_CONNECT_TIMEOUT_MS,
  DEFAULT_MAX_RECONNECT_MS,
  DEFAULT_RECONNECT_MS,
  type HandshakeConnection,
  MAX_UNIX_PATH_BYTES,
  MAX_WAITING_BYTES,
  type StreamOptions,
  type TcpOptions,
  type UnixOptions,
} from './transport/stream.js';
export {
  listenTcp,
  listenUnix,
  type TcpListenOptions,
  type UnixListenOptions,
} from './transport/streamlistener.js';
export {
  DEFAULT_MAX_LOCAL_ADDRESSES,
  DEFAULT_RESCAN_MS,
  listenUdp,
  type UdpListenOptions,
} from './transport/udplistener.js';
