/**
 * Who may call, and how much. Three checks: is the caller on the access list, does it call too often, and would the reply
 * make the daemon an amplifier (a forged call of 40 bytes is answered with kilobytes of table). Callers on this host are
 * exempt from all three.
 *
 * Anybody on the network can send a datagram from a forged address, but cannot establish a TCP connection from one. So a
 * source has two accounts, one for UDP and one for TCP: calls forged from the address of an honest host use up its account
 * for UDP, and never that of its connections.
 */

import { BlockList, isIP } from 'node:net';
import type { Peer } from '../../runtime/index.js';
import { unmapped } from '../../runtime/protocol.js';
import { isLocalPeer } from '../kernel/owner.js';
import { type Account, Accounts } from '../table/accounts.js';
import { type ReservationOptions, ReservedPrograms } from '../table/reserved.js';
import { withoutZone } from '../uaddr.js';

/** Default of `callsPerSecond`. */
export const DEFAULT_CALLS_PER_SECOND = 2_000;
/** Default of `tableBytesPerMinute`. */
export const DEFAULT_TABLE_BYTES_PER_MINUTE = 16_384;

/** See {@link Access}. */
export interface AccessOptions extends ReservationOptions {
  /** Networks (`192.0.2.0/24`, `2001:db8::/32`, or an address) that may call. Default: all. */
  readonly allow?: readonly string[] | undefined;
  /** Networks that may register, beside this host. Applies only with `isInsecure`. Default: all. */
  readonly allowRegister?: readonly string[] | undefined;
  /** Whether other hosts may register at all. Default false. */
  readonly isInsecure?: boolean | undefined;
  /**
   * Calls of one source on another host a second, after a burst of twice as many: more than 0, at most 10^9. Default
   * {@link DEFAULT_CALLS_PER_SECOND}.
   */
  readonly callsPerSecond?: number | undefined;
  /**
   * Bytes of tables and of replies to forwarded calls that one source on another host is sent over UDP a minute, 0 to
   * 10^9. Default {@link DEFAULT_TABLE_BYTES_PER_MINUTE}.
   */
  readonly tableBytesPerMinute?: number | undefined;
}

/** The number of refusals since the start. */
export interface RefusalCounts {
  /** Calls and connections of callers that are not on the access list. */
  lookups: number;
  /** SET and UNSET of callers that may not register, and SET of reserved programs and ports. */
  registrations: number;
  /** Calls of sources that call too often. */
  rate: number;
  /** Tables and replies to forwarded calls over a source's budget of bytes. */
  budget: number;
  /** SETs over a limit of registrations. */
  full: number;
}

/** What can be changed while the daemon runs. */
export type AccessLists = Pick<AccessOptions, 'allow' | 'allowRegister' | 'isInsecure' | 'programs'>;

/** Bits of `::ffff:0:0/96`, which precede an IPv4 address. */
const MAPPED_PREFIX_BITS = 96;

/** A list of networks. Throws RangeError for an entry that is neither an address nor a network. */
export function networkList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [given = '', prefix, ...rest] = network.split('/');
    // Callers over IPv4 have their IPv4 address everywhere, so `::ffff:192.0.2.0/120` is 192.0.2.0/24.
    const address = unmapped(given);
    const version = isIP(address);
    const bits = version === 6 ? 128 : 32;
    const mappedBits = address === given ? 0 : MAPPED_PREFIX_BITS;
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) - mappedBits : -1;
    if (version === 0 || rest.length > 0 || length < 0 || length > bits)
      throw new RangeError(`${network} is not an address and not a network such as 192.0.2.0/24`);
    list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** Lists and accounts of one daemon. */
export class Access {
  private readonly counts: RefusalCounts = { lookups: 0, registrations: 0, rate: 0, budget: 0, full: 0 };
  /** Of sources that may be forged, and of those that may not. */
  private readonly accounts: { readonly udp: Accounts; readonly tcp: Accounts };
  private readonly privilegedUids: readonly number[] | undefined;
  private isInsecure = false;
  private allow: BlockList | undefined;
  private allowRegister: BlockList | undefined;
  private reserved: ReservedPrograms;

  /** Throws RangeError for a list that is not valid. */
  constructor(options: AccessOptions = {}) {
    const limits = {
      callsPerSecond: options.callsPerSecond ?? DEFAULT_CALLS_PER_SECOND,
      bytesPerMinute: options.tableBytesPerMinute ?? DEFAULT_TABLE_BYTES_PER_MINUTE,
    };
    const isAllowed = (address: string): boolean => this.isOn(this.allow, address);
    this.accounts = { udp: new Accounts(limits, isAllowed), tcp: new Accounts(limits, isAllowed) };
    this.privilegedUids = options.privilegedUids;
    this.reserved = new ReservedPrograms(options);
    this.reload(options);
  }

  /** The number of refusals, now. */
  refusals(): RefusalCounts {
    return { ...this.counts };
  }

  /** Sources with an account of their own, over UDP and over TCP. */
  get sourceCount(): number {
    return this.accounts.udp.size + this.accounts.tcp.size;
  }

  /** Replaces the lists. Throws RangeError, and changes nothing, if one is not valid. */
  reload(lists: AccessLists): void {
    const allow = lists.allow === undefined ? undefined : networkList(lists.allow);
    const allowRegister = lists.allowRegister === undefined ? undefined : networkList(lists.allowRegister);
    const { programs } = lists;
    this.reserved = new ReservedPrograms({ programs, privilegedUids: this.privilegedUids });
    this.allow = allow;
    this.allowRegister = allowRegister;
    this.isInsecure = lists.isInsecure ?? false;
    this.accounts.udp.clear();
    this.accounts.tcp.clear();
  }

  /**
   * Whether a new connection may stay. Checked before anything is read from it: a host whose calls are all refused could
   * otherwise take up connections, and memory for what it sends. A refusal is counted.
   */
  mayConnect(peer: Peer): boolean {
    if (isExempt(peer) || this.isOn(this.allow, peer.address)) return true;
    this.counts.lookups += 1;
    return false;
  }

  /** Whether a call may be answered. A refusal is counted. */
  mayCall(peer: Peer): boolean {
    if (isExempt(peer)) return true;
    const account = this.accountOf(peer);
    const isOneAddress = !account.isShared && !peer.address.includes(':');
    const isAllowed = isOneAddress ? account.isAllowed : this.isOn(this.allow, peer.address);
    if (!isAllowed) {
      this.counts.lookups += 1;
      return false;
    }
    if (account.calls < 1) {
      this.counts.rate += 1;
      return false;
    }
    account.calls -= 1;
    return true;
  }

  /** Whether a caller may SET and UNSET. A refusal is counted. */
  mayRegister(peer: Peer): boolean {
    const may =
      (isLocalPeer(peer) || this.isInsecure) &&
      (peer.transport === 'unix' ||
        peer.transport === 'loopback' ||
        this.isOn(this.allowRegister, peer.address));
    if (!may) this.counts.registrations += 1;
    return may;
  }

  /** Why `owner` may not register a program with a port, which is counted; undefined if it may. */
  reservationOf(owner: string, program: number, port: number): string | undefined {
    const why = this.reserved.refusalOf(owner, program, port);
    if (why !== undefined) this.counts.registrations += 1;
    return why;
  }

  /** Counts a SET over a limit of registrations. */
  countFull(): void {
    this.counts.full += 1;
  }

  /**
   * Whether a table, or the reply to a forwarded call, of so many bytes may be sent to a caller over UDP, which is then
   * charged for it. 0 asks whether anything is left. A refusal is counted.
   */
  maySend(peer: Peer, bytes: number): boolean {
    // The address of a connection is not forged, and callers on this host have easier ways to cause traffic.
    if (peer.transport !== 'udp' || isLocalPeer(peer)) return true;
    const account = this.accountOf(peer);
    if (account.bytes < Math.max(bytes, 1)) {
      this.counts.budget += 1;
      return false;
    }
    account.bytes -= bytes;
    return true;
  }

  private isOn(list: BlockList | undefined, address: string): boolean {
    if (list === undefined) return true;
    const host = withoutZone(address);
    return list.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4');
  }

  private accountOf({ transport, address }: Peer): Account {
    return this.accounts[transport === 'udp' ? 'udp' : 'tcp'].accountOf(address);
  }
}

/** Callers on this host; the most frequent kinds first. */
function isExempt(peer: Peer): boolean {
  return peer.transport === 'unix' || peer.address.startsWith('127.') || isLocalPeer(peer);
}
