/**
 * Finds registrations whose server is gone. Once a second it probes a few: those that seemed gone, those that were looked
 * up, and the next ones of the table. The rules:
 *
 * - Only a socket of the registration's owner or of root proves that the server is running. Every user can open and close
 *   sockets at another's address. What `unknown` registered, any socket proves: every user of this host can unset such
 *   a registration anyway.
 * - Only a registration that was found alive can be found gone: some programs register before they listen, and some for
 *   servers in another network namespace, whose sockets cannot be seen from here.
 * - A registration is gone when two probes, at least {@link CONFIRM_MS} apart, found that, and none between them found
 *   anything else. A probe that fails finds nothing.
 *
 * Probes are by the kernel's lists of sockets or by binding: kernel/sockdiagprobe.ts and kernel/bindprobe.ts.
 */

import { hasNative } from '../../runtime/protocol.js';
import { BindProbe } from '../kernel/bindprobe.js';
import type { LivenessProbe, ProbeResult } from '../kernel/probe.js';
import { SockDiagProbe } from '../kernel/sockdiagprobe.js';
import type { TableEntry } from '../table/registry.js';
import { isLoopback } from '../uaddr.js';

/** Time between two rounds of probes: 1 s. */
export const ROUND_MS = 1_000;
/** A round takes at most 5 ms, a third for each kind: seemed gone, looked up, next of the table. */
export const ROUND_BUDGET_MS = 5;
/** Minimum time between the two probes that find a registration gone: 3 s. */
export const CONFIRM_MS = 3_000;
/** Number of rounds in which each registration is probed once, if the time is enough: 10. */
export const ROUNDS_PER_PASS = 10;
/** Maximum number of registrations that wait for an early probe; further ones are probed in their turn. */
export const MAX_REQUESTED_PROBES = 1_024;
/** Probing new registrations takes at most 1/50 of the daemon's time. */
const NEW_COST_SHARE = 50;
/** Maximum time for probing new registrations that can accumulate: 20 ms, enough for those of one service. */
const MAX_NEW_CREDIT_MS = 20;

/** `auto`: by the kernel's lists of sockets where available, else by binding. `probe`: by binding. `off`: not at all. */
export type LivenessMode = 'auto' | 'probe' | 'off';

/** The probe of a mode; undefined for `off`. */
export function probeFor(mode: LivenessMode): LivenessProbe | undefined {
  if (mode === 'off') return undefined;
  return mode === 'auto' && hasNative() ? new SockDiagProbe() : new BindProbe();
}

/** See {@link LivenessChecker}. */
export interface LivenessParts {
  /** Without one nothing is checked. */
  readonly probe: LivenessProbe | undefined;
  /** All registrations, oldest first; an iteration continues while entries are added and removed. */
  readonly entries: () => IterableIterator<TableEntry>;
  /** Whether an IP address is one of this host. */
  readonly isOwnAddress: (host: string) => boolean;
  /** Removes a registration whose server is gone; false if it was not removed, since it is not in the table any more. */
  readonly removeStale: (entry: TableEntry) => boolean;
}

/** Counters of the checks. */
export interface LivenessStats {
  /** Probes so far. */
  readonly probes: number;
  /** Registrations that wait for an early probe. */
  readonly requested: number;
  /** Registrations that one probe found gone, and that wait for the second. */
  readonly suspected: number;
  /** Registrations that were found gone, and removed, so far. */
  readonly gone: number;
}

/** Checks the registrations of one daemon, from {@link start} until {@link close}. */
export class LivenessChecker {
  private readonly parts: LivenessParts;
  private timer: NodeJS.Timeout | undefined;
  /** Registrations that one probe found gone, and when; in the order of these probes. */
  private readonly suspects = new Map<TableEntry, number>();
  private readonly requests = new Set<TableEntry>();
  private pass: IterableIterator<TableEntry> | undefined;
  /** Registrations probed in this pass so far, and in the last one; in the first one as many as the time allows. */
  private passCount = 0;
  private passSize = Number.POSITIVE_INFINITY;
  private newCreditMs = MAX_NEW_CREDIT_MS;
  private newCreditAt = performance.now();
  private probes = 0;
  private gone = 0;

  constructor(parts: LivenessParts) {
    this.parts = parts;
  }

  /** Begins the rounds. */
  start(): void {
    if (this.parts.probe === undefined || this.timer !== undefined) return;
    this.timer = setInterval(() => this.round(), ROUND_MS);
    this.timer.unref();
  }

  /** Ends the rounds. May be called twice. */
  close(): void {
    clearInterval(this.timer);
  }

  stats(): LivenessStats {
    const { probes, gone } = this;
    return { probes, requested: this.requests.size, suspected: this.suspects.size, gone };
  }

  /** Asks for an early probe of a registration, since it was looked up. Takes a few nanoseconds. */
  request(entry: TableEntry): void {
    if (this.parts.probe !== undefined && this.requests.size < MAX_REQUESTED_PROBES) this.requests.add(entry);
  }

  /** Probes a new registration at once, within a share of the daemon's time: in a flood most wait for their turn. */
  checkNew(entry: TableEntry): void {
    if (this.parts.probe === undefined) return;
    const startedAt = performance.now();
    this.newCreditMs += (startedAt - this.newCreditAt) / NEW_COST_SHARE;
    this.newCreditMs = Math.min(MAX_NEW_CREDIT_MS, this.newCreditMs);
    this.newCreditAt = startedAt;
    if (this.newCreditMs <= 0) {
      this.request(entry);
      return;
    }
    this.parts.probe.beginRound(true);
    this.probe(entry);
    if (!entry.wasAlive) this.request(entry);
    this.newCreditMs -= performance.now() - startedAt;
  }

  /** One round: suspects, requests and the next registrations of the table, each within its share of the time. */
  private round(): void {
    const startedAt = performance.now();
    const withinShare = (share: number): (() => boolean) => {
      let isFirst = true;
      return () => {
        const isWithin = isFirst || performance.now() - startedAt < (ROUND_BUDGET_MS * share) / 3;
        isFirst = false;
        return isWithin;
      };
    };
    this.parts.probe?.beginRound(false);
    const maySuspect = withinShare(1);
    for (const [entry, since] of this.suspects) {
      if (startedAt - since < CONFIRM_MS || !maySuspect()) break;
      this.probe(entry);
    }
    const mayRequest = withinShare(2);
    for (const entry of this.requests) {
      if (!mayRequest()) break;
      this.requests.delete(entry);
      this.probe(entry);
    }
    const mayGoOn = withinShare(3);
    let left = Math.ceil(Math.max(this.passSize, this.passCount) / ROUNDS_PER_PASS) + 1;
    for (; left > 0 && mayGoOn(); left--) {
      this.pass ??= this.parts.entries();
      const next = this.pass.next();
      if (next.done === true) {
        this.pass = undefined;
        this.passSize = this.passCount;
        this.passCount = 0;
        break;
      }
      this.passCount += 1;
      this.probe(next.value);
    }
  }

  private probe(entry: TableEntry): void {
    if (entry.isPermanent || !this.isHere(entry)) return;
    this.probes += 1;
    this.parts.probe?.probe(entry, (result) => this.report(entry, result));
  }

  private report(entry: TableEntry, result: ProbeResult): void {
    if (result === 'alive') entry.wasAlive = true;
    if (result !== 'gone' || !entry.wasAlive) {
      this.suspects.delete(entry);
      return;
    }
    const now = performance.now();
    const since = this.suspects.get(entry);
    if (since === undefined) this.suspects.set(entry, now);
    else if (now - since >= CONFIRM_MS) {
      this.suspects.delete(entry);
      this.requests.delete(entry);
      if (this.parts.removeStale(entry)) this.gone += 1;
    }
  }

  private isHere(entry: TableEntry): boolean {
    return (
      entry.netid === 'local' ||
      entry.isWildcard ||
      isLoopback(entry.host) ||
      this.parts.isOwnAddress(entry.host)
    );
  }
}
