/**
 * Accounts of the sources of calls: how many calls each may still make, and how many bytes of large replies it may still
 * be sent. A source is an IPv4 address or an IPv6 network of 64 bits. The number of accounts is bounded.
 */

import { groupsOf } from '../uaddr.js';

/** Maximum number of sources with an account of their own; further sources share one account. */
export const MAX_SOURCES = 4_096;
/** How many of the oldest accounts are tried for one to delete. */
const EVICTION_TRIES = 8;

/** The account of one source. */
export interface Account {
  /** What the access list says of the source's address; valid only for a source that is one address. */
  readonly isAllowed: boolean;
  /** Whether it is the account of all sources without one of their own. */
  readonly isShared: boolean;
  calls: number;
  bytes: number;
  /** Time of `performance.now()` until which calls and bytes are credited. */
  creditedAt: number;
}

/** See {@link Accounts}. */
export interface AccountLimits {
  readonly callsPerSecond: number;
  readonly bytesPerMinute: number;
}

/** The accounts of one kind of transport. */
export class Accounts {
  private readonly limits: AccountLimits;
  private readonly isAllowed: (address: string) => boolean;
  private readonly accounts = new Map<string, Account>();
  private readonly shared: Account;

  constructor(limits: AccountLimits, isAllowed: (address: string) => boolean) {
    this.limits = limits;
    this.isAllowed = isAllowed;
    this.shared = this.newAccount(performance.now(), true, true);
  }

  /** The number of sources with an account of their own. */
  get size(): number {
    return this.accounts.size;
  }

  /** Deletes all accounts but the shared one. */
  clear(): void {
    this.accounts.clear();
  }

  /**
   * The account of a source, with credit up to now. If all accounts are in use, new sources share one: a flood of
   * forged sources must not get a new budget for each.
   */
  accountOf(address: string): Account {
    const key = address.includes(':') ? groupsOf(address).slice(0, 4).join(':') : address;
    const now = performance.now();
    let account = this.accounts.get(key);
    if (account === undefined) {
      if (this.accounts.size >= MAX_SOURCES && !this.evict(now)) account = this.shared;
      else {
        account = this.newAccount(now, this.isAllowed(address), false);
        this.accounts.set(key, account);
      }
    }
    this.credit(account, now);
    return account;
  }

  private credit(account: Account, now: number): void {
    const { callsPerSecond, bytesPerMinute } = this.limits;
    const seconds = (now - account.creditedAt) / 1000;
    account.creditedAt = now;
    account.calls = Math.min(callsPerSecond * 2, account.calls + seconds * callsPerSecond);
    account.bytes = Math.min(bytesPerMinute, account.bytes + (seconds * bytesPerMinute) / 60);
  }

  /** Deletes an account with full credit, which a new one would not differ from. */
  private evict(now: number): boolean {
    const { callsPerSecond, bytesPerMinute } = this.limits;
    let tries = EVICTION_TRIES;
    for (const [key, account] of this.accounts) {
      this.credit(account, now);
      this.accounts.delete(key);
      if (account.calls >= callsPerSecond * 2 && account.bytes >= bytesPerMinute) return true;
      this.accounts.set(key, account);
      tries -= 1;
      if (tries === 0) break;
    }
    return false;
  }

  private newAccount(creditedAt: number, isAllowed: boolean, isShared: boolean): Account {
    const { callsPerSecond, bytesPerMinute } = this.limits;
    return { isAllowed, isShared, calls: callsPerSecond * 2, bytes: bytesPerMinute, creditedAt };
  }
}
