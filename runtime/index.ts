/// <reference lib="esnext.disposable" preserve="true" />
/// <reference types="node" preserve="true" />
/**
 * The RPC runtime of RFC 5531 for those who call and serve: clients, servers, credentials and errors. What libraries and
 * tools need of the protocol and the transports is in protocol.ts.
 */

export { broadcast } from './client/broadcast.js';
export { createClient, type RpcClient } from './client/client.js';
export type { ClientOptions } from './client/clientoptions.js';
export { type ConnectOptions, connect } from './client/connect.js';
export { type Credentials, noCredentials, sysCredentials } from './protocol/auth.js';
export {
  AuthError,
  NoReply,
  ReplyError,
  ResultError,
  RpcError,
  type RpcErrorCode,
  StatusError,
  TimeoutError,
  TransportError,
} from './protocol/errors.js';
export type { Interceptor } from './protocol/interceptor.js';
export type {
  CallContext,
  Caller,
  CallOptions,
  Procedure,
  ServedProcedure,
  Service,
} from './protocol/procedure.js';
export type { Peer } from './protocol/transport.js';
export { serveInWorker } from './server/inworker.js';
export { connectLoopback } from './server/memory.js';
export { createServer, type RpcServer, type ServerOptions, type ServerStats } from './server/server.js';
export { startWorkers, type WorkerPool } from './server/workers.js';
export { connectUdp } from './transport/datagram.js';
export { connectTcp, connectUnix } from './transport/stream.js';
