/**
 * Program 100000 in its versions 2, 3 and 4 (RFC 1833): three views of one table. Translates between the structures of the
 * wire and the parts of the daemon.
 */

import { type CallContext, NoReply, type Peer, type Service } from '../../runtime/index.js';
import type { NewRegistration } from '../registration.js';
import {
  type call_args,
  type call_result,
  createRpcbprogV2,
  createRpcbprogV3,
  createRpcbprogV4,
  type mapping,
  type netbuf,
  PMAP_IPPROTO_TCP,
  PMAP_IPPROTO_UDP,
  PMAP_VERS,
  type pmaplist,
  RPCBVERS,
  RPCBVERS4,
  type RpcbprogV3Handlers,
  type rpcb,
  type rpcb_entry_list_ptr,
  type rpcb_rmtcallargs,
  type rpcb_rmtcallres,
  type rpcb_stat_byvers,
  type rpcblist_ptr,
} from '../rpcbind.gen.js';
import type { TableEntry } from '../table/registry.js';
import { formatUaddr, fromSockaddr, parseUaddr, toSockaddr, transportOf } from '../uaddr.js';
import type { RpcbindVersion } from './stats.js';

/** Bytes of a reply's header, and of the end of a list. */
const REPLY_BYTES = 28;
/** Bytes of the reply to a forwarded call beside address and result: header, port or length, length. */
const FORWARDED_BYTES = 32;
/** Bytes of one row of version 2's table. */
const MAPPING_BYTES = 20;
const NO_NETBUF: netbuf = { maxlen: 0, buf: new Uint8Array(0) };

/** The result of a forwarded call, and the registration that it was forwarded to. */
export interface Forwarded {
  readonly entry: TableEntry;
  readonly result: Uint8Array;
}

/** What the procedures need of the parts of the daemon. */
export interface ProgramParts {
  /** Each method throws what the caller gets instead of a result; see {@link Admission}. */
  readonly admission: {
    admitCall(context: CallContext): Peer;
    admitChange(peer: Peer, what: string): void;
    admitForward(peer: Peer): void;
    admitReply(peer: Peer, bytes: number): void;
  };
  /** See {@link Registrar}. */
  readonly registrar: {
    set(of: NewRegistration, by: RpcbindVersion, peer: Peer): boolean | Promise<boolean>;
    unset(
      of: { program: number; version: number; netids: readonly string[] | undefined },
      by: RpcbindVersion,
      peer: Peer,
    ): boolean | Promise<boolean>;
  };
  /** See {@link Lookups}. */
  readonly lookups: {
    readonly rowBytes: number;
    readonly mappingCount: number;
    find(
      program: number,
      version: number,
      netid: string,
      by: RpcbindVersion,
      isExact?: boolean,
    ): TableEntry | undefined;
    select(program: number, version: number): TableEntry[];
    table(): TableEntry[];
  };
  /** See {@link AddressSelector}. */
  readonly addresses: { addressFor(entry: TableEntry, peer: Peer, hint?: string): string };
  /** See {@link CallForwarder}. */
  readonly forwarder: { forward(call: rpcb_rmtcallargs, context: CallContext): Promise<Forwarded> };
  /** See {@link Statistics}. */
  readonly statistics: { readonly snapshotBytes: number; snapshot(): rpcb_stat_byvers };
}

/** The netid of the transport by which a call came. */
export function netidOf(peer: Peer): string {
  if (peer.transport === 'unix' || peer.transport === 'loopback') return 'local';
  return peer.address.includes(':') ? `${peer.transport}6` : peer.transport;
}

/** Versions 2, 3 and 4 of program 100000. */
export function createRpcbindServices(parts: ProgramParts): Service[] {
  return [createVersion2(parts), createRpcbprogV3(sharedHandlers(parts, RPCBVERS)), createVersion4(parts)];
}

/** Version 2, the port mapper: UDP and TCP over IPv4 (RFC 1833 section 3). */
function createVersion2({ admission, registrar, lookups, forwarder }: ProgramParts): Service {
  return createRpcbprogV2({
    null(context) {
      admission.admitCall(context);
    },
    set({ prog, vers, prot, port }: mapping, context) {
      const peer = admission.admitCall(context);
      const netid = netidOfProtocol(prot);
      if (netid === undefined || port < 1 || port > 65_535) {
        admission.admitChange(peer, 'SET');
        return false;
      }
      const address = formatUaddr('0.0.0.0', port);
      return registrar.set({ program: prog, version: vers, netid, address }, PMAP_VERS, peer);
    },
    unset({ prog, vers }: mapping, context) {
      const peer = admission.admitCall(context);
      return registrar.unset({ program: prog, version: vers, netids: ['udp', 'tcp'] }, PMAP_VERS, peer);
    },
    getport({ prog, vers, prot }: mapping, context) {
      admission.admitCall(context);
      const netid = netidOfProtocol(prot);
      return netid === undefined ? 0 : (lookups.find(prog, vers, netid, PMAP_VERS)?.port ?? 0);
    },
    dump(context): pmaplist {
      const peer = admission.admitCall(context);
      admission.admitReply(peer, REPLY_BYTES + lookups.mappingCount * MAPPING_BYTES);
      return lookups.table().flatMap((entry) => {
        const prot = protocolOfNetid(entry.netid);
        if (prot === undefined) return [];
        return [{ map: { prog: entry.program, vers: entry.version, prot, port: entry.port } }];
      });
    },
    async callit(args: call_args, context): Promise<call_result> {
      const peer = admission.admitCall(context);
      admission.admitForward(peer);
      const { entry, result } = await silently(forwarder.forward(args, context));
      admission.admitReply(peer, FORWARDED_BYTES + opaqueBytes(result.length));
      return { port: entry.port, res: result };
    },
  });
}

/** Version 4 (RFC 1833 section 2.2.1). */
function createVersion4(parts: ProgramParts): Service {
  const { admission, statistics, forwarder } = parts;
  const { callit, ...shared } = sharedHandlers(parts, RPCBVERS4);
  return createRpcbprogV4({
    ...shared,
    bcast: callit,
    getversaddr(args: rpcb, context) {
      const peer = admission.admitCall(context);
      return addressOf(parts, args, RPCBVERS4, peer, true);
    },
    async indirect(args: rpcb_rmtcallargs, context): Promise<rpcb_rmtcallres> {
      const peer = admission.admitCall(context);
      admission.admitForward(peer);
      return admitForwarded(parts, peer, await forwarder.forward(args, context));
    },
    getaddrlist({ r_prog, r_vers }: rpcb, context): rpcb_entry_list_ptr {
      const peer = admission.admitCall(context);
      // One row for each netid at most: they are built before their size is known.
      const rows = addressList(parts, r_prog, r_vers, peer);
      admission.admitReply(
        peer,
        rows.reduce((sum, row) => sum + entryBytesOf(row), REPLY_BYTES),
      );
      return rows;
    },
    getstat(context): rpcb_stat_byvers {
      const peer = admission.admitCall(context);
      admission.admitReply(peer, REPLY_BYTES + statistics.snapshotBytes);
      return statistics.snapshot();
    },
  });
}

/** The procedures that versions 3 and 4 share. */
function sharedHandlers(parts: ProgramParts, by: 3 | 4): Required<RpcbprogV3Handlers> {
  const { admission, registrar, lookups, forwarder } = parts;
  return {
    null(context) {
      admission.admitCall(context);
    },
    set({ r_prog, r_vers, r_netid, r_addr }: rpcb, context) {
      const peer = admission.admitCall(context);
      const registration = { program: r_prog, version: r_vers, netid: r_netid, address: r_addr };
      return registrar.set(registration, by, peer);
    },
    unset({ r_prog, r_vers, r_netid }: rpcb, context) {
      const peer = admission.admitCall(context);
      const netids = r_netid === '' ? undefined : [r_netid];
      return registrar.unset({ program: r_prog, version: r_vers, netids }, by, peer);
    },
    getaddr(args: rpcb, context) {
      const peer = admission.admitCall(context);
      return addressOf(parts, args, by, peer, false);
    },
    dump(context): rpcblist_ptr {
      const peer = admission.admitCall(context);
      admission.admitReply(peer, REPLY_BYTES + lookups.rowBytes);
      return lookups.table().map((entry) => ({
        rpcb_map: {
          r_prog: entry.program,
          r_vers: entry.version,
          r_netid: entry.netid,
          r_addr: entry.address,
          r_owner: entry.owner,
        },
      }));
    },
    async callit(args: rpcb_rmtcallargs, context): Promise<rpcb_rmtcallres> {
      const peer = admission.admitCall(context);
      admission.admitForward(peer);
      return admitForwarded(parts, peer, await silently(forwarder.forward(args, context)));
    },
    gettime(context) {
      admission.admitCall(context);
      return Math.floor(Date.now() / 1000) >>> 0;
    },
    uaddr2taddr(text: string, context): netbuf {
      const peer = admission.admitCall(context);
      const endpoint = parseUaddr(netidOf(peer), text);
      if (endpoint === undefined) return NO_NETBUF;
      const buf = toSockaddr(endpoint);
      return { maxlen: buf.length, buf };
    },
    taddr2uaddr({ buf }: netbuf, context) {
      const peer = admission.admitCall(context);
      return fromSockaddr(netidOf(peer), buf) ?? '';
    },
  };
}

/** The result of GETADDR is for the transport by which the call came; r_netid is ignored, as in Debian's rpcbind. */
function addressOf(
  { lookups, addresses }: ProgramParts,
  args: rpcb,
  by: 3 | 4,
  peer: Peer,
  isExact: boolean,
): string {
  const entry = lookups.find(args.r_prog, args.r_vers, netidOf(peer), by, isExact);
  return entry === undefined ? '' : addresses.addressFor(entry, peer, args.r_addr);
}

/** The addresses of the family by which the call came. Debian's rpcbind lists no others, and its clients expect none. */
function addressList(
  { lookups, addresses }: ProgramParts,
  program: number,
  version: number,
  peer: Peer,
): rpcb_entry_list_ptr {
  const family = transportOf(netidOf(peer))?.family;
  return lookups.select(program, version).flatMap((entry) => {
    const transport = transportOf(entry.netid);
    if (transport === undefined || transport.family !== family) return [];
    return [
      {
        rpcb_entry_map: {
          r_maddr: addresses.addressFor(entry, peer),
          r_nc_netid: entry.netid,
          r_nc_semantics: transport.semantics,
          r_nc_protofmly: transport.family,
          r_nc_proto: transport.protocol,
        },
      },
    ];
  });
}

/** CALLIT and BCAST fail without a reply: they may be broadcast, and every host would send an error. */
async function silently(forwarded: Promise<Forwarded>): Promise<Forwarded> {
  try {
    return await forwarded;
  } catch {
    throw new NoReply();
  }
}

function netidOfProtocol(protocol: number): 'udp' | 'tcp' | undefined {
  if (protocol === PMAP_IPPROTO_UDP) return 'udp';
  return protocol === PMAP_IPPROTO_TCP ? 'tcp' : undefined;
}

function protocolOfNetid(netid: string): number | undefined {
  if (netid === 'udp') return PMAP_IPPROTO_UDP;
  return netid === 'tcp' ? PMAP_IPPROTO_TCP : undefined;
}

/** The reply to a forwarded call, once it is charged to the caller. Throws NoReply if that fails. */
function admitForwarded(
  { admission, addresses }: ProgramParts,
  peer: Peer,
  { entry, result }: Forwarded,
): rpcb_rmtcallres {
  const addr = addresses.addressFor(entry, peer);
  admission.admitReply(peer, FORWARDED_BYTES + opaqueBytes(addr.length) + opaqueBytes(result.length));
  return { addr, results: result };
}

/** Bytes of one row of GETADDRLIST: five strings, a number, and the mark that it follows. */
function entryBytesOf({ rpcb_entry_map: row }: rpcb_entry_list_ptr[number]): number {
  const texts = [row.r_maddr, row.r_nc_netid, row.r_nc_protofmly, row.r_nc_proto];
  return texts.reduce((sum, text) => sum + 4 + opaqueBytes(Buffer.byteLength(text)), 8);
}

/** Bytes of opaque data on the wire, without its length (RFC 4506 section 4.10). */
function opaqueBytes(length: number): number {
  return (length + 3) & ~3;
}
