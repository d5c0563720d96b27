/**
 * Which registrations are of servers that are gone. It looks in turn at the ports of the registrations,
 * a few each second, first at those that were looked up, and tells of one that is gone. The rules:
 *
 * - A sign of life is a socket of the registration's owner or of root. Everybody may open and close a socket
 *   at the address of somebody else, so a stranger's says nothing. What `unknown` registered has any socket
 *   for a sign: everybody on this host may take such a registration back by UNSET anyway.
 * - Only what was seen alive can be found gone: some register before they listen, and some for servers of
 *   another network namespace, whose sockets are not to be seen from here.
 * - Gone is what two looks, at least {@link CONFIRM_MS} apart, found without any sign, with none between that
 *   found something else. A look that failed has found nothing out.
 *
 * How it is looked, by the kernel's own lists or by binding, is signs.ts and probe.ts.
 */

import { hasNative } from '../../runtime/protocol.js';
import { Prober } from '../kernel/probe.js';
import { KernelSigns, type Look, type Looker } from '../kernel/signs.js';
import type { TableEntry } from '../table/registry.js';
import { isLoopback } from '../uaddr.js';
import type { LivenessChecker } from './core.js';

/** Between two turns of looks: 1 s. */
export const TICK_MS = 1_000;
/** A turn ends once it took so long: 5 ms. Each kind of look (again, looked up, in turn) gets a third. */
export const TICK_BUDGET_MS = 5;
/** Between the two looks that find a registration gone, at least: 3 s. */
export const CONFIRM_MS = 3_000;
/** Turns in which each registration is looked at once, where the time is enough: 10. */
export const ROUND_TICKS = 10;
/** Registrations that were looked up and wait for a look at most; further ones are found in turn. */
export const MAX_ASKED = 1_024;
/** New registrations are looked at by at most one part in so many of the daemon's time. */
const NEW_COST_SHARE = 50;
/** Time for looking at new registrations that may be saved up: 20 ms, so that a service's few are all seen. */
const MAX_NEW_CREDIT_MS = 20;

/** How listeners are looked for: `auto` is by the kernel's lists where there are any, else by probes. */
export type LivenessMode = 'auto' | 'probe' | 'off';

/** See {@link Liveness}. */
export interface LivenessOptions {
  readonly mode: LivenessMode;
  /** All registrations, oldest first; an iteration goes on where entries come and go meanwhile. */
  readonly entries: () => IterableIterator<TableEntry>;
  /** Whether an IP address is one of this host. */
  readonly isOurs: (host: string) => boolean;
  /** Told of a registration whose server is gone; it may have been removed meanwhile. */
  readonly onGone: (entry: TableEntry) => void;
}

/** Watches the registrations of one daemon, until {@link close}. */
export class Liveness implements LivenessChecker {
  private readonly looker: Looker | undefined;
  private readonly entries: () => IterableIterator<TableEntry>;
  private readonly isOurs: (host: string) => boolean;
  private readonly onGone: (entry: TableEntry) => void;
  private readonly timer: NodeJS.Timeout | undefined;
  /** Registrations that one look found gone, and when; in the order of those looks. */
  private readonly suspects = new Map<TableEntry, number>();
  private readonly asked = new Set<TableEntry>();
  private round: IterableIterator<TableEntry> | undefined;
  /** Registrations of the round so far, and of the last whole one; of the first, all that the time allows. */
  private seen = 0;
  private size = Number.POSITIVE_INFINITY;
  private newCreditMs = MAX_NEW_CREDIT_MS;
  private newCreditAt = performance.now();

  constructor({ mode, entries, isOurs, onGone }: LivenessOptions) {
    this.entries = entries;
    this.isOurs = isOurs;
    this.onGone = onGone;
    if (mode === 'off') return;
    this.looker = mode === 'auto' && hasNative() ? new KernelSigns() : new Prober();
    this.timer = setInterval(() => this.turn(), TICK_MS);
    this.timer.unref();
  }

  /** Ends the looks. */
  close(): void {
    clearInterval(this.timer);
  }

  /** Notes that a registration was looked up: it is among the next to be looked at. Costs a few nanoseconds. */
  asks(entry: TableEntry): void {
    if (this.looker !== undefined && this.asked.size < MAX_ASKED) this.asked.add(entry);
  }

  /** Notes a new registration, and whether it has a listener already. */
  noteNew(entry: TableEntry): void {
    if (this.looker === undefined) return;
    const startedAt = performance.now();
    this.newCreditMs += (startedAt - this.newCreditAt) / NEW_COST_SHARE;
    this.newCreditMs = Math.min(MAX_NEW_CREDIT_MS, this.newCreditMs);
    this.newCreditAt = startedAt;
    // A flood of registrations is not looked at one by one; the next turns will come to them.
    if (this.newCreditMs <= 0) {
      this.asks(entry);
      return;
    }
    this.looker.renew(true);
    this.look(entry);
    if (!entry.wasAlive) this.asks(entry);
    this.newCreditMs -= performance.now() - startedAt;
  }

  /** One turn of looks: at what seemed gone, at what was looked up, and at the next of all, each within its time. */
  private turn(): void {
    const startedAt = performance.now();
    const until = (part: number): (() => boolean) => {
      let isFirst = true;
      return () => {
        const may = isFirst || performance.now() - startedAt < (TICK_BUDGET_MS * part) / 3;
        isFirst = false;
        return may;
      };
    };
    this.looker?.renew(false);
    const mayConfirm = until(1);
    for (const [entry, since] of this.suspects) {
      if (startedAt - since < CONFIRM_MS || !mayConfirm()) break;
      this.look(entry);
    }
    const mayAsk = until(2);
    for (const entry of this.asked) {
      if (!mayAsk()) break;
      this.asked.delete(entry);
      this.look(entry);
    }
    const mayGoOn = until(3);
    for (
      let left = Math.ceil(Math.max(this.size, this.seen) / ROUND_TICKS) + 1;
      left > 0 && mayGoOn();
      left--
    ) {
      this.round ??= this.entries();
      const next = this.round.next();
      if (next.done === true) {
        this.round = undefined;
        this.size = this.seen;
        this.seen = 0;
        break;
      }
      this.seen += 1;
      this.look(next.value);
    }
  }

  private look(entry: TableEntry): void {
    if (entry.isPermanent || !this.isHere(entry)) return;
    this.looker?.look(entry, (found) => this.found(entry, found));
  }

  private found(entry: TableEntry, found: Look): void {
    if (found === 'alive') entry.wasAlive = true;
    if (found !== 'gone' || !entry.wasAlive) {
      this.suspects.delete(entry);
      return;
    }
    const now = performance.now();
    const since = this.suspects.get(entry);
    if (since === undefined) this.suspects.set(entry, now);
    else if (now - since >= CONFIRM_MS) {
      this.suspects.delete(entry);
      this.onGone(entry);
    }
  }

  private isHere(entry: TableEntry): boolean {
    return entry.netid === 'local' || entry.isWildcard || isLoopback(entry.host) || this.isOurs(entry.host);
  }
}
