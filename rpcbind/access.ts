/**
 * Who may ask what, and how much of it. Three questions: is the caller on a list, does it ask too
 * often, would the answer make us an amplifier (a forged question of 40 bytes gets a table of
 * kilobytes). Callers on this host are asked none of them, except the list for registering.
 */

import { BlockList, isIP } from 'node:net';
import type { Peer } from '../runtime/index.js';
import { isLocalPeer } from './owner.js';
import { groupsOf, withoutZone } from './uaddr.js';

/** Default for the calls of one source a second, after a burst of twice as many. */
export const DEFAULT_CALLS_PER_SECOND = 2_000;
/** Default for the bytes of tables that one source is sent over UDP a minute. */
export const DEFAULT_TABLE_BYTES_PER_MINUTE = 16_384;
/** Most sources that accounts are kept of; further ones share one account. */
export const MAX_SOURCES = 4_096;
/** How many of the oldest accounts are looked at for one to give up. */
const EVICTION_TRIES = 8;

/** See {@link Access}. */
export interface AccessOptions {
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
  /** SET and UNSET of callers that may not. */
  registrations: number;
  /** Calls of sources that call too often. */
  rate: number;
  /** Tables that would have gone over a source's budget of bytes. */
  budget: number;
  /** SETs over a limit of registrations. */
  full: number;
}

/** The account of one source: an IPv4 address, or an IPv6 network of 64 bits. */
interface Account {
  isAllowed: boolean;
  calls: number;
  bytes: number;
  at: number;
}

/** Throws RangeError where an entry is neither an address nor a network. */
export function networkList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix, ...rest] = network.split('/');
    const version = isIP(address);
    const bits = version === 6 ? 128 : 32;
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
    if (version === 0 || rest.length > 0 || length < 0 || length > bits)
      throw new RangeError(`${network} is no address and no network such as 192.0.2.0/24`);
    list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** The lists and accounts of one daemon. */
export class Access {
  readonly refused: RefusalCounts = { lookups: 0, registrations: 0, rate: 0, budget: 0, full: 0 };
  private readonly accounts = new Map<string, Account>();
  private readonly crowd: Account;
  private readonly callsPerSecond: number;
  private readonly bytesPerMinute: number;
  private isInsecure = false;
  private allow: BlockList | undefined;
  private allowRegister: BlockList | undefined;

  constructor(options: AccessOptions = {}) {
    this.callsPerSecond = options.callsPerSecond ?? DEFAULT_CALLS_PER_SECOND;
    this.bytesPerMinute = options.tableBytesPerMinute ?? DEFAULT_TABLE_BYTES_PER_MINUTE;
    this.crowd = this.newAccount(performance.now());
    this.reload(options);
  }

  /** Takes other lists from now on. Throws RangeError, and changes nothing, where one is wrong. */
  reload(options: Pick<AccessOptions, 'allow' | 'allowRegister' | 'isInsecure'>): void {
    const allow = options.allow === undefined ? undefined : networkList(options.allow);
    const allowRegister =
      options.allowRegister === undefined ? undefined : networkList(options.allowRegister);
    this.allow = allow;
    this.allowRegister = allowRegister;
    this.isInsecure = options.isInsecure ?? false;
    this.accounts.clear();
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
    const account = this.accountOf(peer.address);
    const isOneAddress = account !== this.crowd && !peer.address.includes(':');
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

  /** Whether a table of so many bytes may go to a caller over UDP; what may not is counted. */
  mayTakeTable(peer: Peer, bytes: number): boolean {
    // A connection cannot be forged, and who is on this host can do us worse.
    if (peer.transport !== 'udp' || isLocalPeer(peer)) return true;
    const account = this.accountOf(peer.address);
    if (account.bytes < bytes) {
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

  /**
   * The account of a source, with what it has earned since it was last looked at. When all accounts
   * are taken and busy, strangers share one: a flood of forged sources does not buy itself new budgets.
   */
  private accountOf(address: string): Account {
    const key = address.includes(':') ? groupsOf(address).slice(0, 4).join(':') : address;
    const now = performance.now();
    let account = this.accounts.get(key);
    if (account === undefined) {
      if (this.accounts.size >= MAX_SOURCES && !this.evict(now)) account = this.crowd;
      else {
        account = this.newAccount(now);
        account.isAllowed = this.isOn(this.allow, address);
        this.accounts.set(key, account);
      }
    }
    this.earn(account, now);
    return account;
  }

  private earn(account: Account, now: number): void {
    const seconds = (now - account.at) / 1000;
    account.at = now;
    account.calls = Math.min(this.callsPerSecond * 2, account.calls + seconds * this.callsPerSecond);
    account.bytes = Math.min(this.bytesPerMinute, account.bytes + (seconds * this.bytesPerMinute) / 60);
  }

  /** Gives up an account that has earned all it can, which a new one would be no different from. */
  private evict(now: number): boolean {
    let tries = EVICTION_TRIES;
    for (const [key, account] of this.accounts) {
      this.earn(account, now);
      this.accounts.delete(key);
      if (account.calls >= this.callsPerSecond * 2 && account.bytes >= this.bytesPerMinute) return true;
      this.accounts.set(key, account);
      tries -= 1;
      if (tries === 0) break;
    }
    return false;
  }

  private newAccount(at: number): Account {
    return { isAllowed: true, calls: this.callsPerSecond * 2, bytes: this.bytesPerMinute, at };
  }
}
