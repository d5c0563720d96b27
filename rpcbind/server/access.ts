/**
 * Who may ask what, and how much of it. Three questions: is the caller on a list, does it ask too
 * often, would the answer make us an amplifier (a forged question of 40 bytes gets a table of
 * kilobytes). Callers on this host are asked none of them, except the lists for registering.
 *
 * Anybody on the network can send a datagram in the name of any address, but nobody can establish a TCP
 * connection in another's name. So a source has two accounts, one for UDP and one for TCP: calls forged in
 * the name of an honest host use up its account for UDP, and never that of its connections.
 */

import { BlockList, isIP } from 'node:net';
import type { Peer } from '../../runtime/index.js';
import { unmapped } from '../../runtime/protocol.js';
import { isLocalPeer } from '../kernel/owner.js';
import { type Account, Accounts } from '../table/accounts.js';
import { type ReservationOptions, Reservations } from '../table/reserved.js';
import { withoutZone } from '../uaddr.js';

/** Default for the calls of one source a second, after a burst of twice as many. */
export const DEFAULT_CALLS_PER_SECOND = 2_000;
/** Default for the bytes of tables and of forwarded replies that one source is sent over UDP a minute. */
export const DEFAULT_TABLE_BYTES_PER_MINUTE = 16_384;

/** See {@link Access}. */
export interface AccessOptions extends ReservationOptions {
  /** Networks (`192.0.2.0/24`, `2001:db8::/32`, or an address) that may look up. Default: all. */
  readonly allow?: readonly string[] | undefined;
  /** Networks that may register, beyond this host. Takes effect only with `isInsecure`. Default: all. */
  readonly allowRegister?: readonly string[] | undefined;
  /** Whether other hosts may register at all. Default false. */
  readonly isInsecure?: boolean | undefined;
  /** Default {@link DEFAULT_CALLS_PER_SECOND}. */
  readonly callsPerSecond?: number | undefined;
  /** Default {@link DEFAULT_TABLE_BYTES_PER_MINUTE}. */
  readonly tableBytesPerMinute?: number | undefined;
}

/** What was refused since the start. */
export interface RefusalCounts {
  /** Callers that are on no list for lookups. */
  lookups: number;
  /** SET and UNSET of callers that may not, and SET of reserved programs and ports. */
  registrations: number;
  /** Calls of sources that call too often. */
  rate: number;
  /** Tables and forwarded replies that would have gone over a source's budget of bytes. */
  budget: number;
  /** SETs over a limit of registrations. */
  full: number;
}

/** What may change while the daemon runs. */
export type AccessLists = Pick<AccessOptions, 'allow' | 'allowRegister' | 'isInsecure' | 'programs'>;

/** Bits of `::ffff:0:0/96`, before an IPv4 address. */
const MAPPED_PREFIX_BITS = 96;

/** Throws RangeError where an entry is neither an address nor a network. */
export function networkList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [given = '', prefix, ...rest] = network.split('/');
    // Callers over IPv4 are known by their IPv4 address, so `::ffff:192.0.2.0/120` is 192.0.2.0/24.
    const address = unmapped(given);
    const version = isIP(address);
    const bits = version === 6 ? 128 : 32;
    const mappedBits = address === given ? 0 : MAPPED_PREFIX_BITS;
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) - mappedBits : -1;
    if (version === 0 || rest.length > 0 || length < 0 || length > bits)
      throw new RangeError(`${network} is no address and no network such as 192.0.2.0/24`);
    list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** The lists and accounts of one daemon. */
export class Access {
  readonly refused: RefusalCounts = { lookups: 0, registrations: 0, rate: 0, budget: 0, full: 0 };
  /** Of sources that may be forged, and of those that may not. */
  private readonly accounts: { readonly udp: Accounts; readonly tcp: Accounts };
  private readonly privilegedUids: readonly number[] | undefined;
  private isInsecure = false;
  private allow: BlockList | undefined;
  private allowRegister: BlockList | undefined;
  private reservations: Reservations;

  /** Throws RangeError where a list is wrong. */
  constructor(options: AccessOptions = {}) {
    const limits = {
      callsPerSecond: options.callsPerSecond ?? DEFAULT_CALLS_PER_SECOND,
      bytesPerMinute: options.tableBytesPerMinute ?? DEFAULT_TABLE_BYTES_PER_MINUTE,
    };
    const isAllowed = (address: string): boolean => this.isOn(this.allow, address);
    this.accounts = { udp: new Accounts(limits, isAllowed), tcp: new Accounts(limits, isAllowed) };
    this.privilegedUids = options.privilegedUids;
    this.reservations = new Reservations(options);
    this.reload(options);
  }

  /** Takes other lists from now on. Throws RangeError, and changes nothing, where one is wrong. */
  reload(lists: AccessLists): void {
    const allow = lists.allow === undefined ? undefined : networkList(lists.allow);
    const allowRegister = lists.allowRegister === undefined ? undefined : networkList(lists.allowRegister);
    const { programs } = lists;
    this.reservations = new Reservations({ programs, privilegedUids: this.privilegedUids });
    this.allow = allow;
    this.allowRegister = allowRegister;
    this.isInsecure = lists.isInsecure ?? false;
    this.accounts.udp.clear();
    this.accounts.tcp.clear();
  }

  /**
   * Whether a connection may stay at all, asked when it comes: a stranger whose calls are all refused by the list
   * could otherwise hold connections and send what we would have to keep. What may not is counted.
   */
  mayConnect(peer: Peer): boolean {
    if (peer.transport === 'unix' || peer.address.startsWith('127.') || isLocalPeer(peer)) return true;
    if (this.isOn(this.allow, peer.address)) return true;
    this.refused.lookups += 1;
    return false;
  }

  /** Whether this call may be answered at all; what may not is counted. */
  mayCall(peer: Peer): boolean {
    if (peer.transport === 'unix' || peer.address.startsWith('127.') || isLocalPeer(peer)) return true;
    const account = this.accountOf(peer);
    const isOneAddress = !account.isShared && !peer.address.includes(':');
    const isAllowed = isOneAddress ? account.isAllowed : this.isOn(this.allow, peer.address);
    if (!isAllowed) {
      this.refused.lookups += 1;
      return false;
    }
    if (account.calls < 1) {
      this.refused.rate += 1;
      return false;
    }
    account.calls -= 1;
    return true;
  }

  /** Whether the caller may SET and UNSET; one who may not is counted. */
  mayRegister(peer: Peer): boolean {
    const may =
      (isLocalPeer(peer) || this.isInsecure) &&
      (peer.transport === 'unix' ||
        peer.transport === 'loopback' ||
        this.isOn(this.allowRegister, peer.address));
    if (!may) this.refused.registrations += 1;
    return may;
  }

  /** Why `owner` may not register a program at a port, which is counted; undefined where it may. */
  reservationOf(owner: string, program: number, port: number): string | undefined {
    const why = this.reservations.refusalOf(owner, program, port);
    if (why !== undefined) this.refused.registrations += 1;
    return why;
  }

  /**
   * Whether a table or a forwarded reply of so many bytes may go to a caller over UDP, which is charged for
   * it; what may not is counted. 0 asks whether anything is left.
   */
  mayTakeTable(peer: Peer, bytes: number): boolean {
    // A connection cannot be forged, and who is on this host can do us worse.
    if (peer.transport !== 'udp' || isLocalPeer(peer)) return true;
    const account = this.accountOf(peer);
    if (account.bytes < Math.max(bytes, 1)) {
      this.refused.budget += 1;
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
    return this.accounts[transport === 'udp' ? 'udp' : 'tcp'].of(address);
  }
}
