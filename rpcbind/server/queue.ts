/**
 * The order of changes while a store takes its time: those of one program run one after another, those of different
 * programs side by side. The program, not the registration, since one SET may be refused because of another version
 * or netid of its program.
 *
 * Threat: on a store that is slow, every user of this host can make calls that wait, each of which takes memory. So
 * their number is limited, and the last ones are left for root.
 */

import { StatusError } from '../../runtime/index.js';
import { accept_stat } from '../../runtime/protocol.js';
import { SUPERUSER } from '../registration.js';

/** Maximum number of changes under way or waiting; a further SET or UNSET gets SYSTEM_ERR. */
export const MAX_PENDING_CHANGES = 1_024;
/** Of these, the last ones that only the superuser may use. */
export const RESERVED_PENDING_CHANGES = 64;

/** Runs changes in order, program by program. */
export class ChangeQueue {
  private readonly last = new Map<number, Promise<unknown>>();
  private pending = 0;

  /** Changes under way or waiting. */
  get size(): number {
    return this.pending;
  }

  /** Whether a change of the program is under way. */
  isBusy(program: number): boolean {
    return this.last.has(program);
  }

  /**
   * Runs a change of an owner now if none of the program is under way, else after those that came first. Returns what it
   * returns: no promise is made if it runs now and returns none. Throws StatusError SYSTEM_ERR if too many wait; a change
   * without an owner comes from the store, and is never refused.
   */
  run<T>(program: number, owner: string | undefined, change: () => T | Promise<T>): T | Promise<T> {
    const reserved = owner === SUPERUSER ? 0 : RESERVED_PENDING_CHANGES;
    if (owner !== undefined && this.pending >= MAX_PENDING_CHANGES - reserved)
      throw new StatusError({ status: accept_stat.SYSTEM_ERR });
    const earlier = this.last.get(program);
    if (earlier !== undefined) return this.track(program, earlier.then(change));
    const result = change();
    return result instanceof Promise ? this.track(program, result) : result;
  }

  private track<T>(program: number, result: Promise<T>): Promise<T> {
    const settled = result.then(ignore, ignore);
    this.last.set(program, settled);
    this.pending += 1;
    void settled.then(() => {
      this.pending -= 1;
      if (this.last.get(program) === settled) this.last.delete(program);
    });
    return result;
  }
}

function ignore(): void {}
