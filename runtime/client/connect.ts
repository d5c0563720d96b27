/**
 * A client for a program at a host, wherever there: the port is looked up, a version that both
 * ends know is chosen, and when the service has moved it is looked up again. Who looks up is told
 * by the caller, because rpcbind is a client of this folder and not the other way round.
 */

import { ReplyError, RpcError, TransportError } from '../protocol/errors.js';
import { type Caller, type CallOptions, nullProcedure, type Procedure } from '../protocol/procedure.js';
import type { ClientTransport } from '../protocol/transport.js';
import { connectUdp } from '../transport/datagram.js';
import { connectTcp, connectUnix } from '../transport/stream.js';
import { createClient, type RpcClient } from './client.js';
import type { ClientOptions } from './clientoptions.js';

/** What is to be found. */
export interface LookupTarget<TransportName extends 'udp' | 'tcp' | 'local' = 'udp' | 'tcp'> {
  readonly host: string;
  readonly program: number;
  readonly version: number;
  readonly transport: TransportName;
}

/** Where a service is. */
export type Location = { readonly host: string; readonly port: number } | { readonly path: string };

/**
 * Finds a service, as `lookup` of rpcbind does: undefined where it is not registered, or a rejection
 * that says so.
 */
export type Lookup<TransportName extends 'udp' | 'tcp' | 'local' = 'udp' | 'tcp'> = (
  target: LookupTarget<TransportName>,
) => Promise<Location | undefined>;

/** How to get there, and who knows where it is. */
export type Route =
  | {
      /** 'auto' takes TCP where it is registered, else UDP. Default 'auto'. */
      readonly transport?: 'udp' | 'tcp' | 'auto';
      readonly lookup: Lookup;
    }
  | {
      /** A unix socket. */
      readonly transport: 'local';
      readonly lookup: Lookup<'local'>;
    };

/** See {@link connect}. */
export type ConnectOptions = Route &
  ClientOptions & {
    readonly host: string;
    readonly program: number;
    /** The versions the caller can speak; the highest that is served is taken. */
    readonly versions: readonly number[];
  };

/** A client that knows where its program is. Made by {@link connect}. */
export class ConnectedClient implements Caller {
  /** The version chosen. Calls of procedures of another version are made as they are. */
  readonly version: number;
  private readonly options: ConnectOptions;
  private client: RpcClient;
  private place: string;
  private moving: Promise<void> | undefined;

  constructor(options: ConnectOptions, version: number, client: RpcClient, place: string) {
    this.options = options;
    this.version = version;
    this.client = client;
    this.place = place;
  }

  /** For error messages: where the calls go now. */
  get target(): string {
    return this.client.target;
  }

  /**
   * As {@link RpcClient.call}. Where the server is gone or another program has its port, the service is
   * looked up again; a call that was certainly not run is then made once more.
   */
  async call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions): Promise<R> {
    const used = this.client;
    try {
      return await used.call(procedure, args, options);
    } catch (error) {
      if (!hasMoved(error)) throw error;
      const before = this.place;
      // Whatever goes wrong while looking is less than what went wrong with the call.
      await this.move(used).catch(() => undefined);
      const isElsewhere = this.place !== before || this.client !== used;
      if (!isElsewhere || error.executed !== 'no') throw error;
      return this.client.call(procedure, args, options);
    }
  }

  async close(): Promise<void> {
    await this.moving?.catch(() => undefined);
    await this.client.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private move(from: RpcClient): Promise<void> {
    if (this.client !== from) return Promise.resolve();
    this.moving ??= this.lookAgain().finally(() => {
      this.moving = undefined;
    });
    return this.moving;
  }

  private async lookAgain(): Promise<void> {
    const found = await locate(this.options, this.version);
    if (found === undefined || placeOf(found) === this.place) return;
    const client = createClient(await open(found), this.options);
    const old = this.client;
    this.client = client;
    this.place = placeOf(found);
    await old.close();
  }
}

/**
 * A client for a program at a host. Rejects with TransportError `RPC_CONNECT` where it is not
 * registered or cannot be reached, ReplyError `RPC_PROG_MISMATCH` where no version is served that
 * the caller speaks, and whatever `lookup` rejects with.
 */
export async function connect(options: ConnectOptions): Promise<ConnectedClient> {
  let versions = [...options.versions].sort((a, b) => b - a);
  if (versions.length === 0) throw new RangeError('versions is empty: there is nothing to speak');
  for (;;) {
    const version = versions.shift();
    if (version === undefined) throw notFound(options);
    const found = await locate(options, version);
    if (found === undefined) continue;
    const client = createClient(await open(found), options);
    const refusal = await mismatch(client, options.program, version);
    if (refusal === undefined) return new ConnectedClient(options, version, client, placeOf(found));
    await client.close();
    // rpcbind answers with another version's port where it does not know the one asked for.
    if (!('low' in refusal.refusal)) throw refusal;
    const { low, high } = refusal.refusal;
    versions = versions.filter((other) => other >= low && other <= high);
    if (versions.length === 0) throw refusal;
  }
}

/** The server's refusal of this version, or undefined where it is served. */
async function mismatch(
  client: RpcClient,
  program: number,
  version: number,
): Promise<ReplyError | undefined> {
  try {
    await client.call(nullProcedure(program, version), undefined);
    return undefined;
  } catch (error) {
    if (error instanceof ReplyError && error.code === 'RPC_PROG_MISMATCH') return error;
    await client.close();
    throw error;
  }
}

async function locate(options: ConnectOptions, version: number): Promise<Found | undefined> {
  const { host, program } = options;
  const of = { host, program, version };
  if (options.transport === 'local') {
    const place = await options.lookup({ ...of, transport: 'local' });
    return place === undefined ? undefined : { kind: 'local', place };
  }
  const { lookup, transport = 'auto' } = options;
  const found = async (kind: 'udp' | 'tcp'): Promise<Found | undefined> => {
    const place = await lookup({ ...of, transport: kind });
    return place === undefined ? undefined : { kind, place };
  };
  if (transport !== 'auto') return found(transport);
  let reason: unknown;
  const byTcp = await found('tcp').catch((error: unknown) => {
    reason = error;
    return undefined;
  });
  if (byTcp !== undefined) return byTcp;
  // Where neither is there, what was said of the first transport says it as well.
  return found('udp').catch((error: unknown) => {
    throw reason ?? error;
  });
}

interface Found {
  readonly kind: 'udp' | 'tcp' | 'local';
  readonly place: Location;
}

function open({ kind, place }: Found): ClientTransport | Promise<ClientTransport> {
  if ('path' in place) return connectUnix(place);
  return kind === 'udp' ? connectUdp(place) : connectTcp(place);
}

function placeOf({ kind, place }: Found): string {
  return 'path' in place ? place.path : `${kind} ${place.host} ${place.port}`;
}

function hasMoved(error: unknown): error is RpcError {
  return error instanceof RpcError && MOVED.includes(error.code);
}

/** What a call may end in when its server has gone elsewhere. */
const MOVED: readonly string[] = ['RPC_CONNECT', 'RPC_CLOSED', 'RPC_TIMEOUT', 'RPC_PROG_UNAVAIL'];

function notFound({ host, program, versions, transport }: ConnectOptions): TransportError {
  const way = transport === undefined || transport === 'auto' ? '' : ` over ${transport}`;
  const text = `program ${program} version ${versions.join(' or ')} is not registered at ${host}${way}`;
  return new TransportError('RPC_CONNECT', text, 'no');
}
