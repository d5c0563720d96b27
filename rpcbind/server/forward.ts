/**
 * Calls that are passed on to programs of this host: CALLIT, BCAST and INDIRECT (RFC 1833 sections
 * 2.2.1 and 3.2). The call goes out over UDP under an xid of ours and is answered to whoever asked.
 * Silence on failure is program.ts' part; here failures are told.
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
import type { RpcbindCore } from './core.js';
import { type Forwarded, type Forwarder, netidOf } from './program.js';
import type { RpcbindVersion } from './stats.js';

/** How long a program has to answer a call that was passed on: 10 s. */
export const FORWARD_TIMEOUT_MS = 10_000;
/** Calls passed on and not answered yet, at most; one more fails. */
export const MAX_FORWARDED_CALLS = 256;
/**
 * Of these, those of one source (a user of this host where it can be told, an IPv4 address, an IPv6 network of 64 bits), and
 * those to one address: who asks a program that never answers, or serves it, holds no more than a share for
 * {@link FORWARD_TIMEOUT_MS}.
 */
export const MAX_FORWARDED_CALLS_SHARE = 64;
/** Programs that a socket is kept open to, at most. */
export const MAX_FORWARD_TARGETS = 64;

/**
 * Procedures that are not passed on, since the caller would be taken for this host: all of a
 * program, or those listed. NULL is always passed on.
 */
const denied: ReadonlyMap<number, readonly number[] | 'all'> = new Map<number, readonly number[] | 'all'>([
  [RPCBPROG, 'all'],
  // NFS, its ACLs, MOUNT, RQUOTA.
  [100003, 'all'],
  [100227, 'all'],
  [100005, 'all'],
  [100011, 'all'],
  // Yellow Pages: what reads whole maps or renews them; what sets a domain; what sets passwords and maps.
  [100004, [3, 4, 5, 6, 7, 8]],
  [100007, [2]],
  [100009, 'all'],
  [100028, 'all'],
]);

/** Passes calls on, for one daemon. */
export class CallForwarder implements Forwarder {
  private readonly binder: RpcbindCore;
  private readonly isOn: boolean;
  private readonly clients = new Map<string, Promise<RpcClient>>();
  private pending = 0;
  /** Of `pending`, by source and by address: at most two keys a call. */
  private readonly shares = new Map<string, number>();

  constructor(binder: RpcbindCore, isOn: boolean) {
    this.binder = binder;
    this.isOn = isOn;
  }

  /**
   * Rejects with StatusError PROG_UNAVAIL where the program is not registered, and with what the program
   * itself refuses with; SYSTEM_ERR where it does not answer within {@link FORWARD_TIMEOUT_MS} or is not
   * there; with AuthError AUTH_TOOWEAK where the procedure is not passed on.
   */
  async forward(call: rpcb_rmtcallargs, context: CallContext): Promise<Forwarded> {
    const version = context.procedure.version as RpcbindVersion;
    const isIndirect = version === RPCBVERS4 && context.procedure.number === RPCBPROC_INDIRECT;
    const netid = netidOf(context.peer);
    try {
      const forwarded = await this.send(version, call, context);
      this.binder.stats.forwarded(version, call, netid, isIndirect, true);
      return forwarded;
    } catch (error) {
      this.binder.stats.forwarded(version, call, netid, isIndirect, false);
      if (error instanceof ReplyError) throw new StatusError(error.refusal);
      // It did not answer, or is not there: no fault of ours.
      if (error instanceof RpcError) throw new StatusError({ status: accept_stat.SYSTEM_ERR }, error.message);
      throw error;
    }
  }

  /** Closes the sockets; calls under way fail. */
  async close(): Promise<void> {
    const all = [...this.clients.values()];
    this.clients.clear();
    for (const client of all) await client.then((one) => one.close()).catch(() => undefined);
  }

  private async send(
    version: RpcbindVersion,
    call: rpcb_rmtcallargs,
    context: CallContext,
  ): Promise<Forwarded> {
    const { peer } = context;
    if (!this.isOn) throw new AuthError(auth_stat.AUTH_TOOWEAK, 'calls are not passed on');
    this.admit(call, peer);
    const entry =
      (netidOf(peer).endsWith('6') ? this.binder.find(call.prog, call.vers, 'udp6', version) : undefined) ??
      this.binder.find(call.prog, call.vers, 'udp', version);
    if (entry === undefined) throw new StatusError({ status: accept_stat.PROG_UNAVAIL });
    // To our own NULL there is but one answer.
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
      const { credentials } = context;
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

  private admit(call: rpcb_rmtcallargs, peer: Peer): void {
    if (call.proc === 0) return;
    const procedures = denied.get(call.prog);
    if (procedures !== 'all' && procedures?.includes(call.proc) !== true) return;
    const what = `call of procedure ${call.proc} of program ${call.prog}`;
    this.binder.refused(what, 'it is never passed on', peer);
    throw new AuthError(auth_stat.AUTH_TOOWEAK, 'this procedure is never passed on');
  }

  /** A client for where the program is; only ever on this host, whatever was registered. */
  private clientFor(entry: TableEntry): Promise<RpcClient> {
    const host = entry.isWildcard ? (entry.netid === 'udp6' ? '::1' : '127.0.0.1') : entry.host;
    if (!this.binder.addresses.isOurs(host))
      throw new AuthError(auth_stat.AUTH_TOOWEAK, `${host} is not this host`);
    const key = `${host} ${entry.port}`;
    const known = this.clients.get(key);
    // The one used last is the last to go.
    this.clients.delete(key);
    const client = known ?? this.open(host, entry.port);
    this.clients.set(key, client);
    if (this.clients.size > MAX_FORWARD_TARGETS) {
      const [oldest, gone] = this.clients.entries().next().value as [string, Promise<RpcClient>];
      this.clients.delete(oldest);
      void gone.then((one) => one.close()).catch(() => undefined);
    }
    return client;
  }

  private async open(host: string, port: number): Promise<RpcClient> {
    // Sent once: whoever asked will ask again.
    return createClient(await connectUdp({ host, port }), {
      retransmitMs: FORWARD_TIMEOUT_MS,
      timeoutMs: FORWARD_TIMEOUT_MS,
    });
  }
}

/** Whom a forwarded call counts for. Loopback is 16 million addresses, all of which any user of this host can call from. */
function sourceOfCall(peer: Peer): string {
  if (peer.transport === 'unix') return `user ${peer.uid ?? ''}`;
  if (!isLocalPeer(peer)) return sourceOf(peer.address);
  return peer.transport === 'tcp' ? `user ${userOfConnection(peer)}` : 'loopback';
}
