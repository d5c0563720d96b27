/**
 * Program 100000 in its versions 2, 3 and 4 (RFC 1833): three views of one table. It translates
 * between the wire's structures and the rules in core.ts.
 */

import { type CallContext, NoReply, type Peer, type Service } from '../../runtime/index.js';
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
import type { RpcbindCore } from './core.js';

/** Bytes of a reply's header, and of the end of a list. */
const REPLY_BYTES = 28;
/** Bytes of a reply to a forwarded call beside the address and the result: header, port or length, length. */
const FORWARDED_BYTES = 32;
/** Bytes of one row of version 2's table. */
const MAPPING_BYTES = 20;
const NO_NETBUF: netbuf = { maxlen: 0, buf: new Uint8Array(0) };

/** A call that was passed on: what came back, and from where. */
export interface Forwarded {
  readonly entry: TableEntry;
  readonly result: Uint8Array;
}

/** Passes calls on to programs of this host. Rejects where it will not or cannot. */
export interface Forwarder {
  forward(call: rpcb_rmtcallargs, context: CallContext): Promise<Forwarded>;
}

/** The netid of the transport that a call came by. */
export function netidOf(peer: Peer): string {
  if (peer.transport === 'unix' || peer.transport === 'loopback') return 'local';
  return peer.address.includes(':') ? `${peer.transport}6` : peer.transport;
}

/** Version 2, the port mapper: UDP and TCP over IPv4 (RFC 1833 section 3). */
export function createVersion2(binder: RpcbindCore, forwarder: Forwarder): Service {
  const service = createRpcbprogV2({
    null(context) {
      binder.admit(context);
    },
    set({ prog, vers, prot, port }: mapping, context) {
      const peer = binder.admit(context);
      const netid = netidOfProtocol(prot);
      if (netid === undefined || port < 1 || port > 65_535) {
        binder.admitRegistrar(peer, 'SET');
        return false;
      }
      const address = formatUaddr('0.0.0.0', port);
      return binder.set({ program: prog, version: vers, netid, address }, PMAP_VERS, peer);
    },
    unset({ prog, vers }: mapping, context) {
      const peer = binder.admit(context);
      return binder.unset(prog, vers, ['udp', 'tcp'], PMAP_VERS, peer);
    },
    getport({ prog, vers, prot }: mapping, context) {
      binder.admit(context);
      const netid = netidOfProtocol(prot);
      return netid === undefined ? 0 : (binder.find(prog, vers, netid, PMAP_VERS)?.port ?? 0);
    },
    dump(context): pmaplist {
      const peer = binder.admit(context);
      binder.admitTable(peer, REPLY_BYTES + binder.registry.mappingCount * MAPPING_BYTES);
      return binder.table().flatMap((entry) => {
        const prot = protocolOfNetid(entry.netid);
        if (prot === undefined) return [];
        return [{ map: { prog: entry.program, vers: entry.version, prot, port: entry.port } }];
      });
    },
    async callit(args: call_args, context): Promise<call_result> {
      const peer = binder.admit(context);
      binder.admitForwarding(peer);
      const { entry, result } = await quietly(forwarder.forward(args, context));
      binder.admitTable(peer, FORWARDED_BYTES + opaqueBytes(result.length));
      return { port: entry.port, res: result };
    },
  });
  return service;
}

/** Version 3 (RFC 1833 section 2.2.1). */
export function createVersion3(binder: RpcbindCore, forwarder: Forwarder): Service {
  return createRpcbprogV3(commonHandlers(binder, forwarder, RPCBVERS));
}

/** Version 4 (RFC 1833 section 2.2.1). */
export function createVersion4(binder: RpcbindCore, forwarder: Forwarder): Service {
  const { callit, ...common } = commonHandlers(binder, forwarder, RPCBVERS4);
  const service = createRpcbprogV4({
    ...common,
    bcast: callit,
    getversaddr(args: rpcb, context) {
      const peer = binder.admit(context);
      return address(binder, args, RPCBVERS4, peer, true);
    },
    async indirect(args: rpcb_rmtcallargs, context): Promise<rpcb_rmtcallres> {
      const peer = binder.admit(context);
      binder.admitForwarding(peer);
      return admitted(binder, peer, await forwarder.forward(args, context));
    },
    getaddrlist({ r_prog, r_vers }: rpcb, context): rpcb_entry_list_ptr {
      const peer = binder.admit(context);
      // A row for each netid at most, so to build them first costs little.
      const rows = addressList(binder, r_prog, r_vers, peer);
      binder.admitTable(
        peer,
        rows.reduce((sum, row) => sum + entryBytesOf(row), REPLY_BYTES),
      );
      return rows;
    },
    getstat(context): rpcb_stat_byvers {
      const peer = binder.admit(context);
      binder.admitTable(peer, REPLY_BYTES + binder.stats.snapshotBytes);
      return binder.stats.snapshot();
    },
  });
  return service;
}

/** What versions 3 and 4 have in common. */
function commonHandlers(binder: RpcbindCore, forwarder: Forwarder, of: 3 | 4): Required<RpcbprogV3Handlers> {
  return {
    null(context) {
      binder.admit(context);
    },
    set({ r_prog, r_vers, r_netid, r_addr }: rpcb, context) {
      const peer = binder.admit(context);
      const registration = { program: r_prog, version: r_vers, netid: r_netid, address: r_addr };
      return binder.set(registration, of, peer);
    },
    unset({ r_prog, r_vers, r_netid }: rpcb, context) {
      const peer = binder.admit(context);
      return binder.unset(r_prog, r_vers, r_netid === '' ? undefined : [r_netid], of, peer);
    },
    getaddr(args: rpcb, context) {
      const peer = binder.admit(context);
      return address(binder, args, of, peer, false);
    },
    dump(context): rpcblist_ptr {
      const peer = binder.admit(context);
      binder.admitTable(peer, REPLY_BYTES + binder.registry.rowBytes);
      return binder.table().map((entry) => ({
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
      const peer = binder.admit(context);
      binder.admitForwarding(peer);
      return admitted(binder, peer, await quietly(forwarder.forward(args, context)));
    },
    gettime(context) {
      binder.admit(context);
      return Math.floor(Date.now() / 1000) >>> 0;
    },
    uaddr2taddr(text: string, context): netbuf {
      const peer = binder.admit(context);
      const endpoint = parseUaddr(netidOf(peer), text);
      if (endpoint === undefined) return NO_NETBUF;
      const buf = toSockaddr(endpoint);
      return { maxlen: buf.length, buf };
    },
    taddr2uaddr({ buf }: netbuf, context) {
      const peer = binder.admit(context);
      return fromSockaddr(netidOf(peer), buf) ?? '';
    },
  };
}

/** The answer to GETADDR is for the transport the question came by; what r_netid says is ignored. */
function address(binder: RpcbindCore, args: rpcb, by: 3 | 4, peer: Peer, isExact: boolean): string {
  const entry = binder.find(args.r_prog, args.r_vers, netidOf(peer), by, isExact);
  return entry === undefined ? '' : binder.addresses.addressFor(entry, peer, args.r_addr);
}

/** The addresses of the family that the question came by: the C daemon lists no others, and its clients expect none. */
function addressList(binder: RpcbindCore, program: number, version: number, peer: Peer): rpcb_entry_list_ptr {
  const family = transportOf(netidOf(peer))?.family;
  return binder.registry.select(program, version).flatMap((entry) => {
    const transport = transportOf(entry.netid);
    if (transport?.family !== family || transport === undefined || entry.isUnconfirmed) return [];
    return [
      {
        rpcb_entry_map: {
          r_maddr: binder.addresses.addressFor(entry, peer),
          r_nc_netid: entry.netid,
          r_nc_semantics: transport.semantics,
          r_nc_protofmly: transport.family,
          r_nc_proto: transport.protocol,
        },
      },
    ];
  });
}

/** CALLIT and BCAST fail in silence: they may be broadcast, and a refusal from every host would be a flood. */
async function quietly(forwarded: Promise<Forwarded>): Promise<Forwarded> {
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

/** The reply to a forwarded call, once its bytes are charged to the caller. Throws NoReply where they may not go. */
function admitted(binder: RpcbindCore, peer: Peer, { entry, result }: Forwarded): rpcb_rmtcallres {
  const addr = binder.addresses.addressFor(entry, peer);
  binder.admitTable(peer, FORWARDED_BYTES + opaqueBytes(addr.length) + opaqueBytes(result.length));
  return { addr, results: result };
}

/** One row of GETADDRLIST: five texts, a number, the mark that it follows. */
function entryBytesOf({ rpcb_entry_map: row }: rpcb_entry_list_ptr[number]): number {
  const texts = [row.r_maddr, row.r_nc_netid, row.r_nc_protofmly, row.r_nc_proto];
  return texts.reduce((sum, text) => sum + 4 + opaqueBytes(Buffer.byteLength(text)), 8);
}

/** Bytes of so many as XDR has them, without their count (RFC 4506 section 4.10). */
function opaqueBytes(length: number): number {
  return (length + 3) & ~3;
}
