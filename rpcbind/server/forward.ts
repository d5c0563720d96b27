/**
 * Calls that are forwarded to programs of this host: CALLIT, BCAST and INDIRECT (RFC 1833 sections 2.2.1 and 3.2). The
 * daemon calls the program over UDP with an xid of its own, and sends the result to the caller. Failures are reported
 * here; program.ts answers CALLIT and BCAST with silence.
 *
 * Threat: the program takes the daemon's address for the caller's, so a remote caller gets what this host alone may get;
 * and a caller can make the daemon send much for little. So some procedures are never forwarded, only programs of this
 * host are called, and the number of calls in progress is limited and shared.
 */

import {
  AuthError,
  type CallContext,
  connectUdp,
  createClient,
  noCredentials,
  type Peer,
  type Procedure,
  ReplyError,
  type RpcClient,
  RpcError,
  StatusError,
} from '../../runtime/index.js';
import { accept_stat, auth_stat, rawCodec, sourceOf } from '../../runtime/protocol.js';
import { isLocalPeer, userOfConnection } from '../kernel/owner.js';
import { RPCBPROC_INDIRECT, RPCBPROG, RPCBVERS4, type rpcb_rmtcallargs } from '../rpcbind.gen.js';
import type { TableEntry } from '../table/registry.js';
import type { EventListener } from './events.js';
import { type Forwarded, netidOf } from './program.js';
import type { ForwardOrigin, RpcbindVersion } from './stats.js';

/** Timeout of a forwarded call: 10 s. */
export const FORWARD_TIMEOUT_MS = 10_000;
/** Maximum number of forwarded calls in progress; a further one fails. */
export const MAX_FORWARDED_CALLS = 256;
/**
 * Of these, the maximum of one source (a user of this host where known, an IPv4 address, an IPv6 network of 64 bits), and
 * the maximum to one address. So a program that never answers, and whoever calls it, takes up no more than a share for
 * {@link FORWARD_TIMEOUT_MS}.
 */
export const MAX_FORWARDED_CALLS_SHARE = 64;
/** Maximum number of programs that a socket is kept open to. */
export const MAX_FORWARD_TARGETS = 64;

/**
 * Procedures that are never forwarded: all of a program, or those listed. They trust the address of the caller, which
 * would be this host's. NULL of every program is forwarded.
 */
const denied: ReadonlyMap<number, readonly number[] | 'all'> = new Map<number, readonly number[] | 'all'>([
  [RPCBPROG, 'all'],
  // NFS, its ACLs, MOUNT, RQUOTA.
  [100003, 'all'],
  [100227, 'all'],
  [100005, 'all'],
  [100011, 'all'],
  // YP: procedures that read or transfer whole maps, that set a domain, that set passwords and maps.
  [100004, [3, 4, 5, 6, 7, 8]],
  [100007, [2]],
  [100009, 'all'],
  [100028, 'all'],
]);

/** What forwarding needs of the daemon. */
export interface ForwardParts {
  readonly isEnabled: boolean;
  /** See {@link Lookups}. */
  readonly lookups: {
    find(program: number, version: number, netid: string, by: RpcbindVersion): TableEntry | undefined;
  };
  /** See {@link Statistics}. */
  readonly counters: {
    countForward(call: rpcb_rmtcallargs, origin: ForwardOrigin, isAnswered: boolean): void;
  };
  /** Whether an IP address is one of this host. */
  readonly isOwnAddress: (host: string) => boolean;
  readonly onEvent: EventListener;
}

/** Forwards calls, for one daemon. */
export class CallForwarder {
  private readonly parts: ForwardParts;
  private readonly clients = new Map<string, Promise<RpcClient>>();
  private pending = 0;
  /** Of `pending`, by source and by address: two keys for each call. */
  private readonly shares = new Map<string, number>();

  constructor(parts: ForwardParts) {
    this.parts = parts;
  }

  /** Calls in progress. */
  get pendingCount(): number {
    return this.pending;
  }

  /**
   * Rejects with StatusError PROG_UNAVAIL if the program is not registered, and with what the program itself refuses
   * with; SYSTEM_ERR if it does not answer within {@link FORWARD_TIMEOUT_MS}, is not there, or if too many calls are in
   * progress; AuthError AUTH_TOOWEAK if the procedure is not forwarded.
   */
  async forward(call: rpcb_rmtcallargs, context: CallContext): Promise<Forwarded> {
    const by = context.procedure.version as RpcbindVersion;
    const isIndirect = by === RPCBVERS4 && context.procedure.number === RPCBPROC_INDIRECT;
    const origin: ForwardOrigin = { by, netid: netidOf(context.peer), isIndirect };
    try {
      const forwarded = await this.send(call, origin, context);
      this.parts.counters.countForward(call, origin, true);
      return forwarded;
    } catch (error) {
      this.parts.counters.countForward(call, origin, false);
      if (error instanceof ReplyError) throw new StatusError(error.refusal);
      // The program does not answer, or is not there: no fault of the daemon.
      if (error instanceof RpcError) throw new StatusError({ status: accept_stat.SYSTEM_ERR }, error.message);
      throw error;
    }
  }

  /** Closes the sockets; calls in progress fail. */
  async close(): Promise<void> {
    const all = [...this.clients.values()];
    this.clients.clear();
    for (const client of all) await client.then((opened) => opened.close()).catch(() => undefined);
  }

  private async send(
    call: rpcb_rmtcallargs,
    { by, netid }: ForwardOrigin,
    { peer, credentials }: CallContext,
  ): Promise<Forwarded> {
    const { isEnabled, lookups } = this.parts;
    if (!isEnabled) throw new AuthError(auth_stat.AUTH_TOOWEAK, 'calls are not forwarded');
    this.checkProcedure(call, peer);
    const entry =
      (netid.endsWith('6') ? lookups.find(call.prog, call.vers, 'udp6', by) : undefined) ??
      lookups.find(call.prog, call.vers, 'udp', by);
    if (entry === undefined) throw new StatusError({ status: accept_stat.PROG_UNAVAIL });
    // NULL of rpcbind itself: the result is known.
    if (call.prog === RPCBPROG) return { entry, result: new Uint8Array(0) };
    const keys = [`from ${sourceOfCall(peer)}`, `to ${entry.netid} ${entry.address}`];
    const isOver = keys.some((key) => (this.shares.get(key) ?? 0) >= MAX_FORWARDED_CALLS_SHARE);
    if (isOver || this.pending >= MAX_FORWARDED_CALLS)
      throw new StatusError({ status: accept_stat.SYSTEM_ERR });
    this.pending += 1;
    for (const key of keys) this.count(key, 1);
    try {
      const client = await this.clientFor(entry);
      const procedure: Procedure<Uint8Array, Uint8Array> = {
        program: call.prog,
        version: call.vers,
        number: call.proc,
        name: `procedure ${call.proc} of program ${call.prog}`,
        args: rawCodec,
        result: rawCodec,
      };
      const result = await client.call(procedure, call.args, {
        credentials: credentials.flavor === 'sys' ? credentials : noCredentials,
      });
      return { entry, result };
    } finally {
      this.pending -= 1;
      for (const key of keys) this.count(key, -1);
    }
  }

  private count(key: string, by: 1 | -1): void {
    const count = (this.shares.get(key) ?? 0) + by;
    if (count === 0) this.shares.delete(key);
    else this.shares.set(key, count);
  }

  private checkProcedure(call: rpcb_rmtcallargs, peer: Peer): void {
    if (call.proc === 0) return;
    const procedures = denied.get(call.prog);
    if (procedures !== 'all' && procedures?.includes(call.proc) !== true) return;
    const what = `forwarding to procedure ${call.proc} of program ${call.prog}`;
    this.parts.onEvent({ event: 'refused', what, why: 'it is never forwarded', peer });
    throw new AuthError(auth_stat.AUTH_TOOWEAK, 'this procedure is never forwarded');
  }

  /** A client of the program, on this host alone, whatever address was registered. */
  private clientFor(entry: TableEntry): Promise<RpcClient> {
    const host = entry.isWildcard ? (entry.netid === 'udp6' ? '::1' : '127.0.0.1') : entry.host;
    if (!this.parts.isOwnAddress(host))
      throw new AuthError(auth_stat.AUTH_TOOWEAK, `${host} is not this host`);
    const key = `${host} ${entry.port}`;
    const known = this.clients.get(key);
    // Inserted again, so that the least recently used one is first.
    this.clients.delete(key);
    const client = known ?? this.open(host, entry.port);
    this.clients.set(key, client);
    if (this.clients.size > MAX_FORWARD_TARGETS) {
      const [oldest, evicted] = this.clients.entries().next().value as [string, Promise<RpcClient>];
      this.clients.delete(oldest);
      void evicted.then((opened) => opened.close()).catch(() => undefined);
    }
    return client;
  }

  private async open(host: string, port: number): Promise<RpcClient> {
    // Sent once: the caller retransmits its own call.
    return createClient(await connectUdp({ host, port }), {
      retransmitMs: FORWARD_TIMEOUT_MS,
      timeoutMs: FORWARD_TIMEOUT_MS,
    });
  }
}

/**
 * The source to which a forwarded call is charged. All of 127.0.0.0/8 is one source, since every user of this host can call
 * from any of these addresses.
 */
function sourceOfCall(peer: Peer): string {
  if (peer.transport === 'unix') return `user ${peer.uid ?? ''}`;
  if (!isLocalPeer(peer)) return sourceOf(peer.address);
  return peer.transport === 'tcp' ? `user ${userOfConnection(peer)}` : 'loopback';
}
