/**
 * What each source of calls may still do: calls, and bytes of large replies. A source is an IPv4 address
 * or an IPv6 network of 64 bits. The number of accounts is bounded.
 */

import { groupsOf } from '../uaddr.js';

/** Most sources that accounts are kept of; further ones share one account. */
export const MAX_SOURCES = 4_096;
/** How many of the oldest accounts are looked at for one to give up. */
const EVICTION_TRIES = 8;

/** The account of one source. */
export interface Account {
  /** What the list says of the source's address; only where the source is one address. */
  readonly isAllowed: boolean;
  /** Whether it stands for all sources without an account of their own. */
  readonly isShared: boolean;
  calls: number;
  bytes: number;
  at: number;
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
  private readonly crowd: Account;

  constructor(limits: AccountLimits, isAllowed: (address: string) => boolean) {
    this.limits = limits;
    this.isAllowed = isAllowed;
    this.crowd = this.newAccount(performance.now(), true, true);
  }

  /** Forgets all but what the sources without an account of their own have left. */
  clear(): void {
    this.accounts.clear();
  }

  /**
   * The account of a source, with what it has earned since it was last looked at. When all accounts
   * are taken and busy, strangers share one: a flood of forged sources does not buy itself new budgets.
   */
  of(address: string): Account {
    const key = address.includes(':') ? groupsOf(address).slice(0, 4).join(':') : address;
    const now = performance.now();
    let account = this.accounts.get(key);
    if (account === undefined) {
      if (this.accounts.size >= MAX_SOURCES && !this.evict(now)) account = this.crowd;
      else {
        account = this.newAccount(now, this.isAllowed(address), false);
        this.accounts.set(key, account);
      }
    }
    this.earn(account, now);
    return account;
  }

  private earn(account: Account, now: number): void {
    const { callsPerSecond, bytesPerMinute } = this.limits;
    const seconds = (now - account.at) / 1000;
    account.at = now;
    account.calls = Math.min(callsPerSecond * 2, account.calls + seconds * callsPerSecond);
    account.bytes = Math.min(bytesPerMinute, account.bytes + (seconds * bytesPerMinute) / 60);
  }

  /** Gives up an account that has earned all it can, which a new one would be no different from. */
  private evict(now: number): boolean {
    const { callsPerSecond, bytesPerMinute } = this.limits;
    let tries = EVICTION_TRIES;
    for (const [key, account] of this.accounts) {
      this.earn(account, now);
      this.accounts.delete(key);
      if (account.calls >= callsPerSecond * 2 && account.bytes >= bytesPerMinute) return true;
      this.accounts.set(key, account);
      tries -= 1;
      if (tries === 0) break;
    }
    return false;
  }

  private newAccount(at: number, isAllowed: boolean, isShared: boolean): Account {
    const { callsPerSecond, bytesPerMinute } = this.limits;
    return { isAllowed, isShared, calls: callsPerSecond * 2, bytes: bytesPerMinute, at };
  }
}
