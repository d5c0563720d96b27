/** From a host's name to its methods: looks the service up in rpcbind and connects. */

import { lookup } from '../../rpcbind/index.js';
import { connectTcp, createClient, type RpcClient } from '../../runtime/index.js';
import { MethodsClient, type Remote, remoteMethods } from './client.js';
import { METHODS_PROG, METHODS_V1 } from './methods.gen.js';

/** See {@link methods}. */
export interface MethodsConnectOptions {
  /** rpcbind's port there. Default: RPCBIND_PORT, else 111. */
  readonly rpcbindPort?: number;
  /** The service's program number where it is not the usual one. */
  readonly program?: number;
  /** Milliseconds until a call fails with TimeoutError. Default 25000. */
  readonly timeoutMs?: number;
}

const clients = new WeakMap<object, { readonly rpc: RpcClient; readonly client: MethodsClient }>();

/**
 * The methods of a host, over TCP: `const calc = await methods<Calculator>('host'); await calc.add(2, 3)`.
 * To be ended by {@link closeMethods}. Rejects with what a look-up in rpcbind may end in.
 */
export async function methods<T>(host: string, options: MethodsConnectOptions = {}): Promise<Remote<T>> {
  const { program = METHODS_PROG, rpcbindPort, timeoutMs } = options;
  const found = await lookup({
    host,
    rpcbindPort,
    program,
    version: METHODS_V1,
    transport: 'tcp',
    timeoutMs,
  });
  const rpc = createClient(connectTcp(found), timeoutMs === undefined ? {} : { timeoutMs });
  const client = new MethodsClient(rpc, program);
  const remote = remoteMethods<T>(client);
  clients.set(remote, { rpc, client });
  return remote;
}

/** The client behind what {@link methods} gave: for multicall, list, help and signature. Throws TypeError for anything else. */
export function clientOf(remote: object): MethodsClient {
  return connectionOf(remote).client;
}

/** Ends the connection of what {@link methods} gave. */
export async function closeMethods(remote: object): Promise<void> {
  await connectionOf(remote).rpc.close();
}

function connectionOf(remote: object): { readonly rpc: RpcClient; readonly client: MethodsClient } {
  const connection = clients.get(remote);
  if (connection === undefined) throw new TypeError('not what methods() gave');
  return connection;
}
